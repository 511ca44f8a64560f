package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
)

// TestSmallMany carries many small blobs from one store to another: what is
// asked for and not here, or large, is left out.
func TestSmallMany(t *testing.T) {
	a, z := openRoom(t, t.TempDir()).Blobs(), openRoom(t, t.TempDir()).Blobs()
	var ids []cid.Cid
	var refs []blob.Ref
	var plain [][]byte
	for i := range 200 {
		data := random(i*i%60_000+1, uint64(i))
		ref := importFile(t, a, data).Parts[0].Ref()
		ids, refs, plain = append(ids, ref.CID), append(refs, ref), append(plain, data)
		if i%10 == 3 { // something of no use between the records
			importFile(t, a, random(50_000, uint64(1000+i)))
		}
	}
	large := importFile(t, a, random(2*blob.Group, 3000)).Parts[0].Ref()
	nowhere := blob.Ref{CID: blob.CIDOf([32]byte{1, 2, 3}), Size: 5}
	rest := append(slices.Clone(ids), large.CID, nowhere.CID)

	if got := z.Missing(refs); !slices.Equal(got, refs) {
		t.Errorf("%d of %d are missing", len(got), len(refs))
	}
	if got := a.Missing(append(slices.Clone(refs), nowhere, large)); !slices.Equal(got, []blob.Ref{nowhere}) {
		t.Errorf("missing where all is: %v", got)
	}
	var opened []blob.Opened
	err := a.ReadSmall(rest, func(i int, ciphertext []byte) error {
		o, err := (blob.Frame{Data: bytes.Clone(ciphertext)}).Open(refs[i])
		opened = append(opened, o)
		return err
	})
	if err != nil || len(opened) != len(refs) {
		t.Fatalf("%d of %d were read: %v", len(opened), len(refs), err)
	}
	if err := z.StoreSmall(opened[:100]); err != nil {
		t.Fatal(err)
	}
	if err := z.StoreSmall(opened); err != nil { // some are here already
		t.Fatal(err)
	}
	for i, ref := range refs {
		if !bytes.Equal(readAll(t, z, ref), plain[i]) {
			t.Errorf("blob %d arrived differently", i)
		}
		if c, ok := reused(z, plain[i]); !ok || c.Parts[0].Ref() != ref {
			t.Errorf("blob %d is not found by its plaintext", i)
		}
	}
	enough := errors.New("enough")
	n := 0
	err = z.ReadSmall(ids, func(int, []byte) error {
		if n++; n == 7 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 7 {
		t.Errorf("reading went on to %d: %v", n, err)
	}
	large1, err := frames(t, a, large, 2*blob.Group)[0].Open(large)
	if err != nil {
		t.Fatal(err)
	}
	if err := z.StoreSmall([]blob.Opened{large1}); !errors.Is(err, blob.ErrContent) {
		t.Errorf("a large blob as a small one: %v", err)
	}
}

// TestKnown: what the catalog does not know is missing, without a look at the
// disk; and it knows all that is on the disk, also a blob that a crash left
// before its last rename.
func TestKnown(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	data := random(3*blob.Group, 1)
	ref := importFile(t, s.Blobs(), data).Parts[0].Ref()
	never := blob.Ref{CID: blob.CIDOf([32]byte{1}), Size: 1 << 20}
	other := blob.Ref{CID: ref.CID, Key: [32]byte{7}, Size: ref.Size}
	base := s.Blobs().base(ref.Name())
	if got := s.Blobs().Missing([]blob.Ref{never, ref, other}); !slices.Equal(got, []blob.Ref{never, other}) {
		t.Errorf("missing: %v", got)
	}
	if h := s.Blobs().Have(never); h != nil {
		t.Errorf("have %v of what never was here", h)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(base, base+".part"), os.Remove(filepath.Join(dir, "blobs.db"))); err != nil {
		t.Fatal(err)
	}
	b := openRoom(t, dir).Blobs()
	if h := b.Have(ref); len(h) != 1 || h[0].Len != ref.Size {
		t.Errorf("have %v of a blob that lacks a rename", h)
	}
	if got := b.Missing([]blob.Ref{ref}); len(got) != 0 {
		t.Errorf("missing: %v", got)
	}
	if !bytes.Equal(readAll(t, b, ref), data) {
		t.Error("other bytes")
	}
}

// TestSmallRot reads many of which one has rotted: it is left out and counts as
// missing from then on.
func TestSmallRot(t *testing.T) {
	dir := t.TempDir()
	b := openRoom(t, dir).Blobs()
	var ids []cid.Cid
	var refs []blob.Ref
	for i := range 20 {
		ref := importFile(t, b, random(3000, uint64(i))).Parts[0].Ref()
		ids, refs = append(ids, ref.CID), append(refs, ref)
	}
	it, ok, err := b.cat.get(refs[7])
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	flip(t, packs[0], it.Off+recordHeader+100)
	var got []int
	if err := b.ReadSmall(ids, func(i int, _ []byte) error { got = append(got, i); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if len(got) != 19 || slices.Contains(got, 7) {
		t.Errorf("read %v", got)
	}
	if missing := b.Missing(refs); !slices.Equal(missing, refs[7:8]) {
		t.Errorf("missing: %v", missing)
	}
}

// TestPackOfAnotherVersion: a room with a pack that this program does not read is not opened, and the pack stays as it is.
func TestPackOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	s := openRoom(t, dir)
	importFile(t, s.Blobs(), random(3000, 1))
	path := s.Blobs().packPath(1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	was[len("pearpack")]++
	if err := os.WriteFile(path, was, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := OpenRoom(dir, Options{}); !errors.Is(err, ErrVersion) {
		t.Errorf("opened: %v", errors.Join(err, s.Close()))
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, was) {
		t.Errorf("the pack is another one: %v", err)
	}
}

// TestEqualSums: bytes are not taken for others of the same length and checksum.
func TestEqualSums(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	var all [][]byte
	for i := range maxEqual {
		x := random(3000, 1)
		if i > 0 { // what the checksum's polynomial divides may be added to anything
			at := binary.LittleEndian.Uint64(x[8*i:])
			binary.LittleEndian.PutUint64(x[8*i:], at^(1|crc32.Castagnoli<<1))
		}
		all = append(all, x)
	}
	for i, x := range all {
		if sumOf(x) != sumOf(all[0]) {
			t.Fatalf("%d has another checksum", i)
		}
		if _, ok := reused(b, x); ok {
			t.Errorf("%d was taken for another", i)
		}
		c := importFile(t, b, x)
		if !bytes.Equal(readAll(t, b, c.Parts[0].Ref()), x) {
			t.Errorf("%d reads differently", i)
		}
	}
	for i, x := range all {
		if _, ok := reused(b, x); !ok {
			t.Errorf("%d is not found again", i)
		}
	}
}

// TestWrongRecord: bytes that were wrong when they were written leave until somebody refuses them. Then they are not held any more, and all
// that leaves is proven again.
func TestWrongRecord(t *testing.T) {
	b := openRoom(t, t.TempDir()).Blobs()
	refs := make([]blob.Ref, 2)
	for i := range refs {
		r := record{Ref: someRecord(3000 + i).Ref, Data: random(3000+i, 9)}
		if err := b.appendRecords([]record{r}); err != nil {
			t.Fatal(err)
		}
		refs[i] = r.Ref
	}
	left := func(ref blob.Ref) (n int) {
		t.Helper()
		if err := b.ReadSmall([]cid.Cid{ref.CID}, func(int, []byte) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if left(refs[0]) != 1 {
		t.Error("a record with its checksums is not given out")
	}
	if _, err := b.Serve(refs[0].CID); !errors.Is(err, ErrRot) {
		t.Errorf("looking at it gives %v", err)
	}
	if missing := b.Missing(refs); !slices.Equal(missing, refs[:1]) {
		t.Errorf("missing: %v", missing)
	}
	if left(refs[1]) != 0 {
		t.Error("what does not match its root is still given out")
	}
}
