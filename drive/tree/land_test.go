package tree

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestLand has three people write entries of many commands each. What an edit has derived, with the places that its operations then
// have, is row by row what applying the entry gives (see replica.land, which every other test of histories goes through as well), and
// the state is that of all operations applied to an empty table at once.
func TestLand(t *testing.T) {
	n, seed := effort(60)
	landed, refused := 0, 0
	for i := range uint64(n) {
		s := plain{rand.New(rand.NewPCG(seed, 2<<32|i))}
		w := newWorld(t, 3)
		for step := range 20 {
			r := w.reps[s.pick(len(w.reps))]
			if s.pick(3) == 0 {
				r.pull(w.reps[s.pick(len(w.reps))])
			}
			err := r.do(func(e *Edit) error {
				for range 1 + s.pick(12) {
					if err := w.random(s, e); err != nil && !forbidden(err) {
						return err
					}
				}
				if s.pick(8) == 0 {
					return e.Mark(fmt.Sprint("step ", step))
				}
				return nil
			})
			if err != nil {
				t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
			}
		}
		for _, r := range w.reps {
			fresh := NewMem()
			if _, err := Apply(fresh, r.known(), nil); err != nil {
				t.Fatal(err)
			}
			got, err := StateHash(r.rows)
			if err != nil {
				t.Fatal(err)
			}
			want, err := StateHash(fresh)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("seed %d, history %d: replica %d has another state than its operations\n%s", seed, i, r.num, w.history())
			}
			if err := r.check(); err != nil {
				t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
			}
		}
		landed, refused = landed+w.landed, refused+w.refused
	}
	if landed < 10*refused || refused == 0 {
		t.Errorf("%d edits landed and %d had to be applied: most should land, and both should be tried", landed, refused)
	}
}

// TestLandRefuses: an edit does not know what applying gives when something newer than its entry was met, when the entry did not know
// what a context speaks of, or when it is another core's; and it has written nothing then.
func TestLandRefuses(t *testing.T) {
	for name, change := range map[string]func(l *Landing){
		"old":     func(l *Landing) { l.Pos.Lamport = 1 },
		"unknown": func(l *Landing) { l.Closure = closure{0, 0} },
		"foreign": func(l *Landing) { l.Pos.Core = coreOf(1) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2)
			a, b := w.reps[0], w.reps[1]
			b.run("create f 1")
			a.pull(b)
			e := NewEdit(a.rows, coreOf(0))
			if err := a.command(e, "write f 2"); err != nil {
				t.Fatal(err)
			}
			p, err := a.compose(e.Ops())
			if err != nil {
				t.Fatal(err)
			}
			o := p.ops[0]
			l := Landing{Pos: o.Pos, Entry: o.ID.Entry, Author: o.Author, Wall: o.Wall, Closure: p.knew}
			change(&l)
			was := a.rows.Clone()
			if _, ok, err := e.Land(l); ok || err != nil {
				t.Errorf("landed: %v, %v", ok, err)
			}
			if err := sameRows(a.rows, was); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMarksOfOneMoment: marks of equal lamports are in the order of their cores everywhere, whichever came first.
func TestMarksOfOneMoment(t *testing.T) {
	w := newWorld(t, 2)
	for _, r := range w.reps {
		r.ok(r.do(func(e *Edit) error { return e.Mark(fmt.Sprint("by ", r.num)) }))
	}
	w.share()
	var hashes, labels []string
	for _, r := range w.reps {
		h, err := StateHash(r.rows)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, h.String())
		for m, err := range r.view().Marks() {
			if err != nil {
				t.Fatal(err)
			}
			labels = append(labels, m.Label)
		}
	}
	if hashes[0] != hashes[1] || len(labels) != 4 || labels[0] != labels[2] || labels[1] != labels[3] {
		t.Errorf("states %v, marks %v", hashes, labels)
	}
}
