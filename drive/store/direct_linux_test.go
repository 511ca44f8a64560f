package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
)

// pageAligned returns n bytes that begin at a page, or skip bytes behind one.
func pageAligned(n, skip int) []byte {
	b := make([]byte, n+2*directAlign)
	for at := range directAlign {
		if aligned(b[at:]) {
			return b[at+skip:][:n]
		}
	}
	panic("no page in two of them")
}

// TestStoreDirect writes frames past the page cache, others beside them
// through it, out of memory that allows it and of memory that does not, and
// reads all back as it was.
func TestStoreDirect(t *testing.T) {
	a, z := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	probe := filepath.Join(z.Staging(), "probe")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	can := false
	if f, err := openDirect(probe); err == nil {
		can = true
		f.Close()
	}
	data := random(33*blob.Group+directAlign+77, 5)
	ref := importFile(t, a, data).Parts[0].Ref()
	p, err := z.Begin(ref)
	if err != nil {
		t.Fatal(err)
	}
	l, err := z.Open(ref) // reads from what is still incomplete
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, f := range frames(t, a, ref, 3*blob.Group) {
		mem := pageAligned(len(f.Data), []int{0, 0, 16}[i%3])
		copy(mem, f.Data)
		f.Data = mem
		opened, err := f.Open(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Store(opened, i%4 == 3); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(opened.Data()))
		if _, err := l.ReadAt(got, f.Off); err != nil || !bytes.Equal(got, data[f.Off:][:len(got)]) {
			t.Fatalf("frame %d reads back differently: %v", i, err)
		}
		if i == 0 && can != (p.o.direct != nil) {
			t.Errorf("the file system can write past the cache: %v; it was done: %v", can, p.o.direct != nil)
		}
	}
	if !z.Complete(ref) {
		t.Fatal("not complete")
	}
	if p.o.direct != nil {
		t.Error("a complete blob is still open for writing")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readAll(t, z, ref), data) {
		t.Error("arrived differently")
	}
}

// refusing is a disk that cannot write past the page cache and says so late.
type refusing struct {
	osDisk
	refused int
}

func (d *refusing) WriteAt(f *os.File, p []byte, off int64) (int, error) {
	if flags, err := flagsOf(f); err != nil || flags&syscall.O_DIRECT != 0 {
		d.refused++
		return 0, errors.Join(err, syscall.EINVAL)
	}
	return f.WriteAt(p, off)
}

func (d *refusing) WriteSync(f *os.File, p []byte, off int64) error {
	return writeThenSync(d, f, p, off)
}

func flagsOf(f *os.File) (flags int, err error) {
	err = onFd(f, func(fd int) error {
		n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFL, 0)
		if flags = int(n); errno != 0 {
			return errno
		}
		return nil
	})
	return flags, err
}

// TestStoreDirectRefused writes the ordinary way where the other fails.
func TestStoreDirectRefused(t *testing.T) {
	a, z := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	d := &refusing{}
	z.disk = d
	data := random(9*blob.Group, 6)
	ref := importFile(t, a, data).Parts[0].Ref()
	p, err := z.Begin(ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames(t, a, ref, 3*blob.Group) {
		mem := pageAligned(len(f.Data), 0)
		copy(mem, f.Data)
		f.Data = mem
		opened, err := f.Open(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Store(opened, false); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := openDirect(p.o.base); err == nil {
		f.Close()
		if d.refused == 0 {
			t.Error("nothing was written past the cache")
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readAll(t, z, ref), data) {
		t.Error("arrived differently")
	}
}

// TestJournalRefusedDirect goes on with the journal the ordinary way, in the middle of it, where the other fails.
func TestJournalRefusedDirect(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	put(t, s, "x", "before", "1")
	direct := s.journal.files[s.journal.cur].direct
	d := &refusing{}
	s.journal.disk = d
	put(t, s, "x", "after", string(random(3*journalStepMin, 1)))
	put(t, s, "x", "last", "3")
	if direct != (d.refused == 1) {
		t.Errorf("written past the page cache: %v, refused %d times", direct, d.refused)
	}
	abandon(t, s)
	s = openRoom(t, dir)
	if get(t, s, "x", "before") != "1" || get(t, s, "x", "after") != string(random(3*journalStepMin, 1)) || get(t, s, "x", "last") != "3" {
		t.Error("what was acknowledged is not there")
	}
}

// TestStoreOfAnother refuses a frame that was verified for another blob.
func TestStoreOfAnother(t *testing.T) {
	a, z := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	one := importFile(t, a, random(2*blob.Group, 7)).Parts[0].Ref()
	two := importFile(t, a, random(2*blob.Group, 8)).Parts[0].Ref()
	p, err := z.Begin(two)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	opened, err := frames(t, a, one, blob.Group)[0].Open(one)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Store(opened, true); !errors.Is(err, blob.ErrContent) {
		t.Errorf("a frame of another blob: %v", err)
	}
	if len(z.Have(two)) != 0 {
		t.Error("it was stored")
	}
}
