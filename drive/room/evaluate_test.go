package room

import (
	"flag"
	"fmt"
	"maps"
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
func (h *history) add(n int, seen []*ctl, recs ...record) *ctl { return h.addTo(n, 0, seen, recs...) }

// laterCores is where the numbers of cores of generation 1 begin.
const laterCores = 50

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

// oracle is the rules again, without a queue or an order that has to be right:
// of everything that is authorised and not yet accepted it takes what has the
// best rank, and looks at everything anew.
type oracle struct {
	log     []*ctl
	grants  []*grant
	revs    map[key.DeviceID][]*revocation
	invites map[key.Hash]*grant // what each accepted invite stands on
	revokes []revokeState
	adopted map[key.CoreID][]adoption
	epochs  []*ctl
	done    map[string]bool
}

// length is how much of a core a revocation leaves.
func (o *oracle) length(r *revocation, core key.CoreID) (n uint64) {
	n = r.cuts[core]
	for _, a := range o.adopted[core] {
		if a.rank <= r.rank && a.length > n {
			n = a.length
		}
	}
	return n
}

// void reports whether the invite by which somebody came in was taken back, by its author or somebody above him.
func (o *oracle) void(g *grant) bool {
	inv := o.invites[g.invite]
	return inv != nil && slices.ContainsFunc(o.revokes, func(r revokeState) bool {
		return r.Invite == g.invite && (r.by == inv.dev || r.rank <= inv.rank) && !slices.Contains(r.Keep, g.join)
	})
}

// may is what an entry of a device at a place could do, by what it had seen.
func (o *oracle) may(dev key.DeviceID, core key.CoreID, gen uint32, seq uint64) (all Caps) {
	for _, g := range o.grants {
		if g.dev != dev || gen < g.gen || o.void(g) {
			continue
		}
		caps := g.caps
		for _, r := range o.revs[dev] {
			if r.against(g) && seq >= o.length(r, core) {
				caps &^= r.mask
			}
		}
		all |= caps
	}
	return all
}

func (o *oracle) rankOf(dev key.DeviceID, below rank) rank {
	best := rank("")
	for _, g := range o.grants {
		if g.dev != dev || g.rank > below || o.void(g) {
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
		if o.void(g) {
			continue
		}
		for _, e := range o.log {
			if e.dev != g.dev || e.gen < g.gen || e != g.at && !e.saw(g.at) || o.done[string(e.id[:])] {
				continue
			}
			need := needed(e.recs[0])
			if g.caps&need != need || slices.ContainsFunc(o.revs[g.dev], func(r *revocation) bool {
				return r.mask&need != 0 && r.against(g) && e.seq >= o.length(r, e.core) && !(r.leave && (e.gen < r.at.gen || e.gen == r.at.gen && e.seq <= r.at.seq))
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
	takes := func(dev key.DeviceID, mask Caps, cs []cut, leave bool) {
		o.revs[dev] = append(o.revs[dev], &revocation{mask: mask, cuts: cuts(cs), at: e, by: g.dev, rank: g.rank, leave: leave})
	}
	outranked := func(dev key.DeviceID) bool {
		r := o.rankOf(dev, g.rank)
		return dev != g.dev && (r == "" || r > g.rank)
	}
	switch d := e.recs[0].data.(type) {
	case *invite:
		o.invites[e.id] = g
	case *revoke:
		o.revokes = append(o.revokes, revokeState{d, e, g.dev, g.rank})
	case *adopt:
		o.adopted[d.Core] = append(o.adopted[d.Core], adoption{d.Length, g.rank})
	case *epoch:
		o.epochs = append(o.epochs, e)
	case *admit: // of the same device as the invite: what is enumerated here is
		var inv, j *ctl
		for _, c := range o.log {
			if c.id == d.Invite {
				inv = c
			}
			if c.id == d.Join {
				j = c
			}
		}
		if o.invites[d.Invite] == nil {
			return
		}
		i := inv.recs[0].data.(*invite)
		r := g.rank.below(classOf(i.Caps), e.gen, e.seq, 0, d.Join)
		o.grants = append(o.grants, &grant{dev: d.Device, gen: j.gen, caps: i.Caps, at: e, by: e.dev, rank: r, invite: d.Invite, join: d.Join})
	case *remove:
		if outranked(d.Device) {
			takes(d.Device, ^Caps(0), d.Cut, false)
		}
	case *leave:
		takes(g.dev, ^Caps(0), d.Cut, true)
	case *role:
		if outranked(d.Device) && d.Caps&^g.caps == 0 && classOf(d.Caps) >= g.rank[0] {
			takes(d.Device, ^d.Caps, d.Cut, false)
			r := g.rank.below(classOf(d.Caps), e.gen, e.seq, 0, e.id)
			o.grants = append(o.grants, &grant{dev: d.Device, caps: d.Caps, at: e, by: e.dev, rank: r})
		}
	}
}

func naive(log []*ctl) (*oracle, map[key.DeviceID]Caps) {
	o := &oracle{log: log, revs: map[key.DeviceID][]*revocation{}, invites: map[key.Hash]*grant{}, adopted: map[key.CoreID][]adoption{}, done: map[string]bool{}}
	o.grants = []*grant{{dev: devID(0), caps: RoleOwner.Caps(), at: log[0], rank: rank([]byte{classOwner})}}
	for o.step() {
	}
	out := map[key.DeviceID]Caps{}
	for _, g := range o.grants {
		if d := (device{grants: []*grant{g}, revs: o.revs[g.dev]}); !o.void(g) {
			out[g.dev] |= d.caps()
		}
	}
	return o, out
}

// heads are the epochs that no other one has seen.
func (o *oracle) heads() (out []key.Hash) {
	for _, e := range o.epochs {
		if !slices.ContainsFunc(o.epochs, func(f *ctl) bool { return f.saw(e) }) {
			out = append(out, e.recs[0].data.(*epoch).id())
		}
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
	o, want := naive(log)
	shuffled := slices.Clone(log)
	rand.New(rand.NewPCG(1, uint64(len(log)))).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, l := range [][]*ctl{log, shuffled} {
		st := evaluate(key.RoomID{}, l)
		for n := range 4 {
			if got := st.caps(devID(n)); got != want[devID(n)] {
				t.Fatalf("%s:\ndevice %d may %b, the oracle says %b", strings.Join(story, "\n"), n, got, want[devID(n)])
			}
		}
		if why := o.differs(st, log); why != "" {
			t.Fatalf("%s:\n%s", strings.Join(story, "\n"), why)
		}
		left := slices.ContainsFunc(story, func(s string) bool { return s[0] == '0' && strings.Contains(s, "leave") })
		if !left && st.caps(devID(0)) != RoleOwner.Caps() {
			t.Fatalf("%s:\nthe creator lost something", strings.Join(story, "\n"))
		}
	}
}

// differs compares how far each core counts, and which epochs are newest.
func (o *oracle) differs(st *State, log []*ctl) string {
	var all clock
	ends := map[key.CoreID]*ctl{}
	for _, e := range log {
		all.raise(e.no, e.seq+1)
		if last := ends[e.core]; last == nil || e.seq > last.seq {
			ends[e.core] = e
		}
	}
	for core, last := range ends {
		for seq := range last.seq + 2 {
			if got, want := st.capsAt(last.dev, core, last.gen, seq, all), o.may(last.dev, core, last.gen, seq); got != want {
				return fmt.Sprintf("at %d of its log of generation %d device %d may %b, the oracle says %b", seq, last.gen, last.dev[0]-1, got, want)
			}
		}
	}
	var got []key.Hash
	for _, h := range st.heads {
		got = append(got, h.id)
	}
	want := o.heads()
	if len(want) == 0 { // the genesis' own, which is nobody's record
		want = []key.Hash{st.epochs[0].id}
	}
	byHash := func(a, b key.Hash) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(got, byHash)
	slices.SortFunc(want, byHash)
	if !slices.Equal(got, want) {
		return fmt.Sprintf("the newest epochs are %v, the oracle says %v", got, want)
	}
	return ""
}

// TestShortHistoriesOfMembers does the same with what becomes of those who were let in: invites are taken back, with those who came by them
// or without, members are cut off early, what lies beyond the cut is adopted, they come in again, keys change. The writer has let somebody
// in, too. A part of the 232,064, or all with -full.
func TestShortHistoriesOfMembers(t *testing.T) {
	base := newHistory()
	base.admit(0, 1, RoleAdmin)
	base.admit(0, 2, RoleAdmin)
	third := base.admit(1, 3, RoleWriter)
	base.admit(3, 4, RoleReader)
	came := third.recs[0].data.(*admit)
	acts := map[string]func(h *history, author int, seen []*ctl) []*ctl{}
	add := func(what string, rec func(h *history, seen []*ctl) record) {
		acts[what] = func(h *history, author int, seen []*ctl) []*ctl { return []*ctl{h.add(author, seen, rec(h, seen))} }
	}
	add("cuts off 3 early", func(*history, []*ctl) record {
		return record{recRemove, &remove{Device: devID(3), Cut: []cut{{Core: coreOf(3), Length: 1}}}}
	})
	add("removes 1", func(h *history, seen []*ctl) record {
		return record{recRemove, &remove{Device: devID(1), Cut: h.cutAt(seen, 1)}}
	})
	add("takes 3's invite back", func(*history, []*ctl) record { return record{recRevoke, &revoke{Invite: came.Invite}} })
	add("takes 3's invite back and keeps 3", func(*history, []*ctl) record {
		return record{recRevoke, &revoke{Invite: came.Invite, Keep: []key.Hash{came.Join}}}
	})
	add("adopts 3's log", func(h *history, _ []*ctl) record {
		return record{recAdopt, &adopt{Core: coreOf(3), Length: h.next[3]}}
	})
	add("changes the keys", func(h *history, _ []*ctl) record {
		return record{recEpoch, &epoch{Content: key.Sum(fmt.Append(nil, "content", len(h.log))), Relay: key.Sum(fmt.Append(nil, "relay", len(h.log)))}}
	})
	add("makes 3 a reader", func(h *history, seen []*ctl) record {
		return record{recRole, &role{Device: devID(3), Role: RoleReader, Caps: RoleReader.Caps(), Cut: h.cutAt(seen, 3)}}
	})
	acts["lets 3 in again"] = func(h *history, author int, seen []*ctl) []*ctl {
		if author == 3 || h.next[3+laterCores] > 0 {
			return nil
		}
		return h.again(author, 3, seen, RoleReader)
	}
	every := 43
	if testing.Short() {
		every = 131
	}
	n, turn := 0, 0
	var walk func(h *history, extra [][]*ctl, story []string, depth int)
	walk = func(h *history, extra [][]*ctl, story []string, depth int) {
		if depth == 0 {
			if turn++; turn%every == 0 || *full {
				n++
				compare(t, h.log, story)
			}
			return
		}
		for author := range 4 {
			for _, what := range slices.Sorted(maps.Keys(acts)) {
				for mask := range 1 << len(extra) {
					seen := slices.Clone(base.log)
					for i, es := range extra {
						if mask&(1<<i) != 0 {
							seen = append(seen, es...)
						}
					}
					h2 := &history{log: slices.Clone(h.log), next: maps.Clone(h.next)}
					es := acts[what](h2, author, seen)
					if es == nil {
						continue
					}
					walk(h2, append(slices.Clip(extra), es), append(slices.Clip(story), fmt.Sprintf("%d saw %b: %s", author, mask, what)), depth-1)
					if t.Failed() {
						return
					}
				}
			}
		}
	}
	walk(base, nil, nil, 3)
	t.Logf("%d of %d histories", n, turn)
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
