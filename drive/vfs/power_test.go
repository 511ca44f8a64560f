package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// The power fails when the drive has made a step and before anything else reaches the disk: the journal is what was synced of
// it by then. What was saved with fsync is there, and names that went do not come back.
func TestPowerFailsAfterTheDrivesStep(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, fs *vfs.FS)
		want map[string]string

		acknowledged string // that may be there when the step is lost, too
	}{
		{"atomic save", func(t *testing.T, fs *vfs.FS) {
			save(t, fs, "new", "new bytes")
			rename(t, fs, "new", "file")
		}, map[string]string{"file": "new bytes"}, "pending"},
		{"atomic save over a pending save", func(t *testing.T, fs *vfs.FS) {
			save(t, fs, "file", "pending")
			save(t, fs, "new", "new bytes")
			rename(t, fs, "new", "file")
		}, map[string]string{"file": "new bytes"}, "pending"},
		{"removal of a pending save", func(t *testing.T, fs *vfs.FS) {
			save(t, fs, "file", "pending")
			if err := fs.Remove(t.Context(), "file"); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{}, "pending"},
		{"rename over a pending save", func(t *testing.T, fs *vfs.FS) {
			save(t, fs, "file", "pending")
			rename(t, fs, "other", "file")
		}, map[string]string{"file": "others"}, "pending"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := vfstest.NewMem(t.TempDir())
			fs := slowFS(t, d, t.TempDir())
			save(t, fs, "file", "old")
			if c.name == "rename over a pending save" {
				save(t, fs, "other", "others")
			}
			syncAll(t, fs)
			before := textsOf(t, fs)
			after, lost := t.TempDir(), t.TempDir()
			var d2 *vfstest.Mem
			d.Fail = func(op string) error {
				if op == "write" {
					powerCut(t, fs, after)
					powerCut(t, fs, lost)
					d2 = d.AfterPowerFailure()
				}
				return nil
			}
			c.do(t, fs)
			d.Fail = nil
			if got := textsOf(t, slowFS(t, d, after)); !maps.Equal(got, c.want) {
				t.Errorf("after the power failure there is %q, want %q", got, c.want)
			}
			// The step itself is lost, too: what fsync acknowledged before is there, if not as it should be.
			got := textsOf(t, slowFS(t, d2, lost))
			if text := got["file"]; text != c.want["file"] && text != before["file"] && text != c.acknowledged {
				t.Errorf("after a power failure that took the drive's step there is %q, and before it was %q", got, before)
			}
		})
	}
}

// textsOf reads the files in the root.
func textsOf(t *testing.T, fs *vfs.FS) map[string]string {
	t.Helper()
	es, err := fs.ReadDir(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range es {
		h := openFor(t, fs, e.Name, 0)
		b, err := h.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.Close()
		got[e.Name] = string(b)
	}
	return got
}

// What fsync acknowledged goes with the end of its record only when the removal or the rename that is the reason is on the disk: the journal
// may be there at any time, whoever syncs it.
func TestPowerFailsBeforeWhatIsPutOffIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, fs *vfs.FS)
		want []string // or that there is no file
	}{
		"removal": {func(t *testing.T, fs *vfs.FS) {
			if err := fs.Remove(t.Context(), "file"); err != nil {
				t.Fatal(err)
			}
		}, []string{"acknowledged"}},
		"rename over it": {func(t *testing.T, fs *vfs.FS) { rename(t, fs, "other", "file") }, []string{"acknowledged", "others"}},
		"rename of it over another": {func(t *testing.T, fs *vfs.FS) {
			rename(t, fs, "file", "other")
			rename(t, fs, "other", "file")
		}, []string{"acknowledged"}},
		"exchange": {func(t *testing.T, fs *vfs.FS) {
			if err := exchangeOf(t, fs, "file", "other"); err != nil {
				t.Fatal(err)
			}
		}, []string{"acknowledged", "others"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := vfstest.NewMem(t.TempDir())
			fs := slowFS(t, d, t.TempDir())
			save(t, fs, "file", "old")
			save(t, fs, "other", "others")
			syncAll(t, fs)
			h := openFor(t, fs, "file", vfs.Write|vfs.Trunc) // open, so that nobody makes it a version first
			defer h.Close()
			if _, err := h.WriteAt(t.Context(), []byte("acknowledged"), 0); err != nil {
				t.Fatal(err)
			}
			if err := h.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.do(t, fs)
			after := t.TempDir()
			var left *vfstest.Mem
			d.Fail = func(op string) error { // somebody's file becomes a version: the journal is synced before the drive's step
				if op == "write" && left == nil {
					powerCut(t, fs, after)
					left = d.AfterPowerFailure()
				}
				return nil
			}
			third, err := fs.OpenFile(t.Context(), "third", vfs.Write, true, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(third.Close(), fs.Sync(t.Context(), "third", nil)); err != nil {
				t.Fatal(err)
			}
			if left == nil {
				t.Fatal("nothing became a version")
			}
			if text, ok := textsOf(t, slowFS(t, left, after))["file"]; ok && !slices.Contains(c.want, text) {
				t.Errorf("after the power failure it holds %q: what fsync acknowledged is gone", text)
			}
		})
	}
}

