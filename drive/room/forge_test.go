package room_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// evil returns a copy of a peer that is about to misbehave.
func (p *peer) evil() *peer {
	p.t.Helper()
	q := &peer{t: p.t, name: "evil " + p.name, dev: p.dev, st: p.st.Clone()}
	q.reopen()
	return q
}

func (p *peer) forge(f room.Forgery) {
	p.t.Helper()
	if _, err := p.Forge(f); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) forgeRecord(typ uint16, data any) {
	p.t.Helper()
	p.forge(room.Forgery{Kind: key.Control, Types: []uint16{typ}, Recs: []any{data}})
}

// TestForgedEntriesDoNotCount gives forged entries, signed by a member, to an
// honest peer: none counts, and what honest entries say is not disturbed.
func TestForgedEntriesDoNotCount(t *testing.T) {
	absent := key.Sum([]byte("no entry"))
	for name, f := range map[string]room.Forgery{
		"lamport too high":    {Lamport: func(n uint64) uint64 { return n + 1 }},
		"lamport too low":     {Lamport: func(n uint64) uint64 { return n - 1 }},
		"lamport over limit":  {Lamport: func(uint64) uint64 { return room.MaxLamport + 1 }},
		"lamport zero":        {Lamport: func(uint64) uint64 { return 0 }},
		"wall negative":       {Wall: -1},
		"wall wild":           {Wall: 1<<63 - 1},
		"other history":       {Prev: key.Hash{1}},
		"unknown dependency":  {Deps: []key.Hash{absent}},
		"unknown control":     {Control: []key.Hash{absent}},
		"too many deps":       {Deps: make([]key.Hash, room.MaxDeps+1)},
		"too many payloads":   {Payloads: room.MaxPayloads + 1},
		"key of nobody":       {Relay: key.Secret{7}},
		"mangled header":      {Mangle: func(b []byte) []byte { b[60] ^= 1; return b }},
		"mangled body":        {Mangle: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		"a payload":           {Mangle: func(b []byte) []byte { b[1] = 2; return b }},
		"other version":       {Mangle: func(b []byte) []byte { b[0] = 0; return b }},
		"newer version":       {Mangle: func(b []byte) []byte { b[0] = 2; return b }},
		"other epoch claimed": {Mangle: func(b []byte) []byte { b[2] ^= 1; return b }},
		"short":               {Mangle: func(b []byte) []byte { return b[:20] }},
	} {
		t.Run(name, func(t *testing.T) {
			a := creator(t, "alice")
			b := a.invite("bob", room.RoleWriter, a)
			b.write(key.Drive, "honest")
			meet(t, a, b)
			e := b.evil()
			f.Kind, f.Body = key.Drive, []byte("forged")
			if f.Wall == 0 {
				f.Wall = 1
			}
			e.forge(f)
			sync(t, e, a)
			sync(t, e, a)
			if got := a.set(key.Drive); !slices.Equal(got, []string{"honest"}) {
				t.Errorf("set %q", got)
			}
			a.write(key.Drive, "goes on")
			a.st.DropDerived()
			a.reopen()
			if got := a.set(key.Drive); !slices.Equal(got, []string{"goes on", "honest"}) {
				t.Errorf("set %q after a rebuild", got)
			}
		})
	}
}

func TestReadersEntryDoesNotCount(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleReader, a)
	meet(t, a, b)
	e := b.evil()
	e.forge(room.Forgery{Kind: key.Drive, Body: []byte("forged"), Wall: 1})
	sync(t, e, a)
	if got := a.set(key.Drive); len(got) != 0 {
		t.Errorf("set %q", got)
	}
	if a.Status().Quarantined != 1 {
		t.Errorf("status %+v", a.Status())
	}
	rec := a.write(key.Drive, "x")
	if rec.Seq != 0 {
		t.Errorf("%+v", rec)
	}
}

func TestForgedControlRecords(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleReader, a)
	for _, p := range []*peer{b, c} {
		meet(t, a, p)
	}
	before := a.Members()
	e := c.evil()
	e.forgeRecord(room.RecRole(c.dev.ID(), room.RoleOwner))
	sync(t, e, a)
	e = b.evil()
	e.forgeRecord(room.RecRemove(a.dev.ID()))
	sync(t, e, a)
	if got := a.Members(); !slices.Equal(got, before) {
		t.Errorf("members %+v", got)
	}
	if a.Role() != room.RoleOwner || a.Status().UpdateNeeded {
		t.Errorf("%s %+v", a.Role(), a.Status())
	}
	meet(t, a, b)
	same(t, a, b)
}

func TestUnknownRecords(t *testing.T) {
	for _, critical := range []bool{false, true} {
		for _, role := range []room.Role{room.RoleWriter, room.RoleAdmin} {
			a := creator(t, "alice")
			b := a.invite("bob", role, a)
			meet(t, a, b)
			e := b.evil()
			e.forgeRecord(room.RecUnknown(critical))
			sync(t, e, a)
			_, err := a.tryWrite(key.Drive, "x")
			if want := critical && role == room.RoleAdmin; want != errors.Is(err, room.ErrUpdateNeeded) || want != (err != nil) {
				t.Errorf("critical %v by %s: %v", critical, role, err)
			}
		}
	}
}

// TestJoinWithoutInvite checks that a request that no invite signed closes the
// core it stands in and lets nobody in.
func TestJoinWithoutInvite(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	e := b.evil()
	ci, err := e.Forge(room.Forgery{Kind: key.Control, Types: []uint16{3}, Recs: []any{second(room.RecJoin(b.dev.ID(), b.dev.BoxPublic(), 0))}})
	if err != nil {
		t.Fatal(err)
	}
	sync(t, e, a)
	s := a.Status()
	if len(s.Closed) != 1 || s.Closed[0].Core != ci.ID || s.Closed[0].At != ci.Length-1 {
		t.Errorf("status %+v", s)
	}
}

func second(_ uint16, data any) any { return data }

func TestForeignCoresAreDropped(t *testing.T) {
	a := creator(t, "alice")
	x := creator(t, "xena") // another room
	x.write(key.Drive, "x")
	for _, ci := range x.Cores(room.AccessMember) {
		tail, err := x.ReadTail(ci.ID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Receive(ctx, x.dev.ID(), ci, tail); !errors.Is(err, room.ErrDrop) {
			t.Errorf("%s of another room: %v", ci.Kind, err)
		}
		ci.ID = key.CoreIDOf(a.ID(), ci.Device, ci.Kind, ci.Gen)
		if err := a.Receive(ctx, x.dev.ID(), ci, tail); err == nil {
			t.Errorf("%s with another id was taken", ci.Kind)
		}
	}
	if n := len(a.lengths()); n != 1 {
		t.Errorf("%d cores", n)
	}
}
