package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// fakeBlobs keeps ciphertext in memory.
type fakeBlobs struct {
	mu     sync.Mutex
	blobs  map[cid.Cid]*fakeBlob
	writes atomic.Int64 // frames written
	syncs  atomic.Int64
	full   error // what Write returns
	open   atomic.Int64

	verified atomic.Int64 // calls of Verify
}

type fakeBlob struct {
	size     int64
	data     []byte
	outboard []byte
	held     []blob.Range
	corrupt  bool // serve flipped bits
	ready    bool // outboard is there
}

func newFakeBlobs() *fakeBlobs { return &fakeBlobs{blobs: map[cid.Cid]*fakeBlob{}} }

// makeBlob returns random ciphertext and its ref.
func makeBlob(size int) (blob.Ref, *fakeBlob) {
	data := make([]byte, size)
	rand.Read(data)
	b := &fakeBlob{size: int64(size), data: data, held: []blob.Range{{Off: 0, Len: int64(size)}}, ready: true}
	var leaves []blob.Value
	for i := range blob.Groups(int64(size)) {
		g := data[i*blob.Group : min((i+1)*blob.Group, int64(size))]
		leaves = append(leaves, blob.GroupValue(g, i, blob.Groups(int64(size)) == 1))
	}
	var root blob.Value
	b.outboard, root = blob.Outboard(leaves)
	return blob.Ref{CID: blob.CIDOf(root), Key: key.Secret{1}, Size: int64(size)}, b
}

func (f *fakeBlobs) add(ref blob.Ref, b *fakeBlob) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := *b
	f.blobs[ref.CID] = &c
}

// keep leaves only these ranges held.
func (f *fakeBlobs) keep(ref blob.Ref, held ...blob.Range) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.blobs[ref.CID].held = held
}

func (f *fakeBlobs) bytes(ref blob.Ref) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.blobs[ref.CID]; b != nil {
		return bytes.Clone(b.data)
	}
	return nil
}

func (f *fakeBlobs) Complete(ref blob.Ref) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.blobs[ref.CID]
	return b != nil && total(b.held) == b.size
}

func (f *fakeBlobs) Serve(c cid.Cid) (Source, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.blobs[c]
	if b == nil || len(b.held) == 0 && b.size > 0 {
		return nil, errTest
	}
	f.open.Add(1)
	return &fakeSource{f, b}, nil
}

type fakeSource struct {
	f *fakeBlobs
	b *fakeBlob
}

func (s *fakeSource) Close() error { s.f.open.Add(-1); return nil }

func (s *fakeSource) Size() int64 { return s.b.size }

func (s *fakeSource) Held() []blob.Range {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	return append([]blob.Range(nil), s.b.held...)
}

func (s *fakeSource) Verify(context.Context, int64, int64) error {
	s.f.verified.Add(1)
	return nil
}

func (s *fakeSource) ReadFrame(off int64, n int, buf []byte) (blob.Frame, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	want := []blob.Range{{Off: off, Len: int64(n)}}
	if n > 0 && total(intersect(want, s.b.held)) != int64(n) {
		return blob.Frame{}, errTest
	}
	if !s.b.ready { // a blob received here: compute the outboard now
		if total(s.b.held) != s.b.size {
			return blob.Frame{}, errTest
		}
		var leaves []blob.Value
		for i := range blob.Groups(s.b.size) {
			leaves = append(leaves, blob.GroupValue(s.b.data[i*blob.Group:min((i+1)*blob.Group, s.b.size)], i, blob.Groups(s.b.size) == 1))
		}
		s.b.outboard, _ = blob.Outboard(leaves)
		s.b.ready = true
	}
	proof, err := blob.Proof(bytes.NewReader(s.b.outboard), s.b.size, off, int64(n))
	if err != nil {
		return blob.Frame{}, err
	}
	copy(buf, s.b.data[off:off+int64(n)])
	if s.b.corrupt && n > 0 {
		buf[n/2] ^= 1
	}
	return blob.Frame{Off: off, Proof: proof, Data: buf[:n]}, nil
}

func (f *fakeBlobs) Begin(ref blob.Ref) (Sink, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.blobs[ref.CID]
	if b == nil {
		b = &fakeBlob{size: ref.Size, data: make([]byte, ref.Size)}
		f.blobs[ref.CID] = b
	}
	f.open.Add(1)
	return &fakeSink{f: f, b: b, ref: ref}, nil
}

type fakeSink struct {
	f   *fakeBlobs
	b   *fakeBlob
	ref blob.Ref
}

func (s *fakeSink) Close() error { s.f.open.Add(-1); return nil }

func (s *fakeSink) Store(o blob.Opened, _ bool) error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if s.f.full != nil {
		return s.f.full
	}
	s.f.writes.Add(1)
	blob.CipherXOR(s.ref.Key, o.Off(), s.b.data[o.Off():], o.Data()) // the fake keeps ciphertext
	s.b.held = merge(s.b.held, blob.Range{Off: o.Off(), Len: int64(len(o.Data()))})
	return nil
}

func merge(a []blob.Range, r blob.Range) []blob.Range {
	a = append(subtract(a, r), r)
	sort.Slice(a, func(i, j int) bool { return a[i].Off < a[j].Off })
	out := a[:1]
	for _, r := range a[1:] {
		if last := &out[len(out)-1]; last.End() == r.Off {
			last.Len += r.Len
		} else {
			out = append(out, r)
		}
	}
	return out
}

func (s *fakeSink) Missing(off, n int64) []blob.Range {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	out := []blob.Range{{Off: off, Len: n}}
	for _, h := range s.b.held {
		out = subtract(out, h)
	}
	return out
}

func (f *fakeBlobs) Missing(refs []blob.Ref) (out []blob.Ref) {
	for _, r := range refs {
		if !f.Complete(r) {
			out = append(out, r)
		}
	}
	return out
}

func (f *fakeBlobs) ReadSmall(ids []cid.Cid, fn func(i int, ciphertext []byte) error) error {
	for i, id := range ids {
		src, err := f.Serve(id)
		if err != nil {
			continue
		}
		fr, err := src.ReadFrame(0, int(src.Size()), make([]byte, blob.Group))
		src.Close()
		if err != nil {
			continue
		}
		if err := fn(i, fr.Data); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeBlobs) StoreSmall(opened []blob.Opened) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full != nil {
		return f.full
	}
	for _, o := range opened {
		r := o.Ref()
		sealed := make([]byte, len(o.Data()))
		blob.CipherXOR(r.Key, 0, sealed, o.Data())
		f.blobs[r.CID] = &fakeBlob{size: r.Size, data: sealed, held: []blob.Range{{Off: 0, Len: r.Size}}}
	}
	f.syncs.Add(1)
	return nil
}
