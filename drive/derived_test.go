package drive_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

func stateHash(t *testing.T, r *room.Room) (h key.Hash) {
	t.Helper()
	err := r.View(func(tx room.Tx) (err error) {
		h, err = tree.StateHash(tx.Rows("tree"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestDerivedAnew: the tree that this device's own edits have left behind is the one that all entries give when they are applied to
// nothing.
func TestDerivedAnew(t *testing.T) {
	l := lightCreate(t)
	s := rand.New(rand.NewPCG(1, 2))
	name := func() string { return fmt.Sprint("n", s.IntN(6)) }
	for i := range 300 {
		_, err := l.Write(t.Context(), func(b *drive.Batch) error {
			for range 1 + s.IntN(4) {
				at, to := name(), name()
				if s.IntN(2) == 0 {
					at += "/" + name()
				}
				switch s.IntN(6) { // what the state of things forbids does nothing
				case 0, 1:
					_ = b.MkdirAll(at, drive.Attrs{Xattrs: map[string][]byte{"user.i": fmt.Append(nil, i)}})
				case 2:
					_ = b.Symlink(at, fmt.Sprint("target ", i), drive.Attrs{})
				case 3:
					_ = b.Move(at, to)
				case 4:
					_ = b.Remove(at)
				case 5:
					_ = b.Mark(fmt.Sprint("mark ", i))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.Now().List("")
	if err != nil || len(list) < 3 {
		t.Fatalf("a poor history: %v, %v", list, err)
	}
	was := stateHash(t, l.room)
	anew := l.storage.Clone()
	anew.DropDerived()
	r, err := room.Open(anew, l.dev, drive.NewTree())
	if err != nil {
		t.Fatal(err)
	}
	if h := stateHash(t, r); h != was {
		t.Errorf("the state is %s, and made anew %s", was.Short(), h.Short())
	}
}
