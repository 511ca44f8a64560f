package api

import "time"

// Quarantined is an entry that is kept and does not count: nothing of it shows in
// the room.
type Quarantined struct {
	Entry  string    `json:"entry"`
	Log    string    `json:"log"`  // what it would change: "drive", "chat" or "control" (the room itself)
	Time   time.Time `json:"time"` // by its author's clock
	Author string    `json:"author"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason"`
	// Changes is what it would do in the drive. A path is as good as it can be known: what
	// has no place in the room is called by its node.
	Changes []Action `json:"changes"`
	// Message is what a chat entry says, as far as it can be known, and Said what it does: "message", "edit", "delete" or "reaction" (whose
	// text is the emoji). What the others are about is its ReplyTo.
	Message *Message `json:"message,omitempty"`
	Said    string   `json:"said,omitempty"`
	// Unreadable says why there are no changes of a drive entry, or no message.
	Unreadable string `json:"unreadable,omitempty"`
}

// ExportRequest copies the files and symlinks that quarantined entries wrote into
// the directory Target, each to Target/ENTRY/N/NAME: ENTRY is the beginning of the
// entry's id and N the place of the operation in it, counted from 0.
type ExportRequest struct {
	Target Text `json:"target"`
}

// ExportReport says what was copied, and what could not be: the first 100 files of which bytes are neither here nor with anybody who is
// connected, and how many more there are.
type ExportReport struct {
	Files       int64         `json:"files"`
	Symlinks    int64         `json:"symlinks"`
	Bytes       int64         `json:"bytes"`
	Missing     []MissingFile `json:"missing,omitempty"`
	MissingMore int64         `json:"missing_more,omitempty"`
}

// MissingFile is a file that an entry wrote and whose bytes cannot be had. Its author has them, as far as anybody does.
type MissingFile struct {
	Path   Text   `json:"path"`
	Entry  string `json:"entry"`
	Author string `json:"author"` // device
	By     string `json:"by,omitempty"`
}

// AdoptReport says of which files that count now bytes are neither here nor with anybody who is connected, the first 100: they are listed,
// and cannot be read until their author is a member again and connected.
type AdoptReport struct {
	Missing []MissingFile `json:"missing,omitempty"`
}

// AdoptRequest lets an entry in the quarantine count, and with it all that its
// author wrote before it in the same log. Entry is its id or the beginning of it.
type AdoptRequest struct {
	Entry string `json:"entry"`
}

// History is one of several histories that a device signed of one of its logs: it was copied, restored from a backup, or lies.
type History struct {
	Device string    `json:"device"`
	By     string    `json:"by,omitempty"` // its name
	Log    string    `json:"log"`          // "drive", "chat" or "control", as in Quarantined
	Core   string    `json:"core"`         // which log: those of one have histories to choose between
	Entry  string    `json:"entry"`        // its last entry
	Time   time.Time `json:"time"`         // of that, by the device's clock
	Blocks int64     `json:"blocks"`       // beyond what all histories share: entries, and small contents behind them
	Counts bool      `json:"counts"`       // of drive and chat one does, of control all unless one was sealed by somebody above the device
	Sealed bool      `json:"sealed"`       // an admin has chosen
}

// SealRequest lets the history count that Entry stands in, instead of the longest. Entry is the id, or the beginning of it, of the last entry
// of a history, or of one in the quarantine.
type SealRequest struct {
	Entry string `json:"entry"`
}
