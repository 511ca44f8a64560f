package room_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// twin returns a copy of a peer, as a restored backup is one.
func (p *peer) twin() *peer {
	p.t.Helper()
	q := &peer{t: p.t, name: p.name + "'s twin", dev: p.dev, st: p.st.Clone()}
	q.reopen()
	return q
}

// suspect gives to the proof of what from has of a core, as peers do whose
// heads differ.
func suspect(t testing.TB, from, to *peer, ci room.CoreInfo, at uint64) {
	t.Helper()
	j, err := from.ReadJoint(ci.ID, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.ReceiveJoint(ctx, from.dev.ID(), ci, j); err != nil && !errors.Is(err, room.ErrDrop) {
		t.Fatalf("%s looks into %s of %s: %v", to.name, ci.Kind, from.name, err)
	}
}

// encounter is meet between peers that may have different histories of a core, and hand them on at once.
func encounter(t testing.TB, a, b *peer) {
	t.Helper()
	for progress := true; progress; {
		converse(t, a, b)
		progress = a.carry()+b.carry() > 0
	}
}

// converse is encounter without handing anything on.
func converse(t testing.TB, a, b *peer) {
	t.Helper()
	for progress := true; progress; {
		progress = false
		for _, x := range []struct{ from, to *peer }{{a, b}, {b, a}} {
			here := map[key.CoreID]room.CoreInfo{}
			for _, ci := range x.to.Cores(room.AccessMember) {
				here[ci.ID] = ci
			}
			for _, ci := range x.from.Cores(x.from.Access(x.to.dev.ID())) {
				have := here[ci.ID]
				if have.Length == ci.Length && have.Head.Root != ci.Head.Root && x.to.Forks()[ci.ID] == nil {
					suspect(t, x.from, x.to, ci, ci.Length)
					progress = true
				}
				if have.Length >= ci.Head.Length {
					continue
				}
				tail, err := x.from.ReadTail(ci.ID, have.Length, 0)
				if err != nil {
					t.Fatal(err)
				}
				err = x.to.Receive(ctx, x.from.dev.ID(), ci, tail)
				switch {
				case err == nil:
					progress = true
				case errors.Is(err, core.ErrJoin):
					suspect(t, x.from, x.to, ci, have.Length)
					suspect(t, x.to, x.from, ci, have.Length)
					progress = true
				case !errors.Is(err, room.ErrDrop) && !errors.Is(err, room.ErrBroken):
					t.Fatalf("%s receives from %s: %v", x.to.name, x.from.name, err)
				}
			}
		}
	}
}

// carry lets a peer hand on what nobody has handed on, and returns how many cores those were.
func (p *peer) carry() int {
	p.t.Helper()
	ids, err := p.Uncarried()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, id := range ids {
		if err := p.Carry(id); err != nil {
			p.t.Fatal(err)
		}
	}
	return len(ids)
}

// forkedRoom returns a room whose member bob has written one history that
// carol has seen and built on, and another one that dave has.
func forkedRoom(t *testing.T, kind key.Kind) (a, b, twin, c, d *peer) {
	a = creator(t, "alice")
	b = a.invite("bob", room.RoleWriter, a)
	c = a.invite("carol", room.RoleWriter, a)
	d = a.invite("dave", room.RoleWriter, a)
	b.write(kind, "common")
	for range 2 {
		for _, p := range []*peer{b, c, d} {
			meet(t, a, p)
		}
	}
	twin = b.twin()
	b.write(kind, "one")
	meet(t, b, c)
	c.write(kind, "on one")
	if _, err := twin.tryWrite(kind, "two", []byte("payload")); err != nil {
		t.Fatal(err)
	}
	twin.write(kind, "three")
	meet(t, twin, d)
	d.write(kind, "on three")
	return a, b, twin, c, d
}

// Peers that met the two histories of a core in opposite orders end with the
// same state: what others wrote counts, whichever they built on, and of the two
// histories one.
func TestForksConverge(t *testing.T) {
	for _, kind := range []key.Kind{key.Drive, key.Chat} {
		a, b, twin, c, d := forkedRoom(t, kind)
		encounter(t, c, d)
		for range 2 {
			encounter(t, a, c)
			encounter(t, a, d)
		}
		encounter(t, c, d)
		want := []string{"common", "on one", "on three", "three", "two"}
		for _, p := range []*peer{a, c, d} {
			if got := p.set(kind); !slices.Equal(got, want) {
				t.Errorf("%s has %q, want %q; %+v\n%s", p.name, got, want, p.Status(), p.Debug())
			}
			s := p.Status()
			if len(s.Closed) != 1 || !s.Closed[0].Fork || s.Closed[0].At != 1 || s.Waiting != 0 || s.Quarantined != 1 {
				t.Errorf("%s: %+v", p.name, s)
			}
		}
		same(t, a, c, d)
		// who comes later, and derived tables that are made anew, have the same
		e := a.invite("erin", room.RoleWriter, a)
		for _, p := range []*peer{a, c, d, e} {
			if p != a {
				encounter(t, a, p)
			}
			p.st.DropDerived()
			p.reopen()
		}
		same(t, a, c, d, e)
		// the device goes on, whichever history it had
		for _, p := range []*peer{b, twin} {
			encounter(t, a, p)
			p.write(kind, "more by "+p.name)
			encounter(t, a, p)
		}
		for _, p := range []*peer{b, c, d, e} {
			encounter(t, a, p)
		}
		same(t, a, b, c, d, e)
		if got := a.set(kind); len(got) != 7 {
			t.Errorf("%q", got)
		}
	}
}

// The history that an admin names counts instead of the longest.
func TestSeal(t *testing.T) {
	a, _, _, c, d := forkedRoom(t, key.Drive)
	encounter(t, c, d)
	encounter(t, a, c)
	encounter(t, a, d)
	q, err := a.Quarantine(0)
	if err != nil || len(q) != 1 || string(q[0].Body) != "one" {
		t.Fatalf("quarantine %+v, %v", q, err)
	}
	before := histories(t, a)
	if len(before) != 2 || before["one"].Counts || !before["three"].Counts || before["one"].Sealed || before["one"].Tip != q[0].ID {
		t.Errorf("before the seal: %+v", before)
	}
	if err := c.Seal(ctx, q[0].ID); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("a writer seals: %v", err)
	}
	if err := a.Seal(ctx, q[0].ID); err != nil {
		t.Fatal(err)
	}
	encounter(t, a, c)
	encounter(t, a, d)
	want := []string{"common", "on one", "on three", "one"}
	for _, p := range []*peer{a, c, d} {
		if got := p.set(key.Drive); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", p.name, got, want)
		}
		p.st.DropDerived()
		p.reopen()
		after := histories(t, p)
		if len(after) != 2 || !after["one"].Counts || after["three"].Counts || !after["three"].Sealed || after["one"].From != 1 || after["three"].Length != 4 {
			t.Errorf("%s has after the seal: %+v", p.name, after)
		}
	}
	same(t, a, c, d)
}

