package room

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// history builds control logs by hand. Devices are numbered; 0 is the creator.
type history struct {
	log  []*ctl
	next map[int]uint64
}

func devID(n int) key.DeviceID { return key.DeviceID{byte(n + 1)} }
func coreOf(n int) key.CoreID  { return key.CoreID{byte(n + 1)} }

func newHistory() *history {
	h := &history{next: map[int]uint64{}}
	h.add(0, nil, record{recGenesis, &genesis{Device: devID(0), Name: "room", Label: "0"}})
	return h
}

// add appends an entry of device n that has seen the given entries, and what
// they saw, and its own before.
func (h *history) add(n int, seen []*ctl, recs ...record) *ctl { return h.addTo(n, 0, seen, recs...) }

// addTo appends to the device's core of a generation.
func (h *history) addTo(n, gen int, seen []*ctl, recs ...record) *ctl {
	c := n + gen*laterCores
	e := &ctl{
		id: key.Sum(fmt.Append(nil, c, h.next[c], len(h.log))), core: coreOf(c), no: uint32(c), dev: devID(n), gen: uint32(gen),
		seq: h.next[c], recs: recs, lamport: 1,
	}
	for _, o := range h.log {
		if o.dev == e.dev {
			seen = append(seen, o)
		}
	}
	for _, o := range seen {
		e.clock.merge(o.clock)
		e.clock.raise(o.no, o.seq+1)
		e.lamport = max(e.lamport, o.lamport+1)
	}
	h.next[c]++
	h.log = append(h.log, e)
	return e
}

// again lets device n in once more, for its next generation, by somebody who has seen so much.
func (h *history) again(by, n int, seen []*ctl, to Role) []*ctl {
	public := devID(150 + len(h.log))
	inv := h.add(by, seen, record{recInvite, &invite{Public: public, Role: to, Caps: to.Caps()}})
	seen = append(slices.Clip(seen), inv)
	j := h.addTo(n, 1, seen, record{recJoin, &join{Invite: public, Device: devID(n), Gen: 1, Label: fmt.Sprint(n)}})
	return []*ctl{inv, j, h.add(by, append(seen, j), record{recAdmit, &admit{Join: j.id, Invite: inv.id, Device: devID(n)}})}
}

// admit lets device n in by an invite of device by.
func (h *history) admit(by, n int, to Role) *ctl {
	all := slices.Clone(h.log)
	inv := h.add(by, all, record{recInvite, &invite{Public: devID(100 + n), Role: to, Caps: to.Caps()}})
	j := h.add(n, nil, record{recJoin, &join{Invite: devID(100 + n), Device: devID(n), Label: fmt.Sprint(n)}})
	return h.add(by, append(all, inv, j), record{recAdmit, &admit{Join: j.id, Invite: inv.id, Device: devID(n)}})
}

// cutAt is what e's author knows of a device.
func (h *history) cutAt(seen []*ctl, n int) []cut {
	var c clock
	for _, o := range seen {
		c.merge(o.clock)
		c.raise(o.no, o.seq+1)
	}
	return []cut{{Core: coreOf(n), Length: c.at(uint32(n))}}
}

// TestCutsOfAdmitters checks that whom a removed device let in beyond its cut
// is not in, and whom it let in before is.
func TestCutsOfAdmitters(t *testing.T) {
	h := newHistory()
	h.admit(0, 1, RoleAdmin)
	h.admit(1, 2, RoleWriter)
	seen := slices.Clone(h.log)
	h.add(0, seen, record{recRemove, &remove{Device: devID(1), Cut: h.cutAt(seen, 1)}})
	h.admit(1, 3, RoleWriter) // it saw its removal, and goes on
	st := evaluate(key.RoomID{}, h.log)
	if st.caps(devID(2)) != RoleWriter.Caps() || st.caps(devID(3)) != 0 || st.caps(devID(1)) != 0 {
		t.Errorf("%b %b %b", st.caps(devID(1)), st.caps(devID(2)), st.caps(devID(3)))
	}
}

// TestRolesOfWhoAsksAgain checks that what was decided about a member's role stands although he asks to come in once more, let in or not: whoever
// was demoted does not get back what was taken from him, and what he wrote as more than he came in as goes on counting.
func TestRolesOfWhoAsksAgain(t *testing.T) {
	for _, c := range []struct{ came, made Role }{{RoleAdmin, RoleReader}, {RoleReader, RoleWriter}} {
		h := newHistory()
		h.admit(0, 1, c.came)
		all := slices.Clone(h.log)
		h.add(0, all, record{recRole, &role{Device: devID(1), Role: c.made, Caps: c.made.Caps(), Cut: h.cutAt(all, 1)}})
		wrote := h.add(1, slices.Clone(h.log), record{recLabel, &name{Name: "one"}})
		may := func(when string, now Caps) {
			t.Helper()
			var known clock
			known.merge(wrote.clock)
			known.raise(wrote.no, wrote.seq+1)
			st := evaluate(key.RoomID{}, h.log)
			if got := st.capsAt(devID(1), coreOf(9), 0, 0, known); got != c.made.Caps() {
				t.Errorf("%s made %s, %s: could %b when he wrote", c.came, c.made, when, got)
			}
			if got := st.caps(devID(1)); got != now {
				t.Errorf("%s made %s, %s: may %b, not %b", c.came, c.made, when, got, now)
			}
		}
		may("before", c.made.Caps())
		h.add(1, slices.Clone(h.log), record{recJoin, &join{Invite: devID(200), Device: devID(1), Label: "one"}})
		may("who asked again", c.made.Caps())
		all = slices.Clone(h.log)
		h.add(0, all, record{recRemove, &remove{Device: devID(1), Cut: append(h.cutAt(all, 1), cut{Core: coreOf(9), Length: 1})}})
		h.again(0, 1, slices.Clone(h.log), RoleReader)
		may("who came again", RoleReader.Caps())
	}
}

