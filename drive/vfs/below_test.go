package vfs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// based is a real drive with a file that was changed in place, with fsync, while others replaced what it stands on and the room's rule
// lets go of that. The file system is closed.
type based struct {
	*vfstest.Real
	t      *testing.T
	want   []byte // what fsync acknowledged
	copied string // of the staging directory, while it was in use
}

func newBased(t *testing.T) *based {
	b := &based{Real: openReal(t), t: t, copied: t.TempDir()}
	fs := lazyFS(t, vfs.Over(b.Drive), b.Store.Blobs().Staging())
	old, mine := noise(1<<20, 1), noise(128<<10, 2)
	b.want = append(bytes.Clone(mine), old[len(mine):]...)
	save(t, fs, "f", string(old))
	syncAll(t, fs)
	h := openFor(t, fs, "f", vfs.Write)
	if _, err := h.WriteAt(t.Context(), mine, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Sync(t.Context()), h.Close()); err != nil {
		t.Fatal(err)
	}
	copyDir(t, fs.StagingDir(), filepath.Join(b.copied, "mount"))
	leave(fs)
	if err := b.Replace(t.Context(), "f", []byte("by somebody else")); err != nil {
		t.Fatal(err)
	}
	if err := b.Room().SetRetention(t.Context(), room.Retention{Count: 1, Referred: true}); err != nil {
		t.Fatal(err)
	}
	return b
}

// collects checks how many blobs gc drops.
func (b *based) collects(want int) {
	b.t.Helper()
	c, err := b.Collect(b.t.Context(), time.Now().Add(time.Hour))
	if err != nil || c.Dropped.Blobs != want || c.Dropped.Busy != 0 {
		b.t.Errorf("dropped %+v, want %d: %v", c.Dropped, want, err)
	}
}

// While the room is not mounted, nobody but the staging journal knows what a staged file stands on.
func TestCollectKeepsWhatLiesBelow(t *testing.T) {
	b := newBased(t)
	b.collects(0)
	fs := lazyFS(t, vfs.Over(b.Drive), b.Store.Blobs().Staging())
	es, err := fs.ReadDir(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range es {
		h := openFor(t, fs, e.Name, 0)
		got, err := h.Read(t.Context())
		h.Close()
		found = found || err == nil && bytes.Equal(got, b.want)
	}
	if !found {
		t.Errorf("among %d files there is none with what fsync acknowledged", len(es))
	}
	syncAll(t, fs)
	b.collects(1)
}

// A file that was set aside stands on what lies below it until somebody removes it.
func TestCollectKeepsWhatLiesBelowAside(t *testing.T) {
	b := newBased(t)
	b.KeepStaged(vfs.Below(b.copied))
	leave(lazyFS(t, vfs.Over(b.Drive), b.copied)) // it was copied in use
	b.collects(0)
	notes, err := filepath.Glob(filepath.Join(b.copied, "mount", "aside", "*.json"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("set aside: %v, %v", notes, err)
	}
	if err := os.Remove(strings.TrimSuffix(notes[0], ".json")); err != nil {
		t.Fatal(err)
	}
	b.collects(1)
}

// Nobody knows what a journal that cannot be read stands on: nothing is dropped.
func TestCollectCannotReadTheJournal(t *testing.T) {
	b := newBased(t)
	b.KeepStaged(vfs.Below(b.copied))
	if err := os.WriteFile(filepath.Join(b.copied, "mount", "journal"), []byte("another version\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := b.Collect(t.Context(), time.Now()); !errors.Is(err, drive.ErrGaps) || c.Dropped.Blobs != 0 {
		t.Errorf("dropped %+v, %v", c.Dropped, err)
	}
}
