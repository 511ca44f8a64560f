package tree

import (
	"errors"
	"iter"

	"github.com/pearbox/pearbox/drive/key"
)

// Apply adds and removes operations. See the package comment.
func Apply(rows Rows, add, remove []Placed) (Changes, error) {
	return Changes{}, errors.ErrUnsupported
}

// View reads the tree, as it is now or as it was at a version. It is good
// for as long as its rows are, and for one goroutine at a time.
type View struct{ rows Rows }

// Now is the tree as all applied operations make it.
func Now(rows Rows) *View { return &View{rows: rows} }

// AsOf is the tree as the operations within c make it.
func AsOf(rows Rows, c Clock) *View { return &View{rows: rows} }

// WithNames makes conflict names call devices what name returns, which must be
// the same for everyone. Without it they are called by their short ids.
func (v *View) WithNames(name func(key.DeviceID) string) *View { return v }

// Root is the root directory.
func (v *View) Root() Entry { return Entry{Kind: Dir, Mode: 0o755} }

// Lookup finds what a directory shows under a name; fs.ErrNotExist, ErrNotDir.
func (v *View) Lookup(dir Entry, name string) (Entry, error) { return Entry{}, errors.ErrUnsupported }

// List lists a directory, sorted by name.
func (v *View) List(dir Entry) ([]Entry, error) { return nil, errors.ErrUnsupported }

// Walk follows a slash-separated path from the root; "", "." and "/" are the root.
func (v *View) Walk(path string) (Entry, error) { return Entry{}, errors.ErrUnsupported }

// Node finds the entry that shows a node (of a file: its main, or else the first
// of its conflict copies); fs.ErrNotExist when nothing does.
func (v *View) Node(id NodeID) (Entry, error) { return Entry{}, errors.ErrUnsupported }

// Entry finds a displayed entry by its ID; fs.ErrNotExist. node is its Node.
func (v *View) Entry(node, id NodeID) (Entry, error) { return Entry{}, errors.ErrUnsupported }

// Path is the path of a node's entry, without a leading slash; the root's is "".
func (v *View) Path(id NodeID) (string, error) { return "", errors.ErrUnsupported }

// History yields the operations on a node, newest first, and then those on the nodes
// that had its place before it.
func (v *View) History(id NodeID) iter.Seq2[Placed, error] { return nil }

// ContentAt is the entry that a write in a node's history made, as a file of its own: bytes, attributes then.
func (v *View) ContentAt(p Placed) (Entry, error) { return Entry{}, errors.ErrUnsupported }

// Trashed is a node that is displayed nowhere.
type Trashed struct {
	Entry   Entry // as last displayed; Name is its last name
	Deleted Head  // the delete
}

// Trash yields removed nodes, the most recently removed first.
func (v *View) Trash() iter.Seq2[Trashed, error] { return nil }

// Mark is a label for a version.
type Mark struct {
	Label string
	By    Head // its entry is the version
}

// Marks yields the marks, newest first.
func (v *View) Marks() iter.Seq2[Mark, error] { return nil }

// Conflicts lists every entry that is shown under a conflict name, by walking an index of them.
func (v *View) Conflicts() ([]Entry, error) { return nil, errors.ErrUnsupported }

// StateHash is a hash of everything displayed now and of what later operations
// could bring back; equal sets of operations give equal hashes. It reads everything.
func StateHash(rows Rows) (key.Hash, error) { return key.Hash{}, errors.ErrUnsupported }
