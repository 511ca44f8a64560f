package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

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
