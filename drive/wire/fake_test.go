package wire

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
