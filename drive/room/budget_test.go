package room_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// weighing is a set that knows how much it was given at once.
type weighing struct {
	set
	most int // bytes of bodies
}

func (s *weighing) Apply(tx room.Tx, add, remove []room.Counted) error {
	n := 0
	for _, list := range [][]room.Counted{add, remove} {
		for _, c := range list {
			n += len(c.Body)
		}
	}
	s.most = max(s.most, n)
	return s.set.Apply(tx, add, remove)
}

// TestTransactionsAreBoundedByBytes: what lies behind an entry that comes late is processed, and what a demotion undoes is counted anew,
// in transactions that end when the bodies of their entries reach a limit.
func TestTransactionsAreBoundedByBytes(t *testing.T) {
	const entries, body, limit = 20, 100, 250
	defer room.LimitBytes(limit)()
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleAdmin, a)
	meet(t, a, b)
	v := &weighing{set: set{kind: key.Drive}}
	r, err := room.Open(a.st, a.dev, v, &set{kind: key.Chat})
	if err != nil {
		t.Fatal(err)
	}
	a.Room = r

	c.write(key.Drive, "held back")
	meet(t, b, c)
	for i := range entries {
		b.write(key.Drive, fmt.Sprint(i, strings.Repeat("x", body))[:body])
	}
	for _, ci := range b.Cores(room.AccessMember) {
		if have := a.lengths()[ci.ID]; ci.Device != c.dev.ID() && have < ci.Head.Length {
			tail, err := b.ReadTail(ci.ID, have, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Receive(ctx, b.dev.ID(), ci, tail); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := a.set(key.Drive); len(got) != 0 {
		t.Fatalf("%d entries count before the one that they follow", len(got))
	}
	sync(t, c, a)
	if got := a.set(key.Drive); len(got) != entries+1 || v.most < body || v.most >= limit+body {
		t.Errorf("%d of %d entries count, in transactions of up to %d bytes", len(got), entries+1, v.most)
	}
	same(t, a, b)

	// Alice has what Bob wrote unaware before she learns that Carol had made him a reader.
	meet(t, a, c)
	if err := c.SetRole(ctx, b.dev.ID(), room.RoleReader); err != nil {
		t.Fatal(err)
	}
	for i := range entries {
		b.write(key.Drive, fmt.Sprint("unaware ", i, strings.Repeat("x", body))[:body])
	}
	sync(t, b, a)
	if got := a.set(key.Drive); len(got) != 2*entries+1 {
		t.Fatalf("%d of %d entries count before the demotion comes", len(got), 2*entries+1)
	}
	v.most = 0
	sync(t, c, a)
	if got := a.set(key.Drive); len(got) != entries+1 || v.most < body || v.most >= limit+body {
		t.Errorf("%d of %d entries count after the demotion, in transactions of up to %d bytes", len(got), entries+1, v.most)
	}
	meet(t, a, b)
	same(t, a, b)
}
