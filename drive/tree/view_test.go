package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// rival makes B write what A has written at once: afterwards path has a conflict copy.
func (w *world) conflict(path string) {
	w.reps[0].run("create " + path)
	w.share()
	w.reps[0].run("write " + path)
	w.reps[1].run("write " + path)
	w.share()
}

func TestConflictNames(t *testing.T) {
	w := newWorld(t, 2)
	a := w.reps[0]
	bases := []string{"report.pdf", "plain", ".hidden", "a.b.tar", strings.Repeat("l", 250) + ".txt", strings.Repeat("é", 127), "x." + strings.Repeat("e", 200),
		"\xff\xfe" + strings.Repeat("\xff", 250), "trailing."}
	for _, b := range bases {
		w.conflict(b)
	}
	label := func(key.DeviceID) string { return "Ada's/\x00 laptop: (1)\n" + strings.Repeat("long ", 30) }
	for _, v := range []*View{a.view(), a.view().WithNames(label), a.view().WithNames(func(key.DeviceID) string { return "\x01" })} {
		list, err := v.List(v.Root())
		a.ok(err)
		seen := map[string]bool{}
		for _, e := range list {
			if seen[e.Name] || len(e.Name) > MaxName || checkName(Root, e.Name) != nil {
				t.Errorf("name %q", e.Name)
			}
			seen[e.Name] = true
			if e.Conflict && !strings.Contains(e.Name, " (conflict ") {
				t.Errorf("name %q", e.Name)
			}
			if found, err := v.Lookup(v.Root(), e.Name); err != nil || found.ID != e.ID {
				t.Errorf("looking up %q: %v", e.Name, err)
			}
		}
		if len(list) != 2*len(bases) {
			t.Errorf("%d entries", len(list))
		}
	}
	v := a.view()
	if c := conflictOf(t, v, "report.pdf"); !strings.HasSuffix(c.Name, ").pdf") || !strings.HasPrefix(c.Name, "report (conflict "+deviceOf(0).Short()+" 1970-01-02 ") {
		t.Errorf("%q", c.Name)
	}
	if c := conflictOf(t, v, ".hidden"); !strings.HasPrefix(c.Name, ".hidden (conflict ") {
		t.Errorf("%q", c.Name)
	}
}

func conflictOf(t *testing.T, v *View, base string) Entry {
	t.Helper()
	list, err := v.List(v.Root())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Conflict && e.Base == base {
			return e
		}
	}
	t.Fatalf("no conflict entry of %q", base)
	return Entry{}
}

// Somebody gives files just the names that a conflict copy could have: it finds another one, every time.
func TestConflictNameIsTaken(t *testing.T) {
	w := newWorld(t, 2)
	w.conflict("f.txt")
	a := w.reps[0]
	for range 40 {
		c := conflictOf(t, a.view(), "f.txt")
		w.reps[1].edit(func(e *Edit) {
			_, err := e.Create(Root, c.Name, w.bytes(), Attrs{})
			if !errors.Is(err, fs.ErrExist) { // it is shown there
				t.Errorf("%v", err)
			}
		})
		w.reps[1].ok(w.reps[1].post([]Op{{Type: OpCreate, Node: Local(0, File), Name: c.Name, Content: w.bytes()}}))
		w.share()
		next := conflictOf(t, a.view(), "f.txt")
		if next.Name == c.Name || next.ID != c.ID || len(next.Name) > MaxName {
			t.Fatalf("%q after %q", next.Name, c.Name)
		}
		a.ok(a.check())
	}
}

