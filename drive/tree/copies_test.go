package tree

import (
	"slices"
	"testing"
)

// Rules about conflict copies that no enumeration of five commands comes to: each needs more of them.

// A file of equal bytes as the copy of another one is shown with it, and goes along when it is renamed.
func TestRenameTakesEqualCopyAlong(t *testing.T) {
	script(t, `
		A: create a 1
		B: mkdir x; create a 2
		share
		C: write a~ 1
		B: write a~ 8; write a~ 3
		share
		A: mv a b`, "a~=3 b=1 x/")
}

// Three files have one name. The second has a copy with the bytes of the first, and the third is hidden, since it has the bytes of the second. When
// the first is renamed, the copy goes along, and so does what is hidden; another copy of the third stays the copy that it was.
func TestRenameLeavesCopiesCopies(t *testing.T) {
	w := newWorld(t, 5)
	a, b, c, d, e := w.reps[0], w.reps[1], w.reps[2], w.reps[3], w.reps[4]
	a.run("create a 1")
	b.run("mkdir x", "create a 2")
	c.pull(b)
	b.run("write a 8", "write a 5")
	c.run("write a 1")
	d.run("mkdir y", "mkdir z", "create a 3")
	e.pull(d)
	d.run("write a 8", "write a 5")
	e.run("write a 7")
	w.share()
	if got := a.show(); got != "a=1 a~=5 a~=7 x/ y/ z/" && got != "a=1 a~=7 a~=5 x/ y/ z/" {
		t.Fatalf("this is not what the test is about: %s", got)
	}
	was, err := a.view().listing()
	a.ok(err)
	a.ok(command{verb: "mv", from: "a", to: "b"}.run(a)) // which compares all other names
	w.share()
	b.ok(b.check())
	now, err := b.view().listing()
	b.ok(err)
	for path, x := range was {
		if x.conflict && (now[path].id != x.id || now[path].bytes != x.bytes) {
			t.Errorf("%s was %s %s and is %s %s", path, x.id, x.bytes, now[path].id, now[path].bytes)
		}
	}
}

// Two people edit one copy, or put something in its place. Each of the two that come of it is named after its own write, so that the one does
// not get the name of the other when that is removed, edited or renamed.
func TestEditedApart(t *testing.T) {
	for _, edit := range []string{"mv a a~", "write a~ 6"} {
		for _, then := range []string{"rm", "write", "mv"} {
			w := newWorld(t, 3)
			a, b, c := w.reps[0], w.reps[1], w.reps[2]
			a.run("create a 1")
			w.share()
			b.run("write a 2")
			c.run("write a 3")
			w.share()
			b.run("write a~ 7")
			c.run(edit)
			w.share()
			was, err := a.view().listing()
			a.ok(err)
			for path, x := range was {
				if !x.conflict {
					continue
				}
				d := newWorld(t, 1).reps[0]
				d.rows, d.knows, d.lamport, d.w = a.rows.Clone(), slices.Clone(a.knows), a.lamport, a.w
				cmd := command{verb: then, from: path}
				switch then {
				case "write":
					cmd.bytes = "9"
				case "mv":
					cmd.to = "b"
				}
				a.ok(cmd.run(d))
				now, err := d.view().listing()
				a.ok(err)
				for other, y := range was {
					if other != path && (now[other].id != y.id || now[other].bytes != y.bytes) {
						t.Errorf("%s: %s changed %s", edit, cmd, other)
					}
				}
				if _, there := now[path]; there != (then == "write") {
					t.Errorf("%s: %s: there %v", edit, cmd, there)
				}
			}
		}
	}
}

// A removal does not take a file from somebody who renames it meanwhile, but for that of a write which replaced what he has: one that brings
// other bytes, or a copy that is renamed over its file or the file over it. The latter is found by five commands of three people.
func TestRemovedAfterWrite(t *testing.T) {
	for _, c := range []struct{ history, want string }{
		{"A: create a 1\nshare\nA: rm a\nB: mv a b", "b=1"},
		{"A: create a 1\nshare\nA: write a 2; rm a\nB: mv a b", ""},
		{"A: create a 1\nshare\nB: write a 2\nC: write a 3\nA: pull B; pull C; mv a~ a\nC: mv a b", "b=3"},
		{"A: create a 1\nshare\nB: write a 2\nC: write a 3\nA: pull B; pull C; mv a~ a; rm a\nC: mv a b", ""},
		{"A: create a 1\nshare\nB: write a 2\nC: write a 3\nA: pull B; pull C; mv a a~; rm a~\nB: mv a b", ""},
	} {
		script(t, c.history, c.want)
	}
}

// Restoring a conflict copy that is there still does nothing: the attributes that its entry shows are those of the file.
func TestRestoreCopyThatIsThere(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("create a 1")
	w.share()
	a.run("write a 8", "write a 2")
	b.run("write a 3")
	w.share()
	then := slices.Clone(a.knows)
	list, err := a.view().Conflicts()
	if err != nil || len(list) != 1 || list[0].ID == list[0].Node {
		t.Fatalf("no copy: %v, %v", list, err)
	}
	a.edit(func(e *Edit) { a.ok(e.SetAttr(a.entry("a"), Attrs{Mode: ptr(uint32(0o700))})) })
	before := len(w.entries)
	a.edit(func(e *Edit) {
		v := AsOf(a.rows, then)
		x, err := v.Walk(list[0].Name)
		a.ok(err)
		a.ok(e.Restore(v, x, Restoring{}))
	})
	if got := a.entry("a").Mode; got != 0o700 || len(w.entries) != before {
		t.Errorf("the file has the mode %o, and %d entries were written", got, len(w.entries)-before)
	}
}

// Where a file and its conflict copy are removed and brought back, the file is the one with the history. Conflict names come first, where a name has an
// ending.
func TestRestoreCopyAndFile(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("create b.x 1")
	w.share()
	a.run("write b.x 8", "write b.x 2")
	b.run("write b.x 3")
	w.share()
	then, node := slices.Clone(a.knows), a.entry("b.x").Node
	a.run("rm b.x~", "rm b.x")
	a.edit(func(e *Edit) {
		v := AsOf(a.rows, then)
		a.ok(e.Restore(v, v.Root(), Restoring{}))
	})
	w.share()
	b.ok(b.check())
	list, err := b.view().List(b.view().Root())
	if err != nil || len(list) != 2 || textOf(list[0].Content) != "3" || list[0].Node == node || textOf(list[1].Content) != "2" || list[1].Node != node {
		t.Errorf("%s: %v, %v", b.show(), list, err)
	}
}
