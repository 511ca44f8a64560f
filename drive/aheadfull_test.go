package drive_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
)

// On a full disk, what cannot be put off goes into the log, which has a reserve: after what was put off before, and told as ever.
func TestAheadOnAFullDisk(t *testing.T) {
	b := create(t)
	b.Ahead().Hold()
	b.ahead(func(w *drive.Batch) error { return w.Mkdir("dir", drive.Attrs{}) })
	if err := b.Ahead().FillDisk(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		do   func(w *drive.Batch) error
		want string
	}{
		{func(w *drive.Batch) error { return w.Mkdir("dir/sub", drive.Attrs{}) }, "drwxr-xr-x dir 0\ndrwxr-xr-x dir/sub 0\n"},
		{func(w *drive.Batch) error { return w.Remove("dir/sub") }, "drwxr-xr-x dir 0\n"},
		{func(w *drive.Batch) error { return w.Remove("dir") }, ""},
	} {
		b.ahead(step.do)
		if got := b.listing(b.Now()); got != step.want {
			t.Errorf("in the log is %q, want %q", got, step.want)
		}
		if got := b.seen(); got != step.want {
			t.Errorf("there is %q, want %q", got, step.want)
		}
	}
	if err := b.Ahead().Write(t.Context(), func(w *drive.Batch) error { return w.Remove("dir") }); err == nil {
		t.Error("what is gone was removed again")
	}
}

// fullFor lets the disk be full for whoever replaces the file next.
func fullFor(t *testing.T, path string) {
	t.Helper()
	if err := os.Symlink("/dev/full", path+".new"); err != nil {
		t.Fatal(err)
	}
}

// The disk is full at the start: the file that was there goes on, without what was not whole in it.
func TestAheadOpensOnAFullDisk(t *testing.T) {
	a := create(t)
	a.Ahead().Hold()
	a.ahead(func(w *drive.Batch) error { return w.Mkdir("one", drive.Attrs{}) })
	torn := append(a.file(), bytes.Repeat([]byte{1}, 20_000)...)
	dir := t.TempDir()
	path := filepath.Join(dir, "changes")
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	fullFor(t, path)
	b := a.with(dir)
	b.ahead(func(w *drive.Batch) error { return w.Mkdir("two", drive.Attrs{}) })
	const both = "drwxr-xr-x one 0\ndrwxr-xr-x two 0\n"
	if got := b.seen(); got != both {
		t.Errorf("there is %q", got)
	}
	if got := a.again(b.file()).seen(); got != both {
		t.Errorf("after the next start there is %q", got)
	}
}

// The disk is full at the first start: changes go into the log until there is space for the file.
func TestAheadBeginsOnAFullDisk(t *testing.T) {
	a := create(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "changes")
	fullFor(t, path)
	b := a.with(dir)
	fullFor(t, path)
	b.ahead(func(w *drive.Batch) error { return w.Mkdir("one", drive.Attrs{}) })
	if got, want := b.listing(b.Now()), "drwxr-xr-x one 0\n"; got != want {
		t.Errorf("in the log is %q, want %q", got, want)
	}
	b.ahead(func(w *drive.Batch) error { return w.Mkdir("two", drive.Attrs{}) })
	if got, want := b.seen(), "drwxr-xr-x one 0\ndrwxr-xr-x two 0\n"; got != want {
		t.Errorf("there is %q, want %q", got, want)
	}
	if got := a.again(b.file()).seen(); got != b.seen() {
		t.Errorf("after the next start there is %q", got)
	}
}

// A batch that is too large for an entry is set aside, and the drive goes on.
func TestAheadThatIsNoEntry(t *testing.T) {
	a := create(t)
	a.write(func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) })
	a.Ahead().Hold()
	header := len(a.file())
	x := map[string][]byte{}
	for i := range 7 {
		x[fmt.Sprint("user.", i)] = make([]byte, tree.MaxXattr-1<<10)
	}
	a.ahead(func(w *drive.Batch) error { return w.SetAttr("d", drive.Attrs{Xattrs: x}) })
	file := a.file()
	large := append(file, bytes.Repeat(file[header:], 2)...)

	b := a.again(large)
	path, _ := b.Ahead().Synced()
	aside, err := filepath.Glob(path + ".aside-*")
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside is %v, %v", aside, err)
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, large) {
		t.Errorf("what was set aside has %d bytes, %v; it was %d", len(kept), err, len(large))
	}
	b.ahead(func(w *drive.Batch) error { return w.Mkdir("on", drive.Attrs{}) })
	b.flush()
	if got, want := b.listing(b.Now()), "drwxr-xr-x d 0\ndrwxr-xr-x on 0\n"; got != want {
		t.Errorf("there is %q", got)
	}
	a.again(b.file())
}
