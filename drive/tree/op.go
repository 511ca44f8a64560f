package tree

import (
	"errors"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Type is what an operation does. Append-only. Types from 128 on are critical:
// a program that does not know one must not go on.
type Type uint8

// The types: see the package comment.
const (
	OpCreate Type = 1
	OpWrite  Type = 2
	OpMove   Type = 3
	OpDelete Type = 4
	OpKeep   Type = 5
	OpAttr   Type = 6
	OpMark   Type = 7
	OpAside  Type = 8
)

// Errors of this package; those of commands wrap an fs error as well where
// there is one that fits.
var (
	ErrBadOp        = errors.New("not a valid operation of the drive")
	ErrUpdateNeeded = errors.New("a newer version of the program is needed to read this drive")
	ErrTooMany      = errors.New("too many changes in one step")
	ErrName         = errors.New("not a valid name")
	ErrNotEmpty     = errors.New("directory not empty")
	ErrNotDir       = errors.New("not a directory")
	ErrIsDir        = errors.New("is a directory")
	ErrTooDeep      = errors.New("path too deep")
	ErrIntoItself   = errors.New("cannot move a directory into itself")
	ErrXattr        = errors.New("not a valid extended attribute")
)

// Op is one operation. Which fields count depends on Type: see the package
// comment.
type Op struct {
	Type    Type
	Node    NodeID // what it is about; of a create the new node, Local until the entry has an id
	Parent  NodeID
	Name    string
	Content *blob.Content // of a file; nil: empty
	Target  string        // of a symlink
	From    *Source       // where Content.Payload counts, when not in this entry
	Prev    NodeID        // create: the node that had the place before
	Line    NodeID        // write: the tag of the conflict copy that it goes on with
	Covers  Context
	Carries Context
	Seen    Context
	Heads   Context
	Sweep   Context
	Beside  Context
	Places  Context
	Attrs   Attrs
	Label   string // of a mark
	Raw     []byte // of a type that is not known here
}

// Source names an entry of another operation by its place in a core.
type Source struct {
	Core key.CoreID
	Seq  uint64
}

// Context is a set of operations, as ranges per core.
type Context []Range

// Range is the operations of one core from Lo to Hi, both included. The zero
// Core means: of the very entry that the context stands in; then only the
// indices count.
type Range struct {
	Core   key.CoreID
	Lo, Hi Spot
}

// Spot is a place in a core.
type Spot struct {
	Seq   uint64
	Index uint32
}