// TestDeepTree checks that the tree of grants has a bottom.
func TestDeepTree(t *testing.T) {
	h := newHistory()
	h.admit(0, 1, RoleOwner)
	var last int
	for n := 2; n < 240; n++ {
		h.admit(n-1, n, RoleOwner)
		last = n
	}
	st := evaluate(key.RoomID{}, h.log)
	if st.caps(devID(last)) != RoleOwner.Caps() {
		t.Error("the last of 240 is not in")
	}
}

// means is the state of a history to whom it came as it was written.
func (p *play) means() *State {
	order := make([]int, len(p.log))
	for i := range order {
		order[i] = i
	}
	log, forks := p.delivered(order)
	return evaluateForked(key.RoomID{}, log, forks)
}

// admins is a room of a creator and two admins, of whom 1 ranks above 2.
func admins() *play {
	p := newPlay()
	p.brings(who{}, who{dev: 1}, RoleAdmin)
	p.brings(who{}, who{dev: 2}, RoleAdmin)
	return p
}

// do appends one of the acts of the scopes.
func (p *play) do(t *testing.T, a act, dev int, seen uint64) {
	t.Helper()
	if !a.do(p, who{dev: dev}, seen) {
		t.Fatalf("%d cannot: %s", dev, a.name)
	}
}

func (p *play) wantCaps(t *testing.T, roles ...Role) {
	t.Helper()
	st := p.means()
	for dev, want := range roles {
		if got := st.caps(devID(dev)); got != want.Caps() {
			t.Errorf("device %d may %b, as %s it may %b", dev, got, want, want.Caps())
		}
	}
}

// A removal of somebody above has no effect. It had one, with its cut, as soon as that one left, or was removed or demoted by those who may.
func TestWhatReachedUpwardStaysVoid(t *testing.T) {
	for _, end := range []struct {
		act  act
		by   int
		role Role
	}{{removes(1), 0, RoleNone}, {makes(1, RoleReader), 0, RoleReader}, {leaving(), 1, RoleNone}} {
		p := admins()
		p.do(t, removes(1), 2, p.all())
		p.do(t, changesKeys(), 1, p.all())
		mine := p.next[who{dev: 1}] - 1
		p.do(t, end.act, end.by, p.all())
		p.wantCaps(t, RoleOwner, end.role, RoleAdmin)
		st, all := p.means(), clock{}
		for no := range uint32(4) {
			all.raise(no, uint64(len(p.log)))
		}
		if end.by == 0 && st.capsAt(devID(1), coreOf(1), 0, mine, all) != RoleAdmin.Caps() {
			t.Errorf("%s: what 1 wrote before does not count", end.act.name)
		}
	}
	p := admins() // of somebody who is known to be below by then it has one
	p.do(t, makes(1, RoleReader), 0, p.all())
	p.do(t, removes(1), 2, p.all())
	p.wantCaps(t, RoleOwner, RoleNone, RoleAdmin)
}

// Who said that he leaves acts no more by a role that he was given meanwhile.
func TestLeavingEndsWhatFollows(t *testing.T) {
	p := admins()
	before := p.all()
	p.do(t, makes(1, RoleOwner), 0, before)
	p.do(t, leaving(), 1, before)
	p.do(t, removes(2), 1, p.all())
	p.wantCaps(t, RoleOwner, RoleNone, RoleAdmin)
}

// Of two statements of the recovery key that did not know of each other the later counts, wherever they stand.
func TestLaterStatementCounts(t *testing.T) {
	owner := []role{{Device: devID(2), Role: RoleOwner, Caps: RoleOwner.Caps()}}
	for _, later := range []int{0, 1} {
		p := admins()
		before := p.all()
		p.recovers(who{dev: 1 - later}, before, statement{Counter: 100, Remove: []remove{{Device: devID(2)}}}, playRecovery)
		p.recovers(who{dev: later}, before, statement{Counter: 101, Role: owner}, playRecovery)
		p.wantCaps(t, RoleOwner, RoleAdmin, RoleOwner)
	}
}

// What the recovery key grants ranks above what the creator grants, also when one more of its statements comes to light. A statement with an
// earlier counter pushed the others down, below whom they had outranked.
func TestStatementsKeepTheirPlace(t *testing.T) {
	p := admins()
	p.do(t, makes(1, RoleOwner), 0, p.all())
	before := p.all()
	p.recovers(who{dev: 2}, before, statement{Counter: 100, Role: []role{{Device: devID(2), Role: RoleOwner, Caps: RoleOwner.Caps()}}}, playRecovery)
	p.do(t, removes(1), 2, p.all())
	p.wantCaps(t, RoleOwner, RoleNone, RoleOwner)
	p.recovers(who{}, before, statement{Counter: 50, Role: []role{{Device: devID(3), Role: RoleReader, Caps: RoleReader.Caps()}}}, playRecovery)
	p.wantCaps(t, RoleOwner, RoleNone, RoleOwner, RoleReader)
}

func BenchmarkEvaluate(b *testing.B) {
	h := newHistory()
	for n := 1; n < 100; n++ {
		h.admit(0, n, RoleWriter)
	}
	b.ReportAllocs()
	for b.Loop() {
		evaluate(key.RoomID{}, h.log)
	}
	b.ReportMetric(float64(len(h.log)), "entries")
}
