package vfs_test

import (
	"context"
	"maps"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// watched is a drive that tells before and after each step that is put off, and each time that those are kept.
type watched struct {
	*vfstest.Mem
	at func()
}

func (w *watched) tell() {
	if w.at != nil {
		w.at()
	}
}

func (w *watched) Later(ctx context.Context, fn func(vfs.Batch) error) error {
	w.tell()
	defer w.tell()
	return w.Mem.Later(ctx, fn)
}

func (w *watched) Keep() error {
	w.tell()
	defer w.tell()
	return w.Mem.Keep()
}

// cut is what interrupts a node: it returns what is left of the drive, and what is left of the staging directory in dir.
type cut func(t *testing.T, fs *vfs.FS, d *vfstest.Mem, dir string) *vfstest.Mem

var cuts = map[string]cut{
	"killed": func(t *testing.T, fs *vfs.FS, d *vfstest.Mem, dir string) *vfstest.Mem {
		to := filepath.Join(dir, "mount")
		copyDir(t, fs.StagingDir(), to)
		if err := vfs.SameDisk(to); err != nil {
			t.Error(err)
		}
		return d.Copy()
	},
	"power cut": func(t *testing.T, fs *vfs.FS, d *vfstest.Mem, dir string) *vfstest.Mem {
		powerCut(t, fs, dir)
		return d.AfterPowerFailure()
	},
}

// moment is what a node begins with again that was interrupted.
type moment struct {
	mem *vfstest.Mem
	dir string
}

// interrupted are the moments before and after each step of what do does, and its end.
func interrupted(t *testing.T, fs *vfs.FS, d *watched, cut cut, do func()) (all []moment) {
	d.at = func() {
		dir := t.TempDir()
		all = append(all, moment{cut(t, fs, d.Mem, dir), dir})
	}
	do()
	d.at()
	d.at = nil
	return all
}

// treeOf is every file and symlink of a file system by its path, and every directory that nothing is in.
func treeOf(t *testing.T, fs *vfs.FS, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	es, err := fs.ReadDir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		p := path.Join(dir, e.Name)
		n, err := fs.Walk(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		switch e.Kind {
		case vfs.Dir:
			in := treeOf(t, fs, p)
			maps.Copy(got, in)
			if len(in) == 0 {
				got[p] = "directory"
			}
		case vfs.Symlink:
			got[p], err = n.Readlink()
		default:
			h := openFor(t, fs, p, 0)
			var b []byte
			b, err = h.Read(t.Context())
			got[p] = string(b)
			h.Close()
		}
		n.Unpin()
		if err != nil {
			t.Fatal(err)
		}
	}
	return got
}

// inDrive is treeOf of what the drive has.
func inDrive(t *testing.T, d vfs.Drive) map[string]string {
	fs, err := vfs.New(t.Context(), vfs.Options{Drive: d, Staging: t.TempDir(), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer leave(fs)
	return treeOf(t, fs, "")
}

// partDir makes a directory under a local-only name that everything is in.
func partDir(t *testing.T, fs *vfs.FS) {
	for _, p := range []string{"d.part", "d.part/sub", "d.part/sub/deep", "d.part/sub/none", "d.part/stays~"} {
		mkdir(t, fs, p)
	}
	for _, p := range []string{"a", "b", "b~", "sub/c", "sub/deep/e", "stays~/f"} {
		save(t, fs, "d.part/"+p, "bytes of "+p)
	}
	for _, p := range []string{"d.part", "d.part/sub"} {
		n, err := fs.Walk(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		c, err := n.Symlink(t.Context(), "link", "to "+p)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Unpin()
		n.Unpin()
	}
}

// A directory that comes from a local-only name is, with all that is in it, under that name or the new one, whenever the process is killed
// or the power fails meanwhile; and when it is under the new one, all of it becomes part of the drive.
func TestPublishDirInterrupted(t *testing.T) {
	for _, over := range []bool{false, true} {
		for how, cut := range cuts {
			t.Run(how, func(t *testing.T) { publishDirInterrupted(t, over, cut) })
		}
	}
}

func publishDirInterrupted(t *testing.T, over bool, cut cut) {
	d := &watched{Mem: vfstest.NewMem(t.TempDir())}
	fs := slowFS(t, d, t.TempDir())
	partDir(t, fs)
	if over {
		mkdir(t, fs, "d")
	}
	before := treeOf(t, fs, "")
	after := map[string]string{}
	shared := map[string]string{}
	for p, text := range before {
		p = strings.Replace(p, "d.part", "d", 1)
		after[p] = text
		if !strings.Contains(p, "~") {
			shared[p] = text
		}
	}
	if over {
		delete(after, "d")
		delete(shared, "d")
	}
	moments := interrupted(t, fs, d, cut, func() { rename(t, fs, "d.part", "d") })
	if got := treeOf(t, fs, ""); !maps.Equal(got, after) {
		t.Fatalf("renamed, there is %q, want %q", got, after)
	}
	news := 0
	for i, m := range moments {
		fs := slowFS(t, m.mem, m.dir)
		got := treeOf(t, fs, "")
		syncAll(t, fs)
		switch old := maps.Clone(got); {
		case maps.Equal(got, after):
			news++
			if got := inDrive(t, m.mem); !maps.Equal(got, shared) {
				t.Errorf("moment %d: the drive has %q, want %q", i, got, shared)
			}
		default:
			delete(old, "d") // made, and nothing is in it yet
			want := maps.Clone(before)
			delete(want, "d")
			if !maps.Equal(old, want) {
				t.Errorf("moment %d: there is %q, want %q or %q", i, got, before, after)
			}
		}
	}
	if news == 0 || news == len(moments) {
		t.Errorf("%d of %d moments have the new name", news, len(moments))
	}
}

var _ vfs.Drive = (*watched)(nil)
