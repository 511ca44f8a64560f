package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// fakeRoom is a room without membership rules: real cores, access by a table.
type fakeRoom struct {
	id   key.RoomID
	self *key.Device

	mu       sync.Mutex
	keys     []key.Secret
	access   map[key.DeviceID]room.Access
	cores    map[key.CoreID]*fakeCore
	watchers map[int]func(room.Event)
	n        int
	joints   int
	forks    int
	refuse   func(from key.DeviceID, ci room.CoreInfo) error
	onAccess func() // called by Access, before it looks
	received atomic.Int64
	batches  atomic.Int64
	largest  atomic.Int64          // bytes of blocks in one call of Receive
	tails    []int                 // bytes of blocks in each tail of a drive core; guarded by mu
	withheld map[key.CoreID]uint64 // payload blocks from here on are withheld
}

type fakeCore struct {
	coretest.MemStore
	info room.CoreInfo
}

func newFakeRoom(self *key.Device, id key.RoomID, keys ...key.Secret) *fakeRoom {
	return &fakeRoom{
		id: id, self: self, keys: keys, access: map[key.DeviceID]room.Access{},
		cores: map[key.CoreID]*fakeCore{}, watchers: map[int]func(room.Event){},
	}
}

func (r *fakeRoom) ID() key.RoomID { return r.id }
func (r *fakeRoom) RelayKeys() []key.Secret {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]key.Secret(nil), r.keys...)
}

func (r *fakeRoom) Access(d key.DeviceID) room.Access {
	r.mu.Lock()
	on := r.onAccess
	r.mu.Unlock()
	if on != nil {
		on()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.access[d]; ok {
		return a
	}
	return room.AccessStranger
}

func (r *fakeRoom) Cores(a room.Access) (out []room.CoreInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.cores {
		if sees(a, c.info.Kind) {
			ci := c.info
			ci.Head, ci.Length = c.Newest, c.Len
			out = append(out, ci)
		}
	}
	return out
}

func (r *fakeRoom) ReadTail(id key.CoreID, from uint64, maxBytes int) (core.Tail, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cores[id]
	if c == nil {
		return core.Tail{}, room.ErrAbsent
	}
	return core.ReadTail(c, from, maxBytes)
}

func (r *fakeRoom) Receive(_ context.Context, from key.DeviceID, ci room.CoreInfo, tails ...core.Tail) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		if err := r.refuse(from, ci); err != nil {
			return err
		}
	}
	c := r.core(ci.Device, ci.Kind, ci.Gen)
	for _, t := range tails {
		if err := t.Apply(c, ci.Device); err != nil {
			return err
		}
	}
	var size int64
	for _, t := range tails {
		size += int64(sizeOf(t))
		if ci.Kind == key.Drive {
			r.tails = append(r.tails, sizeOf(t))
		}
	}
	r.largest.Store(max(r.largest.Load(), size))
	r.received.Add(int64(len(tails)))
	r.batches.Add(1)
	r.fire(room.Event{Heads: []key.CoreID{ci.ID}})
	return nil
}

// core returns a core, made when it is new. r.mu is held.
func (r *fakeRoom) core(d key.DeviceID, k key.Kind, gen uint32) *fakeCore {
	id := key.CoreIDOf(r.id, d, k, gen)
	c := r.cores[id]
	if c == nil {
		c = &fakeCore{info: room.CoreInfo{ID: id, Device: d, Kind: k, Gen: gen}}
		r.cores[id] = c
	}
	return c
}

// fire tells the watchers later, as a room does after its transaction. r.mu is held.
func (r *fakeRoom) fire(e room.Event) {
	for _, fn := range r.watchers {
		go fn(e)
	}
}

func (r *fakeRoom) Watch(fn func(room.Event)) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	n := r.n
	r.watchers[n] = fn
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, n)
	}
}

// append writes blocks to one of the device's own cores.
func (r *fakeRoom) append(t testing.TB, k key.Kind, blocks ...[]byte) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.core(r.self.ID(), k, 0)
	if _, err := core.Append(c, r.self, c.info.ID, blocks); err != nil {
		t.Fatal(err)
	}
	r.fire(room.Event{Heads: []key.CoreID{c.info.ID}})
}

