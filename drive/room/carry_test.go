package room_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Many members find out about a fork at once. Few hand its histories on, one of them what all histories have in common, and everybody comes
// to have what was built on either; also when those whose turn it is first do nothing, or are not there.
func TestFewCarry(t *testing.T) {
	for _, silent := range []int{0, 3} {
		t.Run(fmt.Sprint(silent, " silent"), func(t *testing.T) { fewCarry(t, 8, silent) })
	}
}

func fewCarry(t *testing.T, n, silent int) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	all := []*peer{a}
	for i := range n {
		all = append(all, a.invite(fmt.Sprint("member ", i), []room.Role{room.RoleReader, room.RoleWriter}[i%2], a))
	}
	for i := range 8 {
		b.write(key.Drive, fmt.Sprint("common ", i, strings.Repeat(" and so on", 50)))
	}
	for _, p := range append(all[1:], b) {
		meet(t, a, p)
	}
	meet(t, a, b)
	for _, p := range all[1:] {
		sync(t, b, p)
		sync(t, a, p)
	}
	twin := b.twin()
	b.write(key.Drive, "one")
	twin.write(key.Drive, "two")
	twin.write(key.Drive, "three")
	for i, p := range all {
		give(t, []*peer{b, twin}[i/2%2], p, b.dev.ID(), key.Drive)
	}
	all[2].write(key.Drive, "by member 1") // a writer who has one history
	all[4].write(key.Drive, "by member 3") // and one who has the other

	var online []key.DeviceID
	for _, p := range all {
		online = append(online, p.dev.ID())
	}
	var core key.CoreID
	found := map[*peer]int{} // when
	turn := func(now int) {
		for _, p := range all {
			ids, err := p.Uncarried()
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				core = id
				if _, ok := found[p]; !ok {
					found[p] = now
				}
				place := p.CarryPlace(id, online)
				if place > now-found[p] || place < silent && p != a { // who finds out does so through alice: she and one other may be all
					continue
				}
				if err := p.Carry(id); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for now := range 2*n + 4 { // between two moments everybody hears through alice what there is
		for _, p := range slices.Concat(all[1:], all[1:]) {
			converse(t, a, p)
		}
		turn(now)
	}
	places := map[int]bool{}
	carriers, whole := 0, 0
	for _, p := range all {
		places[p.CarryPlace(core, online)] = true
		list, err := a.Carriers(p.dev.ID())
		if err != nil {
			t.Fatal(err)
		}
		carriers += len(list)
		for _, c := range list {
			if c[0] == 0 {
				whole++
			}
		}
	}
	if len(places) != len(all) {
		t.Errorf("%d members have %d places", len(all), len(places))
	}
	if carriers < 2 || carriers > 3 || whole != 1 {
		t.Errorf("%d members wrote %d carriers, %d of everything", len(all), carriers, whole)
	}
	for _, p := range all {
		got := p.set(key.Drive)
		if len(got) != 12 || !slices.Contains(got, "by member 1") || !slices.Contains(got, "by member 3") || !slices.Contains(got, "three") {
			t.Errorf("%s has %d entries: %+v", p.name, len(got), p.Status())
		}
	}
	same(t, all...)
}
