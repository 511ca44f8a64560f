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
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
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
