package tree

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestRestore(t *testing.T) {
	w := newWorld(t, 2)
	r := w.reps[0]
	restore := func(then closure, path string) {
		t.Helper()
		r.edit(func(e *Edit) {
			v := AsOf(r.rows, then)
			x, err := v.Walk(path)
			r.ok(err)
			r.ok(e.Restore(v, x, Restoring{}))
		})
		w.share()
		r.ok(r.check())
	}
	r.run("mkdir d", "create d/f 1", "mkdir d/s", "create d/s/g 2", "create h 3", "link l h")
	then := slices.Clone(r.knows)
	node := r.entry("d/f").Node

	r.run("write d/f 4")
	restore(then, "d/f")
	if got := r.show(); got != "d/ d/f=1 d/s/ d/s/g=2 h=3 l->h" || r.entry("d/f").Node != node {
		t.Errorf("an overwritten file: %s", got)
	}
	before := len(w.entries)
	r.edit(func(e *Edit) {
		v := AsOf(r.rows, then)
		r.ok(e.Restore(v, v.Root(), Restoring{}))
	})
	if len(w.entries) != before {
		t.Errorf("restoring what is there wrote %v", w.entries[before].ops)
	}
	r.run("rm d/f")
	restore(then, "d/f")
	if got := r.show(); got != "d/ d/f=1 d/s/ d/s/g=2 h=3 l->h" || r.entry("d/f").Node != node {
		t.Errorf("a removed file: %s", got)
	}
	r.run("rm -r d", "rm l", "write h 5")
	restore(then, "d/s/g")
	if got := r.show(); got != "d/ d/s/ d/s/g=2 h=5" {
		t.Errorf("a file in removed directories: %s", got)
	}
	restore(then, "")
	if got := r.show(); got != "d/ d/f=1 d/s/ d/s/g=2 h=3 l->h" {
		t.Errorf("everything: %s", got)
	}
	r.run("rm -r d", "create d 6")
	if err := r.do(func(e *Edit) error {
		v := AsOf(r.rows, then)
		x, err := v.Walk("d")
		r.ok(err)
		return e.Restore(v, x, Restoring{})
	}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a directory where a file is now: %v", err)
	}
	r.run("rm d")
	restore(then, "d")
	r.run("mv d/f elsewhere", "mv d/s other", "create n 7", "mv n h", "rm l", "mkdir l")
	restore(then, "d/f")
	restore(then, "d")
	restore(then, "h")
	if got := r.show(); got != "d/ d/f=1 d/s/ d/s/g=2 elsewhere=1 h=3 l/ other/ other/g=2" {
		t.Errorf("what was moved away: %s", got)
	}
	if r.entry("elsewhere").Node != node {
		t.Error("the moved file is another now")
	}
	for p, err := range r.view().History(r.entry("d/f").Node) {
		r.ok(err)
		if p.Op.Type == OpCreate && p.Op.Node == node {
			return
		}
	}
	t.Error("the copy's history does not lead to the file that it is a copy of")
}

// Restoring while others go on: their writes stay beside it, removed ones come back once.
func TestRestoreConcurrently(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("create f 1")
	w.share()
	then := slices.Clone(a.knows)
	a.run("rm f")
	w.share()
	for _, r := range w.reps {
		r.edit(func(e *Edit) {
			v := AsOf(r.rows, then)
			x, err := v.Walk("f")
			r.ok(err)
			r.ok(e.Restore(v, x, Restoring{}))
		})
	}
	w.share()
	for _, r := range w.reps {
		r.ok(r.check())
		if got := r.show(); got != "f=1" {
			t.Error(got)
		}
	}
	b.run("rm f")
	w.share()
	if got := a.show(); got != "" {
		t.Error(got)
	}
}

func TestRestoreContent(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	r.run("create f 1", "write f 2", "write f 3")
	var second Placed
	for p, err := range r.view().History(r.entry("f").Node) {
		r.ok(err)
		if textOf(p.Op.Content) == "2" {
			second = p
		}
	}
	if e, err := r.view().ContentAt(second); err != nil || textOf(e.Content) != "2" || e.Name != "f" {
		t.Errorf("%+v, %v", e, err)
	}
	r.edit(func(e *Edit) { r.ok(e.RestoreContent(second)) })
	r.ok(r.check())
	if got := r.show(); got != "f=2" {
		t.Error(got)
	}
	r.run("rm f")
	r.edit(func(e *Edit) { r.ok(e.RestoreContent(second)) })
	if got := r.show(); got != "f=2" {
		t.Error(got)
	}
}

