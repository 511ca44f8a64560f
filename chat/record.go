package chat

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Limits of what is said. They decide what is skipped, so they are part of the format.
const (
	MaxText     = room.MaxMessage // bytes of a text
	MaxFiles    = 64              // attachments of a message
	MaxMentions = 64
	MaxEmoji    = 64  // bytes of a reaction
	MaxName     = 255 // bytes of an attachment's name
	MaxPath     = 4096
	MaxMIME     = 127
	maxSeq      = 1 << 40
)

// recordType says what a record is. Append-only.
type recordType uint8

const (
	typeMessage  recordType = 1
	typeEdit     recordType = 2
	typeDelete   recordType = 3
	typeReaction recordType = 4
)

// ErrFormat is returned, wrapped, for a body that is not a record.
var ErrFormat = errors.New("malformed chat entry")

// record is the body of an entry.
type record struct {
	Type     recordType     `cbor:"1,keyasint"`
	Critical bool           `cbor:"2,keyasint,omitempty"`
	Target   []byte         `cbor:"3,keyasint,omitempty"`
	Text     *textRef       `cbor:"4,keyasint,omitempty"`
	Files    []fileRecord   `cbor:"5,keyasint,omitempty"`
	Mentions []key.DeviceID `cbor:"6,keyasint,omitempty"`
	Emoji    string         `cbor:"7,keyasint,omitempty"`
	Off      bool           `cbor:"8,keyasint,omitempty"`
	Format   uint8          `cbor:"9,keyasint,omitempty"`
}

// textRef is where a text is: a payload block of the record's own entry.
type textRef struct {
	_     struct{} `cbor:",toarray"`
	Block uint32
	Size  uint32
	Hash  key.Hash
}

type fileRecord struct {
	Path    []byte          `cbor:"1,keyasint"`
	Name    []byte          `cbor:"2,keyasint"`
	Node    tree.NodeID     `cbor:"3,keyasint"`
	Version key.Hash        `cbor:"4,keyasint"`
	Content cbor.RawMessage `cbor:"5,keyasint"`
	Size    int64           `cbor:"6,keyasint"`
	MIME    string          `cbor:"7,keyasint,omitempty"`
	Core    key.CoreID      `cbor:"8,keyasint"`
	Seq     uint64          `cbor:"9,keyasint"`
}

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxArrayElements: blob.MaxParts,
		MaxMapPairs:      64,
		MaxNestedLevels:  10,
	}.DecMode())
)

// must is for options that are constants of this file.
func must[T any](v T, err error) T {
	if err != nil {
		panic("chat: constant CBOR options: " + err.Error())
	}
	return v
}

// encode returns the body of a valid record.
func (r record) encode() ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	b, err := encMode.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding a chat entry: %w", err)
	}
	return b, nil
}

// errUnknownType is returned for a type that a later version made.
var errUnknownType = errors.New("unknown type of chat entry")

