package vfs_test

import (
	"bytes"
	"context"
	"errors"
	iofs "io/fs"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// afar is a drive whose larger files are with somebody who does not answer before they are let come.
type afar struct {
	*vfstest.Mem
	asked chan struct{} // a value for each reader who begins to wait
	come  chan struct{} // closed when the bytes come
}

func newAfar(t *testing.T, sizes map[string]int) *afar {
	d := &afar{vfstest.NewMem(t.TempDir()), make(chan struct{}, 1000), make(chan struct{})}
	for name, size := range sizes {
		have(t, d.Mem, name, noise(size, 1))
	}
	d.Mem.Absent = func(ctx context.Context, info vfs.Info, off, n int64) error {
		if off == 0 && n <= 64<<10 { // the first granule is here
			return nil
		}
		d.asked <- struct{}{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.come:
			return nil
		}
	}
	return d
}

func (d *afar) Presence(info vfs.Info) string { return "partial" }

// edit writes a few bytes at the beginning of a file.
func edit(t *testing.T, fs *vfs.FS, name string) {
	t.Helper()
	h := openFor(t, fs, name, vfs.Write)
	if _, err := h.WriteAt(t.Context(), []byte("new"), 100); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

// edited is the bytes of such a file.
func edited(size int) []byte {
	b := noise(size, 1)
	copy(b[100:], "new")
	return b
}

func answer[T any](t *testing.T, c chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatal(what + " does not end")
	}
	return v
}

// Somebody waits for the bytes of a file that he opened for writing. Who removes, renames or changes it meanwhile does not wait with
// him; he goes on with the file as it is then.
func TestNobodyWaitsForAnOpener(t *testing.T) {
	const size = 300_000 // copied whole
	perm, short := uint32(0o600), int64(10)
	for name, c := range map[string]struct {
		do   func(fs *vfs.FS) error
		err  error
		left string // where the file is then
		size int
	}{
		"unlink":   {func(fs *vfs.FS) error { return fs.Root().Unlink(t.Context(), "f") }, vfs.ErrStale, "", 0},
		"rename":   {func(fs *vfs.FS) error { return fs.Rename(t.Context(), "f", "g", false) }, nil, "g", size},
		"over":     {func(fs *vfs.FS) error { return fs.Rename(t.Context(), "other", "f", false) }, vfs.ErrStale, "f", 300},
		"chmod":    {func(fs *vfs.FS) error { return setAttr(t, fs, "f", vfs.SetAttr{Perm: &perm}) }, nil, "f", size},
		"truncate": {func(fs *vfs.FS) error { return setAttr(t, fs, "f", vfs.SetAttr{Size: &short}) }, nil, "f", 10},
		"killed": {func(fs *vfs.FS) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			n, err := fs.Walk(t.Context(), "f")
			if err != nil {
				return err
			}
			defer n.Unpin()
			if _, err = n.Open(ctx, vfs.Write); errors.Is(err, context.Canceled) {
				err = nil
			}
			return err
		}, nil, "f", size},
	} {
		t.Run(name, func(t *testing.T) {
			d := newAfar(t, map[string]int{"f": size, "other": 300})
			from := d.Mem.Absent
			d.Mem.Absent = func(ctx context.Context, info vfs.Info, off, n int64) error {
				if n <= 300 {
					return nil
				}
				return from(ctx, info, 1, n)
			}
			fs := slowFS(t, d, t.TempDir())
			n, err := fs.Walk(t.Context(), "f")
			if err != nil {
				t.Fatal(err)
			}
			defer n.Unpin()
			opened, done := make(chan error, 1), make(chan error, 1)
			go func() {
				h, err := n.Open(t.Context(), vfs.Write)
				if err == nil {
					err = h.Close()
				}
				opened <- err
			}()
			answer(t, d.asked, "asking for the bytes")
			go func() { done <- c.do(fs) }()
			if err := answer(t, done, "the change"); err != nil {
				t.Fatal(err)
			}
			close(d.come)
			if err := answer(t, opened, "opening"); !errors.Is(err, c.err) {
				t.Errorf("who waited got %v, want %v", err, c.err)
			}
			a, err := fs.Stat(t.Context(), c.left)
			if c.left == "" {
				a, err = fs.Stat(t.Context(), "f")
			}
			if (c.left == "") != errors.Is(err, iofs.ErrNotExist) || err == nil && a.Size != int64(c.size) {
				t.Errorf("afterwards there is %+v, %v", a, err)
			}
		})
	}
}

func setAttr(t *testing.T, fs *vfs.FS, name string, set vfs.SetAttr) error {
	n, err := fs.Walk(t.Context(), name)
	if err != nil {
		return err
	}
	defer n.Unpin()
	return n.SetAttr(t.Context(), set)
}

