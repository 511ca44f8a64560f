package room_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
)

// TestRestoredBackupRecovers restores an old copy: it gets its own blocks back
// before it writes, and goes on in the same core.
func TestRestoredBackupRecovers(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	backup := b.st.Clone()
	b.write(key.Drive, "after the backup")
	meet(t, a, b)
	b.st = backup
	b.reopen()
	meet(t, a, b)
	b.write(key.Drive, "after the restore")
	meet(t, a, b)
	same(t, a, b)
	if got := a.set(key.Drive); len(got) != 2 {
		t.Errorf("set %q", got)
	}
	if s := a.Status(); len(s.Closed) != 0 {
		t.Errorf("%+v", s)
	}
}

// TestRelocatedStorageOpensNewCores copies a data directory: the storage
// notices, and the copy writes in cores of its own at once.
func TestRelocatedStorageOpensNewCores(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	backup := b.st.Clone()
	b.write(key.Drive, "after the backup")
	meet(t, a, b)
	b.st = backup
	b.st.Move()
	b.reopen()
	b.write(key.Drive, "at once")
	if b.st.Relocated() {
		t.Error("still relocated")
	}
	meet(t, a, b)
	same(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"after the backup", "at once"}) {
		t.Errorf("set %q", got)
	}
	if s := a.Status(); len(s.Closed) != 0 {
		t.Errorf("%+v", s)
	}
}

