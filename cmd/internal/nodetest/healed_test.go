package nodetest_test

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// converge waits until everybody who is in agrees, also on who is, and returns them.
func (s *simulation) converge() (in []string) {
	if s.roles == nil {
		s.Converge()
		return s.names
	}
	why := ""
	defer func() {
		if s.T.Failed() {
			s.T.Log(why)
		}
	}()
	s.Until("those who are in agree", func() bool {
		if in = s.agree(); in == nil {
			why = "they do not agree on who is in"
			return false
		}
		why = s.Differ(in)
		return why == ""
	})
	return in
}

// agree returns who is in if all agree on it, who is not among them; nil if they do not.
func (s *simulation) agree() (in []string) {
	for _, who := range s.names {
		if p := s.As(who); p.Disk().Stopped() {
			p.Crash()
		}
	}
	for _, who := range s.names {
		member, own := s.standing(s.names[0], who).Standing == room.Admitted, s.As(who).Handle().Log().Status().Standing
		switch {
		case member && own == room.Admitted:
			in = append(in, who)
		case member && own != room.Admitted && s.absent(who):
		case member || own == room.Admitted:
			return nil
		}
	}
	for _, who := range in {
		for _, other := range s.names {
			here, there := s.standing(s.names[0], other), s.standing(who, other)
			if here.Standing != there.Standing || here.Role != there.Role {
				return nil
			}
		}
	}
	return in
}

// absent reports whether somebody who is out may be so as far as he knows alone: nobody was there to hear that he left, or a backup took the
// place of what somebody knew, of himself or of him, or who removed him had no right to any more, which he cannot hear of.
func (s *simulation) absent(who string) bool {
	void := slices.ContainsFunc(s.roles.ends, func(e end) bool {
		return e.whom == who && slices.ContainsFunc(s.roles.ends, func(o end) bool { return o.whom == e.by })
	})
	return void || s.roles.absent[who] || s.As(who).Handle().Log().Status().Standing == room.Left || len(s.roles.back) > 0
}

// nobody reports whether there is nobody to ask: of those whom the only one in takes for members.
func (s *simulation) nobody(in []string) bool {
	return s.roles != nil && len(in) == 1 && slices.ContainsFunc(s.names, func(who string) bool { return s.roles.absent[who] })
}

// settle finds out what became of what was not certain, and checks what was; in are those who are in.
func (s *simulation) settle(in []string) {
	if s.roles == nil {
		return
	}
	var kept map[key.Hash]room.Counted
	s.Until("they have the same in the quarantine", func() bool {
		kept = s.quarantine(in[0])
		return !slices.ContainsFunc(in, func(who string) bool { return !sameKeys(kept, s.quarantine(who)) })
	})
	s.exports(in[0], kept)
	for _, f := range s.fates() {
		_, aside := kept[f.entry]
		has := s.has(in[0], f)
		s.Note("fate %s of %s: has %v aside %v unsure %v lost %v", f.entry.Short(), f.by, has, aside, f.unsure, f.lost)
		switch {
		case f.cut && has && !aside:
			s.T.Fatalf("step %d: %s of %s counts, which was not known when he was removed", s.step, f.entry.Short(), f.by)
		case has && !aside:
			f.unsure, f.lost = false, false
		case !f.unsure && !f.lost:
			s.T.Fatalf("step %d: %s of %s does not count (here %v, in the quarantine %v)", s.step, f.entry.Short(), f.by, has, aside)
		case aside:
			s.Count("aside")
			f.unsure = true
		default:
			f.lost = true
		}
		f.gone = slices.DeleteFunc(f.gone, func(n string) bool { return slices.Contains(in, n) })
		for _, who := range f.gone {
			s.Count("secret")
			if s.has(who, f) {
				s.T.Fatalf("step %d: %s was removed before %s wrote %s, and reads it", s.step, who, f.by, f.entry.Short())
			}
		}
	}
	back := s.roles.back
	s.roles.forget()
	s.Note("step %d: %v are in", s.step, in)
	for _, who := range s.names {
		if !slices.Contains(in, who) && !s.roles.out[who] {
			s.goes(who)
		}
		s.roles.out[who] = !slices.Contains(in, who)
		if s.roles.out[who] && back[who] {
			s.roles.back[who] = true
		}
		s.roles.absent[who] = s.roles.out[who] && s.standing(in[0], who).Standing == room.Admitted
		s.roles.asked[who] = s.As(who).Handle().Log().Status().Standing == room.Pending
	}
}

func sameKeys(a, b map[key.Hash]room.Counted) bool {
	return len(a) == len(b) && !slices.ContainsFunc(slices.Collect(maps.Keys(a)), func(id key.Hash) bool { _, ok := b[id]; return !ok })
}

// exports checks that the small files that lie in the quarantine are there, as whoever wrote them did.
func (s *simulation) exports(who string, kept map[key.Hash]room.Counted) {
	for _, m := range s.made {
		e, ok := kept[m.entry]
		if !ok || m.path == "" || len(m.content) > 2<<10 {
			continue
		}
		ops, err := tree.DecodeOps(e.Body, e.ID)
		i := slices.IndexFunc(ops, func(op tree.Op) bool { return op.Content != nil })
		if err != nil || i < 0 {
			s.T.Fatalf("step %d: %s of %s lies in the quarantine and cannot be read: %d operations, %v", s.step, m.entry.Short(), m.by, len(ops), err)
		}
		info := drive.Info{Path: m.path, Kind: drive.KindFile, Content: ops[i].Content, Size: ops[i].Content.Size, Core: e.Core, Seq: e.Seq}
		f, err := s.As(who).Handle().Drive().OpenContent(context.Background(), info)
		if err != nil {
			s.T.Fatalf("step %d: %s of %s lies in the quarantine without its file: %v", s.step, m.entry.Short(), m.by, err)
		}
		got := make([]byte, info.Size)
		if _, err := f.ReadAt(got, 0); err != nil && err != io.EOF || string(got) != m.content {
			s.T.Fatalf("step %d: %s of %s lies in the quarantine with %q: %v", s.step, m.entry.Short(), m.by, got, err)
		}
		f.Close()
		s.Count("exports")
	}
}
