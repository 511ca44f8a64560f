package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

func ptr[T any](v T) *T { return &v }

// edit does commands on a replica, in one entry.
func (r *replica) edit(commands func(e *Edit)) {
	r.w.t.Helper()
	if err := r.do(func(e *Edit) error { commands(e); return nil }); err != nil {
		r.w.t.Fatal(err)
	}
}

func (r *replica) ok(err error) {
	r.w.t.Helper()
	if err != nil {
		r.w.t.Fatalf("%v\n%s", err, r.w.history())
	}
}

func (r *replica) entry(path string) Entry {
	r.w.t.Helper()
	e, err := r.view().Walk(path)
	r.ok(err)
	return e
}

func TestForbidden(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	r.run("mkdir d", "mkdir d/s", "create d/f", "create f", "mkdir empty", "link l there")
	long := strings.Repeat("x", MaxName)
	for _, c := range []struct {
		line string
		want error
	}{
		{"create f", fs.ErrExist}, {"mkdir f", fs.ErrExist}, {"mkdir d", fs.ErrExist}, {"link f x", fs.ErrExist},
		{"rm d", ErrNotEmpty}, {"rm x", fs.ErrNotExist}, {"write d", ErrIsDir},
		{"mv f d", ErrIsDir}, {"mv d f", ErrNotDir}, {"mv empty d", ErrNotEmpty}, {"mv d d/s/x", ErrIntoItself}, {"mv d d/x", ErrIntoItself},
		{"create f/x", ErrNotDir}, {"create x/y", fs.ErrNotExist},
		{"create .", ErrName}, {"create ..", ErrName}, {"create " + long + "y", ErrName}, {"create .pear", ErrName}, {"mv f .pear", ErrName},
	} {
		before := r.rows.Puts()
		if err := r.try(c.line); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.line, err, c.want)
		}
		if r.rows.Puts() != before {
			t.Errorf("%s has written something", c.line)
		}
	}
	r.run("create d/.pear 1", "create "+long+" 2", "mv empty d/s", "mv l link")
	root := r.view().Root()
	r.edit(func(e *Edit) {
		for _, err := range []error{e.Move(root, root.Node, "x"), e.Remove(root)} {
			if err == nil {
				t.Error("the root was moved or removed")
			}
		}
		if _, err := e.RemoveAll(root); err == nil {
			t.Error("the root was removed with all below it")
		}
		if len(e.Ops()) != 0 {
			t.Errorf("%d operations are left of commands that failed", len(e.Ops()))
		}
	})
}

// A command that fails in the middle takes back what it did, and what was before it stays.
func TestFailedCommand(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	r.run("create f 1", "create g 2")
	r.edit(func(e *Edit) {
		id, err := e.Mkdir(Root, "d", Attrs{})
		r.ok(err)
		f, err := e.View().Walk("f")
		r.ok(err)
		if err := e.Write(f.Opened(), content("3"), Attrs{Set: map[string][]byte{"trusted.x": nil}}); !errors.Is(err, ErrXattr) {
			t.Errorf("%v", err)
		}
		if f, err = e.View().Walk("f"); err != nil || textOf(f.Content) != "1" {
			t.Errorf("f is %s, %v", textOf(f.Content), err)
		}
		_, err = e.Create(id, "x", content("4"), Attrs{})
		r.ok(err)
	})
	if got := r.show(); got != "d/ d/x=4 f=1 g=2" {
		t.Error(got)
	}
}

func TestManyCommandsInOneEntry(t *testing.T) {
	w := newWorld(t, 2)
	r := w.reps[0]
	r.edit(func(e *Edit) {
		for _, line := range []string{"mkdir a", "mkdir a/b", "create a/b/f 1", "write a/b/f 2", "write a/b/f 3", "mv a/b/f g", "mkdir c", "mv a c/a",
			"create t 4", "mv t g", "rm -r c", "create x 5", "rm x", "create x 6", "link l x", "mv l m"} {
			r.ok(r.command(e, line))
		}
		if got, err := everythingNamed(e.View()); err != nil || got != "g m x" {
			t.Errorf("the edit shows %q, %v", got, err)
		}
	})
	w.share()
	for _, r := range w.reps {
		r.ok(r.check())
		if got := r.show(); got != "g=4 m->x x=6" {
			t.Errorf("shown: %s", got)
		}
	}
	if len(w.entries) != 1 {
		t.Errorf("%d entries", len(w.entries))
	}
}

