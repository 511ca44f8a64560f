package room_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/core"
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

// whole fails unless the peers agree, and none of them knows of a fork, a second machine or anything that does not count.
func whole(t *testing.T, peers ...*peer) {
	t.Helper()
	same(t, peers...)
	for _, p := range peers {
		if s := p.Status(); len(s.Closed) != 0 || !s.Twin.IsZero() || s.Quarantined != 0 || s.Waiting != 0 || len(p.Forks()) != 0 {
			t.Errorf("%s: %+v, %d forks", p.name, s, len(p.Forks()))
		}
	}
}

// giveTo gives what follows of a device's cores up to n blocks each, as somebody does who has no more or says so.
func giveTo(t *testing.T, from, to *peer, dev key.DeviceID, n uint64) {
	t.Helper()
	for _, ci := range from.Cores(room.AccessMember) {
		if ci.Device != dev || to.lengths()[ci.ID] >= n {
			continue
		}
		tail, err := from.ReadTailTo(ci.ID, to.lengths()[ci.ID], n, 0)
		if err == nil {
			err = to.Receive(ctx, from.dev.ID(), ci, tail)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever a restored backup gets back of what its device wrote, and whatever it is told, it writes to logs that nothing was ever written
// to: nobody can lead it into a fork. The old end counts when it comes.
func TestRestoredBackup(t *testing.T) {
	for _, c := range []struct {
		name string
		back func(t *testing.T, b, holder, liar *peer)
	}{
		{"all of it", func(t *testing.T, b, holder, liar *peer) { meet(t, holder, b) }},
		{"part of it", func(t *testing.T, b, holder, liar *peer) { giveTo(t, holder, b, b.dev.ID(), 2) }},
		{"all of it, without what it stands on", func(t *testing.T, b, holder, liar *peer) {
			giveTo(t, holder, b, b.dev.ID(), core.MaxLength)
		}},
		{"from a liar who says that there is no more", func(t *testing.T, b, holder, liar *peer) { meet(t, liar, b) }},
		{"from nobody", func(t *testing.T, b, holder, liar *peer) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := creator(t, "alice")
			b := a.invite("bob", room.RoleAdmin, a)
			liar := a.invite("mallory", room.RoleWriter, a)
			b.write(key.Drive, "before")
			b.write(key.Chat, "hello")
			meet(t, a, b)
			meet(t, a, liar) // and never again until the end
			backup := b.twin()
			for i := range 3 {
				b.write(key.Drive, fmt.Sprint("after ", i))
				b.write(key.Chat, fmt.Sprint("lost words ", i))
				if err := b.RenameSelf(ctx, fmt.Sprint("robert ", i)); err != nil {
					t.Fatal(err)
				}
				meet(t, a, b)
				a.write(key.Drive, fmt.Sprint("on top ", i))
				meet(t, a, b)
			}
			dave := b.invite("dave", room.RoleWriter, b) // let in by what is lost
			dave.write(key.Chat, "dave was here")
			meet(t, b, dave)
			meet(t, a, b)

			b.restore(backup)
			if !b.Restored() || !b.Status().Restored || b.st.Relocated() {
				t.Fatal("the room does not notice")
			}
			c.back(t, b, a, liar)
			if err := b.Recovered(); err != nil || b.Restored() {
				t.Fatalf("restored %v, %v", b.Restored(), err)
			}
			b.write(key.Drive, "again")
			b.write(key.Chat, "back again")
			if err := b.RenameSelf(ctx, "bob the second"); err != nil {
				t.Fatal(err)
			}
			meet(t, b, liar)
			meet(t, a, b)
			b.write(key.Drive, "and on")
			meet(t, a, b)
			meet(t, a, liar)
			meet(t, a, dave)
			whole(t, a, b, liar, dave)
			if got := a.set(key.Drive); len(got) != 9 || !slices.Contains(got, "after 2") || !slices.Contains(got, "again") {
				t.Errorf("drive %q", got)
			}
			if got := a.set(key.Chat); len(got) != 6 || !slices.Contains(got, "dave was here") || !slices.Contains(got, "back again") {
				t.Errorf("chat %q", got)
			}
			for _, kind := range key.Kinds {
				if g := a.gens(b.dev.ID(), kind); len(g) != 2 {
					t.Errorf("%s: generations %d", kind, g)
				}
			}
			for _, p := range []*peer{a, b} { // a rebuild says the same
				p.st.DropDerived()
				p.reopen()
			}
			whole(t, a, b)
		})
	}
}

// One backup is restored again and again: each time it goes on in logs of its own.
func TestRestoredAgainAndAgain(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "first")
	meet(t, a, b)
	backup := b.twin()
	for i := range 4 {
		b.restore(backup)
		b.write(key.Drive, fmt.Sprint("life ", i))
		if i%2 == 0 {
			meet(t, a, b)
		}
	}
	meet(t, a, b)
	whole(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"first", "life 0", "life 2", "life 3"}) {
		t.Errorf("set %q", got)
	}
}

