package room

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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
func (h *history) add(n int, seen []*ctl, recs ...record) *ctl {
	e := &ctl{
		id: key.Sum(fmt.Append(nil, n, h.next[n], len(h.log))), core: coreOf(n), no: uint32(n), dev: devID(n),
		seq: h.next[n], recs: recs, lamport: 1,
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
	h.next[n]++
	h.log = append(h.log, e)
	return e
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

// oracle is the rules again, without a queue or an order that has to be right:
// of everything that is authorised and not yet accepted it takes what has the
// best rank, and looks at everything anew.
type oracle struct {
	log    []*ctl
	grants []*grant
	revs   map[key.DeviceID][]*revocation
	done   map[string]bool
}

func (o *oracle) rankOf(dev key.DeviceID, below rank) rank {
	best := rank("")
	for _, g := range o.grants {
		if g.dev != dev || g.rank > below {
			continue
		}
		r := g.rank
		caps := g.caps
		for _, v := range o.revs[dev] {
			if v.against(g) {
				caps &^= v.mask
			}
		}
		if c := classOf(caps); c > r[0] {
			r = rank([]byte{c}) + r[1:]
		}
		if best == "" || r < best {
			best = r
		}
	}
	return best
}

func (o *oracle) step() bool {
	var best *grant
	var at *ctl
	for _, g := range o.grants {
		for _, e := range o.log {
			if e.dev != g.dev || e != g.at && !e.saw(g.at) || o.done[string(e.id[:])] {
				continue
			}
			need := needed(e.recs[0])
			if g.caps&need != need || slices.ContainsFunc(o.revs[g.dev], func(r *revocation) bool {
				return r.mask&need != 0 && r.against(g) && e.seq >= r.cuts[e.core] && !(r.leave && e.seq <= r.at.seq)
			}) {
				continue
			}
			if best == nil || g.rank < best.rank || g.rank == best.rank && e.seq < at.seq {
				best, at = g, e
			}
		}
	}
	if best == nil {
		return false
	}
	o.done[string(at.id[:])] = true
	o.accept(best, at)
	return true
}

func (o *oracle) accept(g *grant, e *ctl) {
	revoke := func(dev key.DeviceID, mask Caps, cs []cut, leave bool) {
		o.revs[dev] = append(o.revs[dev], &revocation{mask: mask, cuts: cuts(cs), at: e, by: g.dev, rank: g.rank, leave: leave})
	}
	outranked := func(dev key.DeviceID) bool {
		r := o.rankOf(dev, g.rank)
		return dev != g.dev && (r == "" || r > g.rank)
	}
	switch d := e.recs[0].data.(type) {
	case *admit:
		var inv *ctl
		for _, c := range o.log {
			if c.id == d.Invite {
				inv = c
			}
		}
		i := inv.recs[0].data.(*invite)
		r := g.rank.below(classOf(i.Caps), e.gen, e.seq, 0, d.Join)
		o.grants = append(o.grants, &grant{dev: d.Device, caps: i.Caps, at: e, by: e.dev, rank: r, invite: d.Invite, join: d.Join})
	case *remove:
		if outranked(d.Device) {
			revoke(d.Device, ^Caps(0), d.Cut, false)
		}
	case *leave:
		revoke(g.dev, ^Caps(0), d.Cut, true)
	case *role:
		if outranked(d.Device) && d.Caps&^g.caps == 0 && classOf(d.Caps) >= g.rank[0] {
			revoke(d.Device, ^d.Caps, d.Cut, false)
			r := g.rank.below(classOf(d.Caps), e.gen, e.seq, 0, e.id)
			o.grants = append(o.grants, &grant{dev: d.Device, caps: d.Caps, at: e, by: e.dev, rank: r})
		}
	}
}

func naive(log []*ctl) map[key.DeviceID]Caps {
	o := &oracle{log: log, revs: map[key.DeviceID][]*revocation{}, done: map[string]bool{}}
	o.grants = []*grant{{dev: devID(0), caps: RoleOwner.Caps(), at: log[0], rank: rank([]byte{classOwner})}}
	for o.step() {
	}
	out := map[key.DeviceID]Caps{}
	for _, g := range o.grants {
		d := device{grants: []*grant{g}, revs: o.revs[g.dev]}
		out[g.dev] |= d.caps()
	}
	return out
}

// action is one of the things the enumerated members do.
type action struct {
	kind   string
	target int
	role   Role
}

func (a action) String() string { return fmt.Sprintf("%s %d %s", a.kind, a.target, a.role) }

func (a action) record(h *history, seen []*ctl, self int) record {
	c := h.cutAt(seen, a.target)
	switch a.kind {
	case "remove":
		return record{recRemove, &remove{Device: devID(a.target), Cut: c}}
	case "role":
		return record{recRole, &role{Device: devID(a.target), Role: a.role, Caps: a.role.Caps(), Cut: c}}
	}
	return record{recLeave, &leave{}}
}

var full = flag.Bool("full", false, "compare all short histories, not a part")

// TestShortHistories compares evaluate with the oracle on histories of an
// owner, two admins and a writer in which three more things happen, each seen
// or not seen by those after it: a part of the 85,184, or all with -full.
func TestShortHistories(t *testing.T) {
	var acts []action
	for target := range 4 {
		acts = append(acts, action{"remove", target, 0})
	}
	acts = append(acts, action{"role", 1, RoleReader}, action{"role", 2, RoleWriter}, action{"role", 3, RoleAdmin},
		action{"role", 3, RoleOwner}, action{"leave", 0, 0})
	steps, every := 3, 3 // odd: each history has eight ways to see what is before it
	if testing.Short() {
		every = 39
	}
	n, turn := 0, 0
	var walk func(h *history, extra []*ctl, story []string, depth int)
	walk = func(h *history, extra []*ctl, story []string, depth int) {
		if depth == 0 {
			if turn++; turn%every == 0 || *full {
				n++
				compare(t, h.log, story)
			}
			return
		}
		base := h.log[:len(h.log)-len(extra)]
		for author := range 3 {
			for _, a := range acts {
				if a.target == author && a.kind != "leave" {
					continue
				}
				for mask := range 1 << len(extra) {
					seen := slices.Clone(base)
					for i, e := range extra {
						if mask&(1<<i) != 0 {
							seen = append(seen, e)
						}
					}
					h2 := &history{log: slices.Clone(h.log), next: map[int]uint64{}}
					for k, v := range h.next {
						h2.next[k] = v
					}
					e := h2.add(author, seen, a.record(h, seen, author))
					walk(h2, append(slices.Clip(extra), e), append(slices.Clip(story), fmt.Sprintf("%d saw %b: %s", author, mask, a)), depth-1)
					if t.Failed() {
						return
					}
				}
			}
		}
	}
	h := newHistory()
	h.admit(0, 1, RoleAdmin)
	h.admit(0, 2, RoleAdmin)
	h.admit(1, 3, RoleWriter)
	walk(h, nil, nil, steps)
	t.Logf("%d histories", n)
}

func compare(t *testing.T, log []*ctl, story []string) {
	t.Helper()
	want := naive(log)
	shuffled := slices.Clone(log)
	rand.New(rand.NewPCG(1, uint64(len(log)))).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, l := range [][]*ctl{log, shuffled} {
		st := evaluate(key.RoomID{}, l)
		for n := range 4 {
			if got := st.caps(devID(n)); got != want[devID(n)] {
				t.Fatalf("%s:\ndevice %d may %b, the oracle says %b", strings.Join(story, "\n"), n, got, want[devID(n)])
			}
		}
		left := slices.ContainsFunc(story, func(s string) bool { return s[0] == '0' && strings.Contains(s, "leave") })
		if !left && st.caps(devID(0)) != RoleOwner.Caps() {
			t.Fatalf("%s:\nthe creator lost something", strings.Join(story, "\n"))
		}
	}
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
