package vfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// On a full disk files can be removed that programs have open to write, however many try to begin new ones there.
func TestRemoveOpenFilesOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=80m"); err != nil {
		t.Skip("no right to mount: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	real, err := vfstest.OpenReal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	fs, err := vfs.New(t.Context(), vfs.Options{Drive: vfs.Over(real.Drive), Staging: real.Blobs().Staging()})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close(t.Context(), nil)
	const many = 400
	for i := range many {
		h, err := fs.OpenFile(t.Context(), fmt.Sprint(i), vfs.Write, true, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := h.WriteAt(t.Context(), []byte("some bytes"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := fs.Sync(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	fillDisk(t, dir)
	for i := 0; ; i++ {
		h, err := fs.OpenFile(t.Context(), fmt.Sprint("new", i), vfs.Write, true, 0o644)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil || i == 100_000 {
			t.Fatalf("file %d on a full disk: %v", i, err)
		}
		h.Close()
	}
	root := fs.Root()
	for i := range many {
		if err := root.Unlink(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatalf("removing file %d: %v", i, err)
		}
	}
	for i := range many {
		if n, err := fs.Walk(t.Context(), fmt.Sprint(i)); err == nil {
			n.Unpin()
			t.Fatalf("file %d is there", i)
		}
	}
}

// fillDisk leaves nothing free where dir is.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 4<<10)
	for err == nil {
		_, err = f.Write(b)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}