// An edited file that is not all here can be removed and renamed, also over others and to a name that stays here, without its bytes.
// Under its new name it shows the edit, which becomes a version when the rest has come.
func TestRenameOfWhatIsNotHere(t *testing.T) {
	const size = 3 << 20
	for _, to := range []string{"free", "old", "big~"} {
		t.Run(to, func(t *testing.T) {
			d, staging := newAfar(t, map[string]int{"big": size, "old": 300}), t.TempDir()
			fs := lazyFS(t, d, staging)
			edit(t, fs, "big")
			done := make(chan error, 1)
			go func() { done <- fs.Rename(t.Context(), "big", to, false) }()
			if err := answer(t, done, "the rename"); err != nil {
				t.Fatal(err)
			}
			leave(fs)
			fs = lazyFS(t, d, staging)
			close(d.come)
			h := openFor(t, fs, to, 0)
			if got := whole(t, h, size); !bytes.Equal(got, edited(size)) {
				t.Error("under the new name the file is another")
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			syncAll(t, fs)
			if got := content(t, d, to); !bytes.Equal(got, edited(size)) {
				t.Error("the version is another")
			}
			if es, err := d.List(vfs.NodeID{}); err != nil || len(es) != 2 && to != "old" || len(es) != 1 && to == "old" {
				t.Errorf("the drive has %+v, %v", es, err)
			}
		})
	}
}

// While a program waits for a large file to be all here, the file can be removed.
func TestAllocateStopsNobody(t *testing.T) {
	d := newAfar(t, map[string]int{"big": 3 << 20})
	fs := lazyFS(t, d, t.TempDir())
	h := openFor(t, fs, "big", vfs.Write)
	ended, done := make(chan error, 1), make(chan error, 1)
	go func() { ended <- h.Allocate(t.Context(), unix.FALLOC_FL_KEEP_SIZE, 0, 4096) }()
	answer(t, d.asked, "asking for the bytes")
	go func() { done <- fs.Root().Unlink(t.Context(), "big") }()
	if err := answer(t, done, "the removal"); err != nil {
		t.Fatal(err)
	}
	close(d.come)
	if err := answer(t, ended, "fallocate"); err != nil {
		t.Error(err)
	}
	if got := whole(t, h, 3<<20); !bytes.Equal(got, noise(3<<20, 1)) {
		t.Error("what is still open is another file")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

// However many files wait for the network to become versions, others do not wait with them, small or large.
func TestFetchesStarveNobody(t *testing.T) {
	const size = 3 << 20
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	sizes := map[string]int{"short": size}
	for _, n := range names {
		sizes[n] = size
	}
	d := newAfar(t, sizes)
	fs, err := vfs.New(t.Context(), vfs.Options{Drive: d, Staging: t.TempDir(), Policy: vfs.Policy{
		NewQuiet: time.Millisecond, Quiet: time.Millisecond, Whole: 1, Copying: -1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leave(fs) })
	for _, n := range names {
		edit(t, fs, n)
	}
	to := int64(900_000) // small, and not here either
	if err := setAttr(t, fs, "short", vfs.SetAttr{Size: &to}); err != nil {
		t.Fatal(err)
	}
	for range 8 { // as many as fetch at once
		answer(t, d.asked, "asking for the bytes")
	}
	for name, size := range map[string]int{"note": 5, "photo": 2 << 20} {
		h, err := fs.OpenFile(t.Context(), name, vfs.Write, true, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteAt(t.Context(), make([]byte, size), 0); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"note", "photo"} {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if _, err := d.Lookup(vfs.NodeID{}, name); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s, all of it here, is no version while others wait; pending: %q", name, fs.Pending())
			}
		}
	}
	close(d.come)
	syncAll(t, fs)
	for _, n := range names {
		if !bytes.Equal(content(t, d, n), edited(size)) {
			t.Errorf("the version of %s is another", n)
		}
	}
	if got := content(t, d, "short"); !bytes.Equal(got, noise(size, 1)[:to]) {
		t.Errorf("the version of what was cut has %d bytes", len(got))
	}
}

// slowImport imports as the real store does a large file: until its context ends.
type slowImport struct {
	*vfstest.Mem
	sealing chan struct{} // closed when the first import begins; nil: all are quick
}

func (m *slowImport) Import(ctx context.Context, files []vfs.Source) ([]vfs.Imported, error) {
	if c := m.sealing; c != nil {
		m.sealing = nil
		close(c)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return m.Mem.Import(ctx, files)
}

// Whoever opens a file that is recorded because it is about to be removed, or exchanged, waits for that.
func TestOpenerWaitsForWhatIsReliedOn(t *testing.T) {
	for name, do := range map[string]func(fs *vfs.FS) error{
		"removal":  func(fs *vfs.FS) error { return fs.Remove(context.Background(), "file") },
		"exchange": func(fs *vfs.FS) error { return exchangeOf(t, fs, "new", "file") },
	} {
		t.Run(name, func(t *testing.T) {
			d := &slowImport{Mem: vfstest.NewMem(t.TempDir())}
			fs := slowFS(t, d, t.TempDir())
			save(t, fs, "file", "old")
			syncAll(t, fs)
			path := "file"
			save(t, fs, path, "the last save")
			if name == "exchange" {
				path = "new"
				save(t, fs, path, "new")
			}
			n, err := fs.Walk(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Unpin()
			sealing, opened := make(chan struct{}), make(chan struct{})
			d.sealing = sealing
			go func() {
				defer close(opened)
				<-sealing
				if h, err := n.Open(context.Background(), vfs.Write); err == nil { // the removed file is stale
					h.Close()
				}
			}()
			writes := d.Writes
			if err := do(fs); err != nil {
				t.Errorf("it fails with %v", err)
			}
			<-opened
			if got := d.Writes - writes; got != 2 { // what is recorded, and the step itself
				t.Errorf("the drive made %d steps, want 2", got)
			}
		})
	}
}

// An editor keeps a backup and saves the file anew, and a command settles what is pending in between: the file keeps its history.
func TestSettleLeavesWhatLingers(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	save(t, fs, "file", "first")
	syncAll(t, fs)
	rename(t, fs, "file", "file~")
	if err := fs.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	save(t, fs, "file", "second")
	syncAll(t, fs)
	if revs, err := d.Versions(t.Context(), "file"); err != nil || len(revs) != 2 {
		t.Errorf("the file has %d versions, %v, want 2", len(revs), err)
	}
}