// histories returns the histories of forked cores by the text of their last entry.
func histories(t *testing.T, p *peer) map[string]room.History {
	t.Helper()
	list, err := p.Histories()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]room.History{}
	for _, h := range list {
		e, err := p.Entry(h.Tip)
		if err != nil || h.Device != e.Device || h.Kind != e.Kind {
			t.Fatalf("%+v names %+v: %v", h, e, err)
		}
		out[string(e.Body)] = h
	}
	return out
}

// Payloads of the history that counts are found by the core's own name.
func TestPayloadsOfABranch(t *testing.T) {
	a, _, _, c, d := forkedRoom(t, key.Drive)
	encounter(t, c, d)
	encounter(t, a, c)
	encounter(t, a, d)
	for _, p := range []*peer{c, d} {
		found := false
		for _, ci := range d.Cores(room.AccessMember) {
			if ci.Kind != key.Drive || ci.Length != 4 {
				continue
			}
			for range 2 {
				got, err := p.Payload(ci.ID, 1, 1, key.Sum([]byte("payload")))
				if err == nil && string(got) == "payload" {
					found = true
					break
				}
				want, err := p.MissingPayloads(ci.ID, 1)
				if err != nil || want.Count != 1 {
					t.Fatalf("%s misses %+v, %v", p.name, want, err)
				}
				proofs, err := d.ProvePayloads(want.Core, want.First, want.Count)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.FillPayload(want.Core, proofs...); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !found {
			t.Errorf("%s does not find the payload", p.name)
		}
	}
}

// Members whom either of two control histories let in are members.
func TestForkedControlCore(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	meet(t, a, b)
	twin := b.twin()
	c := b.invite("carol", room.RoleWriter, b)
	d := twin.invite("dave", room.RoleWriter, twin)
	meet(t, b, c)
	meet(t, twin, d)
	c.write(key.Drive, "by carol")
	d.write(key.Drive, "by dave")
	encounter(t, a, c)
	encounter(t, a, d)
	encounter(t, c, d)
	for range 3 {
		encounter(t, a, c)
		encounter(t, a, d)
	}
	for _, p := range []*peer{a, c, d} {
		if got := p.set(key.Drive); !slices.Equal(got, []string{"by carol", "by dave"}) {
			t.Errorf("%s has %q, %+v\n%s", p.name, got, p.Status(), p.Debug())
		}
	}
	same(t, a, c, d)
	// who is removed cannot write another history that ends before the cut
	if err := a.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		encounter(t, a, c)
		encounter(t, a, d)
	}
	same(t, a, c, d)
}

// Histories forked at random, of all kinds of cores, converge whatever the order
// in which they are met.
func TestManyForks(t *testing.T) {
	for seed := range *seeds / 2 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { manyForks(t, rand.New(rand.NewPCG(seed, *series+2000))) })
	}
}