func everythingNamed(v *View) (string, error) {
	paths, _, err := everything(v)
	return strings.Join(paths, " "), err
}

// An editor saves by writing a new file and renaming it over the old one.
func TestAtomicSave(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	r.run("create f 1")
	node := r.entry("f").Node
	r.edit(func(e *Edit) {
		f, err := e.View().Walk("f")
		r.ok(err)
		r.ok(e.SetAttr(f, Attrs{Mode: ptr(uint32(0o600)), Set: map[string][]byte{"user.old": {1}, "user.both": {1}}}))
		_, err = e.Create(Root, "tmp", content("2"), Attrs{Mode: ptr(uint32(0o640)), MTime: ptr(int64(77)), Set: map[string][]byte{"user.both": {2}}})
		r.ok(err)
	})
	r.run("mv tmp f")
	f := r.entry("f")
	if f.Node != node || textOf(f.Content) != "2" || f.Mode != 0o640 || f.MTime != 77 || !reflect.DeepEqual(f.Xattrs, map[string][]byte{"user.both": {2}}) {
		t.Errorf("%+v", f)
	}
	var texts []string
	for p, err := range r.view().History(node) {
		r.ok(err)
		if p.Op.Content != nil {
			texts = append(texts, textOf(p.Op.Content))
		}
	}
	if !slices.Equal(texts, []string{"2", "1"}) {
		t.Errorf("history %v", texts)
	}
}

// What a program had open counts, not what has come since.
func TestOpenedWrite(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("create f 1")
	w.share()
	opened := a.entry("f").Opened()
	raw, err := opened.MarshalBinary()
	a.ok(err)
	var again Opened
	a.ok(again.UnmarshalBinary(raw))
	b.run("write f 2")
	w.share()
	a.edit(func(e *Edit) { a.ok(e.Write(again, content("3"), Attrs{})) })
	w.share()
	if got := b.show(); got != "f=3 f~=2" {
		t.Error(got)
	}
	copied := b.entry("f")
	if list, err := b.view().Conflicts(); err != nil || len(list) != 1 || list[0].Rival == nil || list[0].Rival.ID != copied.Head.ID || list[0].Rival.Author != deviceOf(0) {
		t.Errorf("%+v, %v", list, err)
	}
	// Both were opened: then one write takes the place of both.
	both := b.entry("f").Opened()
	list, err := b.view().Conflicts()
	b.ok(err)
	both.Heads = append(both.Heads, list[0].Heads...)
	b.edit(func(e *Edit) { b.ok(e.Write(both, content("4"), Attrs{})) })
	w.share()
	if got := a.show(); got != "f=4" {
		t.Error(got)
	}
	a.run("rm f")
	if err := a.do(func(e *Edit) error { return e.Write(both, content("5"), Attrs{}) }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writing to a removed file: %v", err)
	}
	for i := range raw {
		if err := again.UnmarshalBinary(raw[:i]); err == nil {
			t.Errorf("%d bytes of %d are enough", i, len(raw))
		}
	}
}

// A small file's bytes stand in the entry that first wrote them, wherever they are shown later.
func TestPayloadIsFoundAgain(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	small := blob.Content{Size: 5, Plain: key.Sum([]byte("small")), Payload: 1, PayloadHash: key.Sum([]byte("block"))}
	r.edit(func(e *Edit) {
		_, err := e.Create(Root, "f", &small, Attrs{})
		r.ok(err)
		_, err = e.Create(Root, "g", nil, Attrs{})
		r.ok(err)
	})
	first := r.entry("f")
	if first.PayloadCore != coreOf(0) || first.PayloadSeq != 0 {
		t.Errorf("%v %d", first.PayloadCore, first.PayloadSeq)
	}
	r.run("mv f g")
	r.run("mv g h")
	r.edit(func(e *Edit) {
		_, err := e.Create(Root, "tmp", &small, Attrs{})
		r.ok(err)
		x, err := e.View().Walk("tmp")
		r.ok(err)
		r.ok(e.Move(x, Root, "h2"))
		_, err = e.Create(Root, "h3", nil, Attrs{})
		r.ok(err)
		x, err = e.View().Walk("h2")
		r.ok(err)
		r.ok(e.Move(x, Root, "h3"))
	})
	if got := r.entry("h"); got.PayloadSeq != 0 || got.Head.Pos.Seq != 1 || got.Content.Payload != 1 {
		t.Errorf("%+v", got)
	}
	if got := r.entry("h3"); got.PayloadSeq != 3 {
		t.Errorf("%+v", got)
	}
}

