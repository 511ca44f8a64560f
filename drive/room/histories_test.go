package room_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// TestThreeHistories: a log has three histories, which part at different places. Two of them meet first and are handed on.
func TestThreeHistories(t *testing.T) {
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 2, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			a := creator(t, "alice")
			b := a.invite("bob", room.RoleWriter, a)
			var all []*peer
			for _, n := range []string{"p", "q", "r"} {
				all = append(all, a.invite(n, room.RoleWriter, a))
			}
			b.write(key.Drive, "c0")
			for range 2 {
				for _, p := range append(all, b) {
					meet(t, a, p)
				}
			}
			t1 := b.twin()
			b.write(key.Drive, "c1")
			b.write(key.Drive, "c2")
			t2 := b.twin()
			b.write(key.Drive, "a3")
			b.write(key.Drive, "a4")
			t2.write(key.Drive, "b3")
			t1.write(key.Drive, "d1")
			for i, w := range []*peer{b, t2, t1} {
				meet(t, w, all[i])
				all[i].write(key.Drive, "on "+all[i].name)
			}
			x, y, z := all[order[0]], all[order[1]], all[order[2]]
			encounter(t, x, y)
			encounter(t, x, y)
			for range 3 {
				encounter(t, x, z)
				encounter(t, y, z)
				encounter(t, x, y)
				for _, p := range all {
					encounter(t, a, p)
				}
			}
			for _, p := range append(all, a) {
				got := p.set(key.Drive)
				for _, w := range all {
					if !slices.Contains(got, "on "+w.name) {
						t.Errorf("%s has %q, waiting %d", p.name, got, p.Status().Waiting)
						break
					}
				}
			}
			if !t.Failed() {
				same(t, append(all, a)...)
			}
		})
	}
}