// The map of a removed file stays as long as its bytes do: a power failure may bring it back.
func TestPowerFailsAfterARemovalOverALower(t *testing.T) {
	d, after := vfstest.NewMem(t.TempDir()), t.TempDir()
	old, mine := noise(300_000, 1), noise(128<<10, 2)
	have(t, d, "f", old)
	fs := lazyFS(t, d, t.TempDir())
	h := openFor(t, fs, "f", vfs.Write)
	if _, err := h.WriteAt(t.Context(), mine, 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := d.AfterPowerFailure()
	if err := fs.Remove(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	powerCut(t, fs, after)
	again := lazyFS(t, before, after)
	g := openFor(t, again, "f", 0)
	want := append(bytes.Clone(mine), old[len(mine):]...)
	if got := whole(t, g, len(old)); !bytes.Equal(got, want) {
		t.Errorf("what fsync had acknowledged is lost; the old bytes are there: %v", bytes.Equal(got, old))
	}
	if err := errors.Join(g.Close(), h.Close()); err != nil {
		t.Fatal(err)
	}
	until(t, "nothing is left of the removed file", func() bool {
		maps, err := filepath.Glob(filepath.Join(fs.StagingDir(), "*.*"))
		return err == nil && len(maps) == 0
	})
}

// After a power failure a staged file has what fsync acknowledged, and nothing that was written over or cut off before; whatever of
// later writes and holes the disk has.
func TestPowerFailsOverALower(t *testing.T) {
	const n = 128 << 10
	old, mine, later := noise(300_000, 1), noise(n, 2), noise(n, 3)
	resize := func(h *vfs.Handle, size int64) error { return h.Node().SetAttr(t.Context(), vfs.SetAttr{Size: &size}) }
	for name, c := range map[string]struct {
		do   func(h *vfs.Handle) error
		want []byte
	}{
		"write": {func(h *vfs.Handle) error {
			_, err := h.WriteAt(t.Context(), later, n)
			return err
		}, append(bytes.Clone(mine), old[n:]...)},
		"punch": {func(h *vfs.Handle) error {
			return h.Allocate(t.Context(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, n)
		}, append(make([]byte, n), old[n:]...)},
		"truncate": {func(h *vfs.Handle) error {
			return errors.Join(resize(h, 0), resize(h, int64(len(old))))
		}, make([]byte, len(old))},
	} {
		t.Run(name, func(t *testing.T) {
			d, after := vfstest.NewMem(t.TempDir()), t.TempDir()
			have(t, d, "f", old)
			fs := lazyFS(t, d, t.TempDir())
			h := openFor(t, fs, "f", vfs.Write)
			if _, err := h.WriteAt(t.Context(), mine, 0); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(h.Sync(t.Context()), c.do(h)); err != nil {
				t.Fatal(err)
			}
			powerCut(t, fs, after)
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			again := lazyFS(t, d, after)
			g := openFor(t, again, "f", 0)
			if got := whole(t, g, len(old)); !bytes.Equal(got, c.want) {
				t.Errorf("the first bytes are those of before: %v", bytes.Equal(got[:n], old[:n]))
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A saved file takes the name of another that is not in the drive yet, and the power fails when the other's staging file has its new name on
// the disk and the journal does not have the end of its record: the name is not lost with both.
func TestPowerFailsBeforeTheJournalOfARename(t *testing.T) {
	d, after := vfstest.NewMem(t.TempDir()), t.TempDir()
	fs := slowFS(t, d, t.TempDir())
	save(t, fs, "file", "old bytes")
	path, _ := fs.JournalSynced()
	h := openFor(t, fs, "file", 0) // somebody reads it
	defer h.Close()
	powerCut(t, fs, after)
	save(t, fs, "new", "new bytes")
	rename(t, fs, "new", "file")
	gone, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*.gone"))
	if err != nil || len(gone) != 1 {
		t.Fatalf("staging files of removed ones: %q, %v", gone, err)
	}
	to := filepath.Join(after, "mount")
	id := filepath.Base(gone[0])
	if err := os.Rename(filepath.Join(to, id[:len(id)-len(".gone")]), filepath.Join(to, id)); err != nil {
		t.Fatal(err)
	}
	g := openFor(t, slowFS(t, d, after), "file", 0)
	defer g.Close()
	if b, err := g.Read(t.Context()); err != nil || string(b) != "old bytes" {
		t.Errorf("after the power failure it holds %q, %v", b, err)
	}
}

// slowFS commits nothing by itself.
func slowFS(t *testing.T, d vfs.Drive, staging string) *vfs.FS {
	t.Helper()
	fs, err := vfs.New(t.Context(), vfs.Options{Drive: d, Staging: staging,
		Policy: vfs.Policy{NewQuiet: time.Hour, Quiet: time.Hour, Cap: time.Hour, Checkpoint: time.Hour, Linger: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close(context.Background(), nil) })
	return fs
}

// save writes a file and syncs it.
func save(t *testing.T, fs *vfs.FS, name, data string) {
	t.Helper()
	h, err := fs.OpenFile(t.Context(), name, vfs.Write|vfs.Trunc, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(t.Context(), []byte(data), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, fs *vfs.FS, from, to string) {
	t.Helper()
	if err := fs.Rename(t.Context(), from, to, false); err != nil {
		t.Fatal(err)
	}
}

// powerCut leaves in dir what the disk has of the staging directory, as a machine finds it that starts again.
func powerCut(t *testing.T, fs *vfs.FS, dir string) {
	t.Helper()
	path, n := fs.JournalSynced()
	to := filepath.Join(dir, "mount")
	copyDir(t, filepath.Dir(path), to)
	journal := filepath.Join(to, filepath.Base(path))
	b, err := os.ReadFile(journal)
	if err == nil {
		b = b[:n]
		end := bytes.IndexByte(b, '\n')
		boot := bytes.LastIndexByte(b[:end], ' ')
		err = os.WriteFile(journal, slices.Concat(b[:boot+1], []byte("another-boot"), b[end:]), 0o600)
	}
	if err == nil {
		err = vfs.SameDisk(to)
	}
	if err != nil {
		t.Error(err)
	}
}
