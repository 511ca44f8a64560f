package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// ahead does something that is put off.
func (b *box) ahead(fn func(*drive.Batch) error) {
	b.t.Helper()
	if err := b.Ahead().Write(b.t.Context(), fn); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) flush() {
	b.t.Helper()
	if err := b.Ahead().Flush(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// entries is how many entries the drive's log has.
func (b *box) entries() (n int) {
	b.t.Helper()
	for _, err := range b.Log(b.t.Context(), drive.LogOptions{Edits: 1}) {
		if err != nil {
			b.t.Fatal(err)
		}
		n++
	}
	return n
}

// seen is the tree as those see it who read ahead of the log.
func (b *box) seen() string {
	b.t.Helper()
	var out strings.Builder
	var walk func(dir tree.NodeID, path string)
	walk = func(dir tree.NodeID, path string) {
		infos, err := b.Ahead().Children(dir)
		if err != nil {
			b.t.Fatalf("listing %q: %v", path, err)
		}
		for _, i := range infos {
			p := strings.TrimPrefix(path+"/"+i.Name, "/")
			fmt.Fprintf(&out, "%s %s %d\n", i.Mode(), p, i.Size)
			if c, err := b.Ahead().Child(dir, i.Name); err != nil || c.Node != i.Node {
				b.t.Errorf("%s is listed as %v and found as %v, %v", p, i.Node, c.Node, err)
			}
			if at, err := b.Ahead().Path(i.Node); err != nil || at != p && !i.Conflict {
				b.t.Errorf("the path of %s is %q, %v", p, at, err)
			}
			if i.IsDir() {
				walk(i.Node, p)
			}
		}
	}
	walk(tree.Root, "")
	return out.String()
}

// makeSome does several things in several steps.
func (b *box) makeSome() {
	b.t.Helper()
	for _, fn := range []func(*drive.Batch) error{
		func(w *drive.Batch) error { return w.MkdirAll("new/sub", drive.Attrs{}) },
		func(w *drive.Batch) error { return w.Symlink("new/link", "sub", drive.Attrs{}) },
		func(w *drive.Batch) error { return w.Move("old", "new/sub/moved") },
		func(w *drive.Batch) error { return w.Remove("gone") },
		func(w *drive.Batch) error {
			perm := uint32(0o700)
			return w.SetAttr("new", drive.Attrs{Perm: &perm})
		},
		func(w *drive.Batch) error { return w.Move("new/sub", "elsewhere") },
	} {
		b.ahead(fn)
	}
}

const made = "drwxr-xr-x elsewhere 0\n-rw-r--r-- elsewhere/moved 3\ndrwx------ new 0\nLrwxrwxrwx new/link 3\n"

func TestAheadIsSeenAndLands(t *testing.T) {
	a := create(t)
	a.put("old", "old")
	a.put("gone", "gone")
	a.Ahead().Hold()
	before, entries := a.listing(a.Now()), a.entries()
	var told []tree.Place
	stop := a.Ahead().Watch(func(c tree.Changes) { told = append(told, c.Names...) })
	defer stop()
	a.makeSome()
	if got := a.seen(); got != made {
		t.Errorf("ahead of the log there is\n%s", got)
	}
	if got := a.listing(a.Now()); got != before {
		t.Errorf("the log has already\n%s", got)
	}
	if len(told) < 6 {
		t.Errorf("watchers were told of %v", told)
	}
	dir, err := a.Ahead().Child(tree.Root, "new")
	if err != nil || !drive.IsProvisional(dir.Node) {
		t.Fatalf("new is %v, %v", dir.Node, err)
	}
	var ids map[tree.NodeID]tree.NodeID
	a.Ahead().OnLanding(func(now map[tree.NodeID]tree.NodeID, done func()) {
		// Until done is called, whoever looks is told what he knows already.
		if i, err := a.Ahead().Child(tree.Root, "new"); err != nil || i.Node != dir.Node {
			t.Errorf("while it becomes an entry new is %v, %v; it was %v", i.Node, err, dir.Node)
		}
		ids = now
		done()
		if i, err := a.Ahead().Child(tree.Root, "new"); err != nil || i.Node != ids[dir.Node] {
			t.Errorf("when it is an entry new is %v, %v", i.Node, err)
		}
	})
	a.flush()
	a.Ahead().OnLanding(nil)
	if got := a.listing(a.Now()); got != made {
		t.Errorf("the log has\n%s", got)
	}
	if got := a.seen(); got != made {
		t.Errorf("ahead of a log with everything there is\n%s", got)
	}
	if n := a.entries(); n != entries+1 {
		t.Errorf("%d entries were made of it", n-entries)
	}
	if i, err := a.Now().Stat("new"); err != nil || i.Node != ids[dir.Node] {
		t.Errorf("new is %v, %v; it was told to be %v", i.Node, err, ids[dir.Node])
	}
	// The provisional id is still good: for reading, for what is put off, and for what is not.
	if infos, err := a.Ahead().Children(dir.Node); err != nil || len(infos) != 1 {
		t.Errorf("listed by its provisional id: %v, %v", infos, err)
	}
	a.write(func(w *drive.Batch) error { _, err := w.MkdirAt(dir.Node, "one", drive.Attrs{}); return err })
	a.ahead(func(w *drive.Batch) error { _, err := w.MkdirAt(dir.Node, "two", drive.Attrs{}); return err })
	a.put("last", "x") // takes along what was put off
	if got := a.listing(a.Now()); !strings.Contains(got, "new/one") || !strings.Contains(got, "new/two") {
		t.Errorf("made by a provisional id:\n%s", got)
	}
}

func TestAheadRefuses(t *testing.T) {
	a := create(t)
	a.write(func(w *drive.Batch) error { return w.Mkdir("full", drive.Attrs{}) })
	a.put("full/file", "x")
	a.Ahead().Hold()
	a.ahead(func(w *drive.Batch) error { return w.MkdirAll("d/e", drive.Attrs{}) })
	before := a.seen()
	for want, fn := range map[error]func(*drive.Batch) error{
		fs.ErrExist:      func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) },
		fs.ErrNotExist:   func(w *drive.Batch) error { return w.Remove("nothing") },
		tree.ErrNotEmpty: func(w *drive.Batch) error { return w.Remove("d") },
		tree.ErrNotDir:   func(w *drive.Batch) error { return w.Move("d", "full/file") },
		tree.ErrIsDir:    func(w *drive.Batch) error { return w.Move("full/file", "d") },
		errStop: func(w *drive.Batch) error {
			return errors.Join(w.Mkdir("half", drive.Attrs{}), w.Remove("d/e"), errStop)
		},
	} {
		if err := a.Ahead().Write(t.Context(), fn); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if got := a.seen(); got != before {
			t.Fatalf("after a command that failed with %v there is\n%s", want, got)
		}
	}
	a.ahead(func(w *drive.Batch) error { return w.Remove("d/e") })
	a.flush()
	if got := a.listing(a.Now()); got != a.seen() || strings.Contains(got, "d/e") || strings.Contains(got, "half") {
		t.Errorf("in the end there is\n%s", got)
	}
}

