package tree

import (
	"errors"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Edit turns commands into the operations of one entry. Commands see what the ones before
// them did; nothing is written to the rows. A command that fails has done nothing.
type Edit struct{ rows Rows }

// NewEdit begins an edit of the tree as it is now. self is the core that the
// entry will be appended to.
func NewEdit(rows Rows, self key.CoreID) *Edit { return &Edit{rows: rows} }

// View is the tree as it will be, with nodes created here under their Local ids.
func (e *Edit) View() *View { return nil }

// Ops are the operations so far.
func (e *Edit) Ops() []Op { return nil }

// Mkdir makes a directory; fs.ErrExist.
func (e *Edit) Mkdir(parent NodeID, name string, a Attrs) (NodeID, error) {
	return NodeID{}, errors.ErrUnsupported
}

// Create makes a file; nil content is an empty one.
func (e *Edit) Create(parent NodeID, name string, content *blob.Content, a Attrs) (NodeID, error) {
	return NodeID{}, errors.ErrUnsupported
}

// Symlink makes a symbolic link.
func (e *Edit) Symlink(parent NodeID, name, target string, a Attrs) (NodeID, error) {
	return NodeID{}, errors.ErrUnsupported
}

// Write gives a file new bytes in place of those that opened showed. What was written meanwhile by
// others stays beside it. ErrNotExist when nothing of the node is displayed any more.
func (e *Edit) Write(opened Opened, content *blob.Content, a Attrs) error {
	return errors.ErrUnsupported
}

// Opened is what somebody who opened a file saw: which node, which versions of it.
type Opened struct {
	Node  NodeID
	Tag   NodeID // of a conflict copy
	Heads []Head // Node, Pos and ID count
}

// Opened is what opening the entry opens.
func (e Entry) Opened() Opened { return Opened{} }

// MarshalBinary gives a form that can be kept in a file.
func (o Opened) MarshalBinary() ([]byte, error) { return nil, errors.ErrUnsupported }

// UnmarshalBinary reads it.
func (o *Opened) UnmarshalBinary(b []byte) error { return errors.ErrUnsupported }

// Move renames an entry, like rename(2): over a file, or over an empty directory.
func (e *Edit) Move(from Entry, parent NodeID, name string) error { return errors.ErrUnsupported }

// Remove removes a file, a symlink or an empty directory.
func (e *Edit) Remove(from Entry) error { return errors.ErrUnsupported }

// RemoveAll removes an entry and everything below it. With more than fits one entry it removes
// from the leaves up as much as fits and reports more: append the operations, then
// go on in another Edit with SweepFrom set to the first one's place.
func (e *Edit) RemoveAll(from Entry) (more bool, err error) { return false, errors.ErrUnsupported }

// SweepFrom says that this core's deletes from seq on belong to the removal that this edit goes on with.
func (e *Edit) SweepFrom(seq uint64) {}

// SetAttr changes attributes.
func (e *Edit) SetAttr(of Entry, a Attrs) error { return errors.ErrUnsupported }

// Restore brings back what the view shows as of: the bytes, attributes and place of a file, or of
// a directory and everything below it. What is there now and was not then stays.
func (e *Edit) Restore(then *View, of Entry) error { return errors.ErrUnsupported }

// RestoreContent writes the bytes that p wrote as a new version of its node.
func (e *Edit) RestoreContent(p Placed) error { return errors.ErrUnsupported }

// Mark names the moment.
func (e *Edit) Mark(label string) error { return errors.ErrUnsupported }
