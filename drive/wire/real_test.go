package wire_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/wire"
)

var _ wire.Room = (*room.Room)(nil)

// device is a node with a real room in a real store.
type device struct {
	t   testing.TB
	dev *key.Device
	hub *wire.Hub
	st  *store.Room
	r   *room.Room
	rep *wire.Replica
	dir string
}

func newDevice(t testing.TB, opts wire.Options) *device {
	t.Helper()
	dev, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, dev: dev, dir: t.TempDir()}
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", dev.ID().Short())
	}
	if opts.Timing == (wire.Timing{}) {
		opts.Timing = wire.Timing{Nobody: 20 * time.Second, Retry: 100 * time.Millisecond, Prove: 30 * time.Second, Deliver: time.Minute, Stall: time.Minute}
	}
	d.hub = wire.NewHub(dev, opts)
	if d.st, err = store.OpenRoom(d.dir, store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.hub.Close()
		if err := d.st.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *device) add() {
	d.rep = d.hub.Add(d.r, wire.Adapt(d.st.Blobs()))
}

// create makes a room on this device.
func (d *device) create() *device {
	d.t.Helper()
	var err error
	if d.r, _, err = room.Create(d.st, d.dev, "test", "creator"); err != nil {
		d.t.Fatal(err)
	}
	d.add()
	return d
}

// join joins by an invitation of another device.
func (d *device) join(from *device, role room.Role) *device {
	d.t.Helper()
	link, err := from.r.Invite(d.t.Context(), room.InviteOptions{Role: role})
	if err != nil {
		d.t.Fatal(err)
	}
	if d.r, err = room.Join(d.st, d.dev, link, "joiner "+d.dev.ID().Short()); err != nil {
		d.t.Fatal(err)
	}
	d.add()
	return d
}

