package vfs_test

import (
	"context"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
)

// hookedLater calls after when the drive has changed, before the file system is told so.
type hookedLater struct {
	vfs.Drive
	vfs.Watcher
	after func()
}

func (h *hookedLater) Later(ctx context.Context, fn func(vfs.Batch) error) error {
	err := h.Drive.Later(ctx, fn)
	if h.after != nil {
		h.after()
	}
	return err
}

// Whoever looks a file up while its time is being set finds the same node: the next time would be set for one that was replaced, and be lost.
func TestTimeIsSetWhileLookedUp(t *testing.T) {
	real := openReal(t)
	if err := real.Replace(t.Context(), "f", []byte("f")); err != nil {
		t.Fatal(err)
	}
	over := vfs.Over(real.Drive)
	d := &hookedLater{Drive: over, Watcher: over.(vfs.Watcher)}
	fs := slowFS(t, d, t.TempDir())
	fs.KeepsTimes()
	n := walk(t, fs, "f")
	looked := 0
	d.after = func() {
		m, err := fs.Root().Lookup(t.Context(), "f")
		if err != nil {
			t.Error(err)
			return
		}
		defer m.Unpin()
		if looked++; m != n {
			t.Error("another node is found")
		}
	}
	for i := range 3 {
		want := time.Unix(1e9+int64(i), 0)
		if err := n.SetAttr(t.Context(), vfs.SetAttr{MTime: &want}); err != nil {
			t.Fatal(err)
		}
		if a, err := walk(t, fs, "f").Attr(); err != nil || !a.MTime.Equal(want) || looked != i+1 {
			t.Errorf("modified at %v, %v; want %v; looked up %d times", a.MTime, err, want, looked)
		}
	}
	// What others set meanwhile is seen after that.
	theirs := time.Unix(2e9, 0)
	d.after = func() {
		d.after = nil
		if _, err := real.Write(t.Context(), func(b *drive.Batch) error { return b.SetAttr("f", drive.Attrs{MTime: &theirs}) }); err != nil {
			t.Error(err)
		}
		m, err := fs.Root().Lookup(t.Context(), "f")
		if err != nil {
			t.Error(err)
			return
		}
		m.Unpin()
	}
	ours := time.Unix(1e9+9, 0)
	if err := n.SetAttr(t.Context(), vfs.SetAttr{MTime: &ours}); err != nil {
		t.Fatal(err)
	}
	if a, err := walk(t, fs, "f").Attr(); err != nil || !a.MTime.Equal(theirs) {
		t.Errorf("modified at %v, %v; others set %v", a.MTime, err, theirs)
	}
}
