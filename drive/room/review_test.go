package room_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
)

// A block that was cleared while it was on its way does not hold up the others
// that come with it.
func TestFillPayloadsAroundACleared(t *testing.T) {
	a := creator(t, "alice")
	rec, err := a.tryWrite(key.Chat, "body", []byte("first"), []byte("second"), []byte("third"))
	if err != nil {
		t.Fatal(err)
	}
	b := a.asks("bob", a.link(room.RoleReader))
	sync(t, b, a)
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
		if err := b.Receive(ctx, a.dev.ID(), ci, tail); err != nil {
			t.Fatal(err)
		}
	}
	proofs, err := a.ProvePayloads(rec.Core, rec.Seq+1, 3)
	if err != nil || len(proofs) != 3 {
		t.Fatal(proofs, err)
	}
	err = b.Update(ctx, func(u *room.Update) error { return u.ClearPayload(rec.Core, rec.Seq, 1) })
	if err != nil {
		t.Fatal(err)
	}
	if err := b.FillPayload(rec.Core, proofs...); err != nil {
		t.Fatal(err)
	}
	if want, err := b.WantPayloads(0); err != nil || len(want) != 0 {
		t.Errorf("still wants %+v, %v", want, err)
	}
	if _, err := b.Payload(rec.Core, rec.Seq, 1, key.Hash{}); !errors.Is(err, room.ErrAbsent) {
		t.Errorf("the cleared payload: %v", err)
	}
	if got, err := b.Payload(rec.Core, rec.Seq, 3, key.Hash{}); err != nil || string(got) != "third" {
		t.Errorf("%q, %v", got, err)
	}
}

// recoverable makes a room and returns its recovery key as well.
func recoverable(t *testing.T) (*peer, key.Recovery) {
	t.Helper()
	p := &peer{t: t, name: "alice", dev: device(t, "alice"), st: roomtest.NewStorage()}
	r, rec, err := room.Create(p.st, p.dev, "the room", "alice", views()...)
	if err != nil {
		t.Fatal(err)
	}
	p.Room = r
	return p, rec
}

// Whom the recovery key removes reads nothing that is written from then on.
func TestRecoveryRemovalChangesKeys(t *testing.T) {
	for _, by := range []string{"a new owner", "a reader"} {
		t.Run(by, func(t *testing.T) {
			a, rec := recoverable(t)
			b := a.invite("bob", room.RoleReader, a)
			c := a.invite("carol", room.RoleOwner, a)
			meet(t, a, b)
			meet(t, a, c)
			meet(t, a, b)
			grant := map[key.DeviceID]room.Role{b.dev.ID(): room.RoleOwner}
			if by == "a reader" {
				grant = nil
			}
			if err := b.Recover(ctx, rec, grant, a.dev.ID()); err != nil {
				t.Fatal(err)
			}
			meet(t, b, c)
			if grant == nil {
				c.link(room.RoleReader) // who may changes the keys with the next invite
			}
			c.write(key.Drive, "secret")
			sync(t, c, a)
			if got := a.set(key.Drive); len(got) != 0 {
				t.Errorf("the removed device reads %q", got)
			}
			meet(t, b, c)
			if got := b.set(key.Drive); !slices.Equal(got, []string{"secret"}) {
				t.Errorf("bob reads %q", got)
			}
		})
	}
}

func TestRecoverToNoRole(t *testing.T) {
	a, rec := recoverable(t)
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	for _, to := range []room.Role{room.RoleNone, 200} {
		if err := a.Recover(ctx, rec, map[key.DeviceID]room.Role{b.dev.ID(): to}); !errors.Is(err, room.ErrNotAllowed) {
			t.Errorf("role %d: %v", to, err)
		}
	}
	if s := b.Status(); s.Role != room.RoleWriter {
		t.Errorf("%+v", s)
	}
}

// A device that is no member gives a member a role by the recovery key.
func TestRecoveryByAStranger(t *testing.T) {
	a, rec := recoverable(t)
	b := a.invite("bob", room.RoleReader, a)
	meet(t, a, b)
	x := a.asks("xenia", a.link(room.RoleReader))
	for _, ci := range a.Cores(room.AccessMember) { // no member has answered xenia
		tail, err := a.ReadTail(ci.ID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Receive(ctx, a.dev.ID(), ci, tail); err != nil && !errors.Is(err, room.ErrDrop) {
			t.Fatal(err)
		}
	}
	sync(t, a, b)
	if err := x.Recover(ctx, rec, map[key.DeviceID]room.Role{b.dev.ID(): room.RoleOwner}); err != nil {
		t.Fatal(err)
	}
	ci, tail := own(t, x, key.Control)
	if err := b.Receive(ctx, x.dev.ID(), ci, tail); err != nil {
		t.Fatal(err)
	}
	if b.Role() != room.RoleOwner {
		t.Fatalf("bob is %s", b.Role())
	}
	b.write(key.Drive, "as an owner")
	meet(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"as an owner"}) {
		t.Errorf("alice has %q; bob %+v\n%s\n%s", got, b.Status(), a.Debug(), b.Debug())
	}
}

