package tree

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pearbox/pearbox/drive/blob"
)

// source is what random choices come from: rapid, which shrinks, or a plain generator, which is faster.
type source interface{ pick(n int) int }

type drawn struct{ t *rapid.T }

func (d drawn) pick(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "") }

type plain struct{ r *rand.Rand }

func (p plain) pick(n int) int { return p.r.IntN(n) }

var names = []string{"a", "b", "c.txt", "d"}

// everything lists every entry of a view with its path, and checks that Each lists the same.
func everything(v *View) (paths []string, entries []Entry, err error) {
	return walked(v, func(dir Entry, list []Entry) error { return eachLists(v, dir, list) })
}

// walked lists every entry of a view with its path, and calls fn for every directory.
func walked(v *View, fn func(dir Entry, list []Entry) error) (paths []string, entries []Entry, err error) {
	var walk func(path string, dir Entry) error
	walk = func(path string, dir Entry) error {
		list, err := v.List(dir)
		if err == nil {
			err = fn(dir, list)
		}
		for _, e := range list {
			paths, entries = append(paths, path+e.Name), append(entries, e)
			if e.Kind == Dir && err == nil {
				err = walk(path+e.Name+"/", e)
			}
		}
		return err
	}
	err = walk("", v.Root())
	return paths, entries, err
}

// random does a random command on what the edit lists. Commands that the state of things forbids do nothing.
func (w *world) random(s source, e *Edit) error {
	_, all, err := everything(e.View())
	if err != nil {
		return err
	}
	dirs := []NodeID{Root}
	for _, x := range all {
		if x.Kind == Dir {
			dirs = append(dirs, x.Node)
		}
	}
	dir, name := dirs[s.pick(len(dirs))], names[s.pick(len(names))]
	made := func() *blob.Content {
		if s.pick(4) == 0 {
			return content([]string{"same", "other"}[s.pick(2)])
		}
		return w.bytes()
	}
	attrs := Attrs{}
	if s.pick(3) == 0 {
		mode, mtime := uint32(s.pick(8)), int64(s.pick(100)+1)
		attrs = Attrs{Mode: &mode, MTime: &mtime, Set: map[string][]byte{"user." + names[s.pick(2)]: {byte(s.pick(9))}}}
	}
	kind := s.pick(16)
	if len(all) == 0 && kind > 4 {
		kind = s.pick(5)
	}
	var x Entry
	if kind > 4 {
		x = all[s.pick(len(all))]
	}
	switch kind {
	case 0, 1:
		_, err = e.Create(dir, name, made(), attrs)
	case 2, 3:
		_, err = e.Mkdir(dir, name, attrs)
	case 4:
		_, err = e.Symlink(dir, name, "to/"+name, attrs)
	case 5, 6, 7:
		if x.Kind == File {
			err = e.Write(x.Opened(), made(), attrs)
		}
	case 8, 9:
		done := false
		if kind == 8 {
			done, err = e.RemoveAlone(x.Parent, x.Name)
		}
		if err == nil && !done {
			err = e.Remove(x)
		}
	case 10:
		_, err = e.RemoveAll(x)
	case 11, 12:
		err = e.Move(x, dir, name)
	case 13: // over another
		if y := all[s.pick(len(all))]; y.ID != x.ID {
			err = e.Move(x, y.Parent, y.Name)
		}
	case 14, 15:
		attrs.Remove = []string{"user.b"}
		delete(attrs.Set, "user.b")
		err = e.SetAttr(x, attrs)
	}
	return err
}

