package vfs_test

import (
	"os"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// put makes a file of n bytes and has it committed.
func put(t *testing.T, fs *vfs.FS, name string, n int) {
	t.Helper()
	h, err := fs.OpenFile(t.Context(), name, vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(t.Context(), make([]byte, n), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
}

// The kernel takes one way to a file's bytes at a time. A handle that is closed counts until it is forgotten: before that
// no other way may begin, or go-fuse takes the descriptor of the one that opens for that of the one that goes.
func TestOneWayUntilForgotten(t *testing.T) {
	fs := newFS(t, vfstest.NewMem(t.TempDir()), t.TempDir())
	put(t, fs, "f", 1000)
	n, err := fs.Root().Lookup(t.Context(), "f") // the kernel remembers it
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unpin()
	open := func(flags vfs.OpenFlags) *vfs.Handle {
		t.Helper()
		h, err := n.Open(t.Context(), flags|vfs.Passthrough)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	check := func(h *vfs.Handle, want bool, when string) {
		t.Helper()
		if _, pass := h.PassthroughFd(); pass != want {
			t.Errorf("%s: passthrough is %v", when, pass)
		}
	}
	small := open(0)
	check(small, false, "reading a small file")
	small.Close()
	early := open(vfs.Write)
	check(early, false, "writing while the reader is not forgotten")
	early.Close()
	small.Unpass()
	early.Unpass()
	late := open(vfs.Write)
	check(late, true, "writing when all are forgotten")
	late.Close()
	reader := open(0)
	check(reader, true, "reading while the writer is not forgotten")
	reader.Close()
	late.Unpass()
	reader.Unpass()
}

// The kernel lets a descriptor go a moment after the file was closed. A version made in that moment does not keep the
// file from what others write for longer than that takes.
func TestDescriptorLetGoLate(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := newFS(t, d, t.TempDir())
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(t.Context(), []byte("saved"), 0); err != nil {
		t.Fatal(err)
	}
	st, _, ok := h.Segment(0)
	if !ok {
		t.Fatal("no staging file")
	}
	kernels, err := os.OpenFile(st.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if got := content(t, d, "f"); string(got) != "saved" {
		t.Errorf("the drive has %q", got)
	}
	if after, ok := fs.LooksAgain(); !ok || after > 5*time.Second {
		t.Errorf("the committer looks at the file again after %v, %v", after, ok)
	}
	kernels.Close()
	for deadline := time.Now().Add(time.Minute); len(fs.Pending()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still pending: %q", fs.Pending())
		}
	}
}

// A large file is read by passthrough, unless somebody here has made it longer a while ago: who reads it then shares its pages with who
// writes to it next.
func TestGrowingFileIsCached(t *testing.T) {
	fs := newFS(t, vfstest.NewMem(t.TempDir()), t.TempDir())
	put(t, fs, "f", 100<<10)
	n, err := fs.Root().Lookup(t.Context(), "f") // the kernel remembers it
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unpin()
	write := func(off int64) {
		t.Helper()
		h := openFor(t, fs, "f", vfs.Write|vfs.Passthrough)
		if _, err := h.WriteAt(t.Context(), []byte("x"), off); err != nil {
			t.Fatal(err)
		}
		closeHandle(t, h)
		syncAll(t, fs)
	}
	pass := func() bool {
		t.Helper()
		h := openFor(t, fs, "f", vfs.Passthrough)
		defer closeHandle(t, h)
		_, pass := h.PassthroughFd()
		return pass
	}
	if !pass() {
		t.Error("a new file is cached")
	}
	if write(50); !pass() {
		t.Error("one that was overwritten is cached")
	}
	if write(100 << 10); pass() {
		t.Error("one that grows is not")
	}
}