// TestAheadBeside lets others' entries arrive while something is put off. It comes to what it comes to when the entry was
// made at once.
func TestAheadBeside(t *testing.T) {
	do := func(steps ...func(*drive.Batch) error) []func(*drive.Batch) error { return steps }
	for _, c := range []struct {
		name       string
		mine, his  []func(*drive.Batch) error
		want, lost string // a name that must be there, and one that must not
	}{
		{"both make a directory",
			do(func(w *drive.Batch) error { return w.MkdirAll("d/mine", drive.Attrs{}) }),
			do(func(w *drive.Batch) error { return w.MkdirAll("d/his", drive.Attrs{}) }), "d/his", "conflict"},
		{"a directory and a link of one name",
			do(func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) }),
			do(func(w *drive.Batch) error { return w.Symlink("d", "there", drive.Attrs{}) }), "conflict", ""},
		{"he removes the directory that mine is made in",
			do(func(w *drive.Batch) error { return w.Mkdir("empty/mine", drive.Attrs{}) }),
			do(func(w *drive.Batch) error { return w.Remove("empty") }), "empty/mine", ""},
		{"I remove the directory that his is made in",
			do(func(w *drive.Batch) error { return w.Remove("empty") }),
			do(func(w *drive.Batch) error { return w.Mkdir("empty/his", drive.Attrs{}) }), "empty/his", ""},
		{"I remove what he edits",
			do(func(w *drive.Batch) error { return w.Remove("file") }), nil, "file", ""},
		{"I move the directory of what he edits",
			do(func(w *drive.Batch) error { return w.Move("full", "moved") },
				func(w *drive.Batch) error { return w.Mkdir("moved/more", drive.Attrs{}) }), nil, "moved/file", "full"},
		{"both remove",
			do(func(w *drive.Batch) error { return errors.Join(w.Remove("full/file"), w.Remove("full")) }),
			do(func(w *drive.Batch) error { return w.Remove("full/file") }), "", "full"},
		{"he moves what I remove",
			do(func(w *drive.Batch) error { return w.Remove("file") }),
			do(func(w *drive.Batch) error { return w.Move("file", "moved") }), "moved", " file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var trees []string
			for _, putOff := range []bool{true, false} {
				a := create(t)
				a.write(func(w *drive.Batch) error {
					return errors.Join(w.Mkdir("empty", drive.Attrs{}), w.Mkdir("full", drive.Attrs{}))
				})
				a.put("file", "x")
				a.put("full/file", "x")
				b := join(t, a)
				a.Ahead().Hold()
				for _, fn := range c.mine {
					if putOff {
						a.ahead(fn)
					} else {
						a.write(fn)
					}
				}
				for _, fn := range c.his {
					b.write(fn)
				}
				if c.his == nil {
					b.put("file", "edited")
					b.put("full/file", "edited")
				}
				meet(t, b, a)
				seen := a.seen() // over what he did
				a.flush()
				meet(t, a, b)
				got := a.listing(a.Now())
				if seen != got || b.listing(b.Now()) != got {
					t.Errorf("ahead of the log was\n%sthen\n%sand the other has\n%s", seen, got, b.listing(b.Now()))
				}
				if !strings.Contains(got, c.want) || c.lost != "" && strings.Contains(got, c.lost) {
					t.Errorf("%q is to be there, %q not:\n%s", c.want, c.lost, got)
				}
				trees = append(trees, regexp.MustCompile(`\(conflict .*\)`).ReplaceAllString(got, "(conflict)"))
			}
			if trees[0] != trees[1] {
				t.Errorf("put off it came to\n%sat once to\n%s", trees[0], trees[1])
			}
		})
	}
}

