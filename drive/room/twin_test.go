package room_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Two machines with one key: each says so once it has heard of the other, and they write to different logs. Nobody loses anything.
func TestTwin(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "common")
	meet(t, a, b)
	copied := b.twin()
	copied.restore(copied)
	meet(t, a, copied)
	copied.write(key.Drive, "by the copy")
	copied.write(key.Chat, "the copy speaks")
	if s := copied.Status(); !s.Twin.IsZero() {
		t.Errorf("the copy takes itself for another: %+v", s)
	}
	b.write(key.Drive, "by the original, which does not know yet")
	meet(t, a, copied)
	meet(t, a, b)
	if s := b.Status(); s.Twin.IsZero() || len(s.Closed) != 0 {
		t.Errorf("the original has not noticed: %+v", s)
	}
	meet(t, a, copied)
	if s := copied.Status(); !s.Twin.IsZero() {
		t.Errorf("what may have been written before the copy was made is taken for another's: %+v", s)
	}
	b.write(key.Drive, "by the original")
	meet(t, a, b)
	meet(t, a, copied)
	if s := copied.Status(); s.Twin.IsZero() {
		t.Errorf("the copy has not noticed: %+v", s)
	}
	goOn(t, a, b, copied, 10)
}

// goOn lets two machines with one key write side by side, and checks that it comes to n entries of the drive without a fork.
func goOn(t *testing.T, a, b, copied *peer, n int) {
	t.Helper()
	for i := range 3 {
		b.write(key.Drive, fmt.Sprint("original ", i))
		copied.write(key.Drive, fmt.Sprint("copy ", i))
	}
	for range 2 {
		meet(t, a, b)
		meet(t, a, copied)
	}
	same(t, a, b, copied)
	if got := a.set(key.Drive); len(got) != n {
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

// A copy that is not noticed as one writes to the log that the original has, too. Whoever hears of the other first goes on elsewhere.
func TestTwinThatIsNotNoticed(t *testing.T) {
	for _, kind := range key.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			a := creator(t, "alice")
			b := a.invite("bob", room.RoleWriter, a)
			b.write(key.Drive, "common")
			b.write(key.Chat, "common")
			meet(t, a, b)
			copied := b.twin()
			n := 7
			if kind == key.Control {
				if err := copied.RenameSelf(ctx, "copy"); err != nil {
					t.Fatal(err)
				}
			} else {
				copied.write(kind, "by the copy")
			}
			meet(t, a, copied)
			meet(t, a, b)
			if s := b.Status(); s.Twin.IsZero() {
				t.Errorf("the original has not noticed: %+v", s)
			}
			if kind == key.Control {
				if err := b.RenameSelf(ctx, "original"); err != nil {
					t.Fatal(err)
				}
			} else {
				b.write(kind, "by the original")
			}
			if err := copied.RenameSelf(ctx, "copy again"); err != nil {
				t.Fatal(err)
			}
			if kind == key.Drive {
				n += 2
			} else {
				b.write(key.Drive, "settled")
				meet(t, a, b)
				meet(t, a, copied)
				n++
			}
			meet(t, a, b)
			meet(t, a, copied)
			if s := copied.Status(); s.Twin.IsZero() {
				t.Errorf("the copy has not noticed: %+v", s)
			}
			goOn(t, a, b, copied, n)
		})
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

// Both machines are told that there are two of them, before either has heard what the other wrote: they do not write to the same logs.
// Whoever says so again and again does not make them begin new logs each time.
func TestToldOfATwin(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "common")
	b.write(key.Chat, "common")
	meet(t, a, b)
	copied := b.twin()
	for range 3 {
		for _, p := range []*peer{b, copied} {
			if err := p.NewLogs(); err != nil {
				t.Fatal(err)
			}
			p.write(key.Drive, p.name)
			p.write(key.Chat, p.name)
		}
	}
	for range 2 {
		meet(t, a, b)
		meet(t, a, copied)
	}
	if n := len(a.Forks()); n != 0 {
		t.Errorf("%d forks", n)
	}
	if g := a.gens(b.dev.ID(), key.Drive); len(g) != 3 {
		t.Errorf("generations %d", g)
	}
	for _, p := range []*peer{b, copied} {
		if p.Status().Twin.IsZero() {
			t.Errorf("%s has not noticed", p.name)
		}
	}
	goOn(t, a, b, copied, 13)
}

// Being told of a twin came to nothing because the disk was full. What is written once there is space goes to new logs all the same, though
// nobody says so again.
func TestToldOfATwinOnAFullDisk(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "common")
	meet(t, a, b)
	copied := b.twin()
	b.st.Fill(true)
	for range 2 {
		if err := b.NewLogs(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("on a full disk: %v", err)
		}
	}
	b.st.Fill(false)
	for range 3 {
		b.write(key.Drive, "by the original")
		copied.write(key.Drive, "by the copy, which nobody tells")
	}
	meet(t, a, b)
	meet(t, a, copied)
	if n := len(a.Forks()); n != 0 {
		t.Errorf("%d forks", n)
	}
	if err := b.NewLogs(); err != nil {
		t.Error(err)
	}
	b.write(key.Drive, "and on")
	meet(t, a, b)
	if g := a.gens(b.dev.ID(), key.Drive); len(g) != 2 {
		t.Errorf("generations %d", g)
	}
}
