package vfs_test

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// mapHandle maps the first bytes of the staging file to write, as the kernel does for a handle that it has by passthrough.
func mapHandle(t *testing.T, h *vfs.Handle, n int) []byte {
	t.Helper()
	fd, ok := h.PassthroughFd()
	if !ok {
		t.Fatal("no passthrough")
	}
	mem, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

// Of several writes to one page of a mapping the first alone moves the file's times, until the kernel has written the page to the disk. What
// comes after the file was sealed becomes part of the drive all the same: by whatever way it was sealed while it was open, and whether the
// mapping or the descriptor goes first.
func TestMappedPageWrittenAgain(t *testing.T) {
	seals := map[string]func(t *testing.T, fs *vfs.FS){
		"a commit": func(t *testing.T, fs *vfs.FS) { syncAll(t, fs) },
		"a rename over a file": func(t *testing.T, fs *vfs.FS) {
			if err := fs.Root().Rename(t.Context(), "f~", fs.Root(), "f", false); err != nil {
				t.Fatal(err)
			}
		},
		"a rename over a removal that lingers": func(t *testing.T, fs *vfs.FS) {
			if err := fs.Root().Rename(t.Context(), "f", fs.Root(), "kept~", false); err != nil {
				t.Fatal(err)
			}
			if err := fs.Root().Rename(t.Context(), "f~", fs.Root(), "f", false); err != nil {
				t.Fatal(err)
			}
		},
		"an exchange": func(t *testing.T, fs *vfs.FS) {
			if err := fs.Root().Rename(t.Context(), "f~", fs.Root(), "g", false); err != nil {
				t.Fatal(err)
			}
			if err := fs.Root().Exchange(t.Context(), "g", fs.Root(), "f"); err != nil {
				t.Fatal(err)
			}
		},
	}
	for how, seal := range seals {
		for _, unmapFirst := range []bool{true, false} {
			order := ", the descriptor goes first"
			if unmapFirst {
				order = ", the mapping goes first"
			}
			t.Run(how+order, func(t *testing.T) { mappedAcross(t, how, seal, unmapFirst) })
		}
	}
}

func mappedAcross(t *testing.T, how string, seal func(*testing.T, *vfs.FS), unmapFirst bool) {
	d := vfstest.NewMem(t.TempDir())
	fs := newFS(t, d, t.TempDir())
	put(t, fs, "f", 1000)
	name := "f"
	if how != "a commit" {
		name = "f~"
	}
	h, err := fs.OpenFile(t.Context(), name, vfs.Write|vfs.Passthrough, name != "f", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("a"), 3*os.Getpagesize())
	if _, err := h.WriteAt(t.Context(), want, 0); err != nil {
		t.Fatal(err)
	}
	mem := mapHandle(t, h, len(want))
	mem[5000], want[5000] = 'b', 'b'
	seal(t, fs)
	mem[5001], want[5001] = 'c', 'c'
	closing := func() {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		h.Unpass()
	}
	if !unmapFirst {
		closing()
		syncAll(t, fs)
		mem[5002], want[5002] = 'd', 'd'
	}
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	if unmapFirst {
		closing()
	}
	syncAll(t, fs)
	if got := content(t, d, "f"); !bytes.Equal(got, want) {
		t.Errorf("the drive has %d bytes, of which %q; want %d and %q", len(got), got[5000:5003], len(want), want[5000:5003])
	}
}
