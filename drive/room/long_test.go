package room_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Histories that do not fit one carrier go on in others, which may come in any
// order: what was built on their ends converges.
func TestLongForksConverge(t *testing.T) {
	t.Cleanup(room.LimitCarriers(6<<10, 3))
	const common, beyond = 40, 30
	long := func(p *peer, what string, n int) {
		for i := range n {
			p.write(key.Drive, fmt.Sprint(what, " ", i, strings.Repeat(" and so on", 80)))
		}
	}
	a := creator(t, "alice")
	var ps []*peer
	for _, name := range []string{"bob", "carol", "dave"} {
		ps = append(ps, a.invite(name, room.RoleWriter, a))
	}
	b, c, d := ps[0], ps[1], ps[2]
	long(b, "common", common)
	for range 2 {
		for _, p := range ps {
			meet(t, a, p)
		}
	}
	twin := b.twin()
	long(b, "one", beyond)
	meet(t, b, c)
	c.write(key.Drive, "on one")
	long(twin, "two", beyond+1)
	meet(t, twin, d)
	d.write(key.Drive, "on two")
	for range 2 {
		encounter(t, c, d)
		encounter(t, a, c)
		encounter(t, a, d)
	}
	e := a.invite("erin", room.RoleWriter, a)
	all := []*peer{a, c, d, e}
	for range 2 {
		for _, p := range all[1:] {
			encounter(t, a, p)
		}
	}
	for _, p := range all {
		got := p.set(key.Drive)
		if s := p.Status(); len(got) != common+beyond+1+2 || !slices.Contains(got, "on one") || !slices.Contains(got, "on two") || s.Waiting != 0 {
			t.Fatalf("%s has %d entries: %+v\n%s", p.name, len(got), s, p.Debug())
		}
	}
	same(t, all...)
	for _, p := range []*peer{c, d} {
		list, err := a.Carriers(p.dev.ID())
		if err != nil || len(list) < 2 {
			t.Fatalf("carriers of %s: %v, %v", p.name, list, err)
		}
		slices.SortFunc(list, func(x, y [2]uint64) int { return int(x[0]) - int(y[0]) })
		for i, x := range list[1:] {
			if x[0] != list[i][1] {
				t.Errorf("carriers of %s: %v", p.name, list)
			}
		}
		if list[0][0] != 0 && list[0][0] != common {
			t.Errorf("carriers of %s: %v", p.name, list)
		}
	}
	for _, p := range all {
		p.st.DropDerived()
		p.reopen()
	}
	same(t, all...)
}
