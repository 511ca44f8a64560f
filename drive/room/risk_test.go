package room_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// restore puts a backup in the place of a peer's storage, which notices.
func (p *peer) restore(backup *peer) {
	p.st = backup.st.Clone()
	p.st.Move()
	p.reopen()
}

// gens returns the generations of a device's cores that a peer knows.
func (p *peer) gens(dev key.DeviceID, kind key.Kind) (out []uint32) {
	for _, ci := range p.Cores(room.AccessMember) {
		if ci.Device == dev && ci.Kind == kind {
			out = append(out, ci.Gen)
		}
	}
	return out
}

// A restored backup that gets its own end back goes on in the same logs.
func TestRestoredBackupGoesOn(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleWriter, a)
	b.write(key.Drive, "before")
	b.write(key.Chat, "hello")
	meet(t, a, b)
	backup := b.twin()
	b.write(key.Drive, "after")
	b.write(key.Chat, "lost words")
	if err := b.RenameSelf(ctx, "robert"); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	a.write(key.Drive, "on top")
	meet(t, a, b)
	b.write(key.Drive, "on top of that") // which waits for alice's
	meet(t, a, b)
	meet(t, a, c)

	b.restore(backup)
	if !b.AtRisk() || !b.st.Relocated() || !b.Status().AtRisk {
		t.Fatal("the room does not notice")
	}
	own, err := b.OwnCores()
	if err != nil || len(own) != 3 {
		t.Fatalf("own cores %+v, %v", own, err)
	}
	release := b.HoldWrites()
	wrote := make(chan error, 1)
	go func() {
		_, err := b.tryWrite(key.Drive, "at once")
		wrote <- err
	}()
	// what it wrote comes first, before what that stands on
	for _, kind := range []key.Kind{key.Control, key.Chat, key.Drive} {
		give(t, a, b, b.dev.ID(), kind)
	}
	if err := b.Confirmed(); !errors.Is(err, room.ErrAbsent) {
		t.Fatalf("it goes on without what its entries stand on: %v", err)
	}
	select {
	case err := <-wrote:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	meet(t, a, b)
	if err := b.Confirmed(); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if b.AtRisk() || b.st.Relocated() {
		t.Error("still at risk")
	}
	b.write(key.Chat, "back again")
	meet(t, a, b)
	meet(t, a, c)
	same(t, a, b, c)
	if got := c.set(key.Drive); !slices.Equal(got, []string{"after", "at once", "before", "on top", "on top of that"}) {
		t.Errorf("drive %q", got)
	}
	if got := c.set(key.Chat); !slices.Equal(got, []string{"back again", "hello", "lost words"}) {
		t.Errorf("chat %q", got)
	}
	for _, kind := range key.Kinds {
		if g := c.gens(b.dev.ID(), kind); len(g) != 1 {
			t.Errorf("%s: generations %d", kind, g)
		}
	}
	for _, p := range []*peer{a, b, c} {
		if s := p.Status(); len(s.Closed) != 0 || !s.Twin.IsZero() || s.Quarantined != 0 || s.Waiting != 0 {
			t.Errorf("%s: %+v", p.name, s)
		}
	}
}

// Where nobody can be asked, writing goes on in new logs, and the end of the old ones is taken in later.
func TestRestoredBackupAlone(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	backup := b.twin()
	b.write(key.Drive, "after")
	meet(t, a, b)
	b.restore(backup)
	release := b.HoldWrites()
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := b.RenameSelf(short, "robert"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait: %v", err)
	}
	release()
	b.write(key.Drive, "meanwhile")
	if b.AtRisk() || b.st.Relocated() {
		t.Error("still at risk")
	}
	meet(t, a, b)
	b.write(key.Drive, "later")
	meet(t, a, b)
	same(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"after", "later", "meanwhile"}) {
		t.Errorf("set %q", got)
	}
	if g := a.gens(b.dev.ID(), key.Drive); len(g) != 2 {
		t.Errorf("generations %d", g)
	}
	for _, p := range []*peer{a, b} {
		if s := p.Status(); len(s.Closed) != 0 || !s.Twin.IsZero() {
			t.Errorf("%s: %+v", p.name, s)
		}
	}
}

// A backup from before its device went on in new logs does not write to the old ones.
func TestBackupOfAnEarlierGeneration(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "first")
	meet(t, a, b)
	backup := b.twin()
	b.restore(b.twin())
	b.write(key.Drive, "second") // nobody was asked
	meet(t, a, b)
	b.restore(backup)
	meet(t, a, b)
	if err := b.Confirmed(); err != nil {
		t.Fatal(err)
	}
	b.write(key.Drive, "third")
	meet(t, a, b)
	same(t, a, b)
	if g := a.gens(b.dev.ID(), key.Drive); len(g) != 3 {
		t.Errorf("generations %d", g)
	}
	if s := a.Status(); len(s.Closed) != 0 {
		t.Errorf("%+v", s)
	}
}

// Two machines with one key: the one that hears of the other says so and goes on in logs of its own. Nobody loses anything.
func TestTwin(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "common")
	meet(t, a, b)
	copied := b.twin()
	copied.restore(copied)
	meet(t, a, copied)
	if err := copied.Confirmed(); err != nil {
		t.Fatal(err)
	}
	copied.write(key.Drive, "by the copy")
	copied.write(key.Chat, "the copy speaks")
	if s := copied.Status(); !s.Twin.IsZero() {
		t.Errorf("the copy takes itself for another: %+v", s)
	}
	meet(t, a, copied)
	meet(t, a, b)
	if s := b.Status(); s.Twin.IsZero() || len(s.Closed) != 0 {
		t.Errorf("the original has not noticed: %+v", s)
	}
	b.write(key.Drive, "by the original")
	meet(t, a, b)
	meet(t, a, copied)
	if s := copied.Status(); s.Twin.IsZero() {
		t.Errorf("the copy has not noticed: %+v", s)
	}
	for i := range 3 {
		b.write(key.Drive, "original "+string(rune('0'+i)))
		copied.write(key.Drive, "copy "+string(rune('0'+i)))
	}
	for range 2 {
		meet(t, a, b)
		meet(t, a, copied)
	}
	same(t, a, b, copied)
	if got := a.set(key.Drive); len(got) != 9 {
		t.Errorf("set %q", got)
	}
	if s := a.Status(); len(s.Closed) != 0 || s.Quarantined != 0 || !s.Twin.IsZero() {
		t.Errorf("alice: %+v", s)
	}
	// a rebuild says the same, and takes nothing of its own for another's
	for _, p := range []*peer{b, copied} {
		was := p.Status().Twin
		p.st.DropDerived()
		p.reopen()
		if s := p.Status(); !s.Twin.Equal(was) {
			t.Errorf("%s: %v, was %v", p.name, s.Twin, was)
		}
	}
}

// What a device wrote before it forgot the room is no other machine's work.
func TestForgottenRoomIsNoTwin(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "before")
	meet(t, a, b)
	again := a.asks("bob", a.link(room.RoleWriter)) // the same key, an empty directory
	meet(t, a, again)
	meet(t, a, again)
	again.write(key.Drive, "after")
	meet(t, a, again)
	same(t, a, again)
	if s := again.Status(); !s.Twin.IsZero() || s.Standing != room.Admitted {
		t.Errorf("%+v", s)
	}
}