// TestAheadMuch: much becomes few entries, none too large, and large changes do not add up to one that is.
func TestAheadMuch(t *testing.T) {
	a := create(t)
	a.Ahead().Hold()
	before := a.entries()
	const many = 6000
	for i := range many {
		a.ahead(func(w *drive.Batch) error { return w.Mkdir(fmt.Sprint(i), drive.Attrs{}) })
	}
	a.flush()
	if n := a.entries() - before; n < 2 || n > 3 {
		t.Errorf("%d directories took %d entries", many, n)
	}
	for i := range many {
		a.ahead(func(w *drive.Batch) error { return w.Remove(fmt.Sprint(i)) })
	}
	x := map[string][]byte{"user.x": bytes.Repeat([]byte{1}, tree.MaxXattr)}
	for i := range 40 {
		a.ahead(func(w *drive.Batch) error { return w.Mkdir(fmt.Sprint(i), drive.Attrs{Xattrs: x}) })
	}
	a.flush()
	if l, err := a.Now().List(""); err != nil || len(l) != 40 {
		t.Errorf("%d entries are left, %v", len(l), err)
	}
	if n := a.entries() - before; n > 12 {
		t.Errorf("all of it took %d entries", n)
	}
}

// TestAheadAtOnce reads, writes, puts off and receives at the same time.
func TestAheadAtOnce(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.Ahead().OnLanding(func(_ map[tree.NodeID]tree.NodeID, done func()) { done() })
	const each = 60
	var wg sync.WaitGroup
	for g := range 3 {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("later-%d-%d", g, i)
				if err := a.Ahead().Write(t.Context(), func(w *drive.Batch) error { return w.Mkdir(name, drive.Attrs{}) }); err != nil {
					t.Error(err)
				}
				d, err := a.Ahead().Child(tree.Root, name)
				if err == nil {
					err = a.Ahead().Write(t.Context(), func(w *drive.Batch) error {
						_, err := w.MkdirAt(d.Node, "in", drive.Attrs{})
						return err
					})
				}
				if err != nil {
					t.Errorf("%s, just made: %v", name, err)
				}
				if in, err := a.Ahead().Children(d.Node); err != nil || len(in) != 1 {
					t.Errorf("%s has %v, %v", name, in, err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range each {
			if _, err := a.Write(t.Context(), func(w *drive.Batch) error { return w.Mkdir(fmt.Sprint("now-", i), drive.Attrs{}) }); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 10 {
		b.write(func(w *drive.Batch) error { return w.Mkdir(fmt.Sprint("his-", i), drive.Attrs{}) })
		send(t, b, a)
	}
	wg.Wait()
	a.flush()
	if l, err := a.Now().List(""); err != nil || len(l) != 3*each+each+10 {
		t.Errorf("%d directories, %v", len(l), err)
	}
	if got, want := a.seen(), a.listing(a.Now()); got != want {
		t.Errorf("ahead of the log there is\n%snot\n%s", got, want)
	}
}

// A member who may no longer write keeps what he did, and it becomes part of the log when he may again.
func TestAheadMayNotBe(t *testing.T) {
	a := create(t)
	b := join(t, a)
	b.Ahead().Hold()
	b.ahead(func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) })
	role := func(r room.Role) {
		t.Helper()
		if err := a.room.SetRole(t.Context(), b.dev.ID(), r); err != nil {
			t.Fatal(err)
		}
		meet(t, a, b)
	}
	role(room.RoleReader)
	if err := b.Ahead().Flush(t.Context()); !errors.Is(err, room.ErrNotAllowed) {
		t.Errorf("a reader's changes: %v", err)
	}
	if got := b.seen(); !strings.Contains(got, " d ") {
		t.Errorf("he sees\n%s", got)
	}
	role(room.RoleWriter)
	b.flush()
	if got := b.listing(b.Now()); !strings.Contains(got, " d ") {
		t.Errorf("in the log is\n%s", got)
	}
}
