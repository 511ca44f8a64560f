package tree

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"iter"
	"strings"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Rows is a sorted table of byte keys inside a transaction. Slices that it
// returns are valid until the transaction ends and are not changed here; the
// ones passed in are not kept. The table is not written during a Scan.
type Rows interface {
	Get(k []byte) ([]byte, error) // nil, nil when absent
	Put(k, v []byte) error        // keeps neither
	Delete(k []byte) error
	// Scan yields the keys with the prefix in ascending order, from the key
	// from on (nil: from the first).
	Scan(prefix, from []byte) iter.Seq2[[]byte, []byte]
}

// Kind is what a node is; it never changes and stands in the node's id.
// Append-only: at most 4.
type Kind uint8

const (
	Dir     Kind = 1
	File    Kind = 2
	Symlink Kind = 3
)

func (k Kind) String() string {
	switch k {
	case Dir:
		return "directory"
	case File:
		return "file"
	case Symlink:
		return "symlink"
	}
	return "unknown"
}

// NodeID names a node for good: see [NodeOf]. The zero id is the root.
type NodeID [16]byte

// Root is the directory that everything is in. It has no operations.
var Root NodeID

// Kind is the kind that the id states.
func (n NodeID) Kind() Kind     { return Kind(n[15]&3) + 1 }
func (n NodeID) String() string { return hex.EncodeToString(n[:]) }

// IsZero reports whether the id is the root's, which also stands for "none".
func (n NodeID) IsZero() bool { return n == NodeID{} }

func compareIDs(a, b NodeID) int      { return bytes.Compare(a[:], b[:]) }
func compareHashes(a, b key.Hash) int { return bytes.Compare(a[:], b[:]) }
func compareStrings(a, b string) int  { return strings.Compare(a, b) }

func (n NodeID) withKind(k Kind) NodeID {
	n[15] = n[15]&^3 | byte(k-1)&3
	return n
}

// NodeOf returns the id of the node that the operation creates: the first 16
// bytes of a hash of the operation's id, the last two bits replaced by the kind,
// so that an operation of the wrong kind cannot even be written down.
func NodeOf(id OpID, k Kind) NodeID {
	var index [4]byte
	binary.BigEndian.PutUint32(index[:], id.Index)
	h := key.Derive(key.UseNode, id.Entry[:], index[:])
	return NodeID(h[:16]).withKind(k)
}

// tagKind marks the ids that are no node's but the tag of a conflict copy.
const tagKind = Symlink + 1

// tagOf is the tag of the conflict copy that begins with the write.
func tagOf(id OpID) NodeID { return NodeOf(id, tagKind) }

// localMark begins the ids that stand for nodes of an entry whose id is not
// known yet.
const localMark = "\xff\xfelocal\xfe\xff\x00"

// Local is how the node that operation index creates is called inside its own
// entry, and in the [Edit] that makes it, until the entry has an id.
func Local(index uint32, k Kind) NodeID {
	var n NodeID
	copy(n[:], localMark)
	binary.BigEndian.PutUint32(n[10:14], index)
	return n.withKind(k)
}

// local returns the operation that a Local id names.
func (n NodeID) local() (index uint32, ok bool) {
	if string(n[:len(localMark)]) != localMark || n[14] != 0 || n[15] > 3 {
		return 0, false
	}
	return binary.BigEndian.Uint32(n[10:14]), true
}

// Resolve turns a Local id into the node's real one, once its entry is known;
// other ids stay as they are.
func (n NodeID) Resolve(entry key.Hash) NodeID {
	if k, ok := n.local(); ok {
		return NodeOf(OpID{entry, k}, n.Kind())
	}
	return n
}

// OpID names an operation: its entry and its place in it.
type OpID struct {
	Entry key.Hash
	Index uint32
}

// Pos is an operation's place in the order of all operations.
type Pos struct {
	Lamport uint64
	Core    key.CoreID
	Seq     uint64
	Index   uint32
}

// Compare orders positions by (lamport, core, seq, index).
func (p Pos) Compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.Lamport, q.Lamport), bytes.Compare(p.Core[:], q.Core[:]),
		cmp.Compare(p.Seq, q.Seq), cmp.Compare(p.Index, q.Index))
}

// Less reports whether p is before q.
func (p Pos) Less(q Pos) bool { return p.Compare(q) < 0 }

// Placed is an operation together with where it stands.
type Placed struct {
	Pos    Pos
	ID     OpID
	Author key.DeviceID
	Wall   int64 // unix nanoseconds by the author's clock, for display only
	Op     Op
	// Closure, when given, is what the author knew. Contexts act on nothing
	// beyond it.
	Closure Clock
}

// Clock is how far a version reaches into each core.
type Clock interface {
	// Length is how many blocks of the core are part of it, from the first on.
	Length(core key.CoreID) uint64
}

// Head names an operation on a node and says by whom and when it was made. Above all
// that is a write (or the create) whose bytes are displayed.
type Head struct {
	Node   NodeID
	Pos    Pos
	ID     OpID
	Author key.DeviceID
	Wall   int64 // unix nanoseconds by the author's clock
}

// IsZero reports whether there is no such operation.
func (h Head) IsZero() bool { return h.Pos.Lamport == 0 }

// Entry is one line of a directory listing.
type Entry struct {
	// Node is the node behind the entry; of several, the first: the directory
	// that new children go to, the file that a write goes to.
	Node NodeID
	// ID tells the displayed entries of a version apart and stays while an
	// entry is edited or renamed: the node, or the tag of a conflict copy.
	ID      NodeID
	Members []NodeID // directory: all that are shown as this one; otherwise every node behind the entry
	Kind    Kind
	Name    string // as displayed
	Base    string // as placed; differs from Name for conflict entries
	Parent  NodeID // the directory that Node is placed in

	Size    int64
	Content *blob.Content // of a file; nil is an empty file
	Target  string        // of a symlink
	// Head is the write that gave the displayed bytes; Heads are all behind the
	// entry, the displayed one first. Directories have none.
	Head  Head
	Heads []Head
	// PayloadCore and PayloadSeq say in which entry Content.Payload counts.
	PayloadCore key.CoreID
	PayloadSeq  uint64

	Mode   uint32 // permission bits
	MTime  int64  // unix nanoseconds; 0: never set
	Xattrs map[string][]byte

	Created Head // the create; zero: it does not count
	Placed  Head // the operation that put it where it is; zero: recovered

	Conflict bool   // shown under a name that nobody gave it
	Rival    *Rival // of a conflict entry: who has the name
}

// Rival explains a conflict entry: the entry that holds the name, or, when
// nothing does, what the conflict was with when somebody last acted on it.
type Rival struct {
	Name   string
	Node   NodeID
	Kind   Kind
	Author key.DeviceID // of the write or, for a directory, of its placement
	Wall   int64
	ID     OpID
}

// Place is a name in a directory.
type Place struct {
	Dir  NodeID
	Name string
}

// Changes says what may look different after an Apply.
type Changes struct {
	// Dirs list something else, or something in their listing has other bytes or attributes.
	Dirs []NodeID
	// Names are the placed names (not conflict names) under which something came, went or changed.
	Names []Place
	// Nodes have other bytes, another target or other attributes.
	Nodes []NodeID
	// Joined are directories that became part of a directory of their name or
	// ceased to be: everything below them may look different.
	Joined []NodeID
}

// Attrs are the attributes that a command sets. Zero values leave things as they are.
type Attrs struct {
	Mode   *uint32
	MTime  *int64
	Set    map[string][]byte // user.* extended attributes
	Remove []string
}
