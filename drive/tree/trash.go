package tree

import (
	"encoding/binary"
	"iter"
	"slices"
)

// Removed is something that a delete took, as far as is known without a look at what it was: see [View.Trashed].
type Removed struct {
	Node    NodeID
	Deleted Head   // the delete
	Dir     NodeID // the directory that it was placed in; of what had no place the root
	Placed  Pos    // of the operation that placed it there

	took []*record // of a file of which several deletes took something: what this one did
}

// Trashed is a node that is displayed nowhere, or a version of a file that stood beside another one, which is still there.
type Trashed struct {
	Entry   Entry // the last bytes and attributes, under the last name
	Deleted Head  // the delete
	Beside  bool  // another version of the file is displayed
}

// Removals yields what was removed and perhaps is displayed nowhere, what was removed last first; but of a file of which several deletes took
// something those follow one another. Of the past it yields only what is in the trash now.
func (v *View) Removals() iter.Seq2[Removed, error] {
	return func(yield func(Removed, error) bool) {
		often := v.oftenDeleted()
		for k := range v.rows.Scan([]byte{rowTrash}, nil) {
			if len(k) != 1+8+4 {
				yield(Removed{}, errCorrupt)
				return
			}
			n, err := v.node(binary.BigEndian.Uint32(k[9:]))
			if err != nil {
				yield(Removed{}, err)
				return
			}
			if n.count == 0 || n.died.at.isZero() || n.visible() && n.kind() == Dir {
				continue
			}
			list, err := v.removals(n, often[n.num])
			if err != nil {
				yield(Removed{}, err)
				return
			}
			for _, r := range list {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// oftenDeleted finds the nodes that several deletes speak of.
func (v *View) oftenDeleted() map[uint32]bool {
	once, often := map[uint32]bool{}, map[uint32]bool{}
	for _, b := range v.rows.Scan([]byte{rowDelete}, nil) {
		if len(b) != 4 {
			continue
		}
		num := binary.BigEndian.Uint32(b)
		if once[num] {
			often[num] = true
		}
		once[num] = true
	}
	return often
}

// removals are the deletes that took n, or versions of it.
func (v *View) removals(n *node, several bool) ([]Removed, error) {
	last := Removed{Node: n.id, Deleted: v.by(n.id, n.died)}
	if n.place.ok {
		var err error
		if last.Dir, err = v.id(n.place.dir); err != nil {
			return nil, err
		}
		last.Placed = v.cores.pos(n.place.stamp.at)
	}
	if !several || n.kind() == Dir {
		return []Removed{last}, nil
	}
	all, _, err := v.takings(n)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return []Removed{last}, nil
	}
	out := make([]Removed, len(all))
	for i, t := range all {
		out[i] = last
		out[i].Deleted, out[i].took = v.by(n.id, t.by.stamp()), t.heads
	}
	return out, nil
}

// Trashed is what a delete took that is displayed nowhere, and that no write has replaced since: of a file of which several versions stood
// beside each other perhaps several of them, the newest first; nothing when all is displayed.
func (v *View) Trashed(r Removed) ([]Trashed, error) {
	n, err := v.byID(r.Node)
	if err != nil {
		return nil, err
	}
	t := Trashed{Deleted: r.Deleted, Beside: n.visible()}
	if n.kind() == Dir {
		t.Entry, err = v.dirEntry([]*node{n})
		return []Trashed{t}, err
	}
	heads := r.took
	if heads == nil {
		if heads, err = v.lastTaken(n); err != nil {
			return nil, err
		}
	}
	var out []Trashed
	for _, r := range heads {
		h := headOf(r)
		if t.Entry, err = v.fileEntry(n, &h); err != nil {
			return nil, err
		}
		t.Entry.Name, t.Entry.Base = n.place.name, n.place.name
		out = append(out, t)
	}
	if len(heads) == 0 && !t.Beside { // it never had any bytes here
		t.Entry, err = v.common(n)
		t.Entry.Name, t.Entry.Base = n.place.name, n.place.name
		out = append(out, t)
	}
	return out, err
}

// lastTaken finds the heads that the only delete of a file took. Of one that is displayed nowhere it is the newest head at all when it took none.
func (v *View) lastTaken(n *node) ([]*record, error) {
	all, newest, err := v.takings(n)
	switch {
	case err != nil:
		return nil, err
	case len(all) > 0:
		return all[0].heads, nil
	case newest == nil || n.visible():
		return nil, nil
	}
	return []*record{newest}, nil
}

// taking is what a delete of a file took.
type taking struct {
	by    *record
	heads []*record // newest first
}

// takings finds the deletes of a file, newest first, that took heads which are not displayed and which no write has replaced; each head is
// that of the newest that took it. It also returns the newest head.
func (v *View) takings(n *node) (all []taking, newest *record, err error) {
	var heads []*record
	for r, err := range v.newest(n.num) {
		switch {
		case err != nil:
			return nil, nil, err
		case r.isHead(n.kind()):
			heads = append(heads, r)
		case r.typ == OpDelete:
			all = append(all, taking{by: r})
		}
	}
	if len(heads) == 0 {
		return nil, nil, nil
	}
	newest = heads[0]
	slices.Reverse(heads)
	covered := (&folder{cores: v.cores}).covered(heads)
	for i, r := range slices.Backward(heads) {
		if covered[i] || slices.ContainsFunc(n.heads, func(h head) bool { return h.at == r.at }) {
			continue
		}
		took := func(t taking) bool { return v.cores.acts(t.by.at, t.by.heads, r.at) }
		if k := slices.IndexFunc(all, took); k >= 0 {
			all[k].heads = append(all[k].heads, r)
		}
	}
	return slices.DeleteFunc(all, func(t taking) bool { return len(t.heads) == 0 }), newest, nil
}
