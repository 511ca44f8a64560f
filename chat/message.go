package chat

import (
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/tree"
)

// Message is something that was said, with everything that was said about it since.
type Message struct {
	ID        key.Hash // its entry
	Author    key.DeviceID
	Time      time.Time // by its author's clock; it stands where that can be believed: see the package comment
	Text      string    // Markdown; "" when there is none, it was deleted, or it is Missing
	ReplyTo   key.Hash  // zero: not an answer
	Files     []Attachment
	Mentions  []key.DeviceID
	Edited    time.Time    // when it was edited last; zero: never
	Deleted   bool         // its text and attachments are not given any more
	DeletedBy key.DeviceID // its author, if he did
	Reactions []Reaction   // by emoji
	Missing   bool         // its text is not on this device
	Pending   bool         // not everything that it stands on is on this device: see Chat.Waiting
	Self      bool         // this device wrote it

	Lamport uint64 // with Core and Seq: where it stands in logical time
	Core    key.CoreID
	Seq     uint64

	text textAt // where Text is
}

// textAt is a payload block of an entry.
type textAt struct {
	core key.CoreID
	seq  uint64
	ref  *textRef
}

// Attachment is a file of the drive at a version.
type Attachment struct {
	Path    string // where it was when it was sent, without a leading slash
	Name    string
	Node    tree.NodeID
	Version key.Hash // the drive entry that wrote these bytes
	Content blob.Content
	Size    int64
	MIME    string // "" when nobody knows
	// Core and Seq name the entry in whose payload blocks Content.Payload counts.
	Core key.CoreID
	Seq  uint64
}

// Reaction is one emoji under a message.
type Reaction struct {
	Emoji string
	By    []key.DeviceID // in the order in which they came
}
