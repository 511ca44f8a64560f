package vfs_test

import (
	"errors"
	iofs "io/fs"
	"path"
	"testing"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// exchangeOf gives two paths each other's names.
func exchangeOf(t *testing.T, fs *vfs.FS, a, b string) error {
	t.Helper()
	dirs := [2]*vfs.Node{}
	for i, p := range []string{a, b} {
		dir := path.Dir(p)
		if dir == "." {
			dir = ""
		}
		n, err := fs.Walk(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Unpin()
		dirs[i] = n
	}
	return dirs[0].Exchange(t.Context(), path.Base(a), dirs[1], path.Base(b))
}

// holds checks what files read as, and that directories are there.
func holds(t *testing.T, fs *vfs.FS, when string, want map[string]string) {
	t.Helper()
	for p, text := range want {
		if text == "dir" {
			if a, err := fs.Stat(t.Context(), p); err != nil || a.Kind != vfs.Dir {
				t.Errorf("%s: %s is a %v, %v", when, p, a.Kind, err)
			}
			continue
		}
		h, err := fs.OpenFile(t.Context(), p, 0, false, 0)
		if err != nil {
			t.Errorf("%s: %s: %v", when, p, err)
			continue
		}
		if got, err := h.Read(t.Context()); err != nil || string(got) != text {
			t.Errorf("%s: %s has %q, %v, want %q", when, p, got, err, text)
		}
		h.Close()
	}
}

// Two entries change places, whatever they are and wherever their bytes are; so they are in the drive, and after a restart.
func TestExchange(t *testing.T) {
	real, err := vfstest.OpenReal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	d, staging := vfs.Over(real.Drive), real.Blobs().Staging()
	fs := slowFS(t, d, staging)
	for _, dir := range []string{"dir", "dir/sub", "other"} {
		if err := fs.Mkdir(t.Context(), dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	save(t, fs, "dir/in", "in dir")
	save(t, fs, "a", "a")
	save(t, fs, "b", "b")
	syncAll(t, fs)
	save(t, fs, "new", "new")
	save(t, fs, "newer", "newer")
	save(t, fs, "x.part", "x")
	save(t, fs, "y.part", "y")
	save(t, fs, "b", "b again")
	for _, c := range []struct {
		a, b string
		want error
	}{
		{"a", "b", nil},       // in the drive, the second with new bytes in staging
		{"new", "newer", nil}, // only in staging
		{"new", "other", nil}, // a staged file and a directory
		{"a", "dir/in", nil},  // across directories
		{"dir", "newer", nil}, // a directory that has something
		{"x.part", "y.part", nil},
		{"a", "a", nil},
		{"a", "missing", iofs.ErrNotExist},
		{"missing", "a", iofs.ErrNotExist},
		{"newer", "newer/sub", vfs.ErrLoop},
		{"newer/in", "newer", vfs.ErrLoop},
		{"a", "x.part", vfs.ErrSupport},
	} {
		if err := exchangeOf(t, fs, c.a, c.b); !errors.Is(err, c.want) {
			t.Errorf("exchanging %s and %s: %v, want %v", c.a, c.b, err, c.want)
		}
	}
	want := map[string]string{"a": "in dir", "newer/in": "b again", "b": "a", "new": "dir", "other": "newer", "newer": "dir", "newer/sub": "dir", "dir": "new",
		"x.part": "y", "y.part": "x"}
	holds(t, fs, "at once", want)
	syncAll(t, fs)
	holds(t, fs, "when it is in the drive", want)
	for p, text := range want {
		if info, err := real.Now().Stat(p); path.Ext(p) != ".part" && (err != nil || text != "dir" && info.Size != int64(len(text))) {
			t.Errorf("the drive has %s of %d bytes, %v", p, info.Size, err)
		}
	}
	if infos, err := real.Revisions("newer/in"); err != nil || len(infos) < 2 {
		t.Errorf("the file that was b has %d versions, %v", len(infos), err)
	}
	if err := fs.Close(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	holds(t, slowFS(t, d, staging), "after a restart", want)
}
