package tree

import (
	"fmt"
	"iter"

	"github.com/pearbox/pearbox/drive/key"
)

// What follows is for an Edit that lives longer than one transaction: its operations are put off, and meanwhile the tree below it may
// change. Operations say what their author knew, so they mean the same whenever they are appended: see "Contexts".

// On goes on with the edit over the rows of another transaction, in which the tree is just what it was in those before.
func (e *Edit) On(rows Rows) { e.base, e.rows.base, e.rows.noted = rows, rows, notes{} }

// ViewOn is View over the rows of another transaction, in which the tree is just what it was in the edit's. Several may read at once
// while no command runs. There are to be no operations that are [Edit.Late], or none that are [Edit.LateIn] a directory which is looked at.
func (e *Edit) ViewOn(rows Rows) *View {
	v := Now(&overlay{base: rows, top: e.rows.top, ops: e.rows.ops}).WithNames(e.label)
	v.draft = e.merge
	return v
}

// Redo adds operations that another Edit made, as they are, whatever the tree is now.
func (e *Edit) Redo(ops []Op) error {
	for _, o := range ops {
		if _, err := e.emit(o); err != nil {
			return fmt.Errorf("doing operations again: %w", err)
		}
	}
	return nil
}

// Undo takes back all operations but the first n.
func (e *Edit) Undo(n int) error {
	ops := e.ops
	if len(ops) == n && !e.torn {
		return nil
	}
	e.begin()
	return e.Redo(ops[:n])
}

// Changed says what the operations since the last call of Changed have changed.
func (e *Edit) Changed() Changes {
	told := e.late.told
	e.late.told = Changes{}
	if e.merge == nil {
		return told
	}
	c := e.merge.changes()
	e.merge.forget()
	e.changed = e.changed.Join(c)
	return told.Join(c)
}

// Join is both changes.
func (c Changes) Join(d Changes) Changes {
	return Changes{
		Dirs:   append(c.Dirs, d.Dirs...),
		Names:  append(c.Names, d.Names...),
		Nodes:  append(c.Nodes, d.Nodes...),
		Joined: append(c.Joined, d.Joined...),
	}
}

// Index returns which operation of its entry creates the node that a [Local] id stands for; ok is false for other ids.
func (n NodeID) Index() (index uint32, ok bool) { return n.local() }

// Cores are the cores that the operation speaks of, some of them several times. An entry holds operations of MaxCores in all.
func (o *Op) Cores() iter.Seq[key.CoreID] {
	return func(yield func(key.CoreID) bool) {
		if o.From != nil && !yield(o.From.Core) {
			return
		}
		for _, c := range o.contexts() {
			for _, r := range c {
				if !r.Core.IsZero() && !yield(r.Core) {
					return
				}
			}
		}
	}
}

// DecodeMore reads what EncodeOps gave for operations that come after those in before, in an entry that has no id yet: nodes that it
// creates have their Local ids.
func DecodeMore(body []byte, before []Op) ([]Op, error) {
	r := opReader{ops: before[:len(before):len(before)], unnamed: true}
	if err := r.read(body); err != nil {
		return nil, err
	}
	return r.ops[len(before):], nil
}
