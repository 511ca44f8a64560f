package tree

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// An enumeration goes through every history of some replicas and some commands, every command on what its author
// sees listed and every way of delivering. After each command the listing is compared with the plain model, and at the end
// of each history everybody with everybody and with the oracle.
type enumeration struct {
	names     []string
	same      bool // new bytes are always the same
	histories int
	every     int // look at one of so many histories only; 1: at all
	seen      int
	trace     []string
}

func (x *enumeration) run(w *world, left, last int) error {
	if left == 0 {
		if x.seen++; x.seen%x.every != 0 {
			return nil
		}
		x.histories++
		return x.finish(w)
	}
	for i := range w.reps {
		if len(x.trace) == 0 && i > 0 {
			break // they are alike as long as nobody did anything
		}
		for pulls := range 1 << len(w.reps) {
			c, ok := w.pulled(i, pulls)
			// Two steps in a row that do not know of each other are the same in either order: take one.
			if !ok || last >= 0 && i < last && c.reps[i].knows[last] < c.reps[last].knows[last] {
				continue
			}
			if err := x.commands(c, i, pulls, left); err != nil {
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

func (x *enumeration) commands(w *world, i, pulls, left int) error {
	l, err := w.reps[i].view().listing()
	if err != nil {
		return err
	}
	bytes := fmt.Sprint(len(w.entries) + 1)
	if x.same {
		bytes = "1"
	}
	for _, c := range l.commands(x.names, bytes) {
		if len(w.entries) == 0 && c.to != x.names[0] {
			continue // names are alike as long as there are none
		}
		next := w.clone()
		x.trace = append(x.trace, fmt.Sprintf("%c (heard %b): %s", 'A'+i, pulls, c))
		if err := c.run(next.reps[i]); err != nil {
			return fmt.Errorf("%w\n%s", err, next.history())
		}
		if err := x.run(next, left-1, i); err != nil {
			return err
		}
		x.trace = x.trace[:len(x.trace)-1]
	}
	return nil
}

func (x *enumeration) finish(w *world) error {
	w.share()
	var first string
	for _, r := range w.reps {
		h, err := StateHash(r.rows)
		if err != nil {
			return err
		}
		if first == "" {
			first = h.String()
		} else if first != h.String() {
			return fmt.Errorf("replica %d has another state\n%s", r.num, w.history())
		}
	}
	if err := w.reps[0].check(); err != nil {
		return fmt.Errorf("%w\n%s", err, w.history())
	}
	if !x.same {
		if err := w.kept(); err != nil {
			return fmt.Errorf("%w\n%s", err, w.history())
		}
	}
	if x.histories%50 == 0 {
		return sound(w.reps[0].rows)
	}
	return nil
}

// starts are what everybody knows when an enumeration begins.
var starts = []string{"", "create a 100", "mkdir a; create a/b 100", "mkdir a; mkdir b"}

// TestEnumerate goes through the histories of two replicas and four commands, and of three commands from some starts.
// PEARBOX_ENUMERATE=3x5 does all of three replicas and five commands from every start: some hundred million histories (2x3, 69,360 in all,
// take half a minute, and each further command makes about 30 times as many), so days of one core;
// 3x5/10 looks at every tenth. What is skipped is only the end: the commands before it are all done and compared.
func TestEnumerate(t *testing.T) {
	type scope struct {
		replicas, commands, every int
		starts                    []string
		same                      []bool
	}
	scopes := []scope{{2, 4, 2, starts[:1], []bool{false}}, {2, 3, 1, starts[:2], []bool{true}}, {2, 3, 2, starts[1:3], []bool{false}}}
	if v := os.Getenv("PEARBOX_ENUMERATE"); v != "" {
		s := scope{every: 1, starts: starts, same: []bool{false, true}}
		if _, err := fmt.Sscanf(strings.Replace(v, "/", " ", 1)+" ", "%dx%d %d", &s.replicas, &s.commands, &s.every); s.commands == 0 {
			t.Fatalf("PEARBOX_ENUMERATE=%s: %v", v, err)
		}
		scopes = []scope{s}
	}
	for _, s := range scopes {
		for _, start := range s.starts {
			for _, same := range s.same {
				x := &enumeration{names: []string{"a", "b"}, every: s.every, same: same}
				w := newWorld(t, s.replicas)
				for c := range strings.SplitSeq(start, "; ") {
					if c != "" {
						w.reps[0].run(c)
						w.share()
					}
				}
				if err := x.run(w, s.commands, -1); err != nil {
					t.Fatalf("from %q:\n%s:\n%v", start, strings.Join(slices.Clone(x.trace), "\n"), err)
				}
				t.Logf("from %q, %d replicas, %d commands, equal bytes %v: %d of %d histories", start, s.replicas, s.commands, same, x.histories, x.seen)
			}
		}
	}
}
