package room_test

import (
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

func TestConcurrentEpochs(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	x := a.invite("xena", room.RoleWriter, a)
	y := a.invite("yuri", room.RoleWriter, a)
	for _, p := range []*peer{b, x, y} {
		meet(t, a, p)
	}
	if err := a.Remove(ctx, x.dev.ID()); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(ctx, y.dev.ID()); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	same(t, a, b)
	if a.Status().EpochHeads != 2 {
		t.Errorf("heads %d", a.Status().EpochHeads)
	}
	a.write(key.Drive, "joint secret")
	meet(t, a, b)
	same(t, a, b)
	for _, p := range []*peer{x, y} {
		sync(t, a, p)
		if s := p.Status(); s.Standing != room.Removed {
			t.Errorf("%s: %+v", p.name, s)
		}
		if slices.Contains(p.set(key.Drive), "joint secret") {
			t.Errorf("%s reads on", p.name)
		}
	}
	// an invite merges the keys; the newcomer reads everything
	c := a.invite("carol", room.RoleWriter, a)
	meet(t, a, c)
	same(t, a, c)
	if a.Status().EpochHeads != 1 {
		t.Errorf("heads %d", a.Status().EpochHeads)
	}
}

// An admin who makes keys and hands nobody what opens stops nobody who may make others.
func TestKeysForNobody(t *testing.T) {
	for _, what := range []string{"nothing", "garbage", "seeders"} {
		a := creator(t, "alice")
		b := a.invite("bob", room.RoleAdmin, a)
		c := a.invite("carol", room.RoleAdmin, a)
		for _, p := range []*peer{b, c} {
			meet(t, a, p)
		}
		a.write(key.Drive, "before")
		meet(t, a, b)
		if err := b.LockOut(ctx, what); err != nil {
			t.Fatal(err)
		}
		b.write(key.Drive, "bob alone reads this")
		for _, p := range []*peer{a, c} {
			meet(t, b, p)
		}
		a.write(key.Drive, "from alice")
		meet(t, a, c)
		c.write(key.Drive, "from carol")
		meet(t, a, c)
		same(t, a, c)
		if got := a.set(key.Drive); !slices.Contains(got, "from carol") || !slices.Contains(got, "before") {
			t.Errorf("alice has %q", got)
		}
	}
}

func TestAdmittedUnderOneEpochOnly(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	x := a.invite("xena", room.RoleWriter, a)
	meet(t, a, b)
	meet(t, a, x)
	l := a.link(room.RoleWriter)
	meet(t, a, b)
	if err := a.Remove(ctx, x.dev.ID()); err != nil {
		t.Fatal(err)
	}
	// bob does not know of the removal, and lets carol in
	c := a.asks("carol", l)
	meet(t, b, c)
	if s := c.Status(); s.Standing != room.Admitted {
		t.Fatalf("carol: %+v", s)
	}
	meet(t, a, b)
	a.write(key.Drive, "after")
	meet(t, a, b)
	meet(t, b, c)
	meet(t, a, c)
	c.write(key.Drive, "from carol")
	meet(t, a, c)
	meet(t, a, b)
	same(t, a, b, c)
	if len(a.set(key.Drive)) != 2 {
		t.Errorf("set %q", a.set(key.Drive))
	}
}

// A removal appends several entries at once, while the state that they stand on changes. They go to one log.
func TestRemovalStaysInOneLog(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	if err := a.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, c := range a.Cores(room.AccessMember) {
		if c.Device == a.dev.ID() && c.Kind == key.Control {
			n++
		}
	}
	if n != 1 {
		t.Errorf("alice has %d control logs", n)
	}
}
