package tree

import (
	"cmp"
	"slices"
	"sort"
)

// A folder makes summaries of nodes.
type folder struct {
	cores *cores
	void  func(at) bool // which deletes are void; nil: none
}

func (f *folder) voided(a at) bool { return f.void != nil && f.void(a) }

// fold makes a node's summary from all its operations, oldest first. The placement
// of a directory is not touched: it follows from the operations on all directories.
func (f *folder) fold(n *node, recs []*record) {
	n.count, n.places, n.last, n.created, n.touched = 0, 0, at{}, stamp{}, nil
	n.alive, n.sweeps, n.died, n.heads, n.attrs = false, false, stamp{}, nil, register{}
	if n.kind() != Dir {
		n.place = placement{}
	}
	for _, r := range recs {
		f.common(n, r)
	}
	if n.kind() == Dir {
		n.alive = n.num == 0 || f.dirAlive(recs)
		return
	}
	f.foldFile(n, recs)
}

// common takes in what an operation newer than all before it means, but for the
// heads of a file and whether a directory is alive.
func (f *folder) common(n *node, r *record) {
	n.count++
	n.last = r.at
	n.touch(r.at)
	s := r.stamp()
	if r.isPlace() {
		n.places++
		if n.kind() != Dir {
			n.place = placement{ok: true, dir: r.parent, name: r.name, stamp: s}
		}
	}
	switch r.typ {
	case OpCreate:
		n.created = s
	case OpDelete:
		n.sweeps = n.sweeps || len(r.sweep) > 0
		if !f.voided(r.at) {
			n.died = s
		}
	case OpAside:
		if n.place.ok && f.cores.acts(r.at, r.places, n.place.stamp.at) {
			n.place.aside = true
		}
	}
	n.attrs.set(r, n.kind())
}

// set takes in the attributes that an operation sets. The time that comes with the bytes
// of a file belongs to the head.
func (g *register) set(r *record, k Kind) {
	if r.attrs.Mode != nil {
		g.mode, g.modeAt = r.attrs.Mode, r.at
	}
	if r.attrs.MTime != nil && !r.isHead(k) {
		g.mtime, g.timeAt = r.attrs.MTime, r.at
	}
	for _, name := range r.attrs.Remove {
		if i, ok := g.xattr(name); ok {
			g.xattrs = slices.Delete(g.xattrs, i, i+1)
		}
	}
	for _, name := range sortedKeys(r.attrs.Set) {
		x := xattr{name, r.attrs.Set[name]}
		if i, ok := g.xattr(name); ok {
			g.xattrs[i] = x
		} else {
			g.xattrs = slices.Insert(g.xattrs, i, x)
		}
	}
}

func (g *register) xattr(name string) (int, bool) {
	return slices.BinarySearchFunc(g.xattrs, name, func(x xattr, name string) int { return cmp.Compare(x.name, name) })
}

// dirAlive reports whether a token is unseen by every delete.
func (f *folder) dirAlive(recs []*record) bool {
	for _, t := range recs {
		if t.typ != OpCreate && t.typ != OpMove && t.typ != OpKeep {
			continue
		}
		if !slices.ContainsFunc(recs, func(d *record) bool {
			return d.typ == OpDelete && !f.voided(d.at) && f.cores.acts(d.at, d.seen, t.at)
		}) {
			return true
		}
	}
	return false
}

func headOf(r *record) head {
	return head{at: r.at, entry: r.entry, wall: r.wall, content: r.content, target: r.target, from: r.from,
		mtime: r.attrs.MTime, line: r.line, origin: origin{core: r.at.core, wall: r.wall}, asserts: []at{r.at}}
}

// foldFile finds the displayed heads.
func (f *folder) foldFile(n *node, recs []*record) {
	var heads, moves, ends []*record
	for _, r := range recs {
		switch {
		case r.isHead(n.kind()):
			heads = append(heads, r)
		case r.typ == OpDelete && !f.voided(r.at), r.typ == OpAside:
			ends = append(ends, r)
		case r.typ == OpMove:
			moves = append(moves, r)
		}
	}
	covered := f.covered(heads)
	for i, r := range heads {
		if covered[i] {
			continue
		}
		h := headOf(r)
		for _, m := range moves {
			if f.cores.acts(m.at, m.carries, h.at) {
				h.asserts = append(h.asserts, m.at)
			}
		}
		for _, d := range ends {
			if d.typ == OpDelete {
				f.kill(&h, d)
			} else if f.cores.acts(d.at, d.heads, h.at) {
				h.beside = true
			}
		}
		if len(h.asserts) == 0 {
			continue
		}
		if !h.line.IsZero() && !f.shared(heads, r) {
			h.origin = originOf(heads[:i], &h)
		}
		n.heads = append(n.heads, h)
	}
	n.alive = len(n.heads) > 0
}

// kill takes from a head the assertions that a delete ends.
func (f *folder) kill(h *head, d *record) {
	if !f.cores.acts(d.at, d.heads, h.at) {
		return
	}
	h.asserts = slices.DeleteFunc(h.asserts, func(a at) bool { return f.cores.acts(d.at, d.seen, a) })
}