// A backup from before its device left and was let in again needs a link once more, since the keys have changed; then all that it wrote
// is there, and what it writes counts.
func TestBackupOfAnEarlierMembership(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	b.write(key.Drive, "first")
	meet(t, a, b)
	backup := b.twin()
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	again := func() {
		t.Helper()
		r, err := room.Join(b.st, b.dev, a.link(room.RoleWriter), "bob", views()...)
		if err != nil {
			t.Fatal(err)
		}
		b.Room = r
		meet(t, a, b)
	}
	again()
	b.write(key.Drive, "second")
	meet(t, a, b)
	b.restore(backup)
	meet(t, a, b)
	if s := b.Status(); s.Standing != room.Left {
		t.Errorf("%+v", s)
	}
	again()
	b.write(key.Drive, "third")
	meet(t, a, b)
	whole(t, a, b)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("set %q", got)
	}
}

// A removal cuts both generations: what is within the cut counts, what was lost before the backup and comes after the removal does not, nor
// does what is written after it, and all of it can be adopted.
func TestRemovalCutsBothGenerations(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleWriter, a)
	b.write(key.Drive, "old 0")
	meet(t, a, b)
	meet(t, a, c)
	backup := b.twin()
	b.write(key.Drive, "old 1")
	meet(t, a, b)
	b.write(key.Drive, "old 2")
	meet(t, c, b) // who alone has it
	b.restore(backup)
	b.write(key.Drive, "new 0")
	meet(t, a, b)
	b.write(key.Drive, "new 1") // unaware
	if err := a.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		meet(t, a, c)
		meet(t, b, c)
	}
	same(t, a, c)
	if got := a.set(key.Drive); !slices.Equal(got, []string{"new 0", "old 0", "old 1"}) {
		t.Errorf("set %q", got)
	}
	list, err := a.Quarantine(0)
	if err != nil || len(list) != 2 {
		t.Fatalf("quarantine %+v, %v", list, err)
	}
	for _, e := range list {
		if err := a.Adopt(ctx, e.Core, e.Seq+1); err != nil {
			t.Fatal(err)
		}
	}
	meet(t, a, c)
	same(t, a, c)
	if got := c.set(key.Drive); len(got) != 5 {
		t.Errorf("set %q", got)
	}
}

// The end that a backup lacks says that its device has left: what it writes without knowing does not count, and it learns of it.
func TestRestoredAfterItLeft(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	b.write(key.Drive, "before")
	meet(t, a, b)
	backup := b.twin()
	b.write(key.Drive, "last")
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	b.restore(backup)
	b.write(key.Drive, "a ghost")
	b.link(room.RoleWriter)
	meet(t, a, b)
	if s := b.Status(); s.Standing != room.Left || s.Quarantined == 0 {
		t.Errorf("%+v", s)
	}
	if got := a.set(key.Drive); !slices.Equal(got, []string{"before", "last"}) {
		t.Errorf("set %q", got)
	}
	if inv := a.Invites(); len(inv) != 1 {
		t.Errorf("invites %+v", inv)
	}
}

// A device whose backup was put back may go on in a generation before one that it had, since the backup does not know of that. What it did
// there it did before all the same: that it leaves takes nothing of it back.
func TestLeavesInAnEarlierGeneration(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	c := a.invite("carol", room.RoleWriter, a)
	meet(t, a, b)
	meet(t, a, c)
	backup := b.twin()
	for range 20 { // the generations of each are above those of the one before, by chance
		b.restore(b.twin())
	}
	if err := b.Remove(ctx, c.dev.ID()); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	b.restore(backup)
	meet(t, a, b)
	if err := b.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if g := b.gens(b.dev.ID(), key.Control); len(g) != 3 || g[1] < g[2] {
		t.Fatalf("generations %d", g)
	}
	for _, p := range []*peer{a, b} {
		if m, _ := p.Member(c.dev.ID()); m.Standing != room.Removed {
			t.Errorf("%s takes carol for %+v", p.name, m)
		}
	}
}

// While writing is held back, whoever writes waits, or goes when his time is up, and nobody is let in; then all go on.
func TestHoldWrites(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	l := a.link(room.RoleWriter)
	meet(t, a, b)
	b.restore(b.twin())
	release := b.HoldWrites()
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := b.RenameSelf(short, "robert"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait: %v", err)
	}
	wrote := make(chan error)
	for i := range 3 {
		go func() {
			_, err := b.tryWrite(key.Drive, fmt.Sprint("at once ", i))
			wrote <- err
		}()
	}
	c := a.asks("carol", l)
	meet(t, b, c)
	if s := c.Status(); s.Standing != room.Pending {
		t.Errorf("carol: %+v", s)
	}
	select {
	case err := <-wrote:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	release()
	release()
	for range 3 {
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Recovered(); err != nil {
		t.Fatal(err)
	}
	meet(t, b, c)
	if s := c.Status(); s.Standing != room.Admitted {
		t.Errorf("carol: %+v", s)
	}
	meet(t, a, b)
	meet(t, a, c)
	whole(t, a, b, c)
	if got := a.set(key.Drive); len(got) != 3 {
		t.Errorf("set %q", got)
	}
}

// The machine dies between the transaction that begins new logs and the note that this was done: it is done again.
func TestRestoredAndDied(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	backup := b.twin()
	b.write(key.Drive, "lost")
	meet(t, a, b)
	b.restore(backup)
	b.st.Move() // as if it had not been noted
	b.reopen()
	if !b.Restored() {
		t.Error("it forgot that members are to be asked")
	}
	b.write(key.Drive, "again")
	meet(t, a, b)
	whole(t, a, b)
	if g := a.gens(b.dev.ID(), key.Drive); len(g) != 2 {
		t.Errorf("generations %d", g)
	}
}
