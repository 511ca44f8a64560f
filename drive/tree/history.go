package tree

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"iter"
	"slices"
)

// History yields the operations on a node, newest first, and then those on the node
// that had its place before it, and so on. Reading on costs what is read.
func (v *View) History(id NodeID) iter.Seq2[Placed, error] {
	return func(yield func(Placed, error) bool) {
		seen := map[NodeID]bool{}
		for !seen[id] {
			seen[id] = true
			n, err := v.byID(id)
			if err != nil {
				yield(Placed{}, err)
				return
			}
			prev := Root
			for r, err := range v.newest(n.num) {
				if err != nil {
					yield(Placed{}, err)
					return
				}
				if r.typ == OpCreate {
					prev = r.prev
				}
				p, err := v.placed(n, r)
				if !yield(p, err) || err != nil {
					return
				}
			}
			if _, ok, err := v.num(prev); prev == Root || !ok || err != nil {
				return
			}
			id = prev
		}
	}
}

// newest yields a node's operations, newest first.
func (v *View) newest(num uint32) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		prefix := numKey(rowOp, num)
		var same []*record // of one lamport
		flush := func() bool {
			slices.SortFunc(same, func(a, b *record) int { return v.cores.compare(b.at, a.at) })
			for _, r := range same {
				if !yield(r, nil) {
					return false
				}
			}
			same = same[:0]
			return true
		}
		for k, b := range v.rows.Scan(prefix, nil) {
			a, ok := readAt(k[len(prefix):], true)
			if !ok {
				yield(nil, errCorrupt)
				return
			}
			if !v.includes(a) {
				continue
			}
			r, err := decodeRecord(a, b)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(same) > 0 && same[0].at.lamport != a.lamport && !flush() {
				return
			}
			same = append(same, r)
		}
		flush()
	}
}

// placed turns a row back into the operation.
func (v *View) placed(n *node, r *record) (Placed, error) {
	c := v.cores.get(r.at.core)
	p := Placed{Pos: v.cores.pos(r.at), ID: r.id(), Author: c.author, Wall: r.wall, Op: Op{Type: r.typ, Node: n.id, Name: r.name,
		Content: r.content, Target: r.target, Prev: r.prev, Line: r.line, Attrs: r.attrs,
		Covers: v.context(r.covers), Carries: v.context(r.carries), Seen: v.context(r.seen), Sweep: v.context(r.sweep), Places: v.context(r.places)}}
	if r.typ == OpAside {
		p.Op.Beside = v.context(r.heads)
	} else {
		p.Op.Heads = v.context(r.heads)
	}
	if r.from != nil {
		p.Op.From = &Source{v.cores.get(r.from.core).id, r.from.seq}
	}
	var err error
	if r.isPlace() {
		p.Op.Parent, err = v.id(r.parent)
	}
	return p, err
}

// ContentAt is the entry that a write (or create) in a node's history made, as a file of its own: its bytes and its
// time, with the node's name and attributes as they are in this view.
func (v *View) ContentAt(p Placed) (Entry, error) {
	n, err := v.byID(p.Op.Node)
	if err != nil {
		return Entry{}, err
	}
	a, ok, err := v.atOf(p.Pos, p.ID)
	if err != nil {
		return Entry{}, err
	}
	var r *record
	if ok {
		if r, err = readRecord(v.rows, n.num, a); err != nil {
			return Entry{}, err
		}
	}
	if r == nil || !r.isHead(n.kind()) {
		return Entry{}, fmt.Errorf("operation %d of entry %s on node %s: %w", p.ID.Index, p.ID.Entry.Short(), n.id, fs.ErrNotExist)
	}
	h := headOf(r)
	e, err := v.fileEntry(n, &h)
	e.Name, e.Base = n.place.name, n.place.name
	if h.mtime != nil {
		e.MTime = *h.mtime
	}
	return e, err
}

// Trashed is a node that is displayed nowhere, or a version of a file that stood beside another one, which is still there.
type Trashed struct {
	Entry   Entry // the last bytes and attributes, under the last name
	Deleted Head  // the delete
	Beside  bool  // another version of the file is displayed
}

// Trash yields what was removed, the most recently removed first; of a file of which several versions stood beside each other the one that was
// removed last. Of the past it yields only what is in the trash now.
func (v *View) Trash() iter.Seq2[Trashed, error] {
	return func(yield func(Trashed, error) bool) {
		for k := range v.rows.Scan([]byte{rowTrash}, nil) {
			if len(k) != 13 {
				yield(Trashed{}, errCorrupt)
				return
			}
			n, err := v.node(binary.BigEndian.Uint32(k[9:]))
			if err != nil {
				yield(Trashed{}, err)
				return
			}
			if n.count == 0 || n.died.at.isZero() || n.visible() && n.kind() == Dir {
				continue
			}
			t, ok, err := v.trashed(n)
			if err == nil && !ok {
				continue
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// trashed is what the newest delete of a node removed; ok is false when that is displayed or has been replaced since.
func (v *View) trashed(n *node) (t Trashed, ok bool, err error) {
	t = Trashed{Deleted: v.by(n.id, n.died), Beside: n.visible()}
	if n.kind() == Dir {
		t.Entry, err = v.dirEntry([]*node{n})
		return t, true, err
	}
	r, err := v.removedHead(n)
	if err != nil || r == nil && t.Beside {
		return t, false, err
	}
	if r == nil {
		t.Entry, err = v.common(n)
	} else {
		h := headOf(r)
		t.Entry, err = v.fileEntry(n, &h)
	}
	t.Entry.Name, t.Entry.Base = n.place.name, n.place.name
	return t, true, err
}

// removedHead finds the newest of the heads that the newest delete of a file removed and no write has replaced. Of a file that is displayed
// nowhere it is the newest head at all when there is no such one.
func (v *View) removedHead(n *node) (*record, error) {
	var heads []*record // newest first
	var del *record
	for r, err := range v.newest(n.num) {
		if err != nil {
			return nil, err
		}
		if r.isHead(n.kind()) {
			heads = append(heads, r)
		} else if r.at == n.died.at {
			del = r
		}
	}
	slices.Reverse(heads)
	f := folder{cores: v.cores}
	covered := f.covered(heads)
	for i, r := range slices.Backward(heads) {
		shown := slices.ContainsFunc(n.heads, func(h head) bool { return h.at == r.at })
		if !covered[i] && !shown && del != nil && f.cores.acts(del.at, del.heads, r.at) {
			return r, nil
		}
	}
	if len(heads) == 0 || n.visible() {
		return nil, nil
	}
	return heads[len(heads)-1], nil
}
