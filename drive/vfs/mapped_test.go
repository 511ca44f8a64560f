package vfs_test

import (
	"bytes"
	"fmt"
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
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
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
	if !unmapFirst {
		closeHandle(t, h)
		syncAll(t, fs)
		mem[5002], want[5002] = 'd', 'd'
	}
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	if unmapFirst {
		closeHandle(t, h)
	}
	syncAll(t, fs)
	if got := content(t, d, "f"); !bytes.Equal(got, want) {
		t.Errorf("the drive has %d bytes, of which %q; want %d and %q", len(got), got[5000:5003], len(want), want[5000:5003])
	}
}

// A mapping that the kernel made of the staging file outlives the descriptor. Whoever opens the file then, however small it is, goes by the
// staging file, too: the page cache would not hear of what the mapping writes.
func TestOneWayWhileMapped(t *testing.T) {
	fs := newFS(t, vfstest.NewMem(t.TempDir()), t.TempDir())
	n, h, err := fs.Root().Create(t.Context(), "f", 0o644, true, vfs.Write|vfs.Passthrough)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unpin()
	if _, err := h.WriteAt(t.Context(), make([]byte, 1000), 0); err != nil {
		t.Fatal(err)
	}
	mem := mapHandle(t, h, 1000)
	closeHandle(t, h)
	read := func(when string, pass bool) {
		t.Helper()
		r, err := n.Open(t.Context(), vfs.Passthrough)
		if err != nil {
			t.Fatal(err)
		}
		defer closeHandle(t, r)
		if _, is := r.PassthroughFd(); is != pass {
			t.Errorf("%s: passthrough is %v", when, is)
		}
	}
	read("while it is mapped", true)
	syncAll(t, fs)
	read("while it is mapped and the drive has it", true)
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	read("when it is not mapped any more", false)
}

func closeHandle(t *testing.T, h *vfs.Handle) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h.Unpass()
}

// A file that is renamed to a name that stays here and back while it is open, and not written to, is part of the drive again with the next
// commit, before it is closed.
func TestBackFromLocalWhileOpen(t *testing.T) {
	for _, exchange := range []bool{false, true} {
		d := vfstest.NewMem(t.TempDir())
		fs := newFS(t, d, t.TempDir())
		put(t, fs, "f", 1000)
		put(t, fs, "other", 10)
		h, err := fs.OpenFile(t.Context(), "f", vfs.Write, false, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range [][2]string{{"f", "f~"}, {"f~", "g"}} {
			if err := fs.Root().Rename(t.Context(), to[0], fs.Root(), to[1], false); err != nil {
				t.Fatal(err)
			}
		}
		name := "g"
		if exchange {
			if err := fs.Root().Exchange(t.Context(), "g", fs.Root(), "other"); err != nil {
				t.Fatalf("exchanging: %v", err)
			}
			name = "other"
		}
		syncAll(t, fs)
		if got := content(t, d, name); len(got) != 1000 {
			t.Errorf("the drive has %d bytes", len(got))
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
