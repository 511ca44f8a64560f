package vfs_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// The kernel's copy_file_range reaches the file system for files of the past, too.
func TestCopyRangeFromPast(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	want := noise(300_000, 1)
	have(t, d, "f", want)
	fs := newFS(t, d, t.TempDir())
	src := openFor(t, fs, ".pear/at/now/f", 0)
	dst, err := fs.OpenFile(t.Context(), "g", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for done := int64(0); done < int64(len(want)); {
		n, err := vfs.CopyRange(t.Context(), src, done, dst, done, int64(len(want))+1)
		if err != nil || n == 0 {
			t.Fatalf("after %d bytes: %d, %v", done, n, err)
		}
		done += n
	}
	if got := whole(t, dst, len(want)); !bytes.Equal(got, want) {
		t.Errorf("%d bytes were copied, and differ", len(got))
	}
	for _, h := range []*vfs.Handle{src, dst} {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A program is not told of signals that the runtime sends itself.
func TestInterruptedCalls(t *testing.T) {
	calls := 0
	err := vfs.Again(func() error {
		if calls++; calls < 3 {
			return unix.EINTR
		}
		return unix.ENOSPC
	})
	if err != unix.ENOSPC || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
