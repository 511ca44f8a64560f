package room

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// void reports whether the invitation behind a membership was taken back with it, by its author or by somebody above him. What reaches
// upward has no effect: whoever takes it back ranks above the membership.
func (s *spec) void(g *right) bool {
	if g.invite < 0 {
		return false
	}
	by := s.invited[g.invite]
	return slices.ContainsFunc(s.revokes, func(r taking) bool {
		return r.invite == g.invite && (r.by == by.dev || r.compare(by.height) <= 0) && r.compare(g.height) < 0 && !slices.Contains(r.keep, s.log[g.join].id)
	})
}

// takes reports whether a taking is about a right: the right was not given in knowledge of it. Of what the recovery key says the later counts.
func (s *spec) takes(t *taking, g *right) bool {
	if t.dev != g.dev || s.knows(g.at, t.at) {
		return false
	}
	return g.counter == 0 || t.counter == 0 || t.counter > g.counter
}

// within reports whether block seq of a core lies before the cut of a taking. Who ranks as high may put the cut further out.
func (s *spec) within(t *taking, core key.CoreID, seq uint64) bool {
	if slices.ContainsFunc(t.cuts, func(c cut) bool { return c.Core == core && seq < c.Length }) {
		return true
	}
	return slices.ContainsFunc(s.adopted, func(a extension) bool { return a.core == core && seq < a.length && a.compare(t.height) <= 0 })
}

// authority returns the highest right that lets a record stand. What was said by a right above a taking is not reached by it.
func (s *spec) authority(e, i int, r record) (best *right) {
	c, need := s.log[e], wants(r)
	for _, g := range s.rights {
		if g.dev != c.dev || c.gen < g.gen || !s.knows(e, g.at) || g.caps&need != need || s.void(g) || !s.history(g, c) || s.leftBefore(g, e) {
			continue
		}
		taken := slices.ContainsFunc(s.takings, func(t *taking) bool {
			return !t.leave && t.mask&need != 0 && s.takes(t, g) && !s.within(t, c.core, c.seq) && t.compare(g.height) < 0
		})
		if !taken && (best == nil || g.compare(best.height) < 0) {
			best = g
		}
	}
	return best
}

// leftBefore reports whether the author of an entry had said that he leaves, before in the same log or in one of an earlier generation that
// the right is for: whatever becomes of that, he says nothing more by a right that was not given in knowledge of it.
// What he knew of when he said so came before it.
func (s *spec) leftBefore(g *right, e int) bool {
	c := s.log[e]
	for l, o := range s.log {
		before := o.dev == c.dev && o.gen >= g.gen && (o.gen < c.gen || o.gen == c.gen && o.seq < c.seq)
		if before && !s.knows(l, e) && !s.knows(g.at, l) && slices.ContainsFunc(o.recs, func(r record) bool { return r.typ == recLeave }) {
			return true
		}
	}
	return false
}

// effective reports what a record takes besides the right to say such things.
func (s *spec) effective(g *right, e int, r record) bool {
	switch d := r.data.(type) {
	case *invite:
		return d.Caps&^g.caps == 0
	case *remove:
		return s.below(g, e, d.Device)
	case *role:
		asked := slices.ContainsFunc(s.log, func(c *ctl) bool {
			return s.knows(e, s.find(c.id)) && (joinOf(c) != nil && joinOf(c).Device == d.Device || c == s.log[0] && c.dev == d.Device)
		})
		return asked && s.below(g, e, d.Device) && d.Caps&^g.caps == 0
	}
	return true
}

// below reports whether a device ranks strictly below a right by which entry e says something of it. Who left, or was demoted from above,
// ranks with those whose rights he has, for those who know of it: what reached upward when it was said does not come alive by what others
// say.
func (s *spec) below(g *right, e int, dev key.DeviceID) bool {
	if dev == g.dev {
		return false
	}
	for _, o := range s.rights {
		if o.dev != dev || s.void(o) {
			continue
		}
		left := o.caps
		for _, t := range s.takings {
			if s.takes(t, o) && s.knows(e, t.at) && t.compare(g.height) < 0 {
				left &^= t.mask
			}
		}
		now := o.height
		now.class = max(now.class, classOfCaps(left))
		if now.compare(g.height) <= 0 {
			return false
		}
	}
	return true
}

// can is what a device may do now.
func (s *spec) can(dev key.DeviceID) (all Caps) {
	for _, g := range s.rights {
		if g.dev != dev || s.void(g) {
			continue
		}
		left := g.caps
		for _, t := range s.takings {
			if s.takes(t, g) {
				left &^= t.mask
			}
		}
		all |= left
	}
	return all
}

