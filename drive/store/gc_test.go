package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
)

// released imports data and lets go of it, as after an entry named it.
func released(t *testing.T, b *Blobs, data []byte) blob.Ref {
	t.Helper()
	c := importFile(t, b, data)
	b.Release(c)
	return c.Parts[0].Ref()
}

func TestDrop(t *testing.T) {
	s := openRoom(t, t.TempDir())
	b := s.Blobs()
	large, small := released(t, b, random(200_000, 1)), released(t, b, random(3000, 2))
	open, kept := released(t, b, random(300_000, 3)), released(t, b, random(3000, 4))
	held := importFile(t, b, random(4000, 5)) // nobody released it
	heldLarge := importFile(t, b, random(400_000, 6))
	l, err := b.Open(open)
	if err != nil {
		t.Fatal(err)
	}
	all := []blob.Ref{large, small, open, held.Parts[0].Ref(), heldLarge.Parts[0].Ref()}
	d, err := b.Drop(ctx, all)
	if err != nil || d != (Dropped{Blobs: 2, Bytes: 203_000, Busy: 3}) {
		t.Errorf("%+v, %v", d, err)
	}
	for _, ref := range []blob.Ref{large, small} {
		if b.Complete(ref) || b.Known(ref.CID) {
			t.Error("still here")
		}
		if _, err := b.Open(ref); !errors.Is(err, ErrNotHeld) {
			t.Errorf("opening what was dropped: %v", err)
		}
	}
	for _, ref := range []blob.Ref{open, kept, held.Parts[0].Ref(), heldLarge.Parts[0].Ref()} {
		if !b.Complete(ref) {
			t.Error("spared blobs are gone")
		}
	}
	l.Close()
	b.Release(held, heldLarge)
	if d, err = b.Drop(ctx, all); err != nil || d != (Dropped{Blobs: 3, Bytes: 704_000}) {
		t.Errorf("%+v, %v", d, err)
	}
	if err := s.RebuildIndex(); err != nil {
		t.Fatal(err)
	}
	for _, ref := range all {
		if s.Blobs().Complete(ref) || s.Blobs().Known(ref.CID) {
			t.Error("it came back")
		}
	}
	if !s.Blobs().Complete(kept) {
		t.Error("the wrong one is gone")
	}
}

// What an import gives back is there until it is released, also when it is a stored blob that is being dropped.
func TestDropMeetsImports(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	small, large := random(3000, 1), random(100_000, 2)
	refs := make(chan []blob.Ref, 1000)
	var importers sync.WaitGroup
	for range 4 {
		importers.Go(func() {
			for range 25 {
				cs, err := b.ImportBytes(ctx, small)
				if err != nil {
					t.Error(err)
					return
				}
				f, err := createStaged(b, large)
				if err != nil {
					t.Error(err)
					return
				}
				c, err := b.Import(ctx, f, ByRename(f.Name()), nil)
				f.Close()
				if err != nil {
					t.Error(err)
					return
				}
				named := []blob.Ref{cs[0].Parts[0].Ref(), c.Parts[0].Ref()}
				refs <- named
				for _, ref := range named {
					if !b.Complete(ref) {
						t.Error("what was imported is gone before anybody could name it")
					}
				}
				b.Release(cs[0], c)
			}
		})
	}
	go func() { importers.Wait(); close(refs) }()
	for named := range refs {
		if _, err := b.Drop(ctx, named); err != nil {
			t.Error(err)
		}
	}
}

