package api

import "time"

// Aside is a file that was written in a mount and that nothing could be made of after a crash, or in a data directory that was copied
// while it was in use: it was never synced, its entry was gone, or it may lack bytes. It is kept on this device until somebody decides.
type Aside struct {
	ID    string    `json:"id"`
	Name  Text      `json:"name,omitempty"` // what it was to be called, if that is known
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	Size  int64     `json:"size"`
	Below bool      `json:"below,omitempty"` // the bytes that nobody wrote are those of an earlier version
}

// AsideRequest puts a file that was set aside into the room, at Path or, with none, below "recovered", or, with Remove, removes it for
// good. ID is its id, the beginning of it, or its name if no other has it.
type AsideRequest struct {
	ID     string `json:"id"`
	Path   Text   `json:"path,omitempty"`
	Remove bool   `json:"remove,omitempty"`
}

// AsideReport says where it is now.
type AsideReport struct {
	Path    Text   `json:"path,omitempty"`
	Version string `json:"version,omitempty"`
}
