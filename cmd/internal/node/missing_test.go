package node

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
)

// TestChanged: nodes are given out once, those that changed last first, and no more are kept than the limit says.
func TestChanged(t *testing.T) {
	id := func(i int) tree.NodeID { return tree.NodeID{byte(i), byte(i >> 8), byte(i >> 16)} }
	var c changed
	for i := range maxWanted {
		if !c.add(id(i)) || !c.add(id(i)) {
			t.Fatalf("node %d is not taken", i)
		}
	}
	if c.add(id(maxWanted)) {
		t.Error("more than the limit are taken")
	}
	if got := c.take(2); !slices.Equal(got, []tree.NodeID{id(maxWanted - 2), id(maxWanted - 1)}) {
		t.Errorf("took %v", got)
	}
	if !c.add(id(maxWanted-1)) || !c.add(id(maxWanted)) || c.add(id(maxWanted+1)) {
		t.Error("what was taken makes room for as many")
	}
	seen := map[tree.NodeID]bool{}
	for ids := c.take(lookNodes); len(ids) > 0; ids = c.take(lookNodes) {
		for _, id := range ids {
			if seen[id] {
				t.Fatalf("%v was given out twice", id)
			}
			seen[id] = true
		}
	}
	if len(seen) != maxWanted {
		t.Errorf("%d were given out", len(seen))
	}
}

// TestWatchTakesNoRoom: changes are made while the room is locked, when what a mount left behind is taken in as the room's files are opened.
func TestWatchTakesNoRoom(t *testing.T) {
	r := &Room{}
	k := newKeeper(r, slog.New(slog.DiscardHandler))
	r.mu.Lock()
	k.watch(drive.Change{Changes: tree.Changes{Dirs: []tree.NodeID{{1}}, Nodes: []tree.NodeID{{2}}, Joined: []tree.NodeID{{3}}}, All: true})
	r.mu.Unlock()
	if nodes := k.nodes.take(lookNodes); len(nodes) != 1 || len(k.kick) != 1 {
		t.Errorf("took %v", nodes)
	}
}

// TestUntilWalk: how much of the time walks may take follows from what there is to find.
func TestUntilWalk(t *testing.T) {
	const took = 15 * time.Second
	pinned := &Room{}
	pinned.state.Pins = [][]byte{[]byte("x")}
	for _, c := range []struct {
		what string
		set  func(*keeper)
		want time.Duration
	}{
		{"nothing", func(*keeper) {}, rescanEvery},
		{"a move", func(k *keeper) { k.moved = true }, rescanEvery},
		{"a move with pins", func(k *keeper) { k.moved, k.r = true, pinned }, 50 * took},
		{"what is to be tried again", func(k *keeper) { k.retry = time.Now() }, 10 * took},
		{"what is to be tried again later", func(k *keeper) { k.retry = time.Now().Add(12 * time.Minute) }, 12 * time.Minute},
		{"too many changes", func(k *keeper) { k.missed = true }, 3 * took},
		{"more than was listed", func(k *keeper) { k.last = &wanted{} }, 3 * took},
		{"a new pin", func(k *keeper) { k.walk = true }, 0},
	} {
		k := &keeper{r: &Room{}, walked: time.Now()}
		k.took.Store(int64(took))
		c.set(k)
		if got := k.untilWalk(); got > c.want || got < c.want-2*took {
			t.Errorf("%s: the next walk is in %v, not %v", c.what, got, c.want)
		}
	}
}

// TestStoppedGoesNoFurther: when nobody is there, or the disk is full, what is missing beyond what was listed is not looked for either.
func TestStoppedGoesNoFurther(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		k := &keeper{kick: make(chan struct{}, 1), last: &wanted{}, walked: time.Now()}
		c := &round{k: k, left: 2, small: make([]wanted, 3), stopped: stopped}
		if left := c.through(true); left != 5 || len(k.kick) != 1 {
			t.Errorf("%d are left, woken %d times", left, len(k.kick))
		}
		if soon := k.untilWalk() == 0; soon == stopped {
			t.Errorf("stopped: %v, the next walk is due: %v", stopped, soon)
		}
	}
}

// TestNewestFirst: of more than the limit the newest are listed, behind what is pinned, and the next walk goes on behind the last of them.
func TestNewestFirst(t *testing.T) {
	const n = 3*maxWanted + 100
	all := make([]wanted, n)
	for i := range all { // in no useful order
		all[i] = wanted{written: time.Unix(int64(i*7919%n), 0), pinned: i%1000 == 3}
	}
	var got []wanted
	var after *wanted
	for walks := 0; walks == 0 || after != nil; walks++ {
		l := lister{after: after}
		for _, w := range all {
			l.take(w)
			if len(l.list) > 2*maxWanted {
				t.Fatalf("%d are remembered", len(l.list))
			}
		}
		if l.cut(maxWanted); !l.cutOff {
			slices.SortStableFunc(l.list, sooner)
		}
		got, after = append(got, l.list...), nil
		if l.cutOff {
			after = &l.list[len(l.list)-1]
		}
		if walks > 10 {
			t.Fatal("there is no end")
		}
	}
	slices.SortStableFunc(all, sooner)
	got = slices.CompactFunc(got, func(a, b wanted) bool { return sooner(a, b) == 0 }) // the last of a walk is the first of the next
	if !slices.EqualFunc(got, slices.CompactFunc(all, func(a, b wanted) bool { return sooner(a, b) == 0 }), func(a, b wanted) bool { return sooner(a, b) == 0 }) {
		t.Errorf("%d of %d were listed, or in another order", len(got), n)
	}
}