func TestCompact(t *testing.T) {
	s := openRoom(t, t.TempDir())
	b := s.Blobs()
	var data [][]byte
	for i := range 100 {
		data = append(data, random(10_000, uint64(i)))
	}
	cs, err := b.ImportBytes(ctx, data...)
	if err != nil {
		t.Fatal(err)
	}
	b.Release(cs...)
	var drop []blob.Ref
	for _, c := range cs[:40] {
		drop = append(drop, c.Parts[0].Ref())
	}
	if _, err := b.Drop(ctx, drop); err != nil {
		t.Fatal(err)
	}
	before, err := s.Space()
	if err != nil {
		t.Fatal(err)
	}
	if w, err := b.Waste(); err != nil || w < 400_000 {
		t.Errorf("%d bytes of waste, %v", w, err)
	}
	freed, err := b.Compact(ctx)
	if err != nil || freed < 400_000 {
		t.Errorf("freed %d, %v", freed, err)
	}
	after, err := s.Space()
	if err != nil || before.Packs-after.Packs < 350_000 {
		t.Errorf("packs took %d and take %d, %v", before.Packs, after.Packs, err)
	}
	if w, err := b.Waste(); err != nil || w > 0 {
		t.Errorf("%d bytes of waste afterwards, %v", w, err)
	}
	if freed, err := b.Compact(ctx); err != nil || freed != 0 {
		t.Errorf("again: freed %d, %v", freed, err)
	}
	for i, c := range cs[40:] {
		if !bytes.Equal(readAll(t, b, c.Parts[0].Ref()), data[40+i]) {
			t.Errorf("blob %d differs", 40+i)
		}
	}
}

// What says that blobs of older packs are gone stays where it is, and is said again only of what did not come back meanwhile.
func TestCompactKeepsStatements(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	b := s.Blobs()
	const large, small = 12, 1000
	var data [][]byte
	for i := range large + small {
		size := 100
		if i < large {
			size = blob.MaxPacked
		}
		data = append(data, random(size, uint64(i)))
	}
	cs, err := b.ImportBytes(ctx, data...)
	if err != nil {
		t.Fatal(err)
	}
	b.Release(cs...)
	var drop []blob.Ref
	for _, c := range cs[large:] {
		drop = append(drop, c.Parts[0].Ref())
	}
	b.abandon(b.active) // the statements go to a pack of their own, the first of which less than a quarter goes
	if _, err := b.Drop(ctx, drop); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if freed, err := b.Compact(ctx); err != nil || freed != 0 {
			t.Errorf("freed %d, %v", freed, err)
		}
	}
	var sealed [][]byte
	for i, ref := range drop[:10] {
		c := bytes.Clone(data[large+i])
		blob.CipherXOR(ref.Key, 0, c, c)
		sealed = append(sealed, c)
	}
	if err := b.WriteSmall(drop[:10], sealed); err != nil {
		t.Fatal(err)
	}
	b.removeMu.Lock()
	_, err = b.compact(b.packs[2])
	b.removeMu.Unlock()
	if err != nil || b.packs[2] != nil {
		t.Fatal(err)
	}
	check := func(b *Blobs) {
		t.Helper()
		for i, ref := range drop {
			if b.Complete(ref) != (i < 10) {
				t.Errorf("blob %d: here is %v", i, b.Complete(ref))
			}
		}
	}
	check(b)
	if err := s.RebuildIndex(); err != nil {
		t.Fatal(err)
	}
	check(s.Blobs())
}

// Statements of a pack that goes are not said of a blob that was stored after the pack was read.
func TestSayAgain(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	ref, gone := released(t, b, random(3000, 1)), released(t, b, random(3000, 2))
	if _, err := b.Drop(ctx, []blob.Ref{gone}); err != nil {
		t.Fatal(err)
	}
	if err := b.sayAgain([]record{{Removed: true, Ref: ref}, {Removed: true, Ref: gone}}); err != nil {
		t.Fatal(err)
	}
	if !b.Complete(ref) || b.Complete(gone) {
		t.Errorf("here: %v, gone: %v", b.Complete(ref), !b.Complete(gone))
	}
}

// TestDropFaults lets the disk fail from each operation of dropping and compacting on, looks at what is left, and again after the
// process ended there and the room was opened anew, with its catalog and without.
func TestDropFaults(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		for after, done := 0, false; !done; after++ {
			if after > 60 {
				t.Fatal("it never comes to its end")
			}
			done = dropFault(t, after, fault)
		}
	}
}

