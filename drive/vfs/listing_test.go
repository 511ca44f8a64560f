package vfs_test

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"sync/atomic"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
)

// askedLister also lists in part.
type askedLister struct {
	*asked
	vfs.Lister
	tell   func([]vfs.Place)    // has the file system told of a change
	parts  atomic.Int64         // how often it was asked to
	alter  func(info *vfs.Info) // what names show; nil: what they do
	landed func()               // called before the file system is told lasting ids
}

func newAskedLister(d vfs.Drive) *askedLister {
	return &askedLister{asked: newAsked(d), Lister: d.(vfs.Lister)}
}

func (a *askedLister) Watch(fn func([]vfs.Place)) func() {
	a.tell = fn
	return a.asked.Watch(fn)
}

func (a *askedLister) Lookup(dir vfs.NodeID, name string) (vfs.Info, error) {
	i, err := a.asked.Lookup(dir, name)
	if a.alter != nil {
		a.alter(&i)
	}
	return i, err
}

func (a *askedLister) Each(dir vfs.NodeID, limit int, fn func(*vfs.Info)) (bool, error) {
	a.parts.Add(1)
	return a.Lister.Each(dir, limit, fn)
}

func (a *askedLister) Renamed(fn func(map[vfs.NodeID]vfs.NodeID, func())) {
	a.asked.Renamed(func(ids map[vfs.NodeID]vfs.NodeID, done func()) {
		if a.landed != nil {
			a.landed()
		}
		fn(ids, done)
	})
}

