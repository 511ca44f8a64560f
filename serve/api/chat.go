package api

import "time"

// SayRequest says something. ReplyTo is a message id or unique prefix.
type SayRequest struct {
	Text    string `json:"text"`
	ReplyTo string `json:"reply_to,omitempty"`
}

// UnsayRequest takes a message back: one of this device's, or anybody's for admins. ID is its id or a unique prefix.
type UnsayRequest struct {
	ID string `json:"id"`
}

// EditRequest gives one of this device's messages another text; its attachments stay. ID is its id or a unique prefix.
type EditRequest struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

// ReactRequest puts this device's Emoji, any word of at most 64 bytes, under a message, or with Off takes it away. ID is the message's id or a
// unique prefix.
type ReactRequest struct {
	ID    string `json:"id"`
	Emoji string `json:"emoji"`
	Off   bool   `json:"off,omitempty"`
}

// SendRequest puts local files (absolute paths) into the room and sends a
// message that refers to them at the version they have then. Path is the
// directory they land in; empty = the room's own choice.
type SendRequest struct {
	Files []Text `json:"files"`
	Text  string `json:"text,omitempty"`
	Path  Text   `json:"path,omitempty"`
}

// Message is something that was said.
type Message struct {
	ID      string       `json:"id"`
	Time    time.Time    `json:"time"` // by its author's clock
	Author  string       `json:"author"`
	By      string       `json:"by,omitempty"`
	Text    string       `json:"text"`
	ReplyTo string       `json:"reply_to,omitempty"`
	Files   []Attachment `json:"files,omitempty"`
	Edited  time.Time    `json:"edited,omitzero"`
	Deleted bool         `json:"deleted,omitempty"` // taken back: neither text nor files are given
	Pending bool         `json:"pending,omitempty"` // what it stands on is not here yet; it may turn out not to count
	Missing bool         `json:"missing,omitempty"` // its text is not here
	Self    bool         `json:"self,omitempty"`    // this device wrote it
	// Reactions are the emojis under it, with the names of who put them there.
	Reactions map[string][]string `json:"reactions,omitempty"`
}

// Attachment is a file of the drive at a version.
type Attachment struct {
	Path    Text   `json:"path"`
	Name    Text   `json:"name"`
	Version string `json:"version"`
	Node    string `json:"node,omitempty"`
	Size    int64  `json:"size"`
	MIME    string `json:"mime,omitempty"`
}
