package vfs_test

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
)

// asked is a drive that counts what it is asked for.
type asked struct {
	vfs.Drive
	vfs.Watcher
	lookups, lists atomic.Int64
}

func newAsked(d vfs.Drive) *asked { return &asked{Drive: d, Watcher: d.(vfs.Watcher)} }

func (a *asked) Lookup(dir vfs.NodeID, name string) (vfs.Info, error) {
	a.lookups.Add(1)
	return a.Drive.Lookup(dir, name)
}

func (a *asked) List(dir vfs.NodeID) ([]vfs.Info, error) {
	a.lists.Add(1)
	return a.Drive.List(dir)
}

// Of names that are not in a directory the drive is asked only now and then, and what comes into it is seen as soon as it is there.
func TestRolls(t *testing.T) {
	real := openReal(t)
	past := func(fn func(b *drive.Batch) error) {
		t.Helper()
		if _, err := real.Write(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	past(func(b *drive.Batch) error { return b.MkdirAll("old/deep", drive.Attrs{}) })
	d := newAsked(vfs.Over(real.Drive))
	fs := slowFS(t, d, t.TempDir())
	fs.CallRollsFor(time.Hour)
	n, err := fs.Root().Mkdir(t.Context(), "new", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Unpin()
	o, err := fs.Walk(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Unpin()
	for _, dir := range []string{"new/", "old/", ""} {
		there := func(name string) bool {
			t.Helper()
			n, err := fs.Walk(t.Context(), dir+name)
			if err == nil {
				n.Unpin()
			} else if !errors.Is(err, iofs.ErrNotExist) {
				t.Fatal(err)
			}
			return err == nil
		}
		before := d.lookups.Load() + d.lists.Load()
		for i := range 1000 {
			if there(fmt.Sprint("none", i)) {
				t.Errorf("%q shows what nobody made", dir)
			}
		}
		if n := d.lookups.Load() + d.lists.Load() - before; n > 100 {
			t.Errorf("of 1000 names that are not in %q the drive was asked %d times", dir, n)
		}
		past(func(b *drive.Batch) error { return b.Symlink(dir+"none1", "x", drive.Attrs{}) })
		if !there("none1") || there("none2") {
			t.Errorf("%q does not show what came", dir)
		}
		past(func(b *drive.Batch) error { return b.Move(dir+"none1", dir+"none2") })
		if there("none1") || !there("none2") {
			t.Errorf("%q does not show a new name", dir)
		}
		save(t, fs, dir+"mine", "mine")
		syncAll(t, fs)
		if !there("mine") || there("none3") {
			t.Errorf("%q does not show what was saved", dir)
		}
		h := openFor(t, fs, dir+"mine", vfs.Write)
		if _, err := h.WriteAt(t.Context(), []byte("new"), 0); err != nil {
			t.Fatal(err)
		}
		if err := real.Replace(t.Context(), dir+"mine", []byte("theirs")); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		syncAll(t, fs)
		in, err := real.Now().Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		es, err := real.Now().Children(in.Node)
		if err != nil {
			t.Fatal(err)
		}
		conflicts := 0
		for _, e := range es {
			if e.Conflict {
				conflicts++
			}
			if !there(e.Name) {
				t.Errorf("%q does not show %q", dir, e.Name)
			}
		}
		if conflicts != 1 {
			t.Errorf("%q has %d conflict copies", dir, conflicts)
		}
	}
}
