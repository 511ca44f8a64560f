package room_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// onFullDisk opens the room again on a full disk, where its drive has to say want and nothing can be written.
func (p *peer) onFullDisk(want ...string) {
	p.t.Helper()
	p.st.Fill(true)
	p.reopen()
	if got := p.set(key.Drive); !slices.Equal(got, want) {
		p.t.Errorf("on a full disk there is %q", got)
	}
	if _, err := p.tryWrite(key.Drive, "too much"); !errors.Is(err, syscall.ENOSPC) {
		p.t.Errorf("writing on a full disk: %v", err)
	}
	p.st.Fill(false)
}

func TestOpensOnAFullDisk(t *testing.T) {
	a := creator(t, "alice")
	a.write(key.Drive, "one")
	a.onFullDisk("one")
	a.write(key.Drive, "two")
	a.onFullDisk("one", "two")
}

// Opening had something to write: it is made up for before anything else is written.
func TestMakesUpForAFullDisk(t *testing.T) {
	t.Run("a restored directory", func(t *testing.T) {
		a := creator(t, "alice")
		b := a.invite("bob", room.RoleWriter, a)
		meet(t, a, b)
		backup := b.st.Clone()
		b.write(key.Drive, "after the backup")
		meet(t, a, b)
		b.st = backup
		b.st.Move()
		b.onFullDisk()
		b.write(key.Drive, "in the new log")
		meet(t, a, b)
		same(t, a, b)
		if s := a.Status(); len(s.Closed) != 0 {
			t.Errorf("a log was forked: %+v", s)
		}
		if got := b.set(key.Drive); !slices.Equal(got, []string{"after the backup", "in the new log"}) {
			t.Errorf("there is %q", got)
		}
	})
	t.Run("entries that are not processed", func(t *testing.T) {
		a := creator(t, "alice")
		b := a.invite("bob", room.RoleWriter, a)
		meet(t, a, b)
		a.write(key.Drive, "one")
		a.write(key.Drive, "two")
		for _, ci := range a.Cores(a.Access(b.dev.ID())) {
			if have := b.lengths()[ci.ID]; have < ci.Head.Length {
				tail, err := a.ReadTail(ci.ID, have, 0)
				if err != nil {
					t.Fatal(err)
				}
				b.st.CrashAfter(1)
				if err := b.Receive(ctx, a.dev.ID(), ci, tail); err == nil {
					t.Fatal("it did not crash")
				}
			}
		}
		b.onFullDisk()
		b.write(key.Drive, "three")
		if got := b.set(key.Drive); !slices.Equal(got, []string{"one", "three", "two"}) {
			t.Errorf("there is %q", got)
		}
		meet(t, a, b)
		same(t, a, b)
	})
	t.Run("nothing to read", func(t *testing.T) {
		a := creator(t, "alice")
		a.st.DropDerived()
		a.st.Fill(true)
		if _, err := room.Open(a.st, a.dev, views()...); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("opening a room whose tables have to be made anew: %v", err)
		}
	})
}
