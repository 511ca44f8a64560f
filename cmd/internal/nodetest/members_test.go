package nodetest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

// TestRandomMembers is TestRandom with members who are removed, get other roles, leave and come back, and with backups that are put in the
// place of what a device had. Everybody who is in agrees after each healing, and
//
//   - who is removed reads nothing that somebody wrote who knew it;
//   - what somebody wrote counts if everybody who ended his rights had seen it; it does not if alice, who made the room, removed him and had not;
//     what does not count lies in the quarantine, and can be exported;
//   - a backup has what its device wrote and others have before it writes, and nothing that others have is lost.
//
// What others may have seen is known for certain of what an act itself finds: the model excuses too much rather than too little (fate.unsure,
// fate.lost), until a healing shows what became of it.
func TestRandomMembers(t *testing.T) { liveSeeds(t, liveWithMembers, 3000, 6) }

// liveWithMembers is one random life.
func liveWithMembers(w *nodetest.World) {
	s := &simulation{World: w, names: []string{"alice", "bob", "carol", "dora", "eve"}[:3+w.Rand.IntN(3)], roles: newRoles()}
	s.Room(s.names[0], s.names[1:]...)
	s.Converge() // everybody knows that all are in
	for s.step = range 60 {
		if s.Rand.IntN(4) == 0 {
			s.manage()
		} else {
			s.act()
		}
		s.wait()
		if s.step%20 == 19 {
			s.heal()
		}
	}
	s.end()
}

// manage does something about members, or about somebody's machine.
func (s *simulation) manage() {
	who, whom := s.names[0], s.anybody()
	if s.Rand.IntN(2) == 0 {
		who = s.anybody()
	}
	what, to := s.Rand.IntN(12), []room.Role{room.RoleReader, room.RoleWriter, room.RoleAdmin, room.RoleAdmin}[s.Rand.IntN(4)]
	if s.As(who).Disk().Stopped() || s.As(whom).Disk().Stopped() {
		return
	}
	s.Note("manage %d %s %s %s", what, who, whom, to)
	switch what {
	case 0, 1:
		s.remove(who, whom)
	case 2, 3, 4:
		s.setRole(who, whom, to)
	case 5:
		s.leave(whom)
	case 6, 7, 8:
		s.comeBack(who, whom)
	case 9:
		s.backUp(whom)
	default:
		s.putBack(whom)
	}
	for _, name := range s.names {
		if p := s.As(name); p.Disk().Stopped() {
			p.Crash()
			s.remembers(name)
		}
	}
}

// forbids are the errors that members meet who may not do everything.
func (s *simulation) forbids(who string) []api.Code {
	if s.roles == nil {
		return nil
	}
	switch st := s.As(who).Handle().Log().Status(); {
	case st.Standing == room.Refused:
		return []api.Code{api.RefusedLink}
	case st.Standing != room.Admitted || st.EpochHeads > 1:
		return []api.Code{api.NotAllowed, api.NotAdmitted}
	case st.Role != room.RoleWriter:
		return []api.Code{api.NotAllowed}
	}
	return nil
}

// remove has somebody remove a member.
func (s *simulation) remove(who, whom string) {
	unseen := s.unseen(who, whom)
	err := s.As(who).Handle().Log().Remove(context.Background(), s.device(whom))
	if err != nil {
		s.refused(who, "removing "+whom, err, api.NotAllowed)
	} else {
		s.Count("removals")
	}
	if err == nil || s.As(who).Disk().Stopped() { // then it may have been done all the same
		s.ends(who, whom, unseen)
		s.goes(whom)
	}
	for _, f := range unseen { // nobody can void what she does
		f.cut = f.cut || err == nil && who == s.names[0] && !s.has(who, f)
	}
}

