package room_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
)

var ctx = context.Background()

// set is a View that keeps the set of counting entries in a table, and checks
// that causes come before effects and that only what was added is removed.
type set struct {
	kind    key.Kind
	version string
	noted   []string
}

// Note implements room.Noting: the bodies that came and went.
func (s *set) Note() any {
	if len(s.noted) == 0 {
		return nil
	}
	n := s.noted
	s.noted = nil
	return n
}

func (s *set) Name() string    { return "set of " + s.kind.String() }
func (s *set) Kind() key.Kind  { return s.kind }
func (s *set) Version() string { return s.version }

func (s *set) table() string { return "set" + s.kind.String() }

func (s *set) Reset(tx room.Tx) error {
	rows := tx.Rows(s.table())
	var keys [][]byte
	for k := range rows.Scan(nil, nil) {
		keys = append(keys, slices.Clone(k))
	}
	for _, k := range keys {
		if err := rows.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func (s *set) Apply(tx room.Tx, add, remove []room.Counted) error {
	rows := tx.Rows(s.table())
	for _, c := range remove {
		v, err := rows.Get(c.ID[:])
		if err != nil || v == nil {
			return fmt.Errorf("entry %s is removed and was never added", c.ID.Short())
		}
		if string(v) != string(c.Body) {
			return fmt.Errorf("entry %s is removed with another body", c.ID.Short())
		}
		if err := rows.Delete(c.ID[:]); err != nil {
			return err
		}
		s.noted = append(s.noted, "-"+string(c.Body))
	}
	for _, c := range add {
		if v, _ := rows.Get(c.ID[:]); v != nil {
			return fmt.Errorf("entry %s is added twice", c.ID.Short())
		}
		if string(c.Body) == "from the future" {
			return fmt.Errorf("body: %w", room.ErrUpdateNeeded)
		}
		if err := rows.Put(c.ID[:], c.Body); err != nil {
			return err
		}
		s.noted = append(s.noted, "+"+string(c.Body))
	}
	return nil
}

// peer is one device with one room.
type peer struct {
	t    testing.TB
	name string
	dev  *key.Device
	st   *roomtest.Storage
	*room.Room
}

func device(t testing.TB, name string) *key.Device {
	t.Helper()
	dev, err := key.DeviceFromSeed(key.Secret(key.Sum([]byte(name))))
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func views() []room.View { return []room.View{&set{kind: key.Drive}, &set{kind: key.Chat}} }

func creator(t testing.TB, name string) *peer {
	t.Helper()
	p := &peer{t: t, name: name, dev: device(t, name), st: roomtest.NewStorage()}
	p.st.RerunAll()
	r, _, err := room.Create(p.st, p.dev, "the room", name, views()...)
	if err != nil {
		t.Fatal(err)
	}
	p.Room = r
	return p
}

// invite lets a new device in by a link from p; via answers the request.
func (p *peer) invite(name string, role room.Role, via *peer) *peer {
	p.t.Helper()
	q := p.asks(name, p.link(role))
	sync(p.t, p, via)
	meet(p.t, via, q)
	if s := q.Status(); s.Standing != room.Admitted || s.Role != role {
		p.t.Fatalf("%s joined as %s: %+v", name, role, s)
	}
	return q
}

func (p *peer) link(role room.Role) key.Link {
	p.t.Helper()
	l, err := p.Invite(ctx, room.InviteOptions{Role: role})
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// asks makes a device that joins by a link and has met nobody.
func (p *peer) asks(name string, l key.Link) *peer {
	p.t.Helper()
	q := &peer{t: p.t, name: name, dev: device(p.t, name), st: roomtest.NewStorage()}
	q.st.RerunAll()
	r, err := room.Join(q.st, q.dev, l, name, views()...)
	if err != nil {
		p.t.Fatal(err)
	}
	q.Room = r
	return q
}

// reopen closes nothing and opens the room from the same storage.
func (p *peer) reopen() {
	p.t.Helper()
	r, err := room.Open(p.st, p.dev, views()...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.Room = r
}

func (p *peer) write(kind key.Kind, body string) room.Receipt {
	p.t.Helper()
	rec, err := p.tryWrite(kind, body)
	if err != nil {
		p.t.Fatalf("%s writes %q: %v", p.name, body, err)
	}
	return rec
}

func (p *peer) tryWrite(kind key.Kind, body string, payloads ...[]byte) (rec room.Receipt, err error) {
	err = p.Update(ctx, func(u *room.Update) error {
		rec, err = u.Append(kind, room.Draft{Body: []byte(body), Payloads: payloads})
		return err
	})
	return rec, err
}

// set returns the bodies that count, sorted.
func (p *peer) set(kind key.Kind) []string {
	p.t.Helper()
	var out []string
	err := p.View(func(tx room.Tx) error {
		for _, v := range tx.Rows("set"+kind.String()).Scan(nil, nil) {
			out = append(out, string(v))
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// lengths returns how much a peer has of each core.
func (p *peer) lengths() map[key.CoreID]uint64 {
	out := map[key.CoreID]uint64{}
	for _, c := range p.Cores(room.AccessMember) {
		out[c.ID] = c.Length
	}
	return out
}

// sync gives to everything that from serves it, in windows of max bytes, until
// there is nothing new.
func sync(t testing.TB, from, to *peer) { syncWindows(t, from, to, 0) }

func syncWindows(t testing.TB, from, to *peer, max int) {
	t.Helper()
	for range 100 {
		progress := false
		for _, ci := range from.Cores(from.Access(to.dev.ID())) {
			have := to.lengths()[ci.ID]
			if have >= ci.Head.Length {
				continue
			}
			tail, err := from.ReadTail(ci.ID, have, max)
			if err != nil {
				t.Fatalf("%s reads: %v", from.name, err)
			}
			err = to.Receive(ctx, from.dev.ID(), ci, tail)
			if errors.Is(err, room.ErrDrop) || errors.Is(err, room.ErrBroken) {
				continue
			}
			if err != nil {
				t.Fatalf("%s receives from %s: %v", to.name, from.name, err)
			}
			progress = true
		}
		if !progress {
			return
		}
	}
	t.Fatal("no end to the exchange")
}

// meet exchanges everything in both directions.
func meet(t testing.TB, a, b *peer) {
	t.Helper()
	for range 4 {
		sync(t, a, b)
		sync(t, b, a)
	}
}

// one receives one random window of one random core.
func one(t testing.TB, rnd *rand.Rand, from, to *peer) {
	t.Helper()
	cores := from.Cores(from.Access(to.dev.ID()))
	if len(cores) == 0 {
		return
	}
	ci := cores[rnd.IntN(len(cores))]
	have := to.lengths()[ci.ID]
	if have >= ci.Head.Length {
		return
	}
	tail, err := from.ReadTail(ci.ID, have, 1+rnd.IntN(8000))
	if err != nil {
		t.Fatal(err)
	}
	err = to.Receive(ctx, from.dev.ID(), ci, tail)
	if err != nil && !errors.Is(err, room.ErrDrop) && !errors.Is(err, room.ErrBroken) && !errors.Is(err, core.ErrGap) {
		t.Fatal(err)
	}
}

// same fails unless all peers have the same members and counting entries.
func same(t testing.TB, peers ...*peer) {
	t.Helper()
	a := peers[0]
	for _, b := range peers[1:] {
		for _, kind := range []key.Kind{key.Drive, key.Chat} {
			if x, y := a.set(kind), b.set(kind); !slices.Equal(x, y) {
				t.Fatalf("%s: %s has %q, %s has %q; %+v, %+v\n%s\n%s", kind, a.name, x, b.name, y, a.Status(), b.Status(), a.Debug(), b.Debug())
			}
		}
		x, y := a.Members(), b.Members()
		for i := range x {
			x[i].Self = false
		}
		for i := range y {
			y[i].Self = false
		}
		if !slices.Equal(x, y) {
			for i := range min(len(x), len(y)) {
				if x[i] != y[i] {
					t.Errorf("member: %s has %+v, %s has %+v", a.name, x[i], b.name, y[i])
				}
			}
			t.Fatalf("members: %s has %d, %s has %d\n%s\n%s", a.name, len(x), b.name, len(y), a.Debug(), b.Debug())
		}
		if a.Name() != b.Name() {
			t.Fatalf("%s calls the room %q, %s %q", a.name, a.Name(), b.name, b.Name())
		}
		if x, y := a.RelayKeys()[0], b.RelayKeys()[0]; x != y {
			t.Fatalf("%s and %s have different relay keys", a.name, b.name)
		}
	}
}