// shared reports whether a write of a copy shares its line with one that it does not replace: two people have edited the copy. Both are
// then named after themselves, whatever becomes of the other: else the name of one that is removed would go to the other.
func (f *folder) shared(heads []*record, w *record) bool {
	return slices.ContainsFunc(heads, func(r *record) bool {
		return r != w && r.line == w.line && !f.cores.acts(w.at, w.covers, r.at)
	})
}

// originOf finds the write that a conflict copy began with.
func originOf(older []*record, h *head) origin {
	for _, r := range older {
		if tagOf(r.id()) == h.line {
			return origin{h.line, r.at.core, r.wall}
		}
	}
	return h.origin
}

// covered says for each head whether some write covers it. Heads of one core lie in the
// order of their positions, so that a range of a context is a run of them.
func (f *folder) covered(heads []*record) []bool {
	out := make([]bool, len(heads))
	runs := map[uint32]*run{}
	for i, r := range heads {
		n := runs[r.at.core]
		if n == nil {
			n = &run{}
			runs[r.at.core] = n
		}
		if len(n.heads) > 0 && heads[n.heads[len(n.heads)-1]].at.spot().compare(r.at.spot()) >= 0 {
			n.forked = true
		}
		n.heads = append(n.heads, i)
	}
	for _, n := range runs {
		n.ends = make([]int, len(n.heads)+1)
		if n.forked {
			slices.SortFunc(n.heads, func(i, j int) int { return heads[i].at.spot().compare(heads[j].at.spot()) })
		}
	}
	for _, w := range heads {
		for _, r := range w.covers {
			if n := runs[r.core]; n != nil {
				f.cover(heads, n, r, w.at)
			}
		}
	}
	for _, n := range runs {
		depth := 0
		for i, at := range n.heads {
			depth += n.ends[i]
			out[at] = depth > 0
		}
	}
	return out
}

// run is the heads of one core, as indices, in the order of their places in the core.
type run struct {
	heads  []int
	ends   []int // +1 where a covered stretch begins, -1 behind its end
	forked bool  // two branches: the places do not tell the order
}

// cover notes a range of what the write at by covers.
func (f *folder) cover(heads []*record, n *run, r ranged, by at) {
	lo := sort.Search(len(n.heads), func(i int) bool { return heads[n.heads[i]].at.spot().compare(r.lo) >= 0 })
	hi := sort.Search(len(n.heads), func(i int) bool { return heads[n.heads[i]].at.spot().compare(r.hi) > 0 })
	if n.forked {
		for i := lo; i < hi; i++ {
			if f.cores.less(heads[n.heads[i]].at, by) {
				n.ends[i]++
				n.ends[i+1]--
			}
		}
		return
	}
	for hi > lo && !f.cores.less(heads[n.heads[hi-1]].at, by) {
		hi--
	}
	if lo < hi {
		n.ends[lo]++
		n.ends[hi]--
	}
}

// maxAsserts bounds what a summary keeps of a head; with more the node is folded anew when it matters.
const maxAsserts = 256

// step takes in an operation that is newer than all before it. It reports false when
// the summary does not tell enough and the node must be folded anew.
func (f *folder) step(n *node, r *record) bool {
	if f.voided(r.at) {
		return false
	}
	if n.kind() == Dir {
		switch r.typ {
		case OpCreate, OpMove, OpKeep:
			n.alive = true
		case OpDelete:
			if n.alive && !n.knowsAll(r.seen) {
				return false
			}
			n.alive = n.num == 0
		}
		f.common(n, r)
		return true
	}
	switch r.typ {
	case OpCreate, OpWrite:
		if !r.line.IsZero() {
			return false // whether the line counts is told by those that are not displayed, too
		}
		h := headOf(r)
		n.heads = slices.DeleteFunc(n.heads, func(h head) bool { return f.cores.acts(r.at, r.covers, h.at) })
		n.heads = append(n.heads, h)
	case OpMove:
		if !n.carry(r) {
			return false
		}
	case OpDelete:
		if !f.killAll(n, r) {
			return false
		}
	case OpAside:
		for i := range n.heads {
			if f.cores.acts(r.at, r.heads, n.heads[i].at) {
				n.heads[i].beside = true
			}
		}
	}
	n.alive = len(n.heads) > 0
	f.common(n, r)
	return true
}

// carry adds a move to the assertions of the heads that it carries. A head that is not
// displayed may be displayed again by it: then the history decides.
func (n *node) carry(r *record) bool {
	for _, g := range r.carries {
		i := slices.IndexFunc(n.heads, func(h head) bool {
			return h.at.core == g.core && h.at.spot() == g.lo && g.lo == g.hi
		})
		if i < 0 {
			return false
		}
		if n.heads[i].asserts = append(n.heads[i].asserts, r.at); len(n.heads[i].asserts) > maxAsserts {
			return false
		}
	}
	return true
}

// killAll takes in a delete.
func (f *folder) killAll(n *node, d *record) bool {
	out := n.heads[:0]
	for i := range n.heads {
		h := n.heads[i]
		if len(h.asserts) >= maxAsserts {
			return false
		}
		if f.kill(&h, d); len(h.asserts) > 0 {
			out = append(out, h)
		}
	}
	n.heads = out
	return true
}
