package tree

import (
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