// decodeRecord reads a body. ErrFormat: skip it. errUnknownType: skip it.
// room.ErrUpdateNeeded: it is critical.
func decodeRecord(b []byte) (record, error) {
	// The type alone first: a later version may give other keys other shapes.
	var kind struct {
		Type     recordType `cbor:"1,keyasint"`
		Critical bool       `cbor:"2,keyasint"`
	}
	if len(b) > room.MaxEntry {
		return record{}, fmt.Errorf("%w: %d bytes", ErrFormat, len(b))
	}
	if err := decMode.Unmarshal(b, &kind); err != nil {
		return record{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if kind.Type > typeReaction {
		if kind.Critical {
			return record{}, fmt.Errorf("chat entry of type %d: %w", kind.Type, room.ErrUpdateNeeded)
		}
		return record{}, errUnknownType
	}
	var r record
	if err := decMode.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err := r.validate(); err != nil {
		return record{}, err
	}
	return r, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
}

// validate checks what every device must agree on.
func (r record) validate() error {
	switch {
	case len(r.Target) != 0 && len(r.Target) != len(key.Hash{}):
		return malformed("target of %d bytes", len(r.Target))
	case len(r.Mentions) > MaxMentions:
		return malformed("%d mentions, at most %d", len(r.Mentions), MaxMentions)
	case len(r.Files) > MaxFiles:
		return malformed("%d attachments, at most %d", len(r.Files), MaxFiles)
	case r.Text != nil && (r.Text.Size == 0 || r.Text.Size > MaxText):
		return malformed("text of %d bytes, at most %d", r.Text.Size, MaxText)
	case r.Text != nil && (r.Text.Block == 0 || r.Text.Block > room.MaxPayloads):
		return malformed("text in payload block %d", r.Text.Block)
	}
	for i, f := range r.Files {
		if err := f.validate(); err != nil {
			return fmt.Errorf("attachment %d: %w", i, err)
		}
	}
	return r.validateType()
}

func (r record) validateType() error {
	switch r.Type {
	case typeMessage:
		if r.Text == nil && len(r.Files) == 0 {
			return malformed("an empty message")
		}
		return nil
	case typeEdit:
		if len(r.Target) == 0 || r.Text == nil && len(r.Files) == 0 {
			return malformed("an edit without a target or without content")
		}
		return nil
	case typeDelete:
		if len(r.Target) == 0 {
			return malformed("a deletion without a target")
		}
		return nil
	case typeReaction:
		if len(r.Target) == 0 {
			return malformed("a reaction without a target")
		}
		return checkEmoji(r.Emoji)
	}
	return malformed("type %d", r.Type)
}

// checkEmoji accepts any short word that can be shown.
func checkEmoji(s string) error {
	if s == "" || len(s) > MaxEmoji || !utf8.ValidString(s) {
		return malformed("a reaction of %d bytes, 1 to %d are allowed", len(s), MaxEmoji)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.IsSpace(r) {
			return malformed("a reaction with a space or control character")
		}
	}
	return nil
}

func (f fileRecord) validate() error {
	switch {
	case len(f.Path) == 0 || len(f.Path) > MaxPath:
		return malformed("path of %d bytes", len(f.Path))
	case len(f.Name) == 0 || len(f.Name) > MaxName:
		return malformed("name of %d bytes", len(f.Name))
	case len(f.MIME) > MaxMIME:
		return malformed("MIME type of %d bytes", len(f.MIME))
	case f.Seq > maxSeq:
		return malformed("entry %d", f.Seq)
	}
	for i := range len(f.MIME) {
		if f.MIME[i] < ' ' || f.MIME[i] > '~' {
			return malformed("a MIME type that does not print")
		}
	}
	c, err := blob.DecodeContent(f.Content)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if c.Size != f.Size {
		return malformed("size %d, content of %d", f.Size, c.Size)
	}
	return nil
}

// attachment returns the public form of a valid record.
func (f fileRecord) attachment() Attachment {
	c, err := blob.DecodeContent(f.Content)
	if err != nil { // decodeRecord has accepted it
		return Attachment{Path: string(f.Path), Name: string(f.Name)}
	}
	return Attachment{
		Path: string(f.Path), Name: string(f.Name), Node: f.Node, Version: f.Version,
		Content: c, Size: f.Size, MIME: f.MIME, Core: f.Core, Seq: f.Seq,
	}
}

func (a Attachment) record() (fileRecord, error) {
	c, err := a.Content.Encode()
	if err != nil {
		return fileRecord{}, fmt.Errorf("attachment %s: %w", a.Name, err)
	}
	return fileRecord{
		Path: []byte(a.Path), Name: []byte(a.Name), Node: a.Node, Version: a.Version,
		Content: c, Size: a.Content.Size, MIME: a.MIME, Core: a.Core, Seq: a.Seq,
	}, nil
}