// A file that is brought back into a removed directory goes where that was, and nothing else becomes anything else by it. It used to bring
// the directory itself back in any case: a file that had its name meanwhile became a conflict entry, and a directory that had it
// got the attributes of the removed one.
func TestRestoreIntoRemovedDirectory(t *testing.T) {
	restore := func(r *replica) error {
		return r.do(func(e *Edit) error {
			then := AsOf(r.rows, closure{3, 0})
			of, err := then.Walk("d/s/f")
			r.ok(err)
			return e.Restore(then, of, Restoring{})
		})
	}
	for _, c := range []struct {
		now, want string
		err       error
	}{
		{"", "d/ d/s/ d/s/f=1", nil},
		{"create d 2", "d=2", fs.ErrExist},
		{"link d x", "d->x", fs.ErrExist},
		{"mkdir d; create d/s 2", "d/ d/s=2", fs.ErrExist},
		{"mkdir d", "d/ d/s/ d/s/f=1", nil},
		{"mkdir d; mkdir d/s", "d/ d/s/ d/s/f=1", nil},
		{"mkdir d; mkdir d/s; create d/s/f 2", "d/ d/s/ d/s/f=1", nil},
	} {
		w := newWorld(t, 2)
		r := w.reps[0]
		r.run("mkdir d", "mkdir d/s", "create d/s/f 1", "rm -r d")
		for line := range strings.SplitSeq(c.now, "; ") {
			if line != "" {
				r.run(line)
			}
		}
		was, err := r.view().listing()
		r.ok(err)
		if err := restore(r); !errors.Is(err, c.err) {
			t.Errorf("after %q: %v, want %v", c.now, err, c.err)
		}
		if got := r.show(); got != c.want {
			t.Errorf("after %q it shows %s, want %s", c.now, got, c.want)
		}
		now, err := r.view().listing()
		r.ok(err)
		for _, dir := range []string{"d", "d/s"} {
			if x, ok := was[dir]; ok && x.kind == Dir && !slices.Equal(x.members, now[dir].members) {
				t.Errorf("after %q, %s is made of %v and was of %v", c.now, dir, now[dir].members, x.members)
			}
		}
		w.share()
		r.ok(w.reps[1].check())
	}
}

// Restoring a moment at which there was a conflict brings back both entries. One that had become the file itself meanwhile was taken for there, and
// then the other one took its place: its bytes were in the trash only. (Conflict names come first, where a name has an ending.)
func TestRestoreConflict(t *testing.T) {
	for _, c := range []struct{ name, history string }{
		{"the other file has the name now", "A: create b.x 1\nB: create b.x 2\nshare\nA: mark m\nA: rm b.x; mv b.x~ b.x"},
		{"a file and a symlink", "A: create b.x 1\nB: link b.x y\nshare\nA: mark m\nA: rm b.x; mv b.x~ b.x"},
		{"the copy is another file now", "A: create b.x 1\nshare\nA: write b.x 2\nB: write b.x 3\nshare\nA: mark m\nA: mv b.x~ c"},
		{"the copy was written over the file", "A: create b.x 1\nshare\nA: write b.x 2\nB: write b.x 3\nshare\nA: mark m\nA: mv b.x~ b.x"},
		{"both went elsewhere", "A: create b.x 1\nB: create b.x 2\nshare\nA: mark m\nA: mkdir d; mv b.x d/b; mv b.x~ d/c"},
		{"one of two with equal bytes was renamed", "A: create b.x 1\nB: create b.x 1\nA hears B\nA: mark m\nB: mv b.x c\nA hears B\nA: rm b.x"},
		{"both are there", "A: create b.x 1\nB: create b.x 2\nshare\nA: mark m\nA: write b.x~ 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2)
			for line := range strings.Lines(c.history) {
				line = strings.TrimSpace(line)
				switch line {
				case "share":
					w.share()
				case "A hears B":
					w.reps[0].pull(w.reps[1])
				default:
					w.reps[line[0]-'A'].run(strings.Split(line[3:], "; ")...)
				}
			}
			a := w.reps[0]
			now, err := a.view().listing()
			a.ok(err)
			offered, err := restores(a.has(), a.rows, now)
			a.ok(err)
			for _, c := range offered {
				one := w.clone()
				if err := c.run(one.reps[0]); err != nil {
					t.Error(err)
				}
				one.share()
				a.ok(one.reps[1].check())
			}
		})
	}
}

// A directory goes into one that was below it, where both were removed.
func TestRestoreIntoItself(t *testing.T) {
	w := newWorld(t, 2)
	a := w.reps[0]
	a.run("mkdir p", "mkdir p/n", "create p/n/f 1")
	then := slices.Clone(a.knows)
	a.run("mv p/n n", "mv p n/p", "rm -r n")
	a.edit(func(e *Edit) {
		v := AsOf(a.rows, then)
		x, err := v.Walk("p/n")
		a.ok(err)
		a.ok(e.Restore(v, x, Restoring{}))
	})
	if got := a.show(); got != "n/ n/p/ n/p/n/ n/p/n/f=1" {
		t.Error(got)
	}
	w.share()
	a.ok(w.reps[1].check())
}
