package tree

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
)

// eachLists checks that Each lists what List does. Every random history comes by here.
func eachLists(v *View, dir Entry, list []Entry) error {
	var each []Entry
	unnamed := false
	whole, err := v.Each(dir, math.MaxInt-1, func(e *Entry) {
		each = append(each, *e)
		unnamed = unnamed || e.Conflict
	})
	if err != nil || !whole {
		return fmt.Errorf("each of %s: whole is %v, %w", dir.Node, whole, err)
	}
	if unnamed {
		slices.SortFunc(each, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	}
	if len(each) != len(list) {
		return fmt.Errorf("each of %s are %d entries, %d are listed", dir.Node, len(each), len(list))
	}
	for i := range list {
		if !reflect.DeepEqual(each[i], list[i]) {
			return fmt.Errorf("each of %s has %+v, listed is %+v", dir.Node, each[i], list[i])
		}
	}
	return nil
}

// A directory that has more than the limit is not read to its end, whatever is in it.
func TestEachUpTo(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("mkdir d", "mkdir u")
	for i := range 5 {
		a.run(fmt.Sprintf("create d/%d", i))
	}
	w.share()
	a.run("write d/3")
	b.run("write d/3", "mkdir m", "create m/b")
	a.run("mkdir m", "create m/a")
	w.share()
	for _, c := range []struct {
		path  string
		nodes int // that are placed there
		shown int
	}{{"d", 5, 6}, {"m", 2, 2}, {"u", 0, 0}, {"", 4, 3}} {
		dir, err := a.view().Walk(c.path)
		a.ok(err)
		for limit := range c.nodes + 3 {
			shown := 0
			whole, err := a.view().Each(dir, limit, func(*Entry) { shown++ })
			a.ok(err)
			if most := c.nodes <= limit; whole != most || whole && shown != c.shown || shown > limit+1 {
				t.Errorf("%q with limit %d: %d entries, whole is %v", c.path, limit, shown, whole)
			}
		}
	}
}