func own(t *testing.T, p *peer, kind key.Kind) (room.CoreInfo, core.Tail) {
	t.Helper()
	for _, ci := range p.Cores(room.AccessMember) {
		if ci.Kind == kind && ci.Device == p.dev.ID() {
			tail, err := p.ReadTail(ci.ID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			return ci, tail
		}
	}
	t.Fatal("no such core")
	return room.CoreInfo{}, core.Tail{}
}

// Nobody can repeat what the recovery key has said once.
func TestRecoveryIsSaidOnce(t *testing.T) {
	a, rec := recoverable(t)
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	if err := a.Recover(ctx, rec, map[key.DeviceID]room.Role{b.dev.ID(): room.RoleOwner}); err != nil {
		t.Fatal(err)
	}
	if err := a.Recover(ctx, rec, map[key.DeviceID]room.Role{b.dev.ID(): room.RoleReader}); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if b.Role() != room.RoleReader {
		t.Fatalf("bob is %s", b.Role())
	}
	e := b.evil()
	e.forgeRecord(a.Recovery())
	sync(t, e, a)
	for _, m := range a.Members() {
		if m.Device == b.dev.ID() && m.Role != room.RoleReader {
			t.Errorf("bob made himself %s", m.Role)
		}
	}
}

// Somebody who writes what no program understands can be removed, and then the
// room goes on.
func TestRemoveWhoNeedsAnUpdate(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleWriter, a)
	meet(t, a, b)
	meet(t, a, c)
	b.write(key.Drive, "good")
	meet(t, a, b)
	meet(t, a, c)
	e := b.evil()
	e.forge(room.Forgery{Kind: key.Drive, Body: []byte("from the future"), Wall: 1})
	sync(t, e, a)
	sync(t, e, c)
	for _, p := range []*peer{a, c} {
		if _, err := p.tryWrite(key.Drive, "x"); !errors.Is(err, room.ErrUpdateNeeded) || !p.Status().UpdateNeeded {
			t.Fatalf("%s: %v, %+v", p.name, err, p.Status())
		}
	}
	if err := a.Rename(ctx, "another name"); err != nil { // has no bearing on it
		t.Fatal(err)
	}
	if _, err := a.tryWrite(key.Drive, "x"); !errors.Is(err, room.ErrUpdateNeeded) {
		t.Fatal(err)
	}
	if err := a.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	a.write(key.Drive, "by alice")
	meet(t, a, c)
	c.write(key.Drive, "by carol")
	meet(t, a, c)
	same(t, a, c)
	if got := c.set(key.Drive); !slices.Equal(got, []string{"by alice", "by carol", "good"}) {
		t.Errorf("set %q", got)
	}
	a.reopen()
	c.reopen()
	if a.Status().UpdateNeeded || c.Status().UpdateNeeded {
		t.Errorf("%+v, %+v", a.Status(), c.Status())
	}
}

// Who may not write cannot show anything by entries that wait for ever.
func TestWaitingOfReaders(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleReader, a)
	c := a.invite("carol", room.RoleWriter, a)
	meet(t, a, b)
	meet(t, a, c)
	for _, p := range []*peer{b, c} {
		e := p.evil()
		e.forge(room.Forgery{Kind: key.Chat, Body: []byte(p.name), Deps: []key.Hash{key.Sum([]byte("no entry"))}})
		sync(t, e, a)
	}
	w, err := a.Waiting(key.Chat, 0)
	if err != nil || len(w) != 1 || string(w[0].Body) != "carol" {
		t.Errorf("waiting %+v, %v", w, err)
	}
	if err := a.Remove(ctx, c.dev.ID()); err != nil {
		t.Fatal(err)
	}
	if w, err := a.Waiting(key.Chat, 0); err != nil || len(w) != 0 {
		t.Errorf("waiting after the removal %+v, %v", w, err)
	}
}