// cut takes the entries of a replica's core from seq on out of everybody's tables, as when its author was removed.
func (w *world) cut(author int, seq uint64) {
	var gone []Placed
	for _, p := range w.entries {
		if p.author == author && p.seq >= seq {
			gone = append(gone, p.ops...)
		}
	}
	w.entries = slices.DeleteFunc(slices.Clone(w.entries), func(p *posted) bool { return p.author == author && p.seq >= seq })
	for _, r := range w.reps {
		if _, err := Apply(r.rows, nil, gone); err != nil {
			w.t.Fatal(err)
		}
		if err := r.check(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// D12: what was made in a directory whose create no longer counts is shown at the root.
func TestRecovered(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("mkdir d", "create f 1")
	w.share()
	b.run("create d/g 2", "mkdir d/s", "create d/s/h 3", "write f 4")
	dir, file := b.entry("d").Node, b.entry("f").Node
	w.share()
	w.cut(0, 0)
	want := []string{"recovered-" + dir.String()[:8], "recovered-" + file.String()[:8]}
	list, err := a.view().List(a.view().Root())
	a.ok(err)
	var got []string
	for _, e := range list {
		got = append(got, e.Name)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("shown %q, want %q", got, want)
	}
	top := "recovered-" + dir.String()[:8]
	for path, text := range map[string]string{top + "/g": "2", top + "/s/h": "3", "recovered-" + file.String()[:8]: "4"} {
		if e, err := a.view().Walk(path); err != nil || textOf(e.Content) != text {
			t.Errorf("%s: %s, %v", path, textOf(e.Content), err)
		}
	}
	if p, err := a.view().Path(dir); err != nil || p != "recovered-"+dir.String()[:8] {
		t.Errorf("%q, %v", p, err)
	}
	if list, err := a.view().Conflicts(); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	b.run("mv recovered-"+dir.String()[:8]+" d", "rm recovered-"+file.String()[:8])
	w.share()
	if got := a.show(); got != "d/ d/g=2 d/s/ d/s/h=3" {
		t.Error(got)
	}
}

// A write that no longer counts does not leave its ancestors as false copies.
func TestCutInTheMiddle(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("create f 1")
	w.share()
	for i := 2; i < 20; i += 2 {
		b.run(fmt.Sprint("write f ", i))
		w.share()
		a.run(fmt.Sprint("write f ", i+1))
		w.share()
	}
	w.cut(1, 3)
	if got := a.show(); got != "f=19" {
		t.Error(got)
	}
}

func TestChanges(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	changes := func(line string) Changes {
		t.Helper()
		b.run(line)
		p := w.entries[len(w.entries)-1]
		a.knows[1]++
		a.lamport = max(a.lamport, p.ops[0].Pos.Lamport)
		c, err := Apply(a.rows, p.ops, nil)
		a.ok(err)
		if again, err := Apply(a.rows, p.ops, nil); err != nil || len(again.Dirs)+len(again.Nodes)+len(again.Names) != 0 {
			t.Errorf("the same again changed %+v, %v", again, err)
		}
		return c
	}
	same := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	changes("mkdir d")
	c := changes("create d/f 1")
	d, f := b.entry("d").Node, b.entry("d/f").Node
	same("create", c.Dirs, []NodeID{d})
	same("create", c.Names, []Place{{d, "f"}})
	c = changes("write d/f 2")
	same("write", c.Nodes, []NodeID{f})
	same("write", c.Names, []Place{{d, "f"}})
	c = changes("mv d/f g")
	if len(c.Dirs) != 2 || len(c.Names) != 2 || len(c.Nodes) != 0 {
		t.Errorf("move: %+v", c)
	}
	c = changes("rm g")
	same("remove", c.Names, []Place{{Root, "g"}})
	a.run("mkdir e")
	c = changes("mkdir e")
	if len(c.Joined) != 2 {
		t.Errorf("a second directory of a name: %+v", c)
	}
	c = changes("mv e x")
	if len(c.Joined) != 2 {
		t.Errorf("and away again: %+v", c)
	}
}

func TestUnion(t *testing.T) {
	script(t, `
		A: mkdir d; mkdir d/s; create d/s/x 1; create d/f 2
		B: mkdir d; mkdir d/s; create d/s/y 3; create d/f 4
		share
		A: create d/s/z 5; mkdir d/t
		B: mv d/s u
		share
		A: mv d/f~ d/g
		B: rm -r u`, "d/ d/f=2 d/g=4 d/t/")
	script(t, `
		A: mkdir d; create d/f 2
		B: mkdir d
		share
		A: rm -r d`, "")
	w := script(t, `
		A: mkdir d; mkdir d/s; create d/s/f 1
		B: mkdir d; mkdir d/s; create d/s/f 2`, "d/ d/s/ d/s/f=1 d/s/f~=2")
	list, err := w.reps[0].view().Conflicts()
	if err != nil || len(list) != 1 {
		t.Errorf("conflicts below directories shown as one: %v, %v", list, err)
	}
}

// A directory takes a name from a file, and gives it back to nobody.
func TestDirectoryAndFile(t *testing.T) {
	w := script(t, `
		A: create a 1
		B: mkdir a; create a/x 2`, "a/ a/x=2 a~=1")
	c := conflictOf(t, w.reps[0].view(), "a")
	if c.Rival == nil || c.Rival.Kind != Dir || c.Rival.Author != deviceOf(1) {
		t.Errorf("%+v", c.Rival)
	}
	script(t, `
		A: create a 1
		B: mkdir a
		share
		B: rm a`, "a~=1")
	script(t, `
		A: create a 1
		B: mkdir a
		share
		B: mv a~ b; mv a c`, "b=1 c/")
	script(t, `
		A: link a x
		B: create a 1
		share
		A: mv a~ a`, "a=1")
}

func take[T any](t *testing.T, seq iter.Seq2[T, error], n int) (out []T) {
	t.Helper()
	for x, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		if out = append(out, x); len(out) == n {
			break
		}
	}
	return out
}

// trash is all that is in the trash.
func trash(v *View) iter.Seq2[Trashed, error] {
	return func(yield func(Trashed, error) bool) {
		for r, err := range v.Removals() {
			var list []Trashed
			if err == nil {
				list, err = v.Trashed(r)
			}
			if err != nil {
				yield(Trashed{}, err)
				return
			}
			for _, t := range list {
				if !yield(t, nil) {
					return
				}
			}
		}
	}
}

func TestTrashAndHistory(t *testing.T) {
	w := newWorld(t, 2)
	a := w.reps[0]
	a.run("create f 1", "write f 2", "mkdir d", "create d/g 3", "rm -r d", "rm f", "create f 4")
	w.share()
	b := w.reps[1]
	gone := take(t, trash(b.view()), 10)
	var got []string
	for _, x := range gone {
		got = append(got, x.Entry.Kind.String()+" "+x.Entry.Name+" "+textOf(x.Entry.Content))
	}
	if want := []string{"file f 2", "directory d ", "file g 3"}; !slices.Equal(got, want) && !slices.Equal(got, []string{want[0], want[2], want[1]}) {
		t.Errorf("trash %q", got)
	}
	if x := gone[0]; x.Deleted.Author != deviceOf(0) || x.Entry.Head.Author != deviceOf(0) || x.Entry.Parent != Root {
		t.Errorf("%+v", x)
	}
	var types []Type
	for _, p := range take(t, b.view().History(b.entry("f").Node), 10) {
		types = append(types, p.Op.Type)
	}
	if want := []Type{OpCreate, OpDelete, OpWrite, OpCreate}; !slices.Equal(types, want) {
		t.Errorf("history %v, want %v", types, want)
	}
	b.edit(func(e *Edit) {
		b.ok(e.Restore(AsOf(b.rows, closure{2, 0}), must(AsOf(b.rows, closure{2, 0}).Walk("f")), Restoring{}))
	})
	if gone := take(t, trash(b.view()), 10); len(gone) != 3 { // the new f has the place: it was written over
		t.Errorf("%+v", gone)
	}
	b.run("rm f")
	gone = take(t, trash(b.view()), 1)
	if textOf(gone[0].Entry.Content) != "2" || gone[0].Deleted.Author != deviceOf(1) {
		t.Errorf("%+v", gone)
	}
	if _, err := b.view().Node(gone[0].Entry.Node); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestMarks(t *testing.T) {
	w := newWorld(t, 2)
	a := w.reps[0]
	a.run("create f 1", "mark one", "write f 2", "mark two")
	w.share()
	marks := take(t, w.reps[1].view().Marks(), 10)
	if len(marks) != 2 || marks[0].Label != "two" || marks[1].Label != "one" || marks[1].By.ID != w.entries[1].ops[0].ID || marks[0].By.Author != deviceOf(0) {
		t.Errorf("%+v", marks)
	}
	if marks := take(t, AsOf(a.rows, closure{3, 0}).Marks(), 10); len(marks) != 1 {
		t.Errorf("%+v", marks)
	}
	w.cut(0, 3)
	if marks := take(t, a.view().Marks(), 10); len(marks) != 1 {
		t.Errorf("%+v", marks)
	}
}

// A counter counts what is asked of a table.
type counter struct {
	Rows
	puts, deletes, gets, scanned int
}

func (c *counter) Put(k, v []byte) error { c.puts++; return c.Rows.Put(k, v) }
func (c *counter) Delete(k []byte) error { c.deletes++; return c.Rows.Delete(k) }
func (c *counter) Get(k []byte) ([]byte, error) {
	c.gets++
	return c.Rows.Get(k)
}
func (c *counter) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := range c.Rows.Scan(prefix, from) {
			if c.scanned++; !yield(k, v) {
				return
			}
		}
	}
}

func (r *replica) count(line string) (c counter) {
	r.w.t.Helper()
	before := r.rows.Clone()
	r.run(line)
	c.Rows = before
	if _, err := Apply(&c, r.w.entries[len(r.w.entries)-1].ops, nil); err != nil {
		r.w.t.Fatal(err)
	}
	return c
}

// Renaming a directory touches as many rows whatever is in it, writing a file as many however often it was written.
func TestCosts(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	r.run("mkdir small", "mkdir big", "create f 1")
	for i := range 20 {
		r.run(fmt.Sprintf("mkdir big/%d", i))
		for j := range 20 {
			r.run(fmt.Sprintf("create big/%d/%d 1", i, j))
		}
	}
	small, big := r.count("mv small s"), r.count("mv big b")
	if big.puts > small.puts || big.puts > 10 || big.deletes > 4 || big.scanned > 10 || big.gets > 40 {
		t.Errorf("small %+v, big %+v", small, big)
	}
	first := r.count("write f 2")
	for i := range 300 {
		r.run(fmt.Sprint("write f ", i))
	}
	if last := r.count("write f 3"); last.puts != first.puts || last.scanned != first.scanned || last.gets != first.gets || last.puts > 3 {
		t.Errorf("first %+v, last %+v", first, last)
	}
	if last := r.count("rm f"); last.scanned > 4 {
		t.Errorf("remove %+v", last)
	}
	if made := r.count("create b/new 1"); made.puts > 5 || made.scanned > 3 {
		t.Errorf("create %+v", made)
	}
	e := NewEdit(&counter{Rows: r.rows}, coreOf(0))
	if _, err := e.Create(Root, "x", nil, Attrs{}); err != nil {
		t.Fatal(err)
	}
	if c := e.base.(*counter); c.scanned > 5 || c.puts > 0 {
		t.Errorf("making a file in an edit: %+v", c)
	}
}