// fillDir makes n empty directories in dir, past any file system.
func fillDir(t *testing.T, d *drive.Drive, dir string, n int) {
	t.Helper()
	if _, err := d.Write(t.Context(), func(b *drive.Batch) error {
		err := b.MkdirAll(dir, drive.Attrs{})
		for i := range n {
			err = errors.Join(err, b.MkdirAll(fmt.Sprint(dir, "/", i), drive.Attrs{}))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// keepLooking looks up the names from .. to-1 of dir, which stay known.
func keepLooking(t *testing.T, dir *vfs.Node, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		n, err := dir.Lookup(t.Context(), fmt.Sprint(i))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(n.Unpin)
	}
}

func walk(t *testing.T, fs *vfs.FS, path string) *vfs.Node {
	t.Helper()
	n, err := fs.Walk(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Unpin)
	return n
}

// After some names of a directory were looked up in the drive, it is asked for no others; what others change meanwhile is seen at once.
func TestLookupsFromListing(t *testing.T) {
	real := openReal(t)
	past := func(fn func(b *drive.Batch) error) {
		t.Helper()
		if _, err := real.Write(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	const many = 500
	fillDir(t, real.Drive, "d", many)
	for _, name := range []string{"file", "saved", "twice"} {
		if err := real.Replace(t.Context(), "d/"+name, []byte("one")); err != nil {
			t.Fatal(err)
		}
	}
	d := newAskedLister(vfs.Over(real.Drive))
	fs := slowFS(t, d, t.TempDir())
	dir := walk(t, fs, "d")
	keepLooking(t, dir, 0, 100)
	if fs.Listed() == 0 {
		t.Fatal("the directory was not listed")
	}
	before := d.lookups.Load()
	keepLooking(t, dir, 100, 200)
	if n := d.lookups.Load() - before; n > 0 {
		t.Errorf("the drive was asked for %d of 100 names that are in the listing", n)
	}

	walk(t, fs, "d/302") // whatever changes in a directory that nobody knows, all may be another
	walk(t, fs, "d/307")
	perm := uint32(0o700)
	past(func(b *drive.Batch) error {
		return errors.Join(b.Remove("d/300"), b.Move("d/301", "d/302/in"), b.Move("d/303", "d/new"), b.SetAttr("d/304", drive.Attrs{Perm: &perm}),
			b.Remove("d/305"), b.Symlink("d/305", "12345", drive.Attrs{}))
	})
	for i := range 2 { // the second time, a conflict: both versions are there
		for _, name := range []string{"file", "twice"}[i:] {
			if err := real.Replace(t.Context(), "d/"+name, []byte("others'")); err != nil {
				t.Fatal(err)
			}
		}
	}
	save(t, fs, "d/saved", "mine!")
	if err := fs.Rename(t.Context(), "d/306", "d/307/in", false); err != nil {
		t.Fatal(err)
	}
	if err := fs.Remove(t.Context(), "d/308"); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for _, name := range []string{"300", "301", "303", "306", "308"} {
			if _, err := dir.Lookup(t.Context(), name); !errors.Is(err, iofs.ErrNotExist) {
				t.Errorf("%s, which is gone: %v", name, err)
			}
		}
		for name, size := range map[string]int64{"new": 4096, "302/in": 4096, "307/in": 4096, "305": 5, "file": 7, "twice": 7, "saved": 5} {
			if a, err := fs.Stat(t.Context(), "d/"+name); err != nil || a.Size != size {
				t.Errorf("%s has %d bytes, %v, want %d", name, a.Size, err, size)
			}
		}
		if a, err := fs.Stat(t.Context(), "d/304"); err != nil || a.Perm != perm {
			t.Errorf("the changed permission bits are %o, %v", a.Perm, err)
		}
	}
	if fs.Listed() == 0 {
		t.Error("changes of some names ended the listing") // and the check would show nothing
	}
	check()
	syncAll(t, fs)
	check()
	// Of what is shown as one with others' directories nobody is told by name.
	keepLooking(t, dir, 310, 449)
	if fs.Listed() == 0 {
		t.Fatal("the directory was not listed again")
	}
	d.alter = func(info *vfs.Info) { info.Perm = 0o500 }
	d.tell([]vfs.Place{{Dir: vfs.NodeID{1}, Name: "450"}})
	if a, err := fs.Stat(t.Context(), "d/450"); err != nil || a.Perm != 0o500 {
		t.Errorf("after a change in a directory that nobody knows: %o, %v", a.Perm, err)
	}
}

// Nodes that are found in a listing stay the same when what was put off becomes part of the drive.
func TestListingWhileEntriesLand(t *testing.T) {
	real := openReal(t)
	d := newAskedLister(vfs.Over(real.Drive))
	fs := slowFS(t, d, t.TempDir())
	mkdir(t, fs, "d")
	const many = 200
	for i := range many {
		mkdir(t, fs, fmt.Sprint("d/", i))
	}
	dir := walk(t, fs, "d")
	d.landed = func() { // what was put off is in the log, and still goes by the ids that the file system knows
		keepLooking(t, dir, 0, 100)
		if fs.Listed() == 0 {
			t.Error("the directory was not listed")
		}
	}
	syncAll(t, fs)
	n := walk(t, fs, "d/150")
	perm := uint32(0o700)
	if _, err := real.Write(t.Context(), func(b *drive.Batch) error { return b.SetAttr("d/150", drive.Attrs{Perm: &perm}) }); err != nil {
		t.Fatal(err)
	}
	if m := walk(t, fs, "d/150"); m != n {
		t.Error("it is another node now")
	}
	if a, err := n.Attr(); err != nil || a.Perm != perm {
		t.Errorf("the changed permission bits are %o, %v", a.Perm, err)
	}
	save(t, fs, "d/150/file", "bytes")
	syncAll(t, fs)
	if i, err := real.Now().Stat("d/150/file"); err != nil || i.Size != 5 {
		t.Errorf("%d bytes, %v", i.Size, err)
	}
}

// Listings take bounded memory: large directories are listed when many of their names were looked up, the oldest listings go first,
// and a directory that nobody knows any more has none.
func TestListingsAreBounded(t *testing.T) {
	real := openReal(t)
	d := newAskedLister(vfs.Over(real.Drive))
	fs := slowFS(t, d, t.TempDir())
	const dirs, each = 4, 100
	for i := range dirs {
		fillDir(t, real.Drive, fmt.Sprint("d", i), each)
	}
	const most = 2*each + 50
	fs.KeepListed(most)
	for i := range dirs {
		dir := walk(t, fs, fmt.Sprint("d", i))
		before := fs.Listed()
		if keepLooking(t, dir, 0, 2); fs.Listed() > before {
			t.Error("a directory was listed although hardly anything in it was looked up")
		}
		if keepLooking(t, dir, 2, each/2); fs.Listed() == 0 || fs.Listed() > most {
			t.Errorf("%d entries are listed, at most %d may be", fs.Listed(), most)
		}
	}
	keepLooking(t, walk(t, fs, "d3"), 0, each)
	keepLooking(t, walk(t, fs, "d2"), 0, each)
	if n := fs.Listed(); n > 0 {
		t.Errorf("%d entries are listed of directories of which all is known", n)
	}
	fillDir(t, real.Drive, "small", 8)
	keepLooking(t, walk(t, fs, "small"), 0, 8)
	if n := fs.Listed(); n > 0 {
		t.Errorf("%d entries are listed of a directory of which all is known", n)
	}
	fs.KeepListed(each / 2)
	fillDir(t, real.Drive, "large", each)
	large := walk(t, fs, "large")
	before := fs.Listed()
	lists := d.parts.Load()
	if keepLooking(t, large, 0, each); fs.Listed() != before {
		t.Error("a directory was listed that is larger than all listings may be")
	}
	if n := d.parts.Load() - lists; n != 1 {
		t.Errorf("it was tried %d times, want once", n)
	}

	fs.KeepListed(2 * each * dirs)
	dir, err := fs.Walk(t.Context(), "d0/99")
	if err != nil {
		t.Fatal(err)
	}
	fillDir(t, real.Drive, "d0/99", each)
	for i := range each {
		n, err := dir.Lookup(t.Context(), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		n.Unpin()
	}
	listed := fs.Listed()
	dir.Unpin()
	if fs.Listed() >= listed {
		t.Error("the listing of a directory that nobody knows is kept")
	}
}