func (d *device) write(kind key.Kind, text string) {
	d.t.Helper()
	err := d.r.Update(d.t.Context(), func(u *room.Update) error {
		_, err := u.Append(kind, room.Draft{Body: []byte(text)})
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// length is how much of another device's cores of a kind is here.
func (d *device) length(of *device, kind key.Kind) (n uint64) {
	for _, ci := range d.r.Cores(room.AccessMember) {
		if ci.Device == of.dev.ID() && ci.Kind == kind {
			n += ci.Head.Length
		}
	}
	return n
}

func (d *device) standing() room.Standing { return d.r.Status().Standing }

func connected(t testing.TB, a, b *device) *tcpConn {
	t.Helper()
	x, y := connectTCP(t, a.dev.ID(), b.dev.ID())
	a.hub.Attach(x)
	b.hub.Attach(y)
	return x
}

func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// TestRealRooms: a joiner is let in over the wire, writes, and a third joins through it while the creator is away.
func TestRealRooms(t *testing.T) {
	a := newDevice(t, wire.Options{}).create()
	for i := range 20 {
		a.write(key.Drive, fmt.Sprint("drive ", i))
		a.write(key.Chat, fmt.Sprint("chat ", i))
	}
	b := newDevice(t, wire.Options{}).join(a, room.RoleWriter)
	x := connected(t, a, b)
	wait(t, "b is let in", func() bool { return b.standing() == room.Admitted })
	wait(t, "b has everything", func() bool { return b.length(a, key.Drive) == 20 && b.length(a, key.Chat) == 20 })
	b.write(key.Chat, "hello")
	wait(t, "a has b's message", func() bool { return a.length(b, key.Chat) == 1 })
	c := newDevice(t, wire.Options{}).join(a, room.RoleReader)
	wait(t, "b knows the invitation", func() bool { return b.length(a, key.Control) == a.length(a, key.Control) })
	x.Close()
	a.hub.Close()
	connected(t, b, c)
	wait(t, "c is let in by b", func() bool { return c.standing() == room.Admitted })
	wait(t, "c has everything", func() bool {
		return c.length(a, key.Drive) == 20 && c.length(a, key.Chat) == 20 && c.length(b, key.Chat) == 1
	})
}

// TestRealRemoval: who was removed learns so, gets nothing more, and has no new key.
func TestRealRemoval(t *testing.T) {
	a := newDevice(t, wire.Options{}).create()
	b := newDevice(t, wire.Options{}).join(a, room.RoleWriter)
	c := newDevice(t, wire.Options{}).join(a, room.RoleWriter)
	connected(t, a, b)
	connected(t, c, a)
	wait(t, "both are let in", func() bool { return b.standing() == room.Admitted && c.standing() == room.Admitted })
	wait(t, "they see each other as members", func() bool { return len(b.rep.Peers()) == 1 && b.rep.Peers()[0].Access == "member" })
	if err := a.r.Remove(t.Context(), b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	a.write(key.Chat, "about b")
	wait(t, "b learns of it", func() bool { return b.standing() == room.Removed })
	wait(t, "c goes on under the new keys", func() bool { return c.length(a, key.Chat) == 1 })
	wait(t, "b is cut off", func() bool { return len(a.rep.Peers()) == 1 })
	if n := b.length(a, key.Chat); n != 0 {
		t.Fatalf("b has %d entries written after its removal", n)
	}
}

// TestRealLate: a member that was away during a change of keys comes back.
func TestRealLate(t *testing.T) {
	a := newDevice(t, wire.Options{}).create()
	b := newDevice(t, wire.Options{}).join(a, room.RoleWriter)
	c := newDevice(t, wire.Options{}).join(a, room.RoleWriter)
	connected(t, a, b)
	x := connected(t, c, a)
	wait(t, "both are let in", func() bool { return b.standing() == room.Admitted && c.standing() == room.Admitted })
	x.Close()
	wait(t, "c is away", func() bool { return len(a.rep.Peers()) == 1 })
	if err := a.r.Remove(t.Context(), b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	a.write(key.Drive, "new")
	if c.r.RelayKeys()[0].Equal(a.r.RelayKeys()[0]) {
		t.Fatal("the keys are the same: this shows nothing")
	}
	connected(t, c, a)
	wait(t, "c has the new key and what was written under it", func() bool {
		return c.length(a, key.Drive) == 1 && c.r.RelayKeys()[0].Equal(a.r.RelayKeys()[0])
	})
	c.write(key.Chat, "back")
	wait(t, "c writes under the new key", func() bool { return a.length(c, key.Chat) == 1 })
}

// TestRealBlobs: large, small and payload bytes between real stores; a seeder in between that cannot read.
func TestRealBlobs(t *testing.T) {
	a := newDevice(t, wire.Options{}).create()
	b := newDevice(t, wire.Options{}).join(a, room.RoleReader)
	connected(t, a, b)
	wait(t, "b is let in", func() bool { return b.standing() == room.Admitted })
	wait(t, "b is a member to a", func() bool { return b.rep.Peers()[0].Access == "member" && a.rep.Peers()[0].Access == "member" })
	data := make([]byte, 20<<20+4321)
	rand.Read(data)
	ref := importFile(t, a, data)
	var small []blob.Ref
	for range 1500 {
		got, err := a.st.Blobs().ImportBytes(t.Context(), randomBytes(3000))
		if err != nil {
			t.Fatal(err)
		}
		small = append(small, got[0].Refs()...)
	}
	if err := b.rep.Fetch(t.Context(), ref, 5<<20, 100); err != nil {
		t.Fatal(err)
	}
	if err := b.rep.Fetch(t.Context(), ref, 0, ref.Size); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, b, ref); !bytes.Equal(got, data) {
		t.Fatal("the blob came out different")
	}
	if in := b.rep.Stats().BlobsIn; in > ref.Size+ref.Size/20 {
		t.Errorf("%d bytes came for %d", in, ref.Size)
	}
	if err := b.rep.FetchSmall(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	for _, r := range small {
		if !b.st.Blobs().Complete(r) {
			t.Fatal("a small blob is missing")
		}
	}
}

// TestRealSeeder: a seeder carries bytes from one member to another and holds no plaintext.
func TestRealSeeder(t *testing.T) {
	a := newDevice(t, wire.Options{}).create()
	s := newDevice(t, wire.Options{}).join(a, room.RoleSeeder)
	b := newDevice(t, wire.Options{}).join(a, room.RoleWriter)
	x, y := connected(t, a, s), connected(t, a, b)
	wait(t, "both are let in", func() bool { return s.standing() == room.Admitted && b.standing() == room.Admitted })
	data := randomBytes(2<<20 + 5)
	ref := importFile(t, a, data)
	sealed := blob.Ref{CID: ref.CID, Size: ref.Size}
	wait(t, "the seeder has the ciphertext", func() bool { return s.rep.Fetch(t.Context(), sealed, 0, sealed.Size) == nil })
	a.write(key.Chat, "through the seeder")
	wait(t, "the seeder has the entry", func() bool { return s.length(a, key.Chat) == 1 })
	x.Close()
	y.Close()
	a.hub.Close()
	connected(t, s, b)
	wait(t, "b has the entry", func() bool { return b.length(a, key.Chat) == 1 })
	wait(t, "b has the bytes", func() bool { return b.rep.Fetch(t.Context(), ref, 0, ref.Size) == nil })
	if got := readAll(t, b, ref); !bytes.Equal(got, data) {
		t.Fatal("the blob came out different")
	}
}

// TestRealRot: what has changed on a disk is refused by whoever gets it, its holder finds out and gets it back from others. From then on
// nothing like it is sent.
func TestRealRot(t *testing.T) {
	a := newDevice(t, wire.Options{}).create()
	b := newDevice(t, wire.Options{Timing: wire.Timing{Nobody: time.Second, Retry: 100 * time.Millisecond, Prove: 30 * time.Second}}).join(a, room.RoleReader)
	c := newDevice(t, wire.Options{}).join(a, room.RoleReader)
	connected(t, a, b)
	connected(t, a, c)
	wait(t, "both are let in", func() bool { return b.standing() == room.Admitted && c.standing() == room.Admitted })
	data := randomBytes(5<<20 + 4321)
	ref, other := importFile(t, a, data), importFile(t, a, randomBytes(1<<20))
	for _, r := range []blob.Ref{ref, other} {
		wait(t, "c has the bytes", func() bool { return c.rep.Fetch(t.Context(), r, 0, r.Size) == nil })
		flipStored(t, a, r, 3*blob.Group+5)
	}
	wait(t, "a finds out", func() bool {
		if err := b.rep.Fetch(t.Context(), ref, 0, ref.Size); err == nil {
			t.Fatal("b has the bytes")
		}
		return !a.st.Blobs().Complete(ref)
	})
	if have := a.st.Blobs().Have(ref); len(have) != 2 {
		t.Errorf("a holds %v, wants all but a group", have)
	}
	wait(t, "a has its bytes back", func() bool { return a.rep.Fetch(t.Context(), ref, 0, ref.Size) == nil })
	if !bytes.Equal(readAll(t, a, ref), data) {
		t.Error("they differ")
	}
	refused := b.rep.Stats().Rejected
	if refused == 0 {
		t.Error("b has refused nothing")
	}
	if err := b.rep.Fetch(t.Context(), other, 0, other.Size); err == nil {
		t.Error("b has the other bytes")
	}
	if n := b.rep.Stats().Rejected; n != refused || a.st.Blobs().Complete(other) {
		t.Errorf("b has refused %d times, %d before; a still takes its bytes for whole: %v", n, refused, a.st.Blobs().Complete(other))
	}
}

// flipStored changes a byte of a stored blob on the disk.
func flipStored(t testing.TB, d *device, ref blob.Ref, off int64) {
	t.Helper()
	name := ref.Name()
	path := filepath.Join(d.dir, "blobs", fmt.Sprintf("%x", name[:1]), fmt.Sprintf("%x", name[:]))
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var one [1]byte
	if _, err := f.ReadAt(one[:], off); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.WriteAt(one[:], off); err != nil {
		t.Fatal(err)
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func importFile(t testing.TB, d *device, data []byte) blob.Ref {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := d.st.Blobs().Import(context.Background(), f, store.ByCopy(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.Refs()[0]
}

func readAll(t testing.TB, d *device, ref blob.Ref) []byte {
	t.Helper()
	l, err := d.st.Blobs().Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := make([]byte, ref.Size)
	if _, err := l.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// tcpConn is a connection whose streams are loopback TCP connections.
type tcpConn struct {
	self, peer key.DeviceID
	l          net.Listener
	other      *tcpConn
	accept     chan net.Conn
	done       chan struct{}
	once       *sync.Once

	mu      sync.Mutex
	streams []net.Conn
}

func connectTCP(t testing.TB, a, b key.DeviceID) (*tcpConn, *tcpConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	done, once := make(chan struct{}), new(sync.Once)
	x := &tcpConn{self: a, peer: b, l: l, accept: make(chan net.Conn, 16), done: done, once: once}
	y := &tcpConn{self: b, peer: a, l: l, accept: make(chan net.Conn, 16), done: done, once: once}
	x.other, y.other = y, x
	return x, y
}

func (c *tcpConn) Local() key.DeviceID   { return c.self }
func (c *tcpConn) Remote() key.DeviceID  { return c.peer }
func (c *tcpConn) Done() <-chan struct{} { return c.done }
func (c *tcpConn) Path() string          { return "tcp " + c.l.Addr().String() }

func (c *tcpConn) Close() error {
	c.once.Do(func() { close(c.done) })
	for _, e := range []*tcpConn{c, c.other} {
		e.mu.Lock()
		for _, s := range e.streams {
			s.Close()
		}
		e.mu.Unlock()
	}
	return nil
}

var dialing sync.Mutex

func (c *tcpConn) Open(ctx context.Context) (net.Conn, error) {
	dialing.Lock()
	defer dialing.Unlock()
	got := make(chan net.Conn, 1)
	go func() {
		s, err := c.l.Accept()
		if err != nil {
			s = nil
		}
		got <- s
	}()
	a, err := net.Dial("tcp", c.l.Addr().String())
	if err != nil {
		return nil, err
	}
	b := <-got
	if b == nil {
		a.Close()
		return nil, net.ErrClosed
	}
	c.mu.Lock()
	c.streams = append(c.streams, a, b)
	c.mu.Unlock()
	select {
	case <-c.done:
	case <-ctx.Done():
	case c.other.accept <- b:
		return a, nil
	}
	a.Close()
	b.Close()
	return nil, net.ErrClosed
}

func (c *tcpConn) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case s := <-c.accept:
		return s, nil
	case <-c.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestRealRemovedReach: who was removed gets the entry that says so, and nothing of what was said afterwards, until it asks to come in
// again.
func TestRealRemovedReach(t *testing.T) {
	a := newDevice(t, wire.Options{}).create()
	b := newDevice(t, wire.Options{}).join(a, room.RoleWriter)
	x := connected(t, a, b)
	wait(t, "b is let in", func() bool { return b.standing() == room.Admitted })
	x.Close()
	wait(t, "b is away", func() bool { return len(a.rep.Peers()) == 0 })
	if err := a.r.Remove(t.Context(), b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	end, limited := a.r.Reach(b.dev.ID())
	if !limited {
		t.Fatal("not limited")
	}
	var id key.CoreID
	for _, c := range a.r.Cores(room.AccessMember) {
		if c.Device == a.dev.ID() && c.Kind == key.Control {
			id = c.ID
		}
	}
	for range 3 {
		if err := a.r.RenameSelf(t.Context(), "another name"); err != nil {
			t.Fatal(err)
		}
	}
	connected(t, a, b)
	wait(t, "b learns of it", func() bool { return b.standing() == room.Removed })
	wait(t, "b is cut off", func() bool { return len(a.rep.Peers()) == 0 })
	for _, c := range b.r.Cores(room.AccessMember) {
		if c.ID == id && c.Length != end(id) {
			t.Errorf("b has %d control entries of a, wants %d of %d", c.Length, end(id), a.length(a, key.Control))
		}
	}
	if n, all := end(id), a.length(a, key.Control); n+4 != all {
		t.Errorf("the removal is at %d of %d", n, all)
	}
}