func TestAttributes(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.edit(func(e *Edit) {
		_, err := e.Create(Root, "f", content("1"), Attrs{Mode: ptr(uint32(0)), MTime: ptr(int64(5)), Set: map[string][]byte{"user.a": {}}})
		a.ok(err)
		_, err = e.Mkdir(Root, "d", Attrs{MTime: ptr(int64(9))})
		a.ok(err)
		_, err = e.Symlink(Root, "l", "f", Attrs{MTime: ptr(int64(3))})
		a.ok(err)
	})
	w.share()
	set := func(r *replica, path string, at Attrs) {
		t.Helper()
		r.edit(func(e *Edit) {
			x, err := e.View().Walk(path)
			r.ok(err)
			r.ok(e.SetAttr(x, at))
		})
	}
	if f := a.entry("f"); f.Mode != 0 || f.MTime != 5 || f.Xattrs["user.a"] == nil {
		t.Errorf("%+v", f)
	}
	set(a, "f", Attrs{Mode: ptr(uint32(0o644))})
	set(b, "f", Attrs{Set: map[string][]byte{"user.b": []byte("x")}, Remove: []string{"user.a"}})
	set(b, "f", Attrs{MTime: ptr(int64(6))})
	set(a, "d", Attrs{Mode: ptr(uint32(0o700))})
	set(b, "", Attrs{Mode: ptr(uint32(0o711))})
	w.share()
	if f := a.entry("f"); f.Mode != 0o644 || f.MTime != 6 || !reflect.DeepEqual(f.Xattrs, map[string][]byte{"user.b": []byte("x")}) {
		t.Errorf("%+v", f)
	}
	if d := a.entry("d"); d.Mode != 0o700 || d.MTime != 9 {
		t.Errorf("%+v", d)
	}
	if l := b.entry("l"); l.Target != "f" || l.MTime != 3 || l.Size != 1 {
		t.Errorf("%+v", l)
	}
	if root := a.view().Root(); root.Mode != 0o711 {
		t.Errorf("%+v", root)
	}
	a.edit(func(e *Edit) {
		f, err := e.View().Walk("f")
		a.ok(err)
		a.ok(e.Write(f.Opened(), content("2"), Attrs{MTime: ptr(int64(8))}))
	})
	if f := a.entry("f"); f.MTime != 8 || f.Mode != 0o644 {
		t.Errorf("%+v", f)
	}
	many := map[string][]byte{}
	for i := range MaxXattrs {
		many[fmt.Sprint("user.", i)] = nil
	}
	set(a, "d", Attrs{Set: many})
	set(a, "f", Attrs{Set: many, Remove: slices.Sorted(maps.Keys(a.entry("f").Xattrs))})
	others := map[string][]byte{} // all at once instead of all that are there is more than one operation may do
	for i := range MaxXattrs {
		others[fmt.Sprint("user.other", i)] = nil
	}
	gone := slices.Sorted(maps.Keys(many))
	set(a, "d", Attrs{Set: others, Remove: gone})
	a.edit(func(e *Edit) {
		f, err := e.View().Walk("f")
		a.ok(err)
		a.ok(e.Write(f.Opened(), content("3"), Attrs{Set: others, Remove: gone}))
	})
	for _, p := range []string{"d", "f"} {
		if x := a.entry(p).Xattrs; len(x) != MaxXattrs || !hasXattr(x, "user.other0") || hasXattr(x, "user.0") {
			t.Errorf("%s has %d attributes", p, len(x))
		}
	}
	for _, bad := range []Attrs{{Mode: ptr(uint32(0o4755))}, {Set: map[string][]byte{"security.x": nil}}, {Set: map[string][]byte{"user.": nil}},
		{Remove: []string{"trusted.x"}}, {Set: map[string][]byte{"user.x": make([]byte, MaxXattr+1)}}, {Set: map[string][]byte{"user.more": nil}}} {
		if err := a.do(func(e *Edit) error {
			x, err := e.View().Walk("d")
			if err != nil {
				return err
			}
			return e.SetAttr(x, bad)
		}); err == nil {
			t.Errorf("%+v was set", bad)
		}
	}
}

func hasXattr(x map[string][]byte, name string) bool {
	_, ok := x[name]
	return ok
}

