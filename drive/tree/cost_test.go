package tree

import (
	"fmt"
	"iter"
	"testing"
)

// readCounter counts the rows that are read.
type readCounter struct {
	*Mem
	reads  int
	listed int // of them while listing a whole directory
}

func (c *readCounter) Get(k []byte) ([]byte, error) {
	c.reads++
	return c.Mem.Get(k)
}

func (c *readCounter) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := range c.Mem.Scan(prefix, from) {
			c.reads++
			if len(prefix) == 5 && prefix[0] == rowVisible {
				c.listed++
			}
			if !yield(k, v) {
				return
			}
		}
	}
}

// filled is a directory of n files, and a name in it that two people gave.
func filled(t *testing.T, n int) *replica {
	t.Helper()
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("mkdir d")
	w.share()
	for made := 0; made < n; {
		if err := a.do(func(e *Edit) error {
			dir, err := e.View().Walk("d")
			for ; err == nil && made < n && len(e.Ops()) < MaxOps; made++ {
				_, err = e.Create(dir.Node, fmt.Sprintf("file %d.txt", made), nil, Attrs{})
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	a.run("create d/both 1")
	b.run("create d/both 2")
	w.share()
	return a
}

// TestConflictNameCost: what is shown under a conflict name is found without reading the directory.
func TestConflictNameCost(t *testing.T) {
	r := filled(t, 1000)
	dir, err := r.view().Walk("d")
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.view().List(dir)
	if err != nil {
		t.Fatal(err)
	}
	conflicts := 0
	for _, want := range list {
		if !want.Conflict {
			continue
		}
		conflicts++
		rows := &readCounter{Mem: r.rows}
		got, err := Now(rows).Lookup(dir, want.Name)
		if err != nil || got.ID != want.ID || rows.reads > 50 {
			t.Errorf("looking up %q: %v, %v, %d rows read", want.Name, got.ID, err, rows.reads)
		}
		rows.reads = 0
		got, err = Now(rows).Entry(want.Node, want.ID)
		if err != nil || got.Name != want.Name || rows.reads > 50 {
			t.Errorf("finding %q by its id: %q, %v, %d rows read", want.Name, got.Name, err, rows.reads)
		}
	}
	if conflicts != 1 {
		t.Errorf("%d conflict entries", conflicts)
	}
	rows := &readCounter{Mem: r.rows}
	if _, err := Now(rows).Lookup(dir, "x (conflict nobody).txt"); err == nil || rows.reads > 50 {
		t.Errorf("looking up a name that only looks like a conflict: %v, %d rows read", err, rows.reads)
	}
}

// TestConflictNameTaken: a conflict name that a file was really given goes to that file, in a lookup as in the listing.
func TestConflictNameTaken(t *testing.T) {
	r := filled(t, 1)
	name := func() (dir, conflict Entry) {
		dir, err := r.view().Walk("d")
		if err != nil {
			t.Fatal(err)
		}
		list, err := r.view().List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Conflict {
				conflict = e
			}
		}
		return dir, conflict
	}
	dir, before := name()
	w := r.w
	if err := w.reps[1].do(func(e *Edit) error {
		_, err := e.emit(Op{Type: OpCreate, Node: NodeID{}.withKind(File), Parent: dir.Node, Name: before.Name, Content: content("real")})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.share()
	_, after := name()
	if after.ID != before.ID || after.Name == before.Name {
		t.Fatalf("the conflict entry is called %q, before %q", after.Name, before.Name)
	}
	for want, id := range map[string]NodeID{after.Name: after.ID, before.Name: {}} {
		got, err := r.view().Lookup(dir, want)
		if err != nil || got.Name != want || id != (NodeID{}) && got.ID != id {
			t.Errorf("looking up %q: %q, %v", want, got.Name, err)
		}
	}
	if err := sound(r.rows); err != nil {
		t.Error(err)
	}
}

// TestRemoveAllCost: a directory that goes in several entries is listed once, however many they are.
func TestRemoveAllCost(t *testing.T) {
	const n = 12_000
	r := filled(t, n)
	var first *uint64
	listed, entries := 0, 0
	for more := true; more; entries++ {
		rows := &readCounter{Mem: r.rows}
		e := NewEdit(rows, coreOf(0))
		if first != nil {
			e.SweepFrom(*first)
		}
		of, err := e.View().Walk("d")
		if err == nil {
			more, err = e.RemoveAll(of)
		}
		listed += rows.listed
		if seq := r.knows[0]; first == nil {
			first = &seq
		}
		if err == nil {
			err = r.post(e.Ops())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := r.show(); got != "" {
		t.Fatalf("left: %.100s", got)
	}
	// The last entry looks once more whether anything is left in the directory.
	if entries < 3 || listed > n+MaxOps+2*spare*entries {
		t.Errorf("%d rows listed in %d entries for %d files", listed, entries, n)
	}
}

// TestRenamesInOneEntry: what renaming a directory costs does not depend on how many the same entry has renamed before.
func TestRenamesInOneEntry(t *testing.T) {
	const dirs, step = 600, 100
	w := newWorld(t, 1)
	r := w.reps[0]
	r.edit(func(e *Edit) {
		for i := range dirs {
			_, err := e.Mkdir(Root, fmt.Sprint("from ", i), Attrs{})
			r.ok(err)
		}
	})
	r.edit(func(e *Edit) {
		var allocs []float64
		for from := 0; from < dirs; from += step {
			next := from
			allocs = append(allocs, testing.AllocsPerRun(step-1, func() { // which runs it once more
				dir, err := e.View().Walk(fmt.Sprint("from ", next))
				r.ok(err)
				r.ok(e.Move(dir, Root, fmt.Sprint("to ", next)))
				next++
			}))
		}
		if first, last := allocs[0], allocs[len(allocs)-1]; last > 2*first {
			t.Errorf("the first renames allocate %v times each, the last %v", first, last)
		}
	})
}