// could is what a device could do by block seq of a core, in an entry that had seen everything.
func (s *spec) could(dev key.DeviceID, core key.CoreID, gen uint32, seq uint64) (all Caps) {
	for _, g := range s.rights {
		if g.dev != dev || gen < g.gen || s.void(g) {
			continue
		}
		left := g.caps
		for _, t := range s.takings {
			if s.takes(t, g) && !s.within(t, core, seq) {
				left &^= t.mask
			}
		}
		all |= left
	}
	return all
}

// heads are the epochs that no other one has seen.
func (s *spec) heads() (out []int) {
	all := append([]int{0}, s.epochs...)
	for _, e := range all {
		if !slices.ContainsFunc(all, func(f int) bool { return f != e && s.knows(f, e) }) {
			out = append(out, e)
		}
	}
	return out
}

// history reports whether no seal by somebody else who ranks above a right names another history than that of a control entry.
func (s *spec) history(g *right, c *ctl) bool {
	f := s.forks[c.core]
	if f == nil || !f.parted() || c.seq < f.common {
		return true
	}
	var by []naming
	for _, n := range s.seals {
		if n.core == c.core && n.by != c.dev && n.compare(g.height) < 0 {
			by = append(by, n)
		}
	}
	return slices.Contains(s.named(f, by), s.side[c])
}

// named returns the histories that seals leave: the higher rank first, then the later.
func (s *spec) named(f *fork, by []naming) []int {
	slices.SortFunc(by, func(a, b naming) int {
		x, y := s.log[a.at], s.log[b.at]
		return cmp.Or(a.compare(b.height), cmp.Compare(y.lamport, x.lamport), bytes.Compare(y.core[:], x.core[:]), cmp.Compare(y.seq, x.seq),
			bytes.Compare(y.id[:], x.id[:]), cmp.Compare(a.length, b.length), bytes.Compare(a.root[:], b.root[:]))
	})
	left := []int{0, 1}
	for _, n := range by {
		if n.length <= f.common {
			continue
		}
		only := slices.DeleteFunc(slices.Clone(left), func(side int) bool { return !f.has(side, n.length, n.root) })
		if len(only) > 0 {
			left = only
		}
	}
	return left
}

// chosen returns the history of a core of which drive and chat entries count.
func (s *spec) chosen(f *fork) int {
	var by []naming
	for _, n := range s.seals {
		if n.core == f.core {
			by = append(by, n)
		}
	}
	left := s.named(f, by)
	if len(left) == 1 {
		return left[0]
	}
	a, b := f.leaves[0], f.leaves[1]
	switch {
	case len(a) != len(b):
		if len(a) > len(b) {
			return 0
		}
		return 1
	case bytes.Compare(a[f.common][:], b[f.common][:]) < 0:
		return 0
	}
	return 1
}

// answer is what a member has to do by himself about a request at a time (unix seconds): "admit" or "refuse", "" if it is for others or
// for a person, or answered. byHand is whether a person may let it in there.
func (s *spec) answer(member key.DeviceID, j int, now int64) (does string, byHand bool) {
	asked := joinOf(s.log[j])
	if s.answers[j] != "" || s.can(member)&CapAdmit == 0 {
		return "", false
	}
	for _, g := range s.rights { // nobody is let in twice
		if g.dev == asked.Device && g.gen <= asked.Gen && !s.void(g) && s.can(g.dev) != 0 {
			return "", false
		}
	}
	inv := -1
	for e := range s.invited {
		if inviteOf(s.log[e]).Public == asked.Invite {
			inv = e
		}
	}
	if inv < 0 {
		return "", false
	}
	what, used := inviteOf(s.log[inv]), map[key.DeviceID]bool{}
	for _, g := range s.rights {
		if g.invite == inv && g.join != j && !s.void(g) {
			used[g.dev] = true
		}
	}
	over := what.Uses > 0 && len(used) >= int(what.Uses) || what.Expires > 0 && now >= what.Expires ||
		slices.ContainsFunc(s.revokes, func(r taking) bool { return r.invite == inv }) ||
		slices.ContainsFunc(s.heads(), func(h int) bool { return !s.knows(inv, h) })
	switch {
	case over:
		return "refuse", false
	case classOfCaps(s.can(member)) > classOfCaps(what.Caps):
		return "", false // whom he lets in would rank above him
	case what.Approve:
		return "", true
	}
	return "admit", true
}
