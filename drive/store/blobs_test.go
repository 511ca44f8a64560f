package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

var ctx = context.Background()

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	r.Read(b)
	return b
}

// staged makes a staging file.
func staged(t testing.TB, b *Blobs, data []byte) *os.File {
	t.Helper()
	f, err := createStaged(b, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func createStaged(b *Blobs, data []byte) (*os.File, error) {
	f, err := os.CreateTemp(b.Staging(), "file-*")
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(data); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

func importFile(t testing.TB, b *Blobs, data []byte) blob.Content {
	t.Helper()
	f := staged(t, b, data)
	c, err := b.Import(ctx, f, ByRename(f.Name()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if exists(f.Name()) {
		t.Error("the staging file is still there")
	}
	return c
}

// readAll reads a whole blob.
func readAll(t testing.TB, b *Blobs, ref blob.Ref) []byte {
	t.Helper()
	l, err := b.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := make([]byte, l.Size())
	if n, err := l.ReadAt(p, 0); n != len(p) || err != nil {
		t.Fatalf("reading: %d of %d bytes, %v", n, len(p), err)
	}
	return p
}

// frames serves a whole blob in frames of n bytes.
func frames(t testing.TB, b *Blobs, ref blob.Ref, n int) []blob.Frame {
	t.Helper()
	s, err := b.Serve(ref.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out []blob.Frame
	for off := int64(0); off < s.Size(); {
		f, err := s.ReadFrame(off, n, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
		off += int64(len(f.Data))
	}
	return out
}

// reused returns stored content with these bytes, which is not held.
func reused(b *Blobs, data []byte) (c blob.Content, ok bool) {
	if len(data) > blob.MaxPacked {
		return b.byPlain(blob.Sum(data), int64(len(data)))
	}
	if c, ok = b.reuseBytes(blob.Sum(data), data); ok {
		b.Release(c)
	}
	return c, ok
}

func cloneFrame(f blob.Frame) blob.Frame {
	f.Data = bytes.Clone(f.Data)
	return f
}

func TestImportAndRead(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	b := s.Blobs()
	type stored struct {
		c    blob.Content
		data []byte
	}
	var all []stored
	for i, n := range []int{0, 1, 2047, 4096, blob.Group, blob.Group + 1, 300_000, 20 << 20} {
		data := random(n, uint64(i))
		c := importFile(t, b, data)
		if err := c.Validate(); err != nil || c.Size != int64(n) || c.Plain != blob.Sum(data) {
			t.Fatalf("%d bytes: %+v %v", n, c, err)
		}
		all = append(all, stored{c, data})
		// The same bytes again share what is there.
		f := staged(t, b, data)
		if again, err := b.Import(ctx, f, ByCopy(), nil); err != nil || n > 0 && again.Parts[0] != c.Parts[0] {
			t.Errorf("%d bytes: imported twice: %v", n, err)
		}
	}
	check := func(b *Blobs) {
		t.Helper()
		for _, x := range all {
			for _, ref := range x.c.Refs() {
				if !bytes.Equal(readAll(t, b, ref), x.data) || !b.Complete(ref) || !b.Known(ref.CID) {
					t.Errorf("%d bytes: read differently", len(x.data))
				}
				if c, ok := reused(b, x.data); !ok || c.Parts[0] != x.c.Parts[0] {
					t.Errorf("%d bytes: not found by plaintext", len(x.data))
				}
				l, err := b.Open(ref)
				if err != nil {
					t.Fatal(err)
				}
				f, off, ok := l.File()
				if ok != (ref.Size > blob.MaxPacked) {
					t.Errorf("%d bytes: own file: %v", len(x.data), ok)
				}
				if ok {
					p := make([]byte, 10)
					if _, err := f.ReadAt(p, off+100); err != nil || !bytes.Equal(p, x.data[100:110]) {
						t.Errorf("%d bytes: the file differs", len(x.data))
					}
				}
				if n, err := l.ReadAt(make([]byte, 10), ref.Size-1); n != 1 || err != io.EOF {
					t.Errorf("at the end: %d %v", n, err)
				}
				l.Close()
			}
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
	s.Close()
	if err := os.Remove(filepath.Join(dir, "blobs.db")); err != nil {
		t.Fatal(err)
	}
	s = openRoom(t, dir)
	check(s.Blobs())
	n := 0
	for info, err := range s.Blobs().All() {
		if err != nil || !info.Complete {
			t.Errorf("All: %+v %v", info, err)
		}
		n++
	}
	if n != len(all)-1 {
		t.Errorf("All gave %d blobs", n)
	}
}

func TestImportMany(t *testing.T) {
	s := openRoom(t, t.TempDir())
	src := t.TempDir()
	var want [][]byte
	for i := range 50 {
		n := i * 100
		if i == 25 {
			n = 200_000
		}
		want = append(want, random(n, uint64(i%40)))
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint(i)), want[i], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var done int64
	cs, err := s.Blobs().ImportMany(ctx, len(want), func(i int) (*os.File, ImportHow, error) {
		f, err := os.Open(filepath.Join(src, fmt.Sprint(i)))
		return f, ByCopy(), err
	}, func(n int64) {
		if n < done {
			t.Errorf("progress went from %d to %d", done, n)
		}
		done = n
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for i, c := range cs {
		sum += c.Size
		if c.Plain != blob.Sum(want[i]) {
			t.Errorf("file %d: wrong content", i)
		}
		for _, ref := range c.Refs() {
			if !bytes.Equal(readAll(t, s.Blobs(), ref), want[i]) {
				t.Errorf("file %d: wrong bytes", i)
			}
		}
	}
	if done != sum {
		t.Errorf("progress ended at %d of %d", done, sum)
	}
}

// TestTransfer carries blobs from one store to another in every order, from
// several goroutines, and serves them on from there.
func TestTransfer(t *testing.T) {
	a, z := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	for i, n := range []int{1, 5000, blob.Group, blob.Group + 1, 1 << 20, 5<<20 + 12345} {
		data := random(n, uint64(100+i))
		ref := importFile(t, a, data).Parts[0].Ref()
		p, err := z.Begin(ref)
		if err != nil {
			t.Fatal(err)
		}
		fs := frames(t, a, ref, 256<<10)
		rand.New(rand.NewPCG(1, uint64(len(data)))).Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for k := w; k < len(fs); k += 2 { // some twice
					if err := p.Write(cloneFrame(fs[k])); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		wg.Wait()
		if !p.Complete() || !z.Complete(ref) || len(p.Missing(0, ref.Size)) != 0 {
			t.Errorf("%d bytes: not complete", n)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(readAll(t, z, ref), data) {
			t.Errorf("%d bytes: arrived differently", n)
		}
		if _, ok := reused(z, data); ok != ref.Packed() { // of a large one its plaintext is not hashed as it comes
			t.Errorf("%d bytes: found by plaintext: %v", n, ok)
		}
		for _, f := range frames(t, z, ref, 1<<20) {
			if _, err := f.Check(ref.CID, ref.Size, nil); err != nil {
				t.Errorf("%d bytes: served on: %v", n, err)
			}
		}
	}
}

func TestPartialReadsAndServes(t *testing.T) {
	dir := t.TempDir()
	a, s := openRoom(t, t.TempDir()).Blobs(), openRoom(t, dir)
	z := s.Blobs()
	data := random(40*blob.Group+99, 7)
	ref := importFile(t, a, data).Parts[0].Ref()
	if _, err := z.Open(ref); !errors.Is(err, ErrNotHeld) {
		t.Errorf("nothing here: %v", err)
	}
	if _, err := z.Serve(ref.CID); !errors.Is(err, ErrNotHeld) {
		t.Errorf("nothing here: %v", err)
	}
	p, err := z.Begin(ref)
	if err != nil {
		t.Fatal(err)
	}
	l, err := z.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	fs := frames(t, a, ref, 4*blob.Group)
	for _, k := range []int{1, 2, 10} {
		if err := p.Write(cloneFrame(fs[k])); err != nil {
			t.Fatal(err)
		}
	}
	want := []blob.Range{{Off: 4 * blob.Group, Len: 8 * blob.Group}, {Off: 40 * blob.Group, Len: 99}}
	check := func(got []blob.Range) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("held %v", got)
		}
	}
	check(l.Held())
	check(z.Have(ref))
	buf := make([]byte, 2*blob.Group)
	if n, err := l.ReadAt(buf, 5*blob.Group+5); n != len(buf) || err != nil || !bytes.Equal(buf, data[5*blob.Group+5:][:n]) {
		t.Errorf("reading held bytes: %d %v", n, err)
	}
	for _, off := range []int64{0, 3*blob.Group + 1, 11 * blob.Group, 39 * blob.Group} {
		if n, err := l.ReadAt(buf, off); n != 0 || !errors.Is(err, ErrNotHeld) {
			t.Errorf("reading at %d: %d %v", off, n, err)
		}
	}
	if _, _, ok := l.File(); ok {
		t.Error("a partial blob gives its file away")
	}
	src, err := z.Serve(ref.CID)
	if err != nil {
		t.Fatal(err)
	}
	check(src.Held())
	big := make([]byte, 1<<20)
	f, err := src.ReadFrame(6*blob.Group, len(big), big)
	if err != nil || len(f.Data) != 6*blob.Group {
		t.Errorf("serving held groups: %d bytes, %v", len(f.Data), err)
	}
	if _, err := f.Check(ref.CID, ref.Size, nil); err != nil {
		t.Error(err)
	}
	if _, err := src.ReadFrame(0, len(big), big); !errors.Is(err, ErrNotHeld) {
		t.Errorf("serving what is missing: %v", err)
	}
	src.Close()
	l.Close()
	p.Close()
	s.Close()
	z = openRoom(t, dir).Blobs()
	check(z.Have(ref))
	if p, err = z.Begin(ref); err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Missing(0, ref.Size) {
		for _, f := range fs {
			if f.Off >= r.Off && f.Off < r.End() {
				if err := p.Write(cloneFrame(f)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	p.Close()
	if !bytes.Equal(readAll(t, z, ref), data) {
		t.Error("continued differently")
	}
}

func TestPartialRefuses(t *testing.T) {
	a, z := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	for _, n := range []int{5000, 10 * blob.Group} {
		ref := importFile(t, a, random(n, 1)).Parts[0].Ref()
		p, err := z.Begin(ref)
		if err != nil {
			t.Fatal(err)
		}
		f := cloneFrame(frames(t, a, ref, 4*blob.Group)[0])
		f.Data[77] ^= 1
		if err := p.Write(f); !errors.Is(err, blob.ErrFrame) {
			t.Errorf("%d bytes: a changed frame: %v", n, err)
		}
		if got := z.Have(ref); len(got) != 0 {
			t.Errorf("%d bytes: held %v", n, got)
		}
		wrong := ref
		wrong.Key = key.NewSecret()
		if z.Complete(wrong) || wrong.Name() == ref.Name() {
			t.Error("a wrong key finds the blob")
		}
		p.Close()
	}
}

// TestCutBlob: a blob that has become shorter or longer on the disk is a partial one of what can be proven, and heals when the rest is
// fetched; without its sidecar it is gone.
func TestCutBlob(t *testing.T) {
	large := random(30*blob.Group+5, 1)
	for _, c := range []struct {
		name string
		size int64 // of the file
		side bool
		held int64
	}{
		{"shorter", 10*blob.Group + 7, true, 10},
		{"empty", 0, true, 0},
		{"longer", 40 * blob.Group, true, 31},
		{"shorter, no sidecar", 10 * blob.Group, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openRoom(t, dir)
			ref := importFile(t, s.Blobs(), large).Parts[0].Ref()
			all := frames(t, s.Blobs(), ref, blob.Group)
			base := s.Blobs().base(ref.Name())
			s.Close()
			os.Chmod(base, 0o600)
			if err := os.Truncate(base, c.size); err != nil {
				t.Fatal(err)
			}
			if !c.side {
				os.Remove(base + ".bao")
			}
			s = openRoom(t, dir)
			defer s.Close()
			var found []Finding
			if err := s.Fsck(ctx, func(f Finding) { found = append(found, f) }); err != nil || (len(found) == 0) != (c.held == 31) {
				t.Errorf("fsck: %v %v", found, err)
			}
			p, err := s.Blobs().Begin(ref)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			for _, f := range all {
				if held := f.Off/blob.Group < c.held; held != (len(p.Missing(f.Off, 1)) == 0) {
					t.Errorf("group %d: held is not %v", f.Off/blob.Group, held)
				}
				if err := p.Write(cloneFrame(f)); err != nil {
					t.Fatal(err)
				}
			}
			if !s.Blobs().Complete(ref) || !bytes.Equal(readAll(t, s.Blobs(), ref), large) {
				t.Error("not healed")
			}
		})
	}
}

// TestRot: bytes that change on the disk are found when somebody who was sent
// them could not verify them, the rest stays, and fetching them again heals the
// blob. Once some were found nothing is served unchecked.
func TestRot(t *testing.T) {
	dir := t.TempDir()
	s, a := openRoom(t, dir), openRoom(t, t.TempDir()).Blobs()
	b := s.Blobs()
	large, small := random(30*blob.Group, 1), random(9000, 2)
	ref, sref := importFile(t, a, large).Parts[0].Ref(), importFile(t, a, small).Parts[0].Ref()
	p, err := b.Begin(ref)
	if err != nil {
		t.Fatal(err)
	}
	fs := frames(t, a, ref, blob.Group)
	for _, f := range fs {
		if err := p.Write(cloneFrame(f)); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	sf := frames(t, a, sref, blob.Group)[0]
	if err := b.WriteSmall([]blob.Ref{sref}, [][]byte{sf.Data}); err != nil {
		t.Fatal(err)
	}

	flip(t, b.base(ref.Name()), 5*blob.Group+10)
	l, err := b.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	src, err := b.Serve(ref.CID)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4*blob.Group)
	f, err := src.ReadFrame(4*blob.Group, len(buf), buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(ref); !errors.Is(err, blob.ErrFrame) {
		t.Errorf("whoever is sent rotten bytes takes them: %v", err)
	}
	if err := src.Verify(ctx, 0, 5*blob.Group); err != nil {
		t.Errorf("checking good bytes: %v", err)
	}
	if err := src.Verify(ctx, 4*blob.Group, 4*blob.Group); !errors.Is(err, ErrRot) {
		t.Errorf("checking rotten bytes: %v", err)
	}
	if f, err := src.ReadFrame(0, len(buf), buf); err != nil || len(f.Data) != len(buf) {
		t.Errorf("serving good bytes: %v", err)
	}
	if _, err := l.ReadAt(buf[:10], 5*blob.Group); !errors.Is(err, ErrNotHeld) {
		t.Errorf("reading rotten bytes: %v", err)
	}
	if b.Complete(ref) {
		t.Error("still complete")
	}
	if p, err = b.Begin(ref); err != nil {
		t.Fatal(err)
	}
	if m := p.Missing(0, ref.Size); len(m) != 1 || m[0] != (blob.Range{Off: 5 * blob.Group, Len: blob.Group}) {
		t.Errorf("missing %v", m)
	}
	if err := p.Write(cloneFrame(fs[5])); err != nil {
		t.Fatal(err)
	}
	if !b.Complete(ref) || !bytes.Equal(readAll(t, b, ref), large) {
		t.Error("not healed")
	}
	for _, c := range []io.Closer{l, src, p} {
		c.Close()
	}

	// A sidecar that rots, or goes away, is made again from the bytes.
	flip(t, b.base(ref.Name())+".bao", 230)
	if src, err = b.Serve(ref.CID); err != nil {
		t.Fatal(err)
	}
	if _, err := src.ReadFrame(4*blob.Group, len(buf), buf); !errors.Is(err, ErrRot) {
		t.Errorf("a rotten sidecar: %v", err)
	}
	if _, err := src.ReadFrame(4*blob.Group, len(buf), buf); err != nil || !b.Complete(ref) {
		t.Errorf("after making it again: %v", err)
	}
	src.Close()
	if err := os.Remove(b.base(ref.Name()) + ".bao"); err != nil {
		t.Fatal(err)
	}
	frames(t, b, ref, blob.Group)

	it, _, err := b.cat.get(sref)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, b.packPath(it.Pack), it.Off+recordHeader+5)
	if _, err := b.Open(sref); !errors.Is(err, ErrRot) {
		t.Errorf("a rotten small blob: %v", err)
	}
	if b.Complete(sref) {
		t.Error("a rotten small blob counts as held")
	}
	if err := b.WriteSmall([]blob.Ref{sref}, [][]byte{sf.Data}); err != nil || !bytes.Equal(readAll(t, b, sref), small) {
		t.Errorf("a small blob is not healed: %v", err)
	}
}

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

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	b := s.Blobs()
	large := importFile(t, b, random(200_000, 1)).Parts[0].Ref()
	small := importFile(t, b, random(3000, 2)).Parts[0].Ref()
	keep := importFile(t, b, random(3000, 3)).Parts[0].Ref()
	l, err := b.Open(large)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []blob.Ref{large, small, small} {
		if err := b.Delete(ref); err != nil {
			t.Fatal(err)
		}
		if b.Complete(ref) || b.Known(ref.CID) {
			t.Error("still here")
		}
	}
	if _, err := l.ReadAt(make([]byte, 10), 0); err != nil {
		t.Errorf("an open handle: %v", err)
	}
	l.Close()
	if err := s.RebuildIndex(); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []blob.Ref{large, small} {
		if s.Blobs().Complete(ref) || s.Blobs().Known(ref.CID) {
			t.Error("it came back")
		}
	}
	if !s.Blobs().Complete(keep) {
		t.Error("the wrong one is gone")
	}
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	b := s.Blobs()
	var data [][]byte
	for i := range 200 {
		data = append(data, random(60_000, uint64(i)))
	}
	cs, err := b.ImportBytes(ctx, data[:100]...)
	if err != nil {
		t.Fatal(err)
	}
	b.packMu.Lock()
	if err := b.savePacks(); err != nil {
		t.Fatal(err)
	}
	b.active = nil // the next append begins another pack
	b.packMu.Unlock()
	more, err := b.ImportBytes(ctx, data[100:]...)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cs[:80] {
		if err := b.Delete(c.Parts[0].Ref()); err != nil {
			t.Fatal(err)
		}
		if i == 70 && exists(b.packPath(1)) {
			t.Error("a pack of removed blobs is still there")
		}
	}
	check := func(b *Blobs) {
		t.Helper()
		for i, c := range append(cs[:100:100], more...) {
			ref := c.Parts[0].Ref()
			if i < 80 {
				if b.Complete(ref) {
					t.Errorf("blob %d came back", i)
				}
			} else if !bytes.Equal(readAll(t, b, ref), data[i]) {
				t.Errorf("blob %d differs", i)
			}
		}
	}
	check(b)
	if err := s.RebuildIndex(); err != nil {
		t.Fatal(err)
	}
	check(s.Blobs())
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