func dropFault(t *testing.T, after int, fault error) (done bool) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	b := s.Blobs()
	var data [][]byte
	for i := range 60 {
		data = append(data, random(5000, uint64(i)))
	}
	cs, err := b.ImportBytes(ctx, data...)
	if err != nil {
		t.Fatal(err)
	}
	b.Release(cs...)
	var drop []blob.Ref
	for _, c := range cs[:40] {
		drop = append(drop, c.Parts[0].Ref())
	}
	large := random(200_000, 100)
	keepLarge := released(t, b, large)
	drop = append(drop, released(t, b, random(200_001, 101)))

	d := &faulty{after: after, err: fault, short: true}
	b.disk = d
	_, derr := b.Drop(ctx, drop)
	_, cerr := b.Compact(ctx)
	d.err = nil
	check := func(b *Blobs) {
		t.Helper()
		for i, c := range cs[40:] {
			if !bytes.Equal(readAll(t, b, c.Parts[0].Ref()), data[40+i]) {
				t.Errorf("%v after %d: blob %d differs", fault, after, 40+i)
			}
		}
		if !bytes.Equal(readAll(t, b, keepLarge), large) {
			t.Errorf("%v after %d: the large one differs", fault, after)
		}
		for i, ref := range drop {
			if derr == nil && fault != syscall.ENOSPC && b.Complete(ref) {
				t.Errorf("%v after %d: dropped blob %d is here", fault, after, i)
			}
		}
	}
	check(b)
	abandon(t, s)
	s = openRoom(t, dir)
	check(s.Blobs())
	if err := s.RebuildIndex(); err != nil {
		t.Fatal(err)
	}
	check(s.Blobs())
	if _, err := s.Blobs().Drop(ctx, drop); err != nil {
		t.Errorf("%v after %d: dropping afterwards: %v", fault, after, err)
	}
	if _, err := s.Blobs().Compact(ctx); err != nil {
		t.Errorf("%v after %d: compacting afterwards: %v", fault, after, err)
	}
	check(s.Blobs())
	s.Close()
	return derr == nil && cerr == nil && d.after > 0
}

func TestDropEndsWithItsContext(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	ref := released(t, b, random(3000, 1))
	over, cancel := context.WithCancel(ctx)
	cancel()
	if d, err := b.Drop(over, []blob.Ref{ref}); !errors.Is(err, context.Canceled) || d.Blobs != 0 || !b.Complete(ref) {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := os.Stat(b.packPath(1)); err != nil {
		t.Error(err)
	}
}

// TestFailedImportsHoldNothing: an import of many files that fails, or is
// cancelled, lets go of what it had stored or reused until then.
func TestFailedImportsHoldNothing(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	dir := t.TempDir()
	file := func(i, size int) (*os.File, error) {
		p := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(p, random(size, uint64(i)), 0o600); err != nil {
			return nil, err
		}
		return os.Open(p)
	}
	oops := errors.New("a file could not be opened")
	const n = batchFiles + 10
	_, err := b.ImportMany(ctx, n, func(i int) (*os.File, ImportHow, error) {
		if i == n-1 {
			return nil, ImportHow{}, oops
		}
		f, err := file(i, 500)
		return f, ByCopy(), err
	}, nil)
	if !errors.Is(err, oops) || len(b.held) > 0 {
		t.Errorf("an import that fails: %v, and %d blobs are held", err, len(b.held))
	}

	c, cancel := context.WithCancel(ctx)
	cancel()
	data := make([][]byte, 300)
	for i := range data {
		data[i] = random(500, uint64(i))
	}
	if _, err = b.ImportBytes(&cancelledLater{Context: c}, data...); !errors.Is(err, context.Canceled) || len(b.held) > 0 {
		t.Errorf("an import that is cancelled: %v, and %d blobs are held", err, len(b.held))
	}

	kept := filepath.Join(dir, "kept") // cannot be removed
	if err := os.MkdirAll(filepath.Join(kept, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{500, blob.MaxPacked + 500} {
		f, err := file(n, size)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c, err := b.Import(ctx, f, ByCopy(), nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Release(c)
		if _, err := b.Import(ctx, f, ByRename(kept), nil); err == nil || len(b.held) > 0 {
			t.Errorf("an import of %d bytes that cannot take the file away: %v, and %d blobs are held", size, err, len(b.held))
		}
	}
}

// cancelledLater is a cancelled context that says so when it is asked the
// second time.
type cancelledLater struct {
	context.Context
	asked int
}

func (c *cancelledLater) Err() error {
	if c.asked++; c.asked == 1 {
		return nil
	}
	return c.Context.Err()
}
