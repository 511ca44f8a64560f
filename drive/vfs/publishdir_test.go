package vfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// appended are the moments between two in which a node is killed after one of the appends to its journal that came there.
func appended(t *testing.T, a, b moment) (all []moment) {
	t.Helper()
	name := filepath.Join("mount", "journal")
	before, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(after, before) {
		t.Fatal("the journal was rewritten")
	}
	for n := len(before); n < len(after); {
		if n += 8 + int(binary.LittleEndian.Uint32(after[n:])); n == len(after) {
			break // that is b
		}
		m := moment{a.mem.Copy(), t.TempDir()}
		copyDir(t, filepath.Join(b.dir, "mount"), filepath.Join(m.dir, "mount"))
		if err := os.Truncate(filepath.Join(m.dir, name), int64(n)); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
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
	t.Cleanup(vfs.PublishTogether(2))
	for _, over := range []bool{false, true} {
		for how := range cuts {
			t.Run(how, func(t *testing.T) { publishDirInterrupted(t, over, how) })
		}
	}
}

func publishDirInterrupted(t *testing.T, over bool, how string) {
	cut := cuts[how]
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
	if how == "killed" {
		for i, m := range moments[:len(moments)-1] {
			moments = append(moments, appended(t, m, moments[i+1])...)
		}
	}
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

// What is in a directory becomes part of the drive with it, also when all that the journal says of it does not fit one append.
func TestPublishDirOfLargeRecords(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	mkdir(t, fs, "d.part")
	value := noise(64<<10, 1)
	const files = 300 // which makes more than the 16 MiB of an append
	for i := range files {
		h, err := fs.OpenFile(t.Context(), fmt.Sprint("d.part/", i), vfs.Write, true, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		err = h.Node().SetXattr(t.Context(), "user.large", value, false, false)
		h.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	rename(t, fs, "d.part", "d")
	syncAll(t, fs)
	if got := inDrive(t, d); len(got) != files {
		t.Errorf("the drive has %d files, want %d", len(got), files)
	}
}

// Directories that come from a local-only name keep their attributes, and their times, but for those that something follows into; symlinks
// keep their times.
func TestPublishDirKeepsAttributes(t *testing.T) {
	real := openReal(t)
	d := vfs.Over(real.Drive)
	fs := slowFS(t, d, t.TempDir())
	then := time.Unix(1_000_000_000, 0)
	at := func(path string, fn func(n *vfs.Node) error) {
		t.Helper()
		n, err := fs.Walk(t.Context(), path)
		if err == nil {
			defer n.Unpin()
			err = fn(n)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"d.part", "d.part/sub"} {
		mkdir(t, fs, p)
	}
	at("d.part", func(n *vfs.Node) error {
		c, err := n.Symlink(t.Context(), "link", "target")
		if err == nil {
			c.Unpin()
		}
		return err
	})
	for _, p := range []string{"d.part/link", "d.part/sub", "d.part"} {
		at(p, func(n *vfs.Node) error {
			if err := n.SetAttr(t.Context(), vfs.SetAttr{MTime: &then}); err != nil || n.Kind() == vfs.Symlink {
				return err
			}
			return n.SetXattr(t.Context(), "user.of", []byte(p), false, false)
		})
	}
	rename(t, fs, "d.part", "d")
	top, err := d.Lookup(vfs.NodeID{}, "d")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := d.Lookup(top.Node, "sub")
	if err != nil {
		t.Fatal(err)
	}
	link, err := d.Lookup(top.Node, "link")
	if err != nil {
		t.Fatal(err)
	}
	for p, i := range map[string]vfs.Info{"d.part": top, "d.part/sub": sub, "d.part/link": link} {
		if p != "d.part" && !i.MTime.Equal(then) {
			t.Errorf("%s is of %v in the drive, want %v", p, i.MTime, then)
		}
		if i.Kind == vfs.Dir && string(i.Xattrs["user.of"]) != p {
			t.Errorf("%s has the attributes %q in the drive", p, i.Xattrs)
		}
	}
}
