package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
)

// flip changes one byte of a file.
func flip(t testing.TB, path string, off int64) {
	t.Helper()
	os.Chmod(path, 0o600)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

// faulty fails or shortens writes and syncs.
type faulty struct {
	osDisk
	mu    sync.Mutex
	after int   // operations that succeed
	err   error // what the next one gives; nil: never
	short bool
}

func (d *faulty) next() (error, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		return nil, false
	}
	if d.after > 0 {
		d.after--
		return nil, false
	}
	return d.err, d.short
}

func (d *faulty) WriteAt(f *os.File, p []byte, off int64) (int, error) {
	if err, short := d.next(); err != nil {
		n := 0
		if short {
			n, _ = f.WriteAt(p[:len(p)/2], off)
		}
		return n, err
	}
	return f.WriteAt(p, off)
}

func (d *faulty) WriteSync(f *os.File, p []byte, off int64) error { return writeThenSync(d, f, p, off) }

func (d *faulty) Sync(f *os.File) error {
	if err, _ := d.next(); err != nil {
		return err
	}
	return d.osDisk.Sync(f)
}

func (d *faulty) Rename(from, to string) error {
	if err, _ := d.next(); err != nil {
		return err
	}
	return d.osDisk.Rename(from, to)
}

func (d *faulty) SyncDir(dir string) error {
	if err, _ := d.next(); err != nil {
		return err
	}
	return d.osDisk.SyncDir(dir)
}

// TestFaults lets each disk operation of imports and transfers fail in turn,
// and looks whether what was there survives, now and after reopening.
func TestFaults(t *testing.T) {
	a := openRoom(t, t.TempDir()).Blobs()
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		for after := range 14 {
			dir := t.TempDir()
			s := openRoom(t, dir)
			b := s.Blobs()
			before := random(5000, 1)
			old := importFile(t, b, before).Parts[0].Ref()
			oldLarge := importFile(t, b, random(100_000, 2)).Parts[0].Ref()
			d := &faulty{after: after, err: fault, short: true}
			b.disk = d
			small, serr := b.ImportBytes(ctx, random(7000, 3))
			f := staged(t, b, random(300_000, uint64(after)+10))
			large, lerr := b.Import(ctx, f, ByRename(f.Name()), nil)
			ref := importFile(t, a, random(500_000, uint64(after)+40)).Parts[0].Ref()
			perr := errors.New("not begun")
			if p, err := b.Begin(ref); err == nil {
				perr = nil
				for _, f := range frames(t, a, ref, 2*blob.Group) {
					perr = errors.Join(perr, p.Write(f))
				}
				perr = errors.Join(perr, p.Close())
			}
			if fault == syscall.ENOSPC && serr != nil && !errors.Is(serr, ErrNoSpace) {
				t.Errorf("after %d: a full disk: %v", after, serr)
			}
			d.err = nil
			check := func(b *Blobs) {
				t.Helper()
				if !bytes.Equal(readAll(t, b, old), before) || !b.Complete(oldLarge) {
					t.Errorf("after %d: what was there is gone", after)
				}
				if serr == nil {
					readAll(t, b, small[0].Parts[0].Ref())
				}
				if lerr == nil {
					frames(t, b, large.Parts[0].Ref(), blob.Group)
				}
				if perr == nil && !b.Complete(ref) {
					t.Errorf("after %d: a transfer without an error is not complete", after)
				}
				for _, r := range b.Have(ref) {
					s, err := b.Serve(ref.CID)
					if err != nil {
						t.Fatal(err)
					}
					for off := r.Off; off < r.End(); off += blob.Group {
						if _, err := s.ReadFrame(off, blob.Group, make([]byte, blob.Group)); err != nil {
							t.Errorf("after %d: what counts as held: %v", after, err)
						}
					}
					s.Close()
				}
			}
			check(b)
			s.Close()
			s = openRoom(t, dir)
			check(s.Blobs())
			if err := s.RebuildIndex(); err != nil {
				t.Fatal(err)
			}
			check(s.Blobs())
			importFile(t, s.Blobs(), random(4000, 99))
			s.Close()
		}
	}
}

func TestTornPack(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	cs, err := s.Blobs().ImportBytes(ctx, random(5000, 1), random(6000, 2), random(7000, 3))
	if err != nil {
		t.Fatal(err)
	}
	path := s.Blobs().packPath(1)
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{len(whole) - 1, len(whole) - 7000, len(whole) - 7050, 20, 16, 3, 0} {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, "blobs.db"))
		s := openRoom(t, dir)
		for i, c := range cs {
			ref := c.Parts[0].Ref()
			if s.Blobs().Complete(ref) {
				readAll(t, s.Blobs(), ref)
			} else if i < 2 && cut > 12000 {
				t.Errorf("cut at %d: blob %d is gone", cut, i)
			}
		}
		c := importFile(t, s.Blobs(), random(100, 9))
		s.Close()
		s = openRoom(t, dir)
		readAll(t, s.Blobs(), c.Parts[0].Ref())
		s.Close()
	}
}
