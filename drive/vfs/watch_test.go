package vfs_test

import (
	"context"
	"errors"
	iofs "io/fs"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/drive/vfs"
)

// What was looked up once is not looked up in the drive again; a change of others is seen nevertheless, as soon as it is made.
func TestChangesOfOthersAreSeenAtOnce(t *testing.T) {
	real := openReal(t)
	fs := slowFS(t, vfs.Over(real.Drive), t.TempDir())
	past := func(fn func(b *drive.Batch) error) {
		t.Helper()
		if _, err := real.Write(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	replace := func(path, data string) {
		t.Helper()
		if err := real.Replace(t.Context(), path, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	past(func(b *drive.Batch) error { return b.MkdirAll("d/e", drive.Attrs{}) })
	replace("d/file", "a")
	replace("d/e/deep", "a")
	var pinned []*vfs.Node
	look := func(path string, size int64) {
		t.Helper()
		for range 2 {
			n, err := fs.Walk(context.Background(), path)
			if size < 0 {
				if !errors.Is(err, iofs.ErrNotExist) {
					t.Fatalf("%s: %v, want none", path, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			pinned = append(pinned, n)
			if a, err := n.Attr(); err != nil || a.Size != size {
				t.Fatalf("%s has %d bytes, %v, want %d", path, a.Size, err, size)
			}
		}
	}
	look("d/file", 1)
	replace("d/file", "bb")
	look("d/file", 2)
	look("d/e/deep", 1)
	past(func(b *drive.Batch) error { return b.Move("d/e", "d/f") })
	look("d/e/deep", -1)
	look("d/f/deep", 1)
	replace("d/f/deep", "ccc")
	look("d/f/deep", 3)
	past(func(b *drive.Batch) error {
		return errors.Join(b.Remove("d/file"), b.Symlink("d/file", "1234", drive.Attrs{}))
	})
	look("d/file", 4)
	mkdir(t, fs, "d/f/new")
	look("d/f/new", 4096)
	past(func(b *drive.Batch) error { return b.Remove("d/f/new") })
	look("d/f/new", -1)
	perm := uint32(0o600)
	past(func(b *drive.Batch) error { return b.SetAttr("d/f/deep", drive.Attrs{Perm: &perm}) })
	if a, err := fs.Stat(t.Context(), "d/f/deep"); err != nil || a.Perm != perm {
		t.Errorf("after others' chmod: %o, %v", a.Perm, err)
	}
	for _, n := range pinned {
		n.Unpin()
	}
}

// A program that goes through a listing taken before others saved a file finds the file as it is now, and saves no conflict.
func TestOldListingShowsNothingOld(t *testing.T) {
	real := openReal(t)
	replace := func(text string) {
		t.Helper()
		if err := real.Replace(t.Context(), "f", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	replace("one")
	fs := slowFS(t, vfs.Over(real.Drive), t.TempDir())
	l, err := fs.Root().OpenDir(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const want = "two, by others"
	replace(want)
	n, err := fs.Root().Lookup(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unpin()
	m, err := l.Node(t.Context(), l.Entries[0])
	if err != nil {
		t.Fatal(err)
	}
	defer m.Unpin()
	if a, err := m.Attr(); err != nil || a.Size != int64(len(want)) {
		t.Errorf("through the listing it has %d bytes, %v, want %d", a.Size, err, len(want))
	}
	save(t, fs, "f", "three")
	syncAll(t, fs)
	es, err := real.Now().Children(tree.NodeID{})
	if err != nil || len(es) != 1 || es[0].Conflict {
		t.Errorf("the drive shows %+v, %v", es, err)
	}
}

// What was just made has a time of now, and the same when it is in the log: who copies times sets none that is there already.
func TestNewNamesHaveATime(t *testing.T) {
	fs := slowFS(t, vfs.Over(openReal(t).Drive), t.TempDir())
	before := time.Now().Add(-time.Minute)
	n, err := fs.Root().Symlink(t.Context(), "link", "target")
	if err != nil {
		t.Fatal(err)
	}
	n.Unpin()
	mkdir(t, fs, "dir")
	var times [2][2]time.Time
	for i := range times {
		for k, name := range []string{"link", "dir"} {
			a, err := fs.Stat(t.Context(), name)
			if err != nil || a.MTime.Before(before) {
				t.Errorf("%s: %v, %v", name, a.MTime, err)
			}
			times[i][k] = a.MTime
		}
		syncAll(t, fs)
	}
	if times[0] != times[1] {
		t.Errorf("%v became %v", times[0], times[1])
	}
}

// Who opens a file by a name that a kernel remembers reads, and edits, what was written past the file system before.
func TestOpenAfterAWritePastTheFileSystem(t *testing.T) {
	real := openReal(t)
	fs := slowFS(t, vfs.Over(real.Drive), t.TempDir())
	for _, flags := range []vfs.OpenFlags{0, vfs.Write} {
		if err := real.Replace(t.Context(), "f", []byte("old")); err != nil {
			t.Fatal(err)
		}
		n, err := fs.Walk(t.Context(), "f") // as a kernel does, which comes with n for a while
		if err != nil {
			t.Fatal(err)
		}
		defer n.Unpin()
		if err := real.Replace(t.Context(), "f", []byte("new")); err != nil {
			t.Fatal(err)
		}
		if h, err := n.Open(t.Context(), flags); !errors.Is(err, vfs.ErrStale) {
			b, _ := h.Read(t.Context())
			t.Errorf("opened with flags %d it reads %q, %v", flags, b, err)
			h.Close()
		}
		h := openFor(t, fs, "f", flags)
		if b, err := h.Read(t.Context()); err != nil || string(b) != "new" {
			t.Errorf("looked up again it reads %q, %v", b, err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