// setRole has somebody give a member another role.
func (s *simulation) setRole(who, whom string, to room.Role) {
	unseen := s.unseen(who, whom)
	err := s.As(who).Handle().Log().SetRole(context.Background(), s.device(whom), to)
	if err != nil {
		s.refused(who, "giving a role to "+whom, err, api.NotAllowed)
	} else {
		s.Count("roles")
	}
	if err == nil || s.As(who).Disk().Stopped() {
		s.roles.granted[whom] = true
		if to != room.RoleReader {
			unseen = nil // of what it takes away nothing was written
		}
		s.ends(who, whom, unseen)
	}
}

// leave has a member leave. Nobody may leave with what he alone has.
func (s *simulation) leave(whom string) {
	p := s.As(whom)
	unseen := s.unseen(whom, whom)
	sure := s.roles.sure(s.fates(), whom)
	was := p.Handle().Log().Status().Standing
	err := p.Node().Leave(context.Background(), p.Handle(), api.LeaveRequest{})
	if err != nil {
		s.refused(whom, "leaving", err, api.NotAllowed, api.NotAdmitted, api.Nobody)
	} else if was == room.Admitted {
		s.Count("leavings")
	}
	if was == room.Admitted && (err == nil || p.Disk().Stopped()) {
		s.ends(whom, whom, unseen)
		s.goes(whom)
	}
	if err != nil {
		return
	}
	for _, f := range sure {
		if !f.lost && !slices.ContainsFunc(s.names, func(other string) bool { return other != whom && s.has(other, f) }) {
			s.T.Fatalf("step %d: %s left, and nobody has %s of his", s.step, whom, f.entry.Short())
		}
	}
}

// comeBack has somebody invite one who is out, who asks to come in.
func (s *simulation) comeBack(who, whom string) {
	wait := time.Duration(s.Rand.Int64N(int64(20 * time.Second)))
	p, q := s.As(who), s.As(whom)
	if st := q.Handle().Log().Status().Standing; st != room.Removed && st != room.Left && st != room.Refused {
		return
	}
	addrs, boot := p.Node().Addrs()
	link, err := p.Handle().Log().Invite(context.Background(), room.InviteOptions{Role: room.RoleWriter, Addrs: addrs, Bootstrap: boot})
	if err != nil {
		s.refused(who, "inviting "+whom, err, api.NotAllowed)
		return
	}
	s.pardon(whom)
	s.roles.granted[whom] = true
	err = q.Ask(link.String(), wait)
	if q.Handle() == nil && (q.Disk().Full() || q.Disk().Stopped()) {
		q.Disk().Free()
		q.Restart()
		return
	}
	if err != nil {
		s.refused(whom, "coming back", err, api.RefusedLink, api.NotAdmitted)
		return
	}
	s.Count("returns")
}

// backUp copies somebody's data directory.
func (s *simulation) backUp(whom string) {
	p, known := s.As(whom), s.roles.ended[whom]
	if s.roles.shaky[whom] || slices.ContainsFunc(s.roles.ends, func(e end) bool { return e.whom == whom && !s.knows(whom, e) }) {
		known = -1
	}
	p.Stop()
	s.roles.backups[whom] = backup{p.Backup(), known}
	p.Start()
	s.Count("backups")
}

// putBack puts somebody's backup in the place of what he has.
func (s *simulation) putBack(whom string) {
	b, ok := s.roles.backups[whom]
	if !ok {
		s.backUp(whom)
		return
	}
	p := s.As(whom)
	lost := s.mayLose(whom)
	p.Stop()
	p.Restore(b.dir).Start()
	s.Count("restores")
	for _, f := range lost {
		f.lost = !s.has(whom, f)
	}
	for _, f := range s.fates() {
		f.cut = f.cut && whom != s.names[0] // who may have forgotten whom she removed
	}
	for _, m := range s.made {
		m.fetched = m.fetched || m.by == whom
	}
	s.roles.back[whom] = true
	s.roles.ready[whom] = s.roles.whole && !p.Disk().Full()
	if b.ended != s.roles.ended[whom] { // he does not know
		s.shakes(whom)
	}
}
