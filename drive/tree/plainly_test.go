package tree

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// A plain enumeration makes every history of a world in every order: who gives a command next, and whom he hears before. It leaves
// nothing out. It is slow, and tells whether an enumeration leaves out anything that matters.
type plainEnumeration struct {
	names  []string
	same   bool
	base   int // entries that everybody knows at first
	given  []*event
	looked func(events []*event, shown []shownEntry)
	seen   int
}

func (x *plainEnumeration) run(w *world, left int) error {
	if left == 0 {
		x.seen++
		return x.finish(w)
	}
	for i := range w.reps {
		for pulls := range 1 << len(w.reps) {
			c, ok := w.pulled(i, pulls)
			if !ok {
				continue
			}
			if err := x.commands(c, i, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// pulled is a copy of the world in which replica i has heard of those in the set; not ok when some had nothing to tell.
func (w *world) pulled(i, set int) (*world, bool) {
	if set>>i&1 != 0 {
		return nil, false
	}
	c := w.clone()
	for j, from := range c.reps {
		if set>>j&1 != 0 && !c.reps[i].pull(from) {
			return nil, false
		}
	}
	return c, true
}

func (x *plainEnumeration) commands(w *world, i, left int) error {
	l, err := w.reps[i].view().listing()
	if err != nil {
		return err
	}
	for _, c := range l.commands(x.names, newBytes(i, w.reps[i].knows[i], x.same)) {
		next := w.clone()
		if _, err := c.runOn(next.reps[i], l); err != nil {
			return fmt.Errorf("%w\n%s", err, next.history())
		}
		if len(next.entries) == len(w.entries) {
			continue // it comes to nothing
		}
		x.given = append(x.given, &event{posted: next.entries[len(w.entries)], by: c, was: l})
		if err := x.run(next, left-1); err != nil {
			return err
		}
		x.given = x.given[:len(x.given)-1]
	}
	return nil
}

func (x *plainEnumeration) finish(w *world) error {
	w.share()
	for _, r := range w.reps[1:] {
		if err := sameState(r.rows, w.reps[0].rows); err != nil {
			return fmt.Errorf("replica %d: %w\n%s", r.num, err, w.history())
		}
	}
	shown, err := whole(w.reps[0].view())
	if err == nil {
		err = shownBy(shown, w.reps[0].known())
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, w.history())
	}
	if !x.same {
		if err := w.kept(); err != nil {
			return fmt.Errorf("%w\n%s", err, w.history())
		}
	}
	x.looked(x.given, shown)
	return nil
}

// A teller writes whole histories down, each with what is shown at its end, and all that are alike in the same words.
type teller struct {
	replicas  int
	first     int // replicas below it are not alike
	symmetric bool
	start     []uint64 // how many entries of each replica everybody knows at first
	ranks     []int
	perms     [][]int
}

func tellerOf(x *enumeration, start string) *teller {
	d := &teller{replicas: x.replicas, symmetric: x.symmetric, start: x.base.knows, ranks: ranksOf(x.replicas)}
	if start != "" {
		d.first = 1
	}
	d.perms = permutations(d.replicas, d.first)
	return d
}

// tell is the least of all ways to tell a history.
func (d *teller) tell(events []*event, shown []shownEntry) string {
	var s shape
	for _, e := range events {
		knows := uint8(0)
		for j, f := range events {
			if e.knew[f.author] > f.seq {
				knows |= 1 << j
			}
		}
		s.authors, s.knows = append(s.authors, e.author), append(s.knows, knows)
	}
	least := ""
	for _, p := range s.likenesses(d.perms, d.ranks) {
		for _, other := range []bool{false, true}[:1+order(d.symmetric)] {
			if told := d.as(events, shown, p, other); least == "" || told < least {
				least = told
			}
		}
	}
	return least
}

// as tells a history with other names for replicas, and for files if so wanted.
func (d *teller) as(events []*event, shown []shownEntry, names []int, other bool) string {
	contents := 0
	for _, e := range events {
		contents += e.by.contents()
	}
	bytes := map[string]string{}
	for _, e := range events {
		for _, o := range e.posted.ops {
			if c := o.Op.Content; c != nil && e.by.contents() > 0 {
				bytes[c.Plain.Short()] = fmt.Sprintf("%d.%d", names[e.author], e.seq-d.start[e.author])
				if contents < 2 {
					bytes[c.Plain.Short()] = "new"
				}
			}
		}
	}
	bytes[content("1").Plain.Short()] = "new"
	label := func(path, base, content string, conflict bool) string {
		if conflict {
			path = path[:strings.LastIndexByte(path, '/')+1] + base + "~" + bytes[content]
		}
		if other {
			path = swap(path)
		}
		return path
	}
	var lines []string
	for _, e := range events {
		var knew []string
		for i, n := range e.knew {
			knew = append(knew, fmt.Sprintf("%d.%d", names[i], n))
		}
		slices.Sort(knew)
		path := func(p string) string {
			x := e.was[p]
			return label(p, x.base, x.bytes, x.conflict)
		}
		lines = append(lines, fmt.Sprintf("%d.%d knowing %v: %s %s %s", names[e.author], e.seq, knew, e.by.verb, path(e.by.from), path(e.by.to)))
	}
	slices.Sort(lines)
	var ends []string
	for _, e := range shown {
		ends = append(ends, fmt.Sprintf("%s %s %s", label(e.path, e.base, e.content, e.conflict), e.kind, bytes[e.content]))
	}
	slices.Sort(ends)
	return strings.Join(lines, "\n") + "\n=> " + strings.Join(ends, "\n   ")
}

// TestEnumeratesAll compares the histories of an enumeration, and what each comes to, with those of a plain one: none is missing but those
// that are like one that is there, and none is there twice.
func TestEnumeratesAll(t *testing.T) {
	scopes := []struct{ replicas, commands, starts int }{{2, 3, 1}, {3, 2, 1}, {2, 2, 4}}
	if os.Getenv("PEARBOX_ENUMERATE") != "" {
		scopes = append(scopes, struct{ replicas, commands, starts int }{2, 3, 4}, struct{ replicas, commands, starts int }{3, 3, 2})
	}
	for _, s := range scopes {
		for _, start := range starts[:s.starts] {
			distinct := map[string]bool{}
			for _, same := range []bool{false, true} {
				x := newEnumeration(t, s.replicas, s.commands, start, same, true)
				d := tellerOf(x, start)
				got := map[string]int{}
				x.looked = func(events []*event, shown []shownEntry) { got[d.tell(events, shown)]++ }
				if err := x.run(); err != nil {
					t.Fatalf("from %q: %v", start, err)
				}
				want := map[string]bool{}
				p := &plainEnumeration{names: x.names, same: same, looked: func(events []*event, shown []shownEntry) {
					told, contents := d.tell(events, shown), 0
					for _, e := range events {
						contents += e.by.contents()
					}
					if !same || contents > 1 {
						want[told] = true
					} else if !distinct[told] {
						t.Errorf("with bytes that are always the same there is\n%s\nand not with others", told)
					}
				}}
				if err := p.run(worldOf(t, s.replicas, start), s.commands); err != nil {
					t.Fatalf("from %q: %v", start, err)
				}
				if !same {
					distinct = want
				}
				for told := range want {
					if got[told] == 0 {
						t.Errorf("from %q, this is missing:\n%s", start, told)
					}
				}
				for told, n := range got {
					if n > 1 || !want[told] {
						t.Errorf("from %q, this is there %d times, and so in the plain one: %v\n%s", start, n, want[told], told)
					}
				}
				t.Logf("from %q, %d replicas, %d commands, equal bytes %v: %d histories for %d", start, s.replicas, s.commands, same, len(got), p.seen)
				if t.Failed() {
					return
				}
			}
		}
	}
}

// worldOf is a world in which everybody knows the start.
func worldOf(t testing.TB, replicas int, start string) *world {
	w := newWorld(t, replicas)
	for c := range strings.SplitSeq(start, "; ") {
		if c != "" {
			w.reps[0].run(c)
			w.share()
		}
	}
	return w
}
