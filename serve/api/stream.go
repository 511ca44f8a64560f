package api

import "encoding/json"

// Line is one line of a stream. Exactly one field is set; Done and Error end
// the stream.
type Line struct {
	Progress *Progress       `json:"progress,omitempty"`
	Item     json.RawMessage `json:"item,omitempty"`
	Done     json.RawMessage `json:"done,omitempty"`
	Error    *Error          `json:"error,omitempty"`
	Alive    bool            `json:"alive,omitempty"` // nothing new; keeps a quiet stream open
}

// MaxLine is the most bytes that one line of a stream may have.
const MaxLine = 4 << 20

// Progress says how far something is. Totals are zero while they are not known.
type Progress struct {
	Phase      string `json:"phase,omitempty"` // "scan", "read", "commit", "fetch", "write", "wait" (for others: Files of TotalFiles have it, Path names a file that one lacks)
	Path       Text   `json:"path,omitempty"`  // what it is at
	Files      int64  `json:"files"`
	TotalFiles int64  `json:"total_files,omitempty"`
	Bytes      int64  `json:"bytes"`
	TotalBytes int64  `json:"total_bytes,omitempty"`
}
