package room_test

import (
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// TestCrossedRemovals: bob, who was removed and does not know it, has removed carol, who had removed dora: so he takes dora for a member and
// hands her the keys that carol made. Alice, who removed him, had handed her own ones to dora. After the logs met nothing that is written
// is readable for either.
func TestCrossedRemovals(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	c := a.invite("carol", room.RoleAdmin, a)
	e := a.invite("eve", room.RoleWriter, a)
	meet(t, a, b)
	d := b.invite("dora", room.RoleWriter, b)
	for range 2 {
		for _, p := range []*peer{b, c, d, e} {
			meet(t, a, p)
		}
	}
	has := func(p *peer, want bool) {
		t.Helper()
		if all, err := p.HasKeysOf(a.Room); err != nil || all != want {
			t.Errorf("%s has all keys under which alice writes: %v, %v", p.name, all, err)
		}
	}
	for _, err := range []error{c.Remove(ctx, d.dev.ID()), b.Remove(ctx, c.dev.ID())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sync(t, c, b)
	sync(t, b, d)
	if err := a.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	sync(t, a, d)
	sync(t, c, a)
	meet(t, a, e)
	meet(t, a, c)
	for _, p := range []*peer{b, d} {
		if m, _ := a.Member(p.dev.ID()); m.Standing != room.Removed {
			t.Fatalf("%s is %v", p.name, m.Standing)
		}
	}
	has(d, true) // else this is a test of nothing
	a.write(key.Drive, "after")
	meet(t, a, e)
	e.write(key.Drive, "also after")
	meet(t, a, e)
	meet(t, a, c)
	c.write(key.Drive, "by carol")
	for range 2 {
		meet(t, a, c)
		meet(t, a, e)
	}
	same(t, a, c, e)
	has(c, true)
	has(e, true)
	for _, p := range []*peer{b, d} {
		has(p, false)
		for range 3 {
			for _, from := range []*peer{a, c, e} {
				sync(t, from, p)
			}
		}
		has(p, false)
		if got := p.set(key.Drive); len(got) > 0 {
			t.Errorf("%s reads %q", p.name, got)
		}
	}
	if got := a.set(key.Drive); !slices.Equal(got, []string{"after", "also after", "by carol"}) {
		t.Errorf("alice has %q", got)
	}
	// It was once: nobody goes on changing keys.
	was := len(a.RelayKeys())
	a.write(key.Drive, "more")
	c.write(key.Drive, "and more")
	meet(t, a, c)
	if n := len(a.RelayKeys()); n != was {
		t.Errorf("%d keys, and then %d", was, n)
	}
}
