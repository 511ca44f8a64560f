package vfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

func openReal(t *testing.T) *vfstest.Real {
	t.Helper()
	real, err := vfstest.OpenReal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { real.Close() })
	return real
}

func mkdir(t *testing.T, fs *vfs.FS, path string) {
	t.Helper()
	if err := fs.Mkdir(t.Context(), path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// What a front end knows of a directory stays true when the directory becomes part of the drive: its number, its node,
// and where the files are that are not committed yet.
func TestNodesStayWhatTheyAre(t *testing.T) {
	real := openReal(t)
	fs := slowFS(t, vfs.Over(real.Drive), t.TempDir())
	inos := map[uint64]string{}
	for _, path := range []string{"d", "d/e", "other", "another"} {
		mkdir(t, fs, path)
		a, err := fs.Stat(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if inos[a.Ino] != "" {
			t.Errorf("%s and %s have the number %d", path, inos[a.Ino], a.Ino)
		}
		inos[a.Ino] = path
	}
	for _, path := range []string{"other", "another"} {
		if err := fs.Remove(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	save(t, fs, "d/e/file", "bytes")
	n, err := fs.Walk(t.Context(), "d/e")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unpin()
	for round := range 2 { // it is part of the drive; then it is once more, with what was done in it
		if err := real.Ahead().Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		again, err := fs.Walk(t.Context(), "d/e")
		if err != nil {
			t.Fatal(err)
		}
		again.Unpin()
		if again != n {
			t.Errorf("d/e was node %d and is %d", n.Ino(), again.Ino())
		}
		for _, path := range []string{"", "d"} { // each has one thing in it
			es, err := fs.ReadDir(t.Context(), path)
			if err != nil || len(es) != 1 {
				t.Fatalf("%q lists %v, %v", path, es, err)
			}
			c, err := fs.Walk(t.Context(), filepath.Join(path, es[0].Name))
			if err != nil {
				t.Fatal(err)
			}
			c.Unpin()
			if c.Ino() != es[0].Ino {
				t.Errorf("%s is listed as number %d and is %d", es[0].Name, es[0].Ino, c.Ino())
			}
		}
		mkdir(t, fs, fmt.Sprint("d/e/more", round))
	}
	syncAll(t, fs)
	if i, err := real.Now().Stat("d/e/file"); err != nil || i.Size != 5 {
		t.Errorf("in the drive the file is %+v, %v", i, err)
	}
}

// disk is a drive that notes what its Keep makes durable.
type disk struct {
	vfs.Drive
	path string // of the changes ahead of the log
	kept []byte
}

func (d *disk) Keep() error {
	err := d.Drive.Keep()
	if err == nil {
		d.kept, err = os.ReadFile(d.path)
	}
	return err
}

// The power fails after an fsync in or of a directory that is not part of the drive yet.
func TestPowerFailsBeforeTheDrivesStep(t *testing.T) {
	for _, c := range []struct {
		name string
		sync func(t *testing.T, fs *vfs.FS)
		want string // must be there
	}{
		{"a file in it is synced", func(t *testing.T, fs *vfs.FS) { save(t, fs, "d/file", "bytes") }, "d/file"},
		{"it is synced itself", func(t *testing.T, fs *vfs.FS) {
			n, err := fs.Walk(t.Context(), "d")
			if err != nil {
				t.Fatal(err)
			}
			defer n.Unpin()
			if err := n.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, "d"},
		{"a synced file moves there", func(t *testing.T, fs *vfs.FS) {
			save(t, fs, "file", "bytes")
			rename(t, fs, "file", "d/file")
		}, "d/file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			real := openReal(t)
			d := &disk{Drive: vfs.Over(real.Drive), path: filepath.Join(real.Blobs().Staging(), "ahead", "changes")}
			fs := slowFS(t, d, t.TempDir())
			mkdir(t, fs, "d")
			c.sync(t, fs)
			after := t.TempDir()
			powerCut(t, fs, after)
			ahead := filepath.Join(after, "ahead")
			err := os.Mkdir(ahead, 0o700)
			if err == nil {
				err = os.WriteFile(filepath.Join(ahead, "changes"), d.kept, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			next, err := drive.Open(drive.Options{Room: real.Room(), Blobs: real.Blobs(), Ahead: ahead})
			if err != nil {
				t.Fatal(err)
			}
			defer next.Close()
			again := slowFS(t, vfs.Over(next), after)
			if _, err := again.Stat(t.Context(), c.want); err != nil {
				t.Errorf("after the power failure: %v", err)
			}
			syncAll(t, again)
			if _, err := next.Now().Stat(c.want); err != nil {
				t.Errorf("in the drive, after the power failure: %v", err)
			}
			if l, err := next.Now().List(""); err != nil || len(l) != 1 {
				t.Errorf("in the drive there are %d things, %v", len(l), err)
			}
		})
	}
}

// crashing is a drive whose Later is never reached once crash is set: the process ends when crash returns.
type crashing struct {
	vfs.Drive
	crash func()
}

func (d *crashing) Later(ctx context.Context, fn func(vfs.Batch) error) error {
	if d.crash == nil {
		return d.Drive.Later(ctx, fn)
	}
	d.crash()
	return errors.New("the process has ended")
}

// A link that was just made is about to replace a file that is staged; it becomes part of the drive, under its lasting id, and the process
// ends. The file is still there.
func TestKilledBeforeALinkReplacesAFile(t *testing.T) {
	real := openReal(t)
	d, after := &crashing{Drive: vfs.Over(real.Drive)}, t.TempDir()
	fs := slowFS(t, d, t.TempDir())
	save(t, fs, "file", "bytes")
	n, err := fs.Root().Symlink(t.Context(), "link", "target")
	if err != nil {
		t.Fatal(err)
	}
	n.Unpin()
	d.crash = func() {
		if err := real.Ahead().Flush(t.Context()); err != nil {
			t.Error(err)
		}
		copyDir(t, fs.StagingDir(), filepath.Join(after, "mount"))
	}
	if err := fs.Rename(t.Context(), "link", "file", false); err == nil {
		t.Fatal("it was renamed")
	}
	d.crash = nil
	holds(t, slowFS(t, vfs.Over(real.Drive), after), "after the crash", map[string]string{"file": "bytes"})
}