func (r *fakeRoom) set(d key.DeviceID, a room.Access) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.access[d] = a
	r.fire(room.Event{Members: true})
}

func (r *fakeRoom) setKeys(keys ...key.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = keys
	r.fire(room.Event{Keys: true})
}

// length is how far a core is here.
func (r *fakeRoom) length(d key.DeviceID, k key.Kind) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.cores[key.CoreIDOf(r.id, d, k, 0)]; c != nil {
		return c.Newest.Length
	}
	return 0
}

func (r *fakeRoom) MissingPayloads(id key.CoreID, seq uint64) (w room.Want, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cores[id]
	if c == nil {
		return w, room.ErrAbsent
	}
	w = room.Want{Core: id, Seq: seq, First: seq + 1}
	for i := seq + 1; i < c.Len; i++ {
		if _, err := c.Block(i); err != nil {
			w.Count++
		}
	}
	return w, nil
}

func (r *fakeRoom) ProvePayloads(id key.CoreID, first uint64, n int) (out []core.BlockProof, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cores[id]
	if c == nil {
		return nil, room.ErrAbsent
	}
	for i := range n {
		p, err := core.ProveBlock(c, first+uint64(i))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (r *fakeRoom) FillPayload(id key.CoreID, proofs ...core.BlockProof) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return core.FillBlock(r.cores[id], proofs...)
}

func (r *fakeRoom) ReadJoint(id key.CoreID, at uint64) (core.Joint, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cores[id]
	if c == nil {
		return core.Joint{}, room.ErrAbsent
	}
	return core.ReadJoint(c, at)
}

func (r *fakeRoom) ReceiveJoint(_ context.Context, _ key.DeviceID, ci room.CoreInfo, j core.Joint) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joints++
	err := j.Check(r.core(ci.Device, ci.Kind, ci.Gen), ci.Device)
	if _, ok := err.(*core.ForkError); ok {
		r.forks++
		return nil
	}
	return err
}

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
func (s *fakeSource) Size() int64  { return s.b.size }
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

// node is one device with one room.
type node struct {
	t     testing.TB
	dev   *key.Device
	hub   *Hub
	room  *fakeRoom
	blobs *fakeBlobs
	rep   *Replica
	log   *logs
}

// logs collects log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) has(s string) bool { return bytes.Contains([]byte(l.String()), []byte(s)) }

var (
	testRoom  = key.RoomID{7}
	testRelay = key.Secret{9}
	// brisk waits long for what should come, also on a busy machine; what has to expire in a test is set by the test.
	brisk = Timing{Nobody: 20 * time.Second, Retry: 50 * time.Millisecond, Linger: 30 * time.Second, Prove: 30 * time.Second, Deliver: time.Minute, Stall: time.Minute}
	// hasty is for tests in which nobody has the bytes; one that finds them has to ask again.
	hasty = Timing{Nobody: 200 * time.Millisecond, Retry: 50 * time.Millisecond, Linger: 30 * time.Second, Prove: 30 * time.Second, Deliver: time.Minute, Stall: time.Minute}
)

func newNode(t testing.TB, name byte, o Options) *node {
	t.Helper()
	dev := coretest.Device(t, name)
	n := &node{t: t, dev: dev, log: &logs{}, room: newFakeRoom(dev, testRoom, testRelay), blobs: newFakeBlobs()}
	if o.Timing == (Timing{}) {
		o.Timing = brisk
	}
	o.Log = slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
	n.hub = NewHub(dev, o)
	n.rep = n.hub.Add(n.room, n.blobs)
	t.Cleanup(func() {
		n.hub.Close()
		if open := n.blobs.open.Load(); open != 0 {
			t.Errorf("node %d leaves %d blobs open", name, open)
		}
		if t.Failed() {
			t.Logf("log of node %d:\n%s", name, n.log)
		}
	})
	return n
}

// members lets all nodes know all others as members.
func members(nodes ...*node) {
	for _, n := range nodes {
		for _, m := range nodes {
			n.room.set(m.dev.ID(), room.AccessMember)
		}
	}
}

// link connects two nodes.
func linkNodes(a, b *node) (*memConn, *memConn) {
	x, y := connect(a.dev.ID(), b.dev.ID())
	a.hub.Attach(x)
	b.hub.Attach(y)
	return x, y
}
