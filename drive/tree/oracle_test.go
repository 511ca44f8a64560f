package tree

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// The oracle: DESIGN section 7 as plainly as it can be said, with no thought for cost. It sorts all
// operations, folds them and displays the result, and shares no code with the package but the ids and
// the order of positions.

type oracle struct {
	ops    []*Placed // in order
	byNode map[NodeID][]*Placed
	place  map[NodeID]*Placed // the operation that put a node where it is
	shown  map[NodeID]bool
}

func fold(set []Placed) *oracle {
	o := &oracle{byNode: map[NodeID][]*Placed{}, place: map[NodeID]*Placed{}, shown: map[NodeID]bool{}}
	for i := range set {
		o.ops = append(o.ops, &set[i])
	}
	slices.SortStableFunc(o.ops, compare)
	for _, p := range o.ops {
		if p.Op.Type == OpMark || p.Op.Raw != nil {
			continue
		}
		if list := o.byNode[p.Op.Node]; len(list) > 0 && list[len(list)-1].ID == p.ID {
			continue // the same operation twice
		}
		o.byNode[p.Op.Node] = append(o.byNode[p.Op.Node], p)
		if p.Op.Type == OpCreate || p.Op.Type == OpMove {
			o.put(p)
		}
	}
	return o
}

func before(a, b *Placed) bool { return compare(a, b) < 0 }

func compare(a, b *Placed) int {
	return cmp.Or(a.Pos.Compare(b.Pos), bytes.Compare(a.ID.Entry[:], b.ID.Entry[:]))
}

// put replays a placement.
func (o *oracle) put(p *Placed) {
	if p.Op.Node.Kind() == Dir {
		depth := 1
		for dir := p.Op.Parent; dir != Root; depth++ {
			if dir == p.Op.Node || p.Op.Type == OpMove && depth >= MaxDepth {
				return
			}
			up := o.place[dir]
			if up == nil {
				break
			}
			dir = up.Op.Parent
		}
	}
	o.place[p.Op.Node] = p
}

// in reports whether the context of by names x.
func in(by *Placed, c Context, x *Placed) bool {
	if !before(x, by) {
		return false
	}
	for _, r := range c {
		core, lo, hi := r.Core, r.Lo, r.Hi
		if core.IsZero() {
			core, lo.Seq, hi.Seq = by.Pos.Core, by.Pos.Seq, by.Pos.Seq
		} else if core != by.Pos.Core && by.Closure != nil && x.Pos.Seq >= by.Closure.Length(core) {
			continue
		}
		at := Spot{x.Pos.Seq, x.Pos.Index}
		if core == x.Pos.Core && !less(at, lo) && !less(hi, at) {
			return true
		}
	}
	return false
}

func less(a, b Spot) bool { return a.Seq < b.Seq || a.Seq == b.Seq && a.Index < b.Index }

// void reports whether a delete is part of a sweep that came to nothing.
func (o *oracle) void(d *Placed) bool {
	for _, s := range o.ops {
		if s.Op.Type == OpDelete && s.Pos.Core == d.Pos.Core && in(s, s.Op.Sweep, d) && (o.crossed(s) || o.void(s)) {
			return true
		}
	}
	return false
}

// crossed reports whether the directory that d removes has a move that neither knew of.
func (o *oracle) crossed(d *Placed) bool {
	for _, m := range o.byNode[d.Op.Node] {
		if m.Op.Type == OpMove && !in(d, d.Op.Seen, m) && !in(m, m.Op.Seen, d) {
			return true
		}
	}
	return false
}

func (o *oracle) deletes(n NodeID) (out []*Placed) {
	for _, d := range o.byNode[n] {
		if d.Op.Type == OpDelete && !o.void(d) {
			out = append(out, d)
		}
	}
	return out
}

// heads are the displayed writes of a file, oldest first.
func (o *oracle) heads(n NodeID) (out []*Placed) {
	deletes := o.deletes(n)
	for _, h := range o.byNode[n] {
		if h.Op.Type != OpCreate && h.Op.Type != OpWrite {
			continue
		}
		covered, asserted := false, false
		for _, a := range o.byNode[n] {
			covered = covered || a.Op.Type == OpWrite && in(a, a.Op.Covers, h)
			if a == h || a.Op.Type == OpMove && in(a, a.Op.Carries, h) {
				killed := false
				for _, d := range deletes {
					killed = killed || in(d, d.Op.Heads, h) && in(d, d.Op.Seen, a)
				}
				asserted = asserted || !killed
			}
		}
		if !covered && asserted {
			out = append(out, h)
		}
	}
	return out
}

