package api

import "time"

// Figures are what a room does and holds, to be watched over time. Counters begin at zero when the room is opened.
type Figures struct {
	Received   Traffic `json:"received"` // from all peers together
	Sent       Traffic `json:"sent"`
	Duplicates int64   `json:"duplicates"` // bytes of blobs that came twice
	Rejected   int64   `json:"rejected"`   // frames, tails and blocks that did not verify

	Direct   int `json:"direct"`   // connected peers that are reached directly
	Relayed  int `json:"relayed"`  // and those that are reached through a relay
	Behind   int `json:"behind"`   // logs of which some peer has more than is here
	Fetching int `json:"fetching"` // blobs that are on their way

	Wanted  int64 `json:"wanted"`  // bytes of them that are asked for and are not here
	Missing int64 `json:"missing"` // files of which bytes are not here

	Cores   int   `json:"cores"`   // logs
	Blocks  int64 `json:"blocks"`  // of all logs: entries, and small files and texts of messages behind them
	Blobs   int64 `json:"blobs"`   // of which anything is here
	Pending int64 `json:"pending"` // files that were written in mounts and are not yet part of the room
	Mounts  int   `json:"mounts"`

	Disk    Disk    `json:"disk"`
	Commits Commits `json:"commits"`
}

// Traffic counts bytes on the wire, frames and requests included, by what they were for.
type Traffic struct {
	Control int64 `json:"control"`
	Entries int64 `json:"entries"`
	Blobs   int64 `json:"blobs"`
}

// Disk is where a room's bytes are, as files stand on the disk.
type Disk struct {
	Log     int64 `json:"log"`     // entries, messages and small files
	Index   int64 `json:"index"`   // derived from the log
	Blobs   int64 `json:"blobs"`   // whole ones, with their hashes
	Partial int64 `json:"partial"` // what is here of others
	Staging int64 `json:"staging"` // being written
	Other   int64 `json:"other"`   // the reserve; damaged files put aside
	Free    int64 `json:"free"`    // on the file system
}

// Commits tells of the transactions that made changes of a room durable. One serves many callers.
type Commits struct {
	Count  uint64 `json:"count"`
	Failed uint64 `json:"failed"`
	// Seconds is how long they took together. Of Took, the first counts those that took at most the first of Bounds,
	// the next those that took longer and at most the second of Bounds, and the last those beyond all bounds.
	Seconds float64         `json:"seconds"`
	Bounds  []time.Duration `json:"bounds"` // ascending
	Took    []uint64        `json:"took"`
}

// Requests counts the answers of one server with one status.
type Requests struct {
	Server string `json:"server"` // "control" (this API), "http" (rooms) or "metrics"
	Status int    `json:"status"` // of HTTP; what fails in the middle of a stream has 200
	Count  int64  `json:"count"`
}