// forbidden reports whether an error is one that a user may run into.
func forbidden(err error) bool {
	for _, e := range []error{fs.ErrExist, fs.ErrNotExist, ErrNotEmpty, ErrNotDir, ErrIsDir, ErrIntoItself, ErrName} {
		if strings.Contains(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

// live makes a random history of n steps.
func (w *world) live(s source, n int) error {
	for range n {
		r := w.reps[s.pick(len(w.reps))]
		if s.pick(4) == 0 {
			r.pull(w.reps[s.pick(len(w.reps))])
			continue
		}
		err := r.do(func(e *Edit) error {
			for range 1 + s.pick(4)/3 {
				if err := w.random(s, e); err != nil && !forbidden(err) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// arrival delivers all entries to an empty table in a random order that respects closure, in random batches; now and
// then it takes the newest entries of a core out again and brings them back. cut says how much of each
// core counts in the end.
func (w *world) arrival(s source, cut []uint64) (*Mem, error) {
	rows := NewMem()
	at := make(closure, len(w.reps))
	late := map[int][]*posted{}
	for {
		var add, remove []Placed
		for range 1 + s.pick(6) {
			var ready []*posted
			for _, p := range w.entries {
				if at[p.author] == p.seq && p.seq < cut[p.author] && covers(at, p.knew, cut) {
					ready = append(ready, p)
				}
			}
			if len(ready) == 0 {
				break
			}
			p := ready[s.pick(len(ready))]
			at[p.author]++
			add = append(add, p.ops...)
		}
		if len(add) == 0 && len(late) == 0 {
			return rows, nil
		}
		if s.pick(5) == 0 { // the tail of a core stops to count, for now
			who := s.pick(len(w.reps))
			for _, p := range w.entries {
				if p.author == who && p.seq < at[who] && p.seq >= at[who]/2 && len(late[who]) < 8 {
					late[who] = append(late[who], p)
				}
			}
			if len(add) > 0 && late[who] != nil {
				if _, err := Apply(rows, add, nil); err != nil {
					return nil, err
				}
				add = nil
			}
			for _, p := range late[who] {
				remove = append(remove, p.ops...)
			}
		} else {
			for who := range w.reps {
				if s.pick(2) == 0 {
					for _, p := range late[who] {
						add = append(add, p.ops...)
					}
					delete(late, who)
				}
			}
		}
		if _, err := Apply(rows, add, remove); err != nil {
			return nil, err
		}
	}
}

// covers reports whether everything in knew that counts at all is at.
func covers(at, knew closure, cut []uint64) bool {
	for i, n := range knew {
		if min(n, cut[i]) > at[i] {
			return false
		}
	}
	return true
}

// counting are the operations within a cut.
func (w *world) counting(cut []uint64) []Placed {
	var out []Placed
	for _, p := range w.entries {
		if p.seq < cut[p.author] {
			out = append(out, p.ops...)
		}
	}
	return out
}

// trial is one random history and all that is claimed of it.
func trial(w *world, s source, steps int) error {
	if err := w.live(s, steps); err != nil {
		return err
	}
	for _, r := range w.reps {
		if err := r.check(); err != nil {
			return err
		}
	}
	full := make([]uint64, len(w.reps))
	for _, p := range w.entries {
		full[p.author]++
	}
	cut := slices.Clone(full)
	for range 3 {
		var first string
		for range 2 {
			rows, err := w.arrival(s, cut)
			if err != nil {
				return err
			}
			if err := agrees(Now(rows), w.counting(cut)); err != nil {
				return fmt.Errorf("cut %v: %w", cut, err)
			}
			h, err := StateHash(rows)
			if err != nil {
				return err
			}
			if first == "" {
				first = h.String()
			} else if h.String() != first {
				return fmt.Errorf("cut %v: two orders of arrival, two states", cut)
			}
			if err := w.pasts(s, rows, cut); err != nil {
				return err
			}
			if err := sound(rows); err != nil {
				return err
			}
		}
		for i := range cut { // a member is removed
			if s.pick(2) == 0 {
				cut[i] = uint64(s.pick(int(full[i]) + 1))
			} else {
				cut[i] = full[i]
			}
		}
	}
	return nil
}

// pasts compares some versions with the oracle's fold of their closures.
func (w *world) pasts(s source, rows Rows, cut []uint64) error {
	for range 3 {
		if len(w.entries) == 0 {
			return nil
		}
		p := w.entries[s.pick(len(w.entries))]
		knew := slices.Clone(p.knew)
		knew[p.author]++
		var ops []Placed
		for _, q := range w.entries {
			if q.seq < knew[q.author] && q.seq < cut[q.author] {
				ops = append(ops, q.ops...)
			}
		}
		if err := agrees(AsOf(rows, knew), ops); err != nil {
			return fmt.Errorf("cut %v, as of %v: %w", cut, knew, err)
		}
	}
	return nil
}

// sound checks what holds of every state: names are legal and unique, every visible node is listed once and
// found by its id and its path, the index of conflicts has them all, and nothing is in two places.
func sound(rows Rows) error {
	v := Now(rows)
	paths, entries, err := everything(v)
	if err != nil {
		return err
	}
	listed, conflicts := map[NodeID]bool{}, map[NodeID]bool{}
	seen := map[string]bool{}
	for i, e := range entries {
		if seen[paths[i]] || len(e.Name) > MaxName || e.Name == "" {
			return fmt.Errorf("name %q", paths[i])
		}
		seen[paths[i]] = true
		for _, m := range e.Members {
			listed[m] = true
		}
		if e.Conflict {
			conflicts[e.ID] = true
		}
		found, err := v.Walk(paths[i])
		if err != nil || found.ID != e.ID || found.Head != e.Head {
			return fmt.Errorf("walking %q: %v, %w", paths[i], found.ID, err)
		}
		if e.ID == e.Node {
			p, err := v.Path(e.Node)
			if err != nil || p != paths[i] {
				return fmt.Errorf("path of %q: %q, %w", paths[i], p, err)
			}
		}
		if found, err = v.Entry(e.Node, e.ID); err != nil || found.Name != e.Name {
			return fmt.Errorf("entry of %q: %q, %w", paths[i], found.Name, err)
		}
	}
	list, err := v.Conflicts()
	if err != nil {
		return err
	}
	for _, e := range list {
		if !conflicts[e.ID] {
			return fmt.Errorf("%q is no conflict or twice", e.Name)
		}
		delete(conflicts, e.ID)
	}
	if len(conflicts) > 0 {
		return fmt.Errorf("not in the index of conflicts: %v", slices.Collect(maps.Keys(conflicts)))
	}
	for _, b := range rows.Scan([]byte{rowNode}, nil) {
		n, err := readNode(rows, numOf(b))
		if err != nil {
			return err
		}
		if n.visible() && !listed[n.id] {
			return fmt.Errorf("%s is alive and nowhere", n.id)
		}
	}
	return nil
}

func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, 3)
		if err := trial(w, drawn{rt}, 25); err != nil {
			rt.Fatalf("%v\n%s", err, w.history())
		}
	})
}

// effort is how many histories to try and from which seed: PEARBOX_HISTORIES and PEARBOX_SEED, if they are set.
func effort(n int) (int, uint64) {
	if v, err := strconv.Atoi(os.Getenv("PEARBOX_HISTORIES")); err == nil {
		n = v
	}
	seed := uint64(1)
	if v, err := strconv.ParseUint(os.Getenv("PEARBOX_SEED"), 10, 64); err == nil {
		seed = v
	}
	return n, seed
}

// TestManyRandomHistories is the same with a faster source.
func TestManyRandomHistories(t *testing.T) {
	n, seed := effort(150)
	for i := range uint64(n) {
		w := newWorld(t, 2+int(i%3))
		if err := trial(w, plain{rand.New(rand.NewPCG(seed, i))}, 12+int(i%30)); err != nil {
			t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
		}
	}
}

// TestLongHistories compares every command of long histories with the plain model: what the enumeration does, further out.
func TestLongHistories(t *testing.T) {
	n, seed := effort(60)
	for i := range uint64(n) {
		s := plain{rand.New(rand.NewPCG(seed, 1<<32|i))}
		w := newWorld(t, 2+s.pick(2))
		for range 30 {
			r := w.reps[s.pick(len(w.reps))]
			if s.pick(3) == 0 {
				r.pull(w.reps[s.pick(len(w.reps))])
				continue
			}
			l, err := r.view().listing()
			if err != nil {
				t.Fatal(err)
			}
			w.words++
			bytes := fmt.Sprint("content ", w.words)
			if s.pick(4) == 0 {
				bytes = "same"
			}
			back, err := restores(r.has(), r.rows, l)
			if err != nil {
				t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
			}
			commands := l.moreCommands([]string{"a", "b.x"}, bytes, 1+w.words%100, back)
			c := commands[s.pick(len(commands))]
			if err := c.run(r); err != nil {
				t.Fatalf("seed %d, history %d: %c: %v\n%s", seed, i, 'A'+r.num, err, w.history())
			}
		}
		w.share()
		w.share()
		for _, r := range w.reps {
			if err := r.check(); err != nil {
				t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
			}
		}
		if err := w.kept(); err != nil {
			t.Fatalf("seed %d, history %d: %v\n%s", seed, i, err, w.history())
		}
	}
}
