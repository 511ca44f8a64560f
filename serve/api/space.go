package api

import "time"

// Retention is a room's rule of how long versions of files stay that are no
// longer listed. A version stays while it is within every limit that is set; zero
// is no limit.
type Retention struct {
	Age      time.Duration `json:"age,omitempty"`      // since it was replaced or deleted
	Versions int           `json:"versions,omitempty"` // newest ones of one file
	Size     int64         `json:"size,omitempty"`     // bytes of the whole history, newest first

	// Attachments lets versions go that messages refer to, like any other; false keeps them.
	Attachments bool `json:"attachments,omitempty"`
}

// Amount is a number of blobs (files of more than 2 KiB, or parts of them) and
// their bytes.
type Amount struct {
	Blobs int64 `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

// Space says what a room takes on this device and what for. Disk is the sum of
// the rest but Small, Partial and Free; each blob counts once, for the first of the reasons that it
// has. Sealed is set on a seeder, which cannot read what blobs are for: Overhead then is all that holds them.
type Space struct {
	Room        string `json:"room"`
	Sealed      bool   `json:"sealed,omitempty"`
	Listed      Amount `json:"listed"`      // what is listed now
	Small       Amount `json:"small"`       // files of up to 2 KiB that are listed now: they stand in the log, and count there
	Marked      Amount `json:"marked"`      // what was listed at a mark
	Attached    Amount `json:"attached"`    // what messages refer to
	History     Amount `json:"history"`     // earlier versions within the retention
	Trash       Amount `json:"trash"`       // deleted files within the retention
	Reclaimable Amount `json:"reclaimable"` // what gc would drop
	Overhead    int64  `json:"overhead"`    // hashes and headers of blobs, and room in packs that nothing takes any more
	Log         int64  `json:"log"`         // entries, messages and small files
	Index       int64  `json:"index"`       // derived from the log
	Staging     int64  `json:"staging"`     // being written
	Other       int64  `json:"other"`       // the reserve; damaged files put aside
	Partial     int64  `json:"partial"`     // of all these, bytes in files that are not whole here
	Disk        int64  `json:"disk"`
	Free        int64  `json:"free"` // on the disk
}

// GCRequest drops what nothing keeps any more. DryRun only counts.
type GCRequest struct {
	DryRun bool `json:"dry_run,omitempty"`
}

// GCReport says what was dropped, or with DryRun would be.
type GCReport struct {
	Room      string    `json:"room"`
	DryRun    bool      `json:"dry_run,omitempty"`
	Retention Retention `json:"retention"`
	Dropped   Amount    `json:"dropped"`
	Busy      int64     `json:"busy,omitempty"` // blobs that are in use and stay until the next time
	Compacted int64     `json:"compacted"`      // bytes that came back from packs
	Kept      Amount    `json:"kept"`           // what stays
}

// Trashed is something that was deleted, as it was just before.
type Trashed struct {
	Path    Text      `json:"path"`
	Kind    string    `json:"kind"`
	Size    int64     `json:"size"`
	Held    int64     `json:"held"` // bytes that are here
	Deleted time.Time `json:"deleted"`
	Author  string    `json:"author"` // who deleted it: device
	By      string    `json:"by,omitempty"`
	Version string    `json:"version"` // the entry that deleted it
}

// Keeping says which bytes of a room come by themselves.
type Keeping struct {
	Room string `json:"room"`
	// Keep is "auto" (files up to a size, while the disk has room: the default), "all", or "pinned" (nothing but what
	// is pinned; the rest comes when it is read).
	Keep string `json:"keep"`
	Pins []Pin  `json:"pins"`
	// Away are paths whose local copies were dropped: nothing at or below them comes by itself but what is pinned. See DropRequest.
	Away []Text `json:"away,omitempty"`
}

// Pin is a path that is kept here, with everything below it and all that comes to
// be listed there. "" is the whole room.
type Pin struct {
	Path    Text  `json:"path"`
	Missing bool  `json:"missing,omitempty"` // there is nothing of that name now
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
	Held    int64 `json:"held"` // bytes that are here
}

// PinRequest pins paths, or with Off lets them go.
type PinRequest struct {
	Paths []Text `json:"paths"`
	Off   bool   `json:"off,omitempty"`
}

// DropRequest drops the local copies of files at or below Paths, and keeps them from coming by themselves again: they come when they are
// read. Only bytes go of which at least Copies (0: one) other members who are connected say that they hold them, now; with Force also
// others, but never those of files that this device wrote itself. What is pinned, or open, stays. DryRun changes nothing. With Undo nothing
// is dropped, and the paths come by themselves again as far as Keeping.Keep goes.
type DropRequest struct {
	Paths  []Text `json:"paths"`
	Copies int    `json:"copies,omitempty"`
	Force  bool   `json:"force,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
	Undo   bool   `json:"undo,omitempty"`
}

// DropReport says what was dropped, or with DryRun would be.
type DropReport struct {
	Room      string `json:"room"`
	DryRun    bool   `json:"dry_run,omitempty"`
	Dropped   Amount `json:"dropped"`
	Compacted int64  `json:"compacted"`      // bytes that came back from packs
	Busy      int64  `json:"busy,omitempty"` // blobs that are in use and stay
	Kept      Amount `json:"kept"`           // what too few others hold, and stays
	KeptFiles int    `json:"kept_files,omitempty"`
	Only      []Text `json:"only,omitempty"` // these files, the first 100
}

// KeepRequest sets Keeping.Keep.
type KeepRequest struct {
	Keep string `json:"keep"`
}
