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
	setting
	story  []*event
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
	var back []command
	if x.more {
		if back, err = restores(w.reps[i].has(), w.reps[i].rows, l); err != nil {
			return err
		}
	}
	for _, c := range x.given(l, i, w.reps[i].knows[i], back) {
		next := w.clone()
		if _, err := c.runOn(next.reps[i], l); err != nil {
			return fmt.Errorf("%w\n%s", err, next.history())
		}
		if len(next.entries) == len(w.entries) {
			continue // it comes to nothing
		}
		x.story = append(x.story, &event{posted: next.entries[len(w.entries)], by: c, was: l})
		if err := x.run(next, left-1); err != nil {
			return err
		}
		x.story = x.story[:len(x.story)-1]
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
	x.looked(x.story, shown)
	return nil
}

// A teller writes whole histories down, each with what is shown at its end, and all that are alike in the same words.
type teller struct {
	replicas  int
	first     int // replicas below it are not alike
	symmetric [2]bool
	start     []uint64 // how many entries of each replica everybody knows at first
	ranks     []int
	perms     [][]int
}

func tellerOf(x *enumeration) *teller {
	d := &teller{replicas: x.replicas, symmetric: x.symmetric, start: x.base.knows, ranks: ranksOf(x.replicas)}
	if x.start != "" {
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
		for other := range 4 {
			swaps := [2]bool{other&1 != 0, other&2 != 0}
			if swaps[0] && !d.symmetric[0] || swaps[1] && !d.symmetric[1] {
				continue
			}
			if told := d.as(events, shown, p, swaps); least == "" || told < least {
				least = told
			}
		}
	}
	return least
}