func TestDeep(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	dir := Root
	r.edit(func(e *Edit) {
		for i := range MaxDepth {
			id, err := e.Mkdir(dir, "d", Attrs{})
			if err != nil {
				t.Fatalf("directory %d: %v", i, err)
			}
			dir = id
			if i == 100 { // the edit's own check of the depth is quadratic here
				break
			}
		}
	})
	ops := []Op{}
	parent := r.deepest()
	for i := range MaxDepth - 101 {
		ops = append(ops, Op{Type: OpCreate, Node: Local(uint32(i), Dir), Parent: parent, Name: "d"})
		parent = Local(uint32(i), Dir)
	}
	r.ok(r.post(ops))
	last := r.deepest()
	p, err := r.view().Path(last)
	r.ok(err)
	if n := strings.Count(p, "/") + 1; n != MaxDepth {
		t.Fatalf("depth %d", n)
	}
	r.edit(func(e *Edit) {
		if _, err := e.Mkdir(last, "more", Attrs{}); !errors.Is(err, ErrTooDeep) {
			t.Errorf("%v", err)
		}
		id, err := e.Mkdir(Root, "x", Attrs{})
		r.ok(err)
		x, err := e.View().Node(id)
		r.ok(err)
		if err := e.Move(x, last, "x"); !errors.Is(err, ErrTooDeep) {
			t.Errorf("%v", err)
		}
	})
	// Who does it anyway is not followed, and everybody agrees on that.
	x := r.entry("x")
	r.ok(r.post([]Op{{Type: OpMove, Node: x.Node, Parent: last, Name: "x"}}))
	if _, err := r.view().Walk("x"); err != nil {
		t.Error(err)
	}
	r.ok(r.check())
}

func (r *replica) deepest() NodeID {
	v := r.view()
	e := v.Root()
	for {
		list, err := v.List(e)
		r.ok(err)
		if len(list) == 0 {
			return e.Node
		}
		e = list[0]
	}
}

// Removing more than fits one entry takes several, and a concurrent rename of the top brings all of it back.
func TestRemoveMuch(t *testing.T) {
	for _, concurrent := range []bool{false, true} {
		w := newWorld(t, 2)
		a, b := w.reps[0], w.reps[1]
		const files, dirs = 1100, 5
		for d := range dirs {
			a.edit(func(e *Edit) {
				top := e.View().Root().Node
				if d > 0 {
					x, err := e.View().Walk("top")
					a.ok(err)
					top = x.Node
				} else {
					id, err := e.Mkdir(Root, "top", Attrs{})
					a.ok(err)
					top = id
				}
				id, err := e.Mkdir(top, fmt.Sprint("d", d), Attrs{})
				a.ok(err)
				for i := range files {
					_, err := e.Create(id, fmt.Sprint(i), nil, Attrs{})
					a.ok(err)
				}
			})
		}
		w.share()
		entries, first := 0, a.knows[0]
		for more := true; more; entries++ {
			a.ok(a.do(func(e *Edit) error {
				e.SweepFrom(first)
				x, err := e.View().Walk("top")
				if err != nil {
					return err
				}
				more, err = e.RemoveAll(x)
				return err
			}))
		}
		if entries != 2 {
			t.Errorf("%d entries", entries)
		}
		if got := a.show(); got != "" {
			t.Errorf("left: %.200s", got)
		}
		if concurrent {
			b.run("mv top saved")
		}
		w.share()
		n := 0
		paths, _, err := everything(b.view())
		b.ok(err)
		for _, p := range paths {
			if strings.Count(p, "/") == 2 {
				n++
			}
		}
		if want := map[bool]int{true: files * dirs}[concurrent]; n != want {
			t.Errorf("%d files are there, want %d", n, want)
		}
		ha, err := StateHash(a.rows)
		a.ok(err)
		if hb, err := StateHash(b.rows); err != nil || ha != hb {
			t.Errorf("two states, %v", err)
		}
	}
}

func TestTooMany(t *testing.T) {
	w := newWorld(t, 1)
	r := w.reps[0]
	e := NewEdit(r.rows, coreOf(0))
	for range MaxOps {
		r.ok(e.Mark("x"))
	}
	if err := e.Mark("x"); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
	if len(e.Ops()) != MaxOps {
		t.Errorf("%d operations", len(e.Ops()))
	}
	if _, err := EncodeOps(make([]Op, MaxOps+1)); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
}
