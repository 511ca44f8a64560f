package vfs_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
)

// A program opened a file while somebody wrote to it, and keeps it open: whatever others do with the file then is seen here.
func TestWhatAReaderHasHidesNothing(t *testing.T) {
	perm := uint32(0o640)
	changes := map[string]struct {
		do   func(b *drive.Batch) error
		seen func(a vfs.Attr, err error) bool
	}{
		"a removal": {
			func(b *drive.Batch) error { return b.Remove("f") },
			func(_ vfs.Attr, err error) bool { return errors.Is(err, fs.ErrNotExist) },
		},
		"a rename": {
			func(b *drive.Batch) error { return b.Move("f", "g") },
			func(_ vfs.Attr, err error) bool { return errors.Is(err, fs.ErrNotExist) },
		},
		"new permission bits": {
			func(b *drive.Batch) error { return b.SetAttr("f", drive.Attrs{Perm: &perm}) },
			func(a vfs.Attr, err error) bool { return err == nil && a.Perm == perm },
		},
	}
	for what, c := range changes {
		t.Run(what, func(t *testing.T) {
			real := openReal(t)
			fsys := newFS(t, vfs.Over(real.Drive), t.TempDir())
			n, w, err := fsys.Root().Create(t.Context(), "f", 0o600, true, vfs.Write|vfs.Passthrough)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Unpin()
			if _, err := w.WriteAt(t.Context(), make([]byte, 1000), 0); err != nil {
				t.Fatal(err)
			}
			r, err := n.Open(t.Context(), vfs.Passthrough)
			if err != nil {
				t.Fatal(err)
			}
			defer closeHandle(t, r)
			closeHandle(t, w)
			syncAll(t, fsys)
			if _, err := real.Write(t.Context(), c.do); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				if a, err := fsys.Stat(t.Context(), "f"); c.seen(a, err) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("it is hidden still")
				}
			}
		})
	}
}