// as tells a history with other names for replicas, and for files at the root and in directories where so wanted.
func (d *teller) as(events []*event, shown []shownEntry, called []int, swaps [2]bool) string {
	contents := 0
	for _, e := range events {
		contents += e.by.contents()
	}
	bytes := map[string]string{}
	for _, e := range events {
		for i := range e.posted.ops {
			if b := e.posted.ops[i].Op.bytes(); b != "" && e.by.contents() > 0 {
				bytes[b] = fmt.Sprintf("%d.%d", called[e.author], e.seq-d.start[e.author])
				if contents < 2 {
					bytes[b] = "new"
				}
			}
		}
	}
	bytes["1"], bytes[content("1").Plain.Short()] = "new", "new"
	// A name that a conflict entry has can be that of a file, too: who renames another file over it gives it.
	names := map[string]string{}
	for _, e := range events {
		for p, x := range e.was {
			if x.conflict {
				names[p[strings.LastIndexByte(p, '/')+1:]] = x.base + "~" + bytes[x.bytes]
			}
		}
	}
	label := func(path, base, content string, conflict bool) string {
		if conflict {
			path = path[:strings.LastIndexByte(path, '/')+1] + base + "~" + bytes[content]
		}
		parts := strings.Split(path, "/")
		for i, name := range parts {
			if known, ok := names[name]; ok {
				parts[i] = known
			}
		}
		path = strings.Join(parts, "/")
		for level, swapped := range swaps {
			if swapped {
				path = swap(path, level)
			}
		}
		return path
	}
	version := func(c closure) string {
		var out []string
		for i, n := range c {
			out = append(out, fmt.Sprintf("%d.%d", called[i], n))
		}
		slices.Sort(out)
		return fmt.Sprint(out)
	}
	var lines []string
	for _, e := range events {
		path := func(p string) string {
			x := e.was[p]
			return label(p, x.base, x.bytes, x.conflict)
		}
		line := fmt.Sprintf("%d.%d knowing %s: %s %s ", called[e.author], e.seq, version(e.knew), e.by.verb, path(e.by.from))
		if b := e.by.back; b != nil {
			x := item{path: e.by.to}
			if len(b.items) > 0 && b.path != "" {
				x = b.items[0]
			}
			line += label(e.by.to, x.base, x.bytes, x.conflict) + " as at " + version(b.version)
		} else {
			line += path(e.by.to)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	var ends []string
	for _, e := range shown {
		content := e.content + e.target
		ends = append(ends, fmt.Sprintf("%s %s %s %s", label(e.path, e.base, content, e.conflict), e.kind, bytes[content], d.attributes(&e, called)))
	}
	slices.Sort(ends)
	return strings.Join(lines, "\n") + "\n=> " + strings.Join(ends, "\n   ")
}

// attributes tells who set those of an entry, and when.
func (d *teller) attributes(e *shownEntry, names []int) string {
	by := func(value int) string {
		if value <= 0 || value > maxValue {
			return "-"
		}
		i, entries := (value-1)%4, (value-1)/4
		return fmt.Sprintf("%d.%d", names[i], entries-int(d.start[i]))
	}
	user := 0
	fmt.Sscan(string(e.xattrs[userX]), &user)
	return by(int(e.mode)-0o600) + by(int(e.mtime)%1000) + by(user)
}

// TestEnumeratesAll compares the histories of an enumeration, and what each comes to, with those of a plain one: none is missing but those
// that are like one that is there, and none is there twice.
func TestEnumeratesAll(t *testing.T) {
	scopes := []scope{{replicas: 2, commands: 3, starts: starts[:1]}, {replicas: 3, commands: 2, starts: starts[:1]}, {replicas: 2, commands: 2, starts: starts},
		{replicas: 2, commands: 2, starts: moreStarts, more: true}}
	if os.Getenv("PEARBOX_ENUMERATE") != "" {
		scopes = append(scopes, scope{replicas: 2, commands: 3, starts: starts}, scope{replicas: 3, commands: 3, starts: starts[:2]},
			scope{replicas: 2, commands: 3, starts: moreStarts, more: true}, scope{replicas: 3, commands: 2, starts: moreStarts, more: true})
	}
	for _, s := range scopes {
		for _, start := range s.starts {
			of := setting{s.replicas, s.commands, start, false, s.more}
			t.Run(strings.ReplaceAll(of.String(), "/", "|"), func(t *testing.T) {
				distinct := enumeratesAll(t, of, map[string]bool{})
				of.same = true
				enumeratesAll(t, of, distinct)
			})
		}
	}
}

// enumeratesAll returns the histories that there are. distinct are those with bytes that are all different.
func enumeratesAll(t *testing.T, of setting, distinct map[string]bool) map[string]bool {
	x := newEnumeration(t, of, true)
	d := tellerOf(x)
	got := map[string]int{}
	x.looked = func(events []*event, shown []shownEntry) { got[d.tell(events, shown)]++ }
	if err := x.run(); err != nil {
		t.Fatalf("from %q: %v", of.start, err)
	}
	want := map[string]bool{}
	p := &plainEnumeration{setting: of, looked: func(events []*event, shown []shownEntry) {
		told, contents, more := d.tell(events, shown), 0, false
		for _, e := range events {
			contents += e.by.contents()
			more = more || e.by.more
		}
		switch {
		case of.more && !more: // it is there without more
		case !of.same || contents > 1:
			want[told] = true
		case !distinct[told]:
			t.Errorf("with bytes that are always the same there is\n%s\nand not with others", told)
		}
	}}
	if err := p.run(worldOf(t, of), of.commands); err != nil {
		t.Fatalf("from %q: %v", of.start, err)
	}
	for told := range want {
		if got[told] == 0 {
			t.Errorf("from %q, this is missing:\n%s", of.start, told)
		}
	}
	for told, n := range got {
		if n > 1 || !want[told] {
			t.Errorf("from %q, this is there %d times, and so in the plain one: %v\n%s", of.start, n, want[told], told)
		}
	}
	t.Logf("%v: %d histories for %d", &of, len(got), p.seen)
	return want
}

// worldOf is a world in which everybody knows the start.
func worldOf(t testing.TB, of setting) *world {
	w := newWorld(t, of.replicas)
	if of.more {
		w.made = Attrs{MTime: ptr(int64(2000))}
	}
	for c := range strings.SplitSeq(of.start, "; ") {
		if c != "" {
			was, err := w.reps[0].view().listing()
			w.reps[0].ok(err)
			w.reps[0].run(c)
			now, err := w.reps[0].view().listing()
			w.reps[0].ok(err)
			w.forget(was, now)
			w.share()
		}
	}
	return w
}
