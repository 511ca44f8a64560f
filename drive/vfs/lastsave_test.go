package vfs_test

import (
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// What was saved a moment before it was removed or replaced stays in the history.
func TestLastSaveIsKept(t *testing.T) {
	real := openReal(t)
	fs := slowFS(t, vfs.Over(real.Drive), t.TempDir())
	read := func(i drive.Info) string {
		t.Helper()
		f, err := real.OpenContent(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.NewSectionReader(f, 0, i.Size))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, name := range []string{"removed", "replaced"} {
		save(t, fs, name, "first")
		syncAll(t, fs)
		save(t, fs, name, "last")
	}
	if err := fs.Remove(t.Context(), "removed"); err != nil {
		t.Fatal(err)
	}
	save(t, fs, "new", "another")
	rename(t, fs, "new", "replaced")
	syncAll(t, fs)
	trash, err := real.Trash(t.Context(), 10)
	if err != nil || len(trash) != 1 || read(trash[0].Info) != "last" {
		t.Errorf("in the trash is %+v, %v", trash, err)
	}
	revs, err := real.Revisions("replaced")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range revs {
		got = append(got, read(r))
	}
	if want := []string{"another", "last", "first"}; !slices.Equal(got, want) {
		t.Errorf("the versions are %q, want %q", got, want)
	}
}

// A file that comes and goes before it was ever part of the drive leaves no trace there.
func TestTemporaryFileIsNoVersion(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	save(t, fs, "tmp", "for a moment")
	if err := fs.Remove(t.Context(), "tmp"); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if d.Writes != 0 {
		t.Errorf("the drive made %d steps", d.Writes)
	}
}

// A long new file that was being written when the process died is no version: it stays here until somebody says that it is whole.
func TestHalfWrittenFileStaysHere(t *testing.T) {
	const size = 2 << 20
	for what, finish := range map[string]func(fs *vfs.FS) error{
		"sync": func(fs *vfs.FS) error { return fs.Sync(t.Context(), "half", nil) },
		"close": func(fs *vfs.FS) error {
			h, err := fs.OpenFile(t.Context(), "half", vfs.Write, false, 0)
			if err != nil {
				return err
			}
			return h.Close()
		},
		"fsync": func(fs *vfs.FS) error {
			h, err := fs.OpenFile(t.Context(), "half", 0, false, 0)
			if err != nil {
				return err
			}
			defer h.Close()
			return h.Sync(t.Context())
		},
	} {
		t.Run(what, func(t *testing.T) {
			d, after := vfstest.NewMem(t.TempDir()), t.TempDir()
			fs := slowFS(t, d, t.TempDir())
			for name, c := range map[string]struct {
				size          int
				closed, fsync bool
			}{"half": {size, false, false}, "closed": {size, true, false}, "synced": {size, false, true}, "short": {5, false, false}} {
				h, err := fs.OpenFile(t.Context(), name, vfs.Write, true, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := h.WriteAt(t.Context(), make([]byte, c.size), 0); err != nil {
					t.Fatal(err)
				}
				if c.fsync {
					err = h.Sync(t.Context())
				}
				if c.closed {
					err = h.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			copyDir(t, fs.StagingDir(), filepath.Join(after, "mount")) // all that a process leaves that is killed
			fs = newFS(t, d, after)
			names := func() (all []string) {
				t.Helper()
				syncAll(t, fs)
				es, err := d.List(vfs.NodeID{})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range es {
					all = append(all, e.Name)
				}
				return all
			}
			if got, want := names(), []string{"closed", "short", "synced"}; !slices.Equal(got, want) {
				t.Errorf("the drive has %q, want %q", got, want)
			}
			if got := fs.Unfinished(); !slices.Equal(got, []string{"half"}) {
				t.Errorf("unfinished: %q", got)
			}
			if a, err := fs.Stat(t.Context(), "half"); err != nil || a.Size != size {
				t.Errorf("what is left of it: %+v, %v", a, err)
			}
			if err := finish(fs); err != nil {
				t.Fatal(err)
			}
			if got, want := names(), []string{"closed", "half", "short", "synced"}; !slices.Equal(got, want) || len(fs.Unfinished()) > 0 {
				t.Errorf("in the end the drive has %q, want %q; unfinished: %q", got, want, fs.Unfinished())
			}
		})
	}
}
