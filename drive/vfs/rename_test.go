package vfs_test

import (
	"context"
	"errors"
	iofs "io/fs"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// ends fails when what do does is not done in a minute.
func ends(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("they wait for each other")
	}
}

// Two front ends: one removes a directory while the other renames something out of it. Neither waits for the other for ever.
func TestRmdirAndRename(t *testing.T) {
	fs := slowFS(t, vfstest.NewMem(t.TempDir()), t.TempDir())
	ctx := context.Background()
	mkdir(t, fs, "p")
	mkdir(t, fs, "p/c")
	save(t, fs, "p/c/x", "x")
	const n = 5000
	ends(t, func() {
		removed := make(chan struct{})
		go func() {
			defer close(removed)
			for range n {
				fs.Remove(ctx, "p/c") // it is not empty mostly
			}
		}()
		for range n {
			fs.Rename(ctx, "p/c/x", "p/y", false)
			fs.Mkdir(ctx, "p/c", 0o755)
			fs.Rename(ctx, "p/y", "p/c/x", false)
		}
		<-removed
	})
	holds(t, fs, "in the end", map[string]string{"p/c/x": "x"})
}

// A directory that something is in cannot be replaced by it.
func TestRenameOverAParent(t *testing.T) {
	fs := slowFS(t, vfstest.NewMem(t.TempDir()), t.TempDir())
	for _, p := range []string{"p", "p/q", "p/q/r"} {
		mkdir(t, fs, p)
	}
	ends(t, func() {
		for _, from := range []string{"p/q", "p/q/r"} {
			if err := fs.Rename(context.Background(), from, "p", false); !errors.Is(err, vfs.ErrNotEmpty) {
				t.Errorf("renaming %s over p: %v", from, err)
			}
		}
	})
}

// Nothing gets into a directory that was removed while somebody still had it.
func TestRenameIntoARemovedDirectory(t *testing.T) {
	fs := slowFS(t, vfstest.NewMem(t.TempDir()), t.TempDir())
	mkdir(t, fs, "dir")
	save(t, fs, "x", "x")
	save(t, fs, "y", "y")
	dir, err := fs.Walk(t.Context(), "dir")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Unpin()
	if err := fs.Remove(t.Context(), "dir"); err != nil {
		t.Fatal(err)
	}
	if err := fs.Root().Rename(t.Context(), "x", dir, "x2", false); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("renaming: %v", err)
	}
	if err := fs.Root().Exchange(t.Context(), "x", dir, "y"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("exchanging: %v", err)
	}
	holds(t, fs, "afterwards", map[string]string{"x": "x", "y": "y"})
}
