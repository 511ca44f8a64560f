package wire

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/tree"
)

// A scene is a room of three: the victim, whose room, store, drive and hub are the real ones, an honest friend with a real room, and
// Mallory, a member whose program the test is. What Mallory does comes from rogues that have his key; his own room makes entries for them.
type scene struct {
	t         *testing.T
	victim    *real
	store     *store.Room
	friend    *real
	blobs     *fakeBlobs // the friend's
	mal       *real
	twins     []*room.Room // further histories of Mallory's
	strangers *fakeRoom    // what devices that are no members have written
	before    int64        // bytes of heap
	rogues    []*rogue
}

// real is a device with a real room.
type real struct {
	dev     *key.Device
	hub     *Hub
	r       *room.Room
	rep     *Replica
	storage *roomtest.Storage // nil: in a store
	log     *logs
}

var stageTiming = Timing{Nobody: 300 * time.Millisecond, Retry: 50 * time.Millisecond, Prove: 30 * time.Second, Deliver: time.Second, Stall: 1500 * time.Millisecond, Write: time.Second, Ping: 2 * time.Second}

func newReal(t *testing.T, dev *key.Device, b Blobs, start func(*key.Device) (*room.Room, error)) *real {
	t.Helper()
	n := &real{dev: dev, log: &logs{}}
	n.hub = NewHub(dev, Options{Timing: stageTiming, Log: slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	var err error
	if n.r, err = start(dev); err != nil {
		t.Fatal(err)
	}
	n.rep = n.hub.Add(n.r, b)
	t.Cleanup(func() {
		n.hub.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", dev.ID().Short(), n.log)
		}
	})
	return n
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, blobs: newFakeBlobs()}
	var err error
	if s.store, err = store.OpenRoom(t.TempDir(), store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
	s.victim = newReal(t, coretest.Device(t, 1), Adapt(s.store.Blobs()), func(dev *key.Device) (*room.Room, error) {
		r, _, err := room.Create(s.store, dev, "room", "victim", drive.NewTree())
		return r, err
	})
	enter := func(dev *key.Device, b Blobs) *real {
		link, err := s.victim.r.Invite(t.Context(), room.InviteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st := roomtest.NewStorage()
		n := newReal(t, dev, b, func(dev *key.Device) (*room.Room, error) { return room.Join(st, dev, link, "member", drive.NewTree()) })
		n.storage = st
		s.link(s.victim, n)
		eventually(t, "a member is let in", func() bool { return n.r.Status().Standing == room.Admitted })
		return n
	}
	s.friend = enter(coretest.Device(t, 2), s.blobs)
	s.mal = enter(deviceOn(t, sideFirst, s.victim.dev.ID()), newFakeBlobs())
	for _, n := range []*real{s.victim, s.friend, s.mal} {
		n.write(t, key.Chat, []byte("hello"))
		n.make(t, "by "+n.dev.ID().Short())
	}
	eventually(t, "everybody has everything", func() bool {
		return s.state(s.victim) == s.state(s.friend) && s.state(s.victim) == s.state(s.mal) && len(s.victim.r.Heads(key.Chat)) == len(s.mal.r.Heads(key.Chat))
	})
	s.mal.hub.Close()
	eventually(t, "Mallory's program is gone", func() bool { return len(s.victim.rep.Peers()) == 1 })
	s.before = heap()
	return s
}

// meet lets the friend dial the victim when the connection has gone: on a busy machine he, too, can be late.
func (s *scene) meet() {
	if !slices.ContainsFunc(s.victim.rep.Peers(), func(p Peer) bool { return p.Device == s.friend.dev.ID() }) {
		s.link(s.victim, s.friend)
	}
}

func (s *scene) link(a, b *real) {
	x, y := connect(a.dev.ID(), b.dev.ID())
	a.hub.Attach(x)
	b.hub.Attach(y)
}

func (n *real) write(t *testing.T, kind key.Kind, body []byte) {
	t.Helper()
	err := n.r.Update(t.Context(), func(u *room.Update) error {
		_, err := u.Append(kind, room.Draft{Body: body})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// make writes a directory to the drive.
func (n *real) make(t *testing.T, name string) {
	t.Helper()
	n.utter(t, tree.Op{Type: tree.OpCreate, Node: tree.Local(0, tree.Dir), Name: name})
}

func (n *real) utter(t *testing.T, ops ...tree.Op) {
	t.Helper()
	body, err := tree.EncodeOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	n.write(t, key.Drive, body)
}

// core is a device's own core of a kind.
func (n *real) core(t *testing.T, kind key.Kind) room.CoreInfo {
	t.Helper()
	for _, c := range n.r.Cores(room.AccessMember) {
		if c.Device == n.dev.ID() && c.Kind == kind {
			return c
		}
	}
	t.Fatal("no such core")
	return room.CoreInfo{}
}

// tail is all of a core as a room has it, from a block on.
func tailOf(t *testing.T, r *room.Room, id key.CoreID, from uint64) core.Tail {
	t.Helper()
	tail, err := r.ReadTail(id, from, 0)
	if err != nil {
		t.Fatal(err)
	}
	tail.Blocks, tail.Proof = slices.Clone(tail.Blocks), slices.Clone(tail.Proof)
	return tail
}

func (s *scene) state(n *real) (h key.Hash) {
	s.t.Helper()
	err := n.r.View(func(tx room.Tx) (err error) {
		h, err = tree.StateHash(tx.Rows("tree"))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}

// rogue connects with Mallory's key, as a member.
func (s *scene) rogue() *rogue {
	s.t.Helper()
	r := newRogue(s.t, s.victim.hub, s.mal.dev)
	r.prove(s.victim.r.RelayKeys()[0], nil)
	r.greet()
	s.rogues = append(s.rogues, r)
	return r
}

// show tells the victim of a head.
func (r *rogue) show(ci room.CoreInfo) {
	r.send(frameHeads, msgHeads{Chan: r.ch, Heads: []headItem{headOf(ci)}})
}

// tails answers requests for entries; asked gets a value for each.
func (r *rogue) tails(answer func(c net.Conn, q askTail)) (asked chan struct{}) {
	asked = make(chan struct{}, 1000)
	r.serve(func(c net.Conn, ft frameType, body []byte) {
		q, err := decode[askTail](body)
		if ft != frameAskTail || err != nil {
			return
		}
		answer(c, q)
		select {
		case asked <- struct{}{}:
		default:
		}
	})
	return asked
}

// giveTail sends a tail as the whole answer to a request.
func giveTail(c net.Conn, q askTail, tail core.Tail) {
	b, err := tail.Encode()
	if err != nil {
		panic(err) // of the test itself
	}
	c.Write(frameBytesOf(frameTail, reply(q.ID, flagLast, b)))
}

// fetchFails asks for bytes that nobody honest has.
func (s *scene) fetchFails(ref blob.Ref) {
	s.t.Helper()
	if err := s.victim.rep.Fetch(s.t.Context(), ref, 0, ref.Size); err == nil {
		s.t.Error("bytes that nobody has were fetched")
	}
	if s.store.Blobs().Complete(ref) {
		s.t.Error("bytes that nobody has are held")
	}
}

// mostGrown is what the hostile behaviours of the table may cost while their connections are open.
const mostGrown = 24 << 20

// bounded checks the heap while Mallory's connections are as he left them.
func (s *scene) bounded() {
	s.t.Helper()
	if grown := heap() - s.before; grown > mostGrown {
		s.t.Errorf("%d MiB more are in use, at most %d are allowed", grown>>20, mostGrown>>20)
	}
}

// clean checks that everything that the victim has stored is what its author signed, and that the store has nothing to complain of.
func (s *scene) clean() {
	s.t.Helper()
	authors := append([]*room.Room{s.victim.r, s.friend.r, s.mal.r}, s.twins...)
	for _, ci := range s.victim.r.Cores(room.AccessMember) {
		if ci.Head.Length == 0 {
			continue
		}
		got := tailOf(s.t, s.victim.r, ci.ID, 0)
		if got.Head.Verify(ci.Device) != nil || got.End() != ci.Head.Length {
			s.t.Errorf("core %s of %s: a head that its device did not sign, or %d blocks of %d", ci.Kind, ci.Device.Short(), got.End(), ci.Head.Length)
		}
		wrote := slices.ContainsFunc(authors, func(r *room.Room) bool { return r.Self() == ci.Device && begins(s.t, r, ci.ID, got) })
		if !wrote && (s.strangers == nil || !begins(s.t, s.strangers, ci.ID, got) || got.End() > room.MaxStranger) {
			s.t.Errorf("core %s of %s has %d blocks that its author never wrote", ci.Kind, ci.Device.Short(), len(got.Blocks))
		}
	}
	err := s.store.Fsck(s.t.Context(), func(f store.Finding) {
		if f.Severity > store.Note {
			s.t.Errorf("fsck: %+v", f)
		}
	})
	if err != nil {
		s.t.Error(err)
	}
}

// begins reports whether a room has the core with these first blocks.
func begins(t *testing.T, r Room, id key.CoreID, tail core.Tail) bool {
	t.Helper()
	all, err := r.ReadTail(id, 0, 0)
	return err == nil && len(all.Blocks) >= len(tail.Blocks) && slices.EqualFunc(all.Blocks[:len(tail.Blocks)], tail.Blocks,
		func(a, b core.Block) bool { return a.Leaf() == b.Leaf() })
}

// honest checks that the victim and the friend still hear each other, give each other bytes and see one drive.
func (s *scene) honest() {
	s.t.Helper()
	for _, n := range []*real{s.victim, s.friend} {
		n.write(s.t, key.Chat, []byte("still here"))
		n.make(s.t, "after by "+n.dev.ID().Short())
	}
	eventually(s.t, "entries arrive", func() bool {
		s.meet()
		for _, from := range []*real{s.victim, s.friend} {
			for _, to := range []*real{s.victim, s.friend} {
				for _, kind := range []key.Kind{key.Chat, key.Drive} {
					c := from.core(s.t, kind)
					if tail, err := to.r.ReadTail(c.ID, 0, 0); err != nil || tail.End() < c.Head.Length {
						return false
					}
				}
			}
		}
		return true
	})
	eventually(s.t, "both see one drive", func() bool { return s.state(s.victim) == s.state(s.friend) })
	for _, size := range []int{3000, 700 << 10} {
		ref, b := makeBlob(size)
		s.blobs.add(ref, b)
		eventually(s.t, "bytes arrive", func() bool { s.meet(); return s.victim.rep.Fetch(s.t.Context(), ref, 0, ref.Size) == nil })
		src, err := s.store.Blobs().Serve(ref.CID)
		if err != nil {
			s.t.Fatal(err)
		}
		n := min(size, 4*blob.Group)
		f, err := src.ReadFrame(0, n, make([]byte, n))
		if err != nil || !bytes.Equal(f.Data, b.data[:n]) {
			s.t.Errorf("other bytes arrived: %v", err)
		}
		if err := src.Close(); err != nil {
			s.t.Error(err)
		}
	}
	for _, dev := range []*real{s.victim, s.friend, s.mal} {
		if m, ok := s.victim.r.Member(dev.dev.ID()); !ok || m.Standing != room.Admitted {
			s.t.Errorf("%s is no member any more: %+v", dev.dev.ID().Short(), m)
		}
	}
}

// mangled gives many changes of a tail, none of which its author signed.
func mangled(tail core.Tail, i int) core.Tail {
	bad := tail
	bad.Blocks, bad.Proof = slices.Clone(tail.Blocks), slices.Clone(tail.Proof)
	data := bytes.Clone(bad.Blocks[0].Data)
	data[i%len(data)] ^= 1 << (i % 8)
	bad.Blocks[0].Data = data
	return bad
}

func numbered(what string, i int) []byte { return fmt.Appendf(nil, "%s %d", what, i) }
