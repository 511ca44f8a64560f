package vfs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/drive/vfs"
)

// What is set of the attributes of a new file becomes part of the drive with it: what would be too much for that is refused.
func TestXattrsFitTheDrive(t *testing.T) {
	for size, want := range map[int]int{1: 256, 60_000: 8} { // at most 256, and 512 KiB
		real := openReal(t)
		d := vfs.Over(real.Drive)
		fs := slowFS(t, d, t.TempDir())
		h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		set := 0
		for err == nil && set < 300 {
			if err = h.Node().SetXattr(t.Context(), fmt.Sprint("user.", set), make([]byte, size), false, false); err == nil {
				set++
			}
		}
		if set != want || !errors.Is(err, vfs.ErrTooBig) {
			t.Errorf("%d attributes of %d bytes were taken, want %d: %v", set, size, want, err)
		}
		if err := h.Node().SetXattr(t.Context(), "user.0", make([]byte, size), false, true); err != nil {
			t.Errorf("another value of the same length: %v", err)
		}
		h.Close()
		if err := fs.Sync(t.Context(), "", nil); err != nil {
			t.Errorf("with %d attributes of %d bytes: %v", set, size, err)
		}
		if i, err := d.Lookup(vfs.NodeID{}, "f"); err != nil || len(i.Xattrs) != set {
			t.Errorf("the drive has %d attributes, want %d: %v", len(i.Xattrs), set, err)
		}
	}
}
