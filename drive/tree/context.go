package tree

import (
	"encoding/binary"
	"slices"
)

// pending is the lamport of operations that an Edit has made and that have no
// place yet: newer than all there are.
const pending = 1 << 60

// pendingCore is the number of their core, whose id is zero.
const pendingCore = ^uint32(0)

// atOf finds the local form of a position; ok is false when its core is unknown here.
func (v *View) atOf(p Pos, id OpID) (a at, ok bool, err error) {
	core, ok, err := v.cores.num(p.Core)
	a = at{lamport: p.Lamport, core: core, seq: p.Seq, index: p.Index}
	copy(a.tie[:], id.Entry[:])
	return a, ok, err
}

// context names the set in an operation.
func (v *View) context(s set) Context {
	var c Context
	for _, r := range s {
		id := v.cores.get(r.core).id
		if id.IsZero() {
			c = append(c, Range{Lo: Spot{Index: r.lo.Index}, Hi: Spot{Index: r.hi.Index}})
			continue
		}
		c = append(c, Range{id, r.lo, r.hi})
	}
	return c
}

// known is every operation on the node so far.
func (n *node) known() set {
	var s set
	for _, t := range n.touched {
		s = append(s, ranged{t.core, Spot{}, t.last})
	}
	return s
}

// only is exactly these operations.
func only(ats ...at) set {
	var s set
	for _, a := range ats {
		s = append(s, ranged{a.core, a.spot(), a.spot()})
	}
	return s
}

func displayed(n *node) []at {
	var out []at
	for i := range n.heads {
		out = append(out, n.heads[i].at)
	}
	return out
}

// maxLoose is how many ranges a set may have before it is written anew in as few as possible.
const maxLoose = 12

// ancestry is the heads and everything that they replaced, which is what a write that was begun
// from them covers.
func (v *View) ancestry(n *node, heads []at) (set, error) {
	var s set
	for _, a := range heads {
		r, err := readRecord(v.rows, n.num, a)
		if err != nil {
			return nil, err
		}
		if r == nil {
			s = s.with(ranged{a.core, a.spot(), a.spot()})
			continue
		}
		for _, g := range r.covers {
			s = s.with(g)
		}
		if s, err = v.extend(s, n, a); err != nil {
			return nil, err
		}
	}
	if len(s) > maxLoose {
		return v.recode(s, n)
	}
	return s, nil
}

// with adds a range; overlapping ranges become one.
func (s set) with(g ranged) set {
	for i := range s {
		if r := &s[i]; r.core == g.core && r.lo.compare(g.hi) <= 0 && g.lo.compare(r.hi) <= 0 {
			if g.lo.compare(r.lo) < 0 {
				r.lo = g.lo
			}
			if g.hi.compare(r.hi) > 0 {
				r.hi = g.hi
			}
			return s
		}
	}
	return append(s, g)
}

// extend adds a head. When the head of the same core before it is in the set already, the range
// that it is in just grows: there is nothing between them.
func (v *View) extend(s set, n *node, a at) (set, error) {
	one := ranged{a.core, a.spot(), a.spot()}
	if s.names(a) || !slices.ContainsFunc(s, func(r ranged) bool { return r.core == a.core }) {
		return s.with(one), nil
	}
	prefix := numKey(rowOp, n.num)
	for k, b := range v.rows.Scan(prefix, opKey(n.num, a)) {
		before, ok := readAt(k[len(prefix):], true)
		if !ok {
			return nil, errCorrupt
		}
		if before.core != a.core || before.spot().compare(a.spot()) >= 0 || !headRow(b) {
			continue
		}
		for i := range s {
			if r := &s[i]; r.core == a.core && r.lo.compare(before.spot()) <= 0 && before.spot().compare(r.hi) <= 0 {
				r.hi = a.spot()
				return s, nil
			}
		}
		break
	}
	return append(s, one), nil
}

// headRow reports whether the row of an operation on a file is that of a write or create.
func headRow(b []byte) bool {
	if len(b) < 34 {
		return false
	}
	b = b[32:]
	_, n := binary.Varint(b)
	if n <= 0 || n >= len(b) {
		return false
	}
	typ, _ := binary.Uvarint(b[n:])
	return Type(typ) == OpWrite || Type(typ) == OpCreate
}

// recode writes a set of heads with as few ranges as there are runs of heads of one core.
func (v *View) recode(s set, n *node) (set, error) {
	recs, err := records(v.rows, v.cores, n.num, nil)
	if err != nil {
		return nil, err
	}
	recs = slices.DeleteFunc(recs, func(r *record) bool { return !r.isHead(n.kind()) })
	var out set
	open := map[uint32]int{} // by core: the range that the last head of it is in, counted from 1
	for _, r := range recs {
		core, at := r.at.core, r.at.spot()
		switch i := open[core]; {
		case !s.names(r.at):
			open[core] = 0
		case i > 0:
			out[i-1].hi = at
		default:
			out = append(out, ranged{core, at, at})
			open[core] = len(out)
		}
	}
	return out, nil
}