// TestFork lets two copies of a device write: the fork is proven and shown,
// what was there before stays, and the device goes on in a new core.
func TestFork(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "common")
	meet(t, a, b)
	c := a.invite("carol", room.RoleWriter, a)
	meet(t, a, c)
	twin := &peer{t: t, name: "twin", dev: b.dev, st: b.st.Clone()}
	twin.reopen()
	b.write(key.Drive, "one")
	twin.write(key.Drive, "two")
	twin.write(key.Drive, "three")
	meet(t, a, b)
	var saw bool
	for _, ci := range twin.Cores(room.AccessMember) {
		if ci.Kind != key.Drive {
			continue
		}
		tail, err := twin.ReadTail(ci.ID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = a.Receive(ctx, twin.dev.ID(), ci, tail)
		var fork *core.ForkError
		if !errors.Is(err, room.ErrBroken) || !errors.As(err, &fork) {
			t.Fatalf("the fork: %v", err)
		}
		saw = true
	}
	if !saw {
		t.Fatal("no drive core")
	}
	s := a.Status()
	if len(s.Closed) != 1 || !s.Closed[0].Fork || s.Closed[0].Device != b.dev.ID() || len(a.Forks()) != 1 {
		t.Errorf("%+v", s)
	}
	if got := a.set(key.Drive); !slices.Equal(got, []string{"common", "one"}) {
		t.Errorf("set %q", got)
	}
	// the device learns of it and goes on
	for _, ci := range twin.Cores(room.AccessMember) {
		if ci.Kind == key.Drive && ci.Device == b.dev.ID() {
			tail, err := twin.ReadTail(ci.ID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Receive(ctx, twin.dev.ID(), ci, tail); !errors.Is(err, room.ErrBroken) {
				t.Fatalf("the fork: %v", err)
			}
		}
	}
	b.write(key.Drive, "goes on")
	meet(t, a, b)
	a.write(key.Drive, "on top")
	a.st.DropDerived()
	a.reopen()
	if s := a.Status(); len(s.Closed) != 1 || !s.Closed[0].Fork {
		t.Errorf("after a rebuild %+v", s)
	}
	// carol meets both histories, the first one first
	give(t, b, c, b.dev.ID(), key.Control)
	for _, ci := range a.Cores(room.AccessMember) {
		if ci.Kind == key.Drive && ci.Device == b.dev.ID() && ci.Length == 2 {
			tail, err := twin.ReadTail(ci.ID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			tail2, err := a.ReadTail(ci.ID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Receive(ctx, a.dev.ID(), ci, tail2); err != nil {
				t.Fatal(err)
			}
			if err := c.Receive(ctx, a.dev.ID(), ci, tail); !errors.Is(err, room.ErrBroken) {
				t.Fatalf("the fork: %v", err)
			}
		}
	}
	meet(t, a, c)
	for _, p := range []*peer{a, c} {
		if got := p.set(key.Drive); !slices.Equal(got, []string{"common", "goes on", "on top", "one"}) {
			t.Errorf("%s: set %q", p.name, got)
		}
	}
}

func TestUpdateNeeded(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	e := b.evil()
	e.forge(room.Forgery{Kind: key.Drive, Body: []byte("from the future"), Wall: 1})
	sync(t, e, a)
	if s := a.Status(); !s.UpdateNeeded {
		t.Errorf("%+v", s)
	}
	if _, err := a.tryWrite(key.Drive, "x"); !errors.Is(err, room.ErrUpdateNeeded) {
		t.Errorf("write: %v", err)
	}
	a.reopen() // still the old program
	if s := a.Status(); !s.UpdateNeeded {
		t.Errorf("%+v", s)
	}
	r, err := room.Open(a.st, a.dev, &anything{set{kind: key.Drive, version: "2"}}, &set{kind: key.Chat})
	if err != nil {
		t.Fatal(err)
	}
	a.Room = r
	if s := a.Status(); s.UpdateNeeded {
		t.Errorf("%+v", s)
	}
	a.write(key.Drive, "x")
	if got := a.set(key.Drive); !slices.Equal(got, []string{"from the future", "x"}) {
		t.Errorf("set %q", got)
	}
}

// anything is a set that understands everything.
type anything struct{ set }

func (s *anything) Apply(tx room.Tx, add, remove []room.Counted) error {
	for i := range add {
		if string(add[i].Body) == "from the future" {
			if err := tx.Rows(s.table()).Put(add[i].ID[:], add[i].Body); err != nil {
				return err
			}
			continue
		}
		if err := s.set.Apply(tx, add[i:i+1], nil); err != nil {
			return err
		}
	}
	return s.set.Apply(tx, nil, remove)
}

func TestChangedViewIsReplayed(t *testing.T) {
	a := creator(t, "alice")
	a.write(key.Drive, "one")
	a.write(key.Drive, "two")
	v := &set{kind: key.Drive, version: "2"}
	r, err := room.Open(a.st, a.dev, v, &set{kind: key.Chat})
	if err != nil {
		t.Fatal(err)
	}
	a.Room = r
	if got := a.set(key.Drive); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("set %q", got)
	}
}

func TestPayloads(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	rec, err := a.tryWrite(key.Chat, "body", []byte("first"), []byte("second"))
	if err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	got, err := b.Payload(rec.Core, rec.Seq, 2, key.Sum([]byte("second")))
	if err != nil || string(got) != "second" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := b.Payload(rec.Core, rec.Seq, 2, key.Sum([]byte("other"))); !errors.Is(err, room.ErrFormat) {
		t.Errorf("wrong hash: %v", err)
	}
	if _, err := b.Payload(rec.Core, rec.Seq, 3, key.Hash{}); !errors.Is(err, room.ErrNotFound) {
		t.Errorf("no such payload: %v", err)
	}
	// a third device gets the entry without its payloads, then one of them
	c := a.asks("carol", a.link(room.RoleReader))
	meet(t, a, c)
	d := a.asks("dora", a.link(room.RoleReader))
	sync(t, d, a)
	for _, ci := range a.Cores(room.AccessMember) {
		tail, err := a.ReadTail(ci.ID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if ci.Kind == key.Chat {
			for i := 1; i < len(tail.Blocks); i++ {
				tail.Blocks[i] = core.Block{Hash: tail.Blocks[i].Leaf()}
			}
		}
		if err := d.Receive(ctx, a.dev.ID(), ci, tail); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.set(key.Chat); !slices.Equal(got, []string{"body"}) {
		t.Errorf("set %q", got)
	}
	if _, err := d.Payload(rec.Core, rec.Seq, 1, key.Hash{}); !errors.Is(err, room.ErrAbsent) {
		t.Errorf("absent payload: %v", err)
	}
	for range 2 {
		want, err := d.WantPayloads(0)
		if err != nil || len(want) != 1 || want[0] != (room.Want{Core: rec.Core, Seq: rec.Seq, First: rec.Seq + 1, Count: 2}) {
			t.Fatalf("want %+v, %v", want, err)
		}
		if w, err := d.MissingPayloads(rec.Core, rec.Seq); err != nil || w != want[0] {
			t.Fatalf("missing %+v, %v", w, err)
		}
		d.st.DropDerived()
		d.reopen()
	}
	proofs, err := a.ProvePayloads(rec.Core, rec.Seq+1, 1)
	if err != nil || len(proofs) != 1 {
		t.Fatal(proofs, err)
	}
	if err := d.FillPayload(rec.Core, proofs...); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Payload(rec.Core, rec.Seq, 1, key.Hash{}); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
	// and gives the other up for good
	err = d.Update(ctx, func(u *room.Update) error { return u.ClearPayload(rec.Core, rec.Seq, 2) })
	if err != nil {
		t.Fatal(err)
	}
	if want, err := d.WantPayloads(0); err != nil || len(want) != 0 {
		t.Errorf("want %+v, %v", want, err)
	}
}

// give lets to receive all that from has of one core.
func give(t *testing.T, from, to *peer, dev key.DeviceID, kind key.Kind) {
	t.Helper()
	for _, ci := range from.Cores(room.AccessMember) {
		if ci.Kind != kind || ci.Device != dev {
			continue
		}
		tail, err := from.ReadTail(ci.ID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.Receive(ctx, from.dev.ID(), ci, tail); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitingEntries(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleReader, a)
	meet(t, a, b)
	a.write(key.Chat, "question")
	sync(t, a, b)
	if _, err := b.tryWrite(key.Chat, "answer", []byte("text")); err != nil {
		t.Fatal(err)
	}
	give(t, b, c, b.dev.ID(), key.Control)
	give(t, b, c, b.dev.ID(), key.Chat)
	if got := c.set(key.Chat); len(got) != 0 {
		t.Errorf("set %q", got)
	}
	w, err := c.Waiting(key.Chat, 0)
	if err != nil || len(w) != 1 || string(w[0].Body) != "answer" || w[0].Device != b.dev.ID() {
		t.Fatalf("waiting %+v, %v", w, err)
	}
	if got, err := c.Payload(w[0].Core, w[0].Seq, 1, key.Sum([]byte("text"))); err != nil || string(got) != "text" {
		t.Errorf("payload %q, %v", got, err)
	}
	give(t, b, c, a.dev.ID(), key.Chat)
	if got := c.set(key.Chat); !slices.Equal(got, []string{"answer", "question"}) {
		t.Errorf("set %q", got)
	}
	if w, err := c.Waiting(key.Chat, 0); err != nil || len(w) != 0 {
		t.Errorf("waiting %+v, %v", w, err)
	}
}

func TestWatch(t *testing.T) {
	a := creator(t, "alice")
	var sum room.Event
	cancel := a.Watch(func(e room.Event) {
		sum.Heads = append(sum.Heads, e.Heads...)
		sum.Drive = sum.Drive || e.Drive
		sum.Chat = sum.Chat || e.Chat
		if e.Notes != nil {
			sum.Notes = e.Notes
		}
	})
	failed := errors.New("changed my mind")
	err := a.Update(ctx, func(u *room.Update) error {
		_, err := u.Append(key.Drive, room.Draft{Body: []byte("in vain")})
		return errors.Join(err, failed)
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	a.write(key.Drive, "x")
	if n := sum.Notes["set of drive"]; !reflect.DeepEqual(n, []string{"+x"}) {
		t.Errorf("notes %v", n)
	}
	if len(sum.Heads) != 1 || !sum.Drive || sum.Chat {
		t.Errorf("%+v", sum)
	}
	cancel()
	a.write(key.Chat, "x")
	if sum.Chat {
		t.Error("told after cancel")
	}
}

func TestRecoveryKey(t *testing.T) {
	p := &peer{t: t, name: "alice", dev: device(t, "alice"), st: roomtest.NewStorage()}
	r, rec, err := room.Create(p.st, p.dev, "the room", "alice", views()...)
	if err != nil {
		t.Fatal(err)
	}
	p.Room = r
	b := p.invite("bob", room.RoleReader, p)
	meet(t, p, b)
	if err := b.Recover(ctx, key.NewRecovery(), nil, p.dev.ID()); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("other words: %v", err)
	}
	if err := b.Recover(ctx, rec, map[key.DeviceID]room.Role{b.dev.ID(): room.RoleOwner}, p.dev.ID()); err != nil {
		t.Fatal(err)
	}
	if b.Role() != room.RoleOwner {
		t.Errorf("bob is %s", b.Role())
	}
	if err := b.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	meet(t, p, b)
	if s := p.Status(); s.Standing != room.Removed {
		t.Errorf("alice: %+v", s)
	}
	c := b.invite("carol", room.RoleWriter, b)
	c.write(key.Drive, "x")
	meet(t, b, c)
	same(t, b, c)
}

// TestClearedStaysCleared: a block that was cleared for good and that a damaged storage has brought back goes again.
func TestClearedStaysCleared(t *testing.T) {
	a := creator(t, "alice")
	rec, err := a.tryWrite(key.Chat, "body", []byte("secret"), []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	block := func() (b []byte) {
		err := a.View(func(tx room.Tx) error {
			w, err := tx.Core(rec.Core)
			if err != nil {
				return err
			}
			if b, err = w.Block(rec.Seq + 1); errors.Is(err, core.ErrAbsent) {
				return nil
			}
			b = slices.Clone(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	was := block()
	if err := a.Update(ctx, func(u *room.Update) error { return u.ClearPayload(rec.Core, rec.Seq, 1) }); err != nil {
		t.Fatal(err)
	}
	if block() != nil {
		t.Fatal("it was not cleared")
	}
	err = a.st.Update(func(tx room.Tx) error {
		w, err := tx.Core(rec.Core)
		if err != nil {
			return err
		}
		return w.PutBlock(rec.Seq+1, was)
	})
	if err != nil || block() == nil {
		t.Fatal(err, block())
	}
	a.st.DropDerived()
	a.reopen()
	if block() != nil {
		t.Error("the block is back")
	}
	if got, err := a.Payload(rec.Core, rec.Seq, 2, key.Hash{}); err != nil || string(got) != "kept" {
		t.Errorf("%q, %v", got, err)
	}
}
