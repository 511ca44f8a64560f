package nodetest_test

import (
	"errors"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// roles is what the model knows of members, most of it since the last healing. alice made the room: nobody can remove her.
type roles struct {
	absent  map[string]bool // does not take part, though others take him for a member
	out     map[string]bool // removed, or left; a healing shows who is
	ends    []end
	granted map[string]bool // has been let in, or got another role
	shaky   map[string]bool // what he writes may not count: who let him in may have had no right to
	asked   map[string]bool // wants to come in again, so that he may be given all keys
	back    map[string]bool // has a backup in the place of what he had
	ready   map[string]bool // and nothing is in the way of getting back what he wrote
	whole   bool            // nobody is kept apart from anybody
	backups map[string]backup
	ended   map[string]int // counts what ended his rights, ever
}

// end is something that ended rights of a member.
type end struct {
	by, whom string
	log      key.CoreID // of who did it
	length   uint64     // with it
}

type backup struct {
	dir   string
	ended int // as of roles, if he knew of it all
}

func newRoles() *roles {
	r := &roles{whole: true, backups: make(map[string]backup), ended: make(map[string]int), out: make(map[string]bool), absent: make(map[string]bool)}
	r.forget()
	return r
}

// forget begins anew after a healing, when everybody knows everything.
func (r *roles) forget() {
	r.ends = nil
	r.granted, r.shaky, r.back, r.ready = make(map[string]bool), make(map[string]bool), make(map[string]bool), make(map[string]bool)
	if r.asked == nil {
		r.asked = make(map[string]bool)
	}
}

func (s *simulation) device(name string) key.DeviceID { return s.As(name).Node().Device() }

// standing is how somebody stands as another one knows.
func (s *simulation) standing(at, of string) room.Member {
	m, _ := s.As(at).Handle().Log().Member(s.device(of))
	return m
}

// fates are those of everything that was acknowledged.
func (s *simulation) fates() (all []*fate) {
	for _, m := range s.made {
		all = append(all, &m.fate)
	}
	for _, m := range s.said {
		all = append(all, &m.fate)
	}
	return all
}

// has reports whether an entry is on somebody's machine.
func (s *simulation) has(who string, f *fate) bool {
	_, err := s.As(who).Handle().Log().Entry(f.entry)
	return err == nil
}

// quarantine is that of somebody.
func (s *simulation) quarantine(who string) (all map[key.Hash]room.Counted) {
	list, err := s.As(who).Handle().Log().Quarantine(0)
	if err != nil {
		s.T.Fatalf("step %d: %s: %v", s.step, who, err)
	}
	all = make(map[key.Hash]room.Counted, len(list))
	for _, e := range list {
		all[e.ID] = e
	}
	return all
}

// counts reports whether an entry does, on somebody's machine.
func (s *simulation) counts(who string, f *fate) bool {
	if s.roles == nil {
		return true
	}
	_, kept := s.quarantine(who)[f.entry]
	return !kept && s.has(who, f)
}

// keeps reports whether the author of an entry is to have it.
func (s *simulation) keeps(f *fate) bool {
	return s.roles == nil || !f.lost && (!s.roles.back[f.by] || s.has(f.by, f))
}

// pure reports whether an entry counts, and everything that it stands on.
func (s *simulation) pure(who string, f *fate) bool {
	if s.roles == nil {
		return true
	}
	quarantine := s.quarantine(who)
	if len(quarantine) == 0 {
		return true
	}
	reach, err := s.As(who).Handle().Log().Closure(f.entry)
	if err != nil {
		s.T.Fatalf("step %d: %s has no version %s of %s (unsure %v): %v", s.step, who, f.entry.Short(), f.by, f.unsure, err)
	}
	for _, e := range quarantine {
		if reach.Length(e.Core) > e.Seq {
			return false
		}
	}
	return true
}

// begins is the fate of what somebody is about to write.
func (s *simulation) begins(who string) fate {
	f := fate{by: who}
	if s.roles == nil {
		return f
	}
	f.unsure = s.roles.shaky[who] || slices.ContainsFunc(s.roles.ends, func(e end) bool { return e.whom == who && !s.knows(who, e) })
	log := s.As(who).Handle().Log()
	if st := log.Status(); st.EpochHeads > 1 && st.Role != room.RoleAdmin && st.Role != room.RoleOwner {
		return f // while keys change in two places, those who were removed there may have them together
	}
	for _, other := range s.names {
		if m := s.standing(who, other); m.Standing == room.Removed && !s.roles.asked[other] {
			f.gone = append(f.gone, other)
		}
	}
	return f
}

// knows reports whether somebody knows that rights were ended.
func (s *simulation) knows(who string, e end) bool {
	log := s.As(who).Handle().Log()
	return log.Status().Waiting == 0 && slices.ContainsFunc(log.Cores(room.AccessMember), func(c room.CoreInfo) bool { return c.ID == e.log && c.Length >= e.length })
}

// sure are the entries of somebody that are certain to count.
func (r *roles) sure(all []*fate, by string) (sure []*fate) {
	for _, f := range all {
		if f.by == by && !f.unsure && !f.lost {
			sure = append(sure, f)
		}
	}
	return sure
}

// unseen are the entries of a member that somebody does not have.
func (s *simulation) unseen(who, whom string) (unseen []*fate) {
	for _, f := range s.fates() {
		if f.by == whom && !s.has(who, f) {
			unseen = append(unseen, f)
		}
	}
	return unseen
}

// ends notes that somebody ended rights of a member, of whose entries he had not seen some.
func (s *simulation) ends(who, whom string, unseen []*fate) {
	for _, f := range unseen {
		f.unsure = true
	}
	e := end{by: who, whom: whom}
	for _, c := range s.As(who).Handle().Log().Cores(room.AccessMember) {
		if c.Device == s.device(who) && c.Kind == key.Control && c.Length > 0 {
			e.log, e.length = c.ID, c.Length // the last generation
		}
	}
	for _, old := range s.roles.ends { // what a manager did who is one no more may be void
		if old.by == whom {
			s.pardon(old.whom)
		}
	}
	s.roles.ends = append(s.roles.ends, e)
	s.roles.ended[whom]++
	for _, other := range s.names { // and so may be the grants that he gave
		if s.roles.granted[other] {
			if here, own := s.standing(who, other), s.standing(other, other); here.Standing != room.Admitted || here.Role != own.Role {
				s.shakes(other)
			}
		}
	}
}

// pardon takes back that somebody may read nothing: he may turn out never to have been removed, or be let in again.
func (s *simulation) pardon(name string) {
	for _, f := range s.fates() {
		f.gone = slices.DeleteFunc(f.gone, func(n string) bool { return n == name })
	}
	s.roles.asked[name] = true
}

// disturbs notes that somebody may be apart from others, or somebody's machine may stop.
func (s *simulation) disturbs(apart bool) {
	if s.roles != nil {
		clear(s.roles.ready)
		s.roles.whole = s.roles.whole && !apart
	}
}

// together lets everyone reach everyone.
func (s *simulation) together() {
	s.Together()
	if s.roles != nil {
		s.roles.whole = true
	}
}

// recovered checks that somebody who has a backup in the place of what he had, and writes, knows of what he wrote before.
func (s *simulation) recovered(f *fate) {
	if s.roles == nil || !s.roles.ready[f.by] {
		return
	}
	delete(s.roles.ready, f.by)
	log := s.As(f.by).Handle().Log()
	e, err := log.Entry(f.entry)
	reach, cerr := log.Closure(f.entry)
	if err = errors.Join(err, cerr); err != nil {
		s.T.Fatalf("step %d: %s, who wrote it, has no version %s: %v", s.step, f.by, f.entry.Short(), err)
	}
	for _, old := range s.roles.sure(s.fates(), f.by) {
		if was, err := log.Entry(old.entry); old != f && (err != nil || e.Kind == was.Kind && reach.Length(was.Core) <= was.Seq) {
			s.T.Fatalf("step %d: %s wrote %s before he had got back %s, which he had written: %v", s.step, f.by, f.entry.Short(), old.entry.Short(), err)
		}
	}
	s.Count("recovered")
}

// shakes makes unsure what somebody wrote, and will.
func (s *simulation) shakes(name string) {
	s.roles.shaky[name] = true
	for _, f := range s.fates() {
		if f.by == name {
			f.unsure = true
		}
	}
}

// goes notes that a member is in no more: what he alone has may be lost to the others.
func (s *simulation) goes(whom string) {
	s.roles.out[whom] = true
	s.mayLose(whom)
}

// mayLose notes what none has of those who are in but one.
func (s *simulation) mayLose(but string) (lost []*fate) {
	others := func(has func(string) bool) bool {
		return slices.ContainsFunc(s.names, func(n string) bool { return n != but && !s.roles.out[n] && has(n) })
	}
	for _, f := range s.fates() {
		if !f.lost && !others(func(n string) bool { return s.has(n, f) }) {
			f.lost = true
			lost = append(lost, f)
		}
	}
	for _, m := range s.made {
		if m.path != "" && !m.noBytes && !others(func(n string) bool { return s.has(n, &m.fate) && s.As(n).HoldsAt(m.version, m.path) }) {
			m.noBytes = true
			s.Nowhere(m.content)
		}
	}
	return lost
}
