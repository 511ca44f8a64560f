package tree

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"testing"
)

// TestRemoveAlone removes some of what three people have made, half of it together: with RemoveAlone where that does it, and with Remove.
// Both come to the same operations, tell of the same changes, and land as what applying gives (see replica.land).
func TestRemoveAlone(t *testing.T) {
	n, seed := effort(60)
	alone, others := 0, 0
	for i := range uint64(n) {
		s := plain{rand.New(rand.NewPCG(seed, 3<<32|i))}
		w := newWorld(t, 3)
		for range 30 {
			r := w.reps[s.pick(len(w.reps))]
			if s.pick(3) == 0 {
				r.pull(w.reps[s.pick(len(w.reps))])
			}
			if err := r.do(func(e *Edit) error { return w.random(s, e) }); err != nil && !forbidden(err) {
				t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
			}
		}
		for _, r := range w.reps {
			err := r.do(func(e *Edit) error {
				a, o, err := removeSome(s, r, e)
				alone, others = alone+a, others+o
				return err
			})
			if err == nil {
				err = r.check()
			}
			if err != nil {
				t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
			}
		}
	}
	if alone < 2*n || others < 2*n {
		t.Errorf("%d removals were of files that stand alone, %d of others: both should be tried", alone, others)
	}
}

// removeSome removes what it picks, in random order, and does the same with Remove in another edit.
func removeSome(s source, r *replica, e *Edit) (alone, others int, err error) {
	paths, _, err := everything(e.View())
	if err != nil {
		return 0, 0, err
	}
	slow := NewEdit(r.rows, coreOf(r.num))
	for range len(paths) {
		p := paths[s.pick(len(paths))]
		x, err := r.find(slow, p)
		if err == nil {
			err = slow.Remove(x)
		}
		dir, walked := slow.View().Walk(path.Dir(p))
		if walked != nil {
			continue // it went before
		}
		done, err2 := e.RemoveAlone(dir.Node, path.Base(p))
		if done {
			alone++
		} else if err2 == nil {
			others++
			if x, err2 = r.find(e, p); err2 == nil {
				err2 = e.Remove(x)
			}
		}
		if (err == nil) != (err2 == nil) || err != nil && !forbidden(err) {
			return 0, 0, errors.Join(fs.ErrInvalid, err, err2)
		}
	}
	return alone, others, sameEdit(e, slow)
}

func sameEdit(a, b *Edit) error {
	x, err := EncodeOps(a.Ops())
	if err != nil {
		return err
	}
	y, err := EncodeOps(b.Ops())
	if err != nil {
		return err
	}
	if !bytes.Equal(x, y) {
		return errors.New("the operations differ")
	}
	if p, q := a.Changed(), b.Changed(); !slices.Equal(placesIn(p), placesIn(q)) || !slices.Equal(idsIn(p.Dirs), idsIn(q.Dirs)) ||
		!slices.Equal(idsIn(p.Joined), idsIn(q.Joined)) || !slices.Equal(idsIn(p.Nodes), idsIn(q.Nodes)) {
		return errors.New("other changes are told")
	}
	return nil
}

func placesIn(c Changes) (out []string) {
	for _, p := range c.Names {
		out = append(out, p.Dir.String()+"/"+p.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func idsIn(ids []NodeID) (out []string) {
	for _, id := range ids {
		out = append(out, id.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// What an edit has put off is seen by whoever looks, and is taken back like everything else.
func TestLateIsSeen(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	r.run("mkdir d", "create d/a", "create d/b", "create d/c")
	d := r.entry("d").Node
	e := NewEdit(r.rows, coreOf(0))
	remove := func(name string, want bool) {
		t.Helper()
		done, err := e.RemoveAlone(d, name)
		r.ok(err)
		if done != want {
			t.Errorf("removing %s: %v, want %v", name, done, want)
		}
	}
	shown := func(want string) {
		t.Helper()
		if got, err := everythingNamed(e.View()); err != nil || got != want {
			t.Errorf("the edit shows %q, %v, want %q", got, err, want)
		}
	}
	remove("a", true)
	remove("b", true)
	remove("a", false)
	remove("x", false)
	if !e.Late() {
		t.Error("nothing is put off")
	}
	shown("d d/c")
	if e.Late() {
		t.Error("something is put off still")
	}
	remove("c", true)
	if err := e.Remove(r.entry("d")); err != nil {
		t.Errorf("removing the directory that is empty now: %v", err)
	}
	shown("")
	r.ok(e.Undo(1))
	shown("d d/b d/c")
	remove("c", true)
	_, err := e.Create(d, "c", nil, Attrs{})
	r.ok(err)
	shown("d d/b d/c")
}
