package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestRemoveAlone removes some of what three people have made, half of it together: with RemoveAlone where that does it, and with Remove.
// Both come to the same operations, tell of the same changes, and land as what applying gives (see replica.land).
func TestRemoveAlone(t *testing.T) {
	n, seed := effort(60)
	var tried removals
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
			err := r.do(func(e *Edit) error { return tried.some(s, r, e) })
			if err == nil {
				err = r.check()
			}
			if err != nil {
				t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
			}
		}
	}
	if tried.alone < 2*n || tried.others < 2*n || tried.dirs < n || tried.looked < 2*n {
		t.Errorf("%+v in %d histories: all of it should be tried", tried, n)
	}
}

// removals counts what was removed.
type removals struct {
	alone, dirs int // with RemoveAlone, and of these the directories
	others      int
	looked      int // directories that showed the same while something was put off
}

// some removes what it picks, in random order, and does the same with Remove in another edit.
func (n *removals) some(s source, r *replica, e *Edit) error {
	paths, _, err := everything(e.View())
	if err != nil {
		return err
	}
	slow := NewEdit(r.rows, coreOf(r.num))
	left := slices.Clone(paths)
	for range len(paths) {
		k := s.pick(len(left))
		if p := left[k] + "/"; s.pick(3) > 0 { // else a directory would seldom become empty
			for k+1 < len(left) && strings.HasPrefix(left[k+1], p) {
				k++
			}
		}
		p := left[k]
		x, err := r.find(slow, p)
		if err == nil {
			err = slow.Remove(x)
		}
		if err == nil {
			left = slices.Delete(left, k, k+1)
		}
		dir, walked := slow.View().Walk(path.Dir(p))
		if walked == nil {
			if err := n.remove(r, e, dir, p, err); err != nil {
				return err
			}
			if err := n.look(r, e, slow); err != nil {
				return err
			}
		} // else it went before
		if len(left) == 0 {
			break
		}
	}
	return sameEdit(e, slow)
}

// remove removes what is displayed at a path in a directory; want is the error that Remove gave.
func (n *removals) remove(r *replica, e *Edit, dir Entry, p string, want error) error {
	done, err := e.RemoveAlone(dir.Node, path.Base(p))
	if done {
		n.alone++
		if id := e.Ops()[len(e.Ops())-1].Node; id.Kind() == Dir {
			n.dirs++
		}
	} else if err == nil {
		n.others++
		var x Entry
		if x, err = r.find(e, p); err == nil {
			err = e.Remove(x)
		}
	}
	if (want == nil) != (err == nil) || want != nil && !forbidden(want) {
		return errors.Join(fs.ErrInvalid, want, err)
	}
	return nil
}

// look compares the directories that an edit says to show what they will with those of another that has done the same.
func (n *removals) look(r *replica, e, slow *Edit) error {
	if !e.Late() {
		return nil
	}
	_, _, err := walked(slow.View(), func(dir Entry, want []Entry) error {
		if e.LateIn(dir.Node) {
			return nil
		}
		n.looked++
		v := e.ViewOn(r.rows)
		d, err := v.Root(), error(nil)
		if dir.Node != Root {
			d, err = v.Node(dir.Node)
		}
		if err != nil {
			return err
		}
		got, err := v.List(d)
		if err == nil && !reflect.DeepEqual(got, want) {
			err = fmt.Errorf("%q shows %v while something is put off, and %v then", dir.Name, got, want)
		}
		return err
	})
	return err
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
	if done, err := e.RemoveAlone(Root, "d"); done || err != nil {
		t.Errorf("removing a directory in which something is: %v, %v", done, err)
	}
	remove("c", true)
	if done, err := e.RemoveAlone(Root, "d"); !done || err != nil {
		t.Errorf("removing the directory that is empty now: %v, %v", done, err)
	}
	shown("")
	r.ok(e.Undo(1))
	shown("d d/b d/c")
	remove("c", true)
	_, err := e.Create(d, "c", nil, Attrs{})
	r.ok(err)
	shown("d d/b d/c")
}