func (o *oracle) alive(n NodeID) bool {
	if n == Root {
		return true
	}
	if n.Kind() != Dir {
		return len(o.heads(n)) > 0
	}
	deletes := o.deletes(n)
	for _, t := range o.byNode[n] {
		if t.Op.Type == OpCreate || t.Op.Type == OpMove || t.Op.Type == OpKeep {
			if !slices.ContainsFunc(deletes, func(d *Placed) bool { return in(d, d.Op.Seen, t) }) {
				return true
			}
		}
	}
	return false
}

// visible also considers directories that nothing but a child speaks of.
func (o *oracle) visible(n NodeID) bool {
	if is, ok := o.shown[n]; ok {
		return is
	}
	is := o.alive(n)
	if n.Kind() == Dir && !is {
		for c, p := range o.place {
			is = is || p.Op.Parent == n && o.visible(c)
		}
	}
	o.shown[n] = is
	return is
}

// nodes are all that operations speak of, in the order of their ids.
func (o *oracle) nodes() []NodeID {
	all := map[NodeID]bool{}
	for n := range o.byNode {
		all[n] = true
	}
	for _, p := range o.place {
		all[p.Op.Parent] = true
	}
	delete(all, Root)
	var out []NodeID
	for n := range all {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b NodeID) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

func (o *oracle) placed(a, b NodeID) bool { return before(o.place[a], o.place[b]) }

// shownAs is an entry of a listing.
type shownAs struct {
	name, base string
	node, id   NodeID
	members    []NodeID
	head       *Placed
	heads      []OpID
	main       bool
	conflict   bool
	tag        *Placed // the write that a copy began with, or the create of a loser
	tagID      NodeID
}

func equal(a, b *shownAs) bool {
	if a.head == nil || b.head == nil || a.node.Kind() != b.node.Kind() || a.head.Op.Target != b.head.Op.Target {
		return false
	}
	x, y := a.head.Op.Content, b.head.Op.Content
	if x == nil || y == nil {
		return (x == nil || x.Size == 0) && (y == nil || y.Size == 0)
	}
	return x.Size == y.Size && (x.Size == 0 || x.Plain == y.Plain)
}

// list displays a directory.
func (o *oracle) list(members []NodeID) []shownAs {
	groups := map[string][]NodeID{}
	var lost []NodeID
	for _, n := range o.nodes() {
		if !o.visible(n) {
			continue
		}
		if p := o.place[n]; p == nil {
			lost = append(lost, n)
		} else if slices.Contains(members, p.Op.Parent) {
			groups[p.Op.Name] = append(groups[p.Op.Name], n)
		}
	}
	var held, rest []shownAs
	taken := map[string]bool{}
	for name, nodes := range groups {
		for i, s := range o.group(name, nodes) {
			if s.conflict = i > 0 || !o.holds(&s); s.conflict {
				rest = append(rest, s)
			} else {
				held = append(held, s)
				taken[name] = true
			}
		}
	}
	if slices.Contains(members, Root) {
		names := map[string]bool{}
		for name := range groups {
			names[name] = true
		}
		for _, n := range lost {
			k := 8
			for k < 32 && names["recovered-"+n.String()[:k]] {
				k += 4
			}
			name := "recovered-" + n.String()[:k]
			names[name] = true
			for i, s := range o.group(name, []NodeID{n}) {
				if s.conflict = true; i == 0 && o.holds(&s) {
					held = append(held, s)
					taken[name] = true
				} else {
					rest = append(rest, s)
				}
			}
		}
	}
	sort.Slice(rest, func(i, j int) bool {
		a, b := &rest[i], &rest[j]
		return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(a.tagID.String(), b.tagID.String()), a.head.Pos.Compare(b.head.Pos)) < 0
	})
	for i := range rest {
		rest[i].name = rest[i].called(taken)
		taken[rest[i].name] = true
	}
	out := append(held, rest...)
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// holds reports whether the first of its name has the name.
func (o *oracle) holds(s *shownAs) bool {
	return s.node.Kind() == Dir || s.main && !o.aside(s.node)
}

func (o *oracle) aside(n NodeID) bool {
	p := o.place[n]
	return p != nil && slices.ContainsFunc(o.byNode[n], func(a *Placed) bool { return a.Op.Type == OpAside && in(a, a.Op.Places, p) })
}

// group displays what has one name: who holds it first.
func (o *oracle) group(name string, nodes []NodeID) []shownAs {
	var dirs, files []NodeID
	for _, n := range nodes {
		if n.Kind() == Dir {
			dirs = append(dirs, n)
		} else {
			files = append(files, n)
		}
	}
	var all []shownAs
	if len(dirs) > 0 {
		sort.Slice(dirs, func(i, j int) bool {
			if a, b := o.alive(dirs[i]), o.alive(dirs[j]); a != b {
				return a
			}
			return len(dirs) > 1 && o.placed(dirs[i], dirs[j])
		})
		all = append(all, shownAs{name: name, base: name, node: dirs[0], id: dirs[0], members: dirs})
	}
	if len(files) > 1 {
		sort.Slice(files, func(i, j int) bool { return o.placed(files[i], files[j]) })
	}
	var mains, losers, copies []shownAs
	for _, n := range files {
		heads := o.heads(n)
		main := -1
		for i, h := range heads {
			if h.Op.Line.IsZero() && !slices.ContainsFunc(o.byNode[n], func(a *Placed) bool { return a.Op.Type == OpAside && in(a, a.Op.Beside, h) }) {
				main = i
			}
		}
		for i, h := range heads {
			s := shownAs{name: name, base: name, node: n, id: n, members: []NodeID{n}, head: h, heads: []OpID{h.ID}}
			switch {
			case i == main:
				s.tagID, s.main = n, true
				for _, c := range o.byNode[n] {
					if c.Op.Type == OpCreate {
						s.tag = c
					}
				}
				if len(dirs)+len(mains) == 0 && !o.aside(n) {
					mains = append(mains, s)
				} else {
					losers = append(losers, s)
				}
				continue
			default:
				s.tag, s.tagID = h, tagOf(h.ID)
				for _, w := range o.byNode[n] {
					if (w.Op.Type == OpWrite || w.Op.Type == OpCreate) && before(w, h) && tagOf(w.ID) == h.Op.Line && !o.shares(h) {
						s.tag, s.tagID = w, h.Op.Line
					}
				}
			}
			s.id = s.tagID
			for k := uint32(0); slices.ContainsFunc(copies, func(c shownAs) bool { return c.node == n && c.id == s.id }); k++ {
				s.id = tagOf(OpID{h.ID.Entry, h.ID.Index + k*MaxOps})
			}
			copies = append(copies, s)
		}
	}
	var out []shownAs
next:
	for _, s := range slices.Concat(all, mains, losers, copies) {
		for i := range out {
			if equal(&out[i], &s) {
				out[i].heads = append(out[i].heads, s.heads...)
				if !slices.Contains(out[i].members, s.node) {
					out[i].members = append(out[i].members, s.node)
				}
				continue next
			}
		}
		out = append(out, s)
	}
	return out
}

// shares reports whether a write of a copy does not replace some other one of that copy.
func (o *oracle) shares(h *Placed) bool {
	return slices.ContainsFunc(o.byNode[h.Op.Node], func(w *Placed) bool {
		return w != h && w.Op.Type == OpWrite && w.Op.Line == h.Op.Line && !in(h, h.Op.Covers, w)
	})
}

// called is the first conflict name that is free.
func (s *shownAs) called(taken map[string]bool) string {
	var author, date string
	if s.tag != nil {
		author, date = s.tag.Author.Short(), time.Unix(0, s.tag.Wall).UTC().Format("2006-01-02")
	} else {
		author, date = strings.Repeat("a", 8), "1970-01-01"
	}
	stem, ext := s.base, ""
	if i := strings.LastIndex(s.base, "."); i > 0 && len(s.base)-i <= 32 {
		stem, ext = s.base[:i], s.base[i:]
	}
	tag, own := s.tagID.String(), tagOf(s.head.ID).String()
	for n := range 129 {
		hex := tag
		switch {
		case n < 14:
			hex = tag[:6+2*n]
		case n < 30:
			hex = tag + "-" + own[:2*(n-13)]
		default:
			hex = fmt.Sprintf("%s-%s-%d", tag, own, n-29)
		}
		text := " (conflict " + author + " " + date + " " + hex + ")"
		short := stem
		for len(short)+len(text)+len(ext) > MaxName {
			short = strings.TrimSuffix(short, string(short[len(short)-1:]))
		}
		short = strings.ToValidUTF8(short, "")
		if name := short + text + ext; !taken[name] {
			return name
		}
	}
	panic("no name is free")
}