func manyForks(t *testing.T, rnd *rand.Rand) {
	a := creator(t, "alice")
	peers := []*peer{a}
	for i := range 3 {
		peers = append(peers, a.invite(fmt.Sprint("member ", i), []room.Role{room.RoleAdmin, room.RoleWriter}[rnd.IntN(2)], a))
	}
	for range 2 {
		for _, p := range peers[1:] {
			meet(t, a, p)
		}
	}
	for step := range 50 {
		p := peers[rnd.IntN(len(peers))]
		switch n := rnd.IntN(100); {
		case n < 40:
			write(t, rnd, p, fmt.Sprint(p.name, " ", step))
		case n < 46 && len(peers) < 7:
			peers = append(peers, p.twin())
		case n < 50:
			ok(t, p.RenameSelf(ctx, fmt.Sprint("name ", step)))
		case n < 54:
			ok(t, p.SetRole(ctx, peers[rnd.IntN(len(peers))].dev.ID(), room.Role(2+rnd.IntN(2))))
		case n < 55:
			ok(t, p.Remove(ctx, peers[rnd.IntN(len(peers))].dev.ID()))
		case n < 57:
			if q, err := p.Quarantine(0); ok(t, err) && len(q) > 0 {
				ok(t, p.Seal(ctx, q[rnd.IntN(len(q))].ID))
			}
		case n < 59:
			p.st.DropDerived()
			p.reopen()
		default:
			if q := peers[rnd.IntN(len(peers))]; q != p {
				encounter(t, p, q)
			}
		}
	}
	for range 4 {
		for i, p := range peers {
			for _, q := range peers[:i] {
				encounter(t, p, q)
			}
		}
	}
	sameRebuilt(t, a, peers)
}

// A member who signs more histories than are kept must not keep honest members apart.
func TestManyHistories(t *testing.T) {
	const n = 10
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	var all []*peer
	for i := range n {
		all = append(all, a.invite(fmt.Sprintf("p%d", i), room.RoleWriter, a))
	}
	b.write(key.Chat, "common")
	for range 2 {
		for _, p := range append(all, b) {
			meet(t, a, p)
		}
	}
	for i, p := range all {
		tw := b.twin()
		tw.write(key.Chat, fmt.Sprintf("history %d", i))
		give(t, tw, p, b.dev.ID(), key.Chat)
		p.write(key.Chat, fmt.Sprintf("on %d", i))
	}
	for range 3 {
		for i := range all {
			for j := range i {
				encounter(t, all[i], all[j])
			}
		}
	}
	for i, p := range all {
		got := p.set(key.Chat)
		for j := range n {
			if !slices.Contains(got, fmt.Sprintf("on %d", j)) {
				t.Errorf("%s has not what p%d wrote", p.name, j)
			}
		}
		if s := p.Status(); s.Waiting != 0 {
			t.Errorf("p%d: %+v", i, s)
		}
	}
	same(t, all...)
}
