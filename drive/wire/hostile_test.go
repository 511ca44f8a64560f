package wire

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
)

// onBothSides runs a test with the rogue on either side of the connection.
func onBothSides(t *testing.T, fn func(t *testing.T, n *node, dev *key.Device)) {
	for s, name := range map[side]string{sideFirst: "first", sideSecond: "second"} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, Options{})
			fn(t, n, deviceOn(t, s, n.dev.ID()))
		})
	}
}

// stillWorks shows that honest peers go on.
func stillWorks(t *testing.T, n *node) {
	t.Helper()
	friend := newNode(t, 9, Options{})
	n.room.set(friend.dev.ID(), room.AccessMember)
	friend.room.set(n.dev.ID(), room.AccessMember)
	friend.room.append(t, key.Chat, []byte("honest"))
	linkNodes(n, friend)
	eventually(t, "an honest peer is heard", func() bool { return n.room.length(friend.dev.ID(), key.Chat) == 1 })
	ref, b := makeBlob(300 << 10)
	friend.blobs.add(ref, b)
	if err := n.rep.Fetch(t.Context(), ref, 0, ref.Size); err != nil {
		t.Fatal(err)
	}
}

func TestHundredIdleConnections(t *testing.T) {
	n := newNode(t, 1, Options{})
	var idle []*rogue
	for i := range 100 {
		seed := key.Secret{byte(i), 77}
		dev, err := key.DeviceFromSeed(seed)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, dialRogue(t, n.hub, dev))
	}
	stillWorks(t, n)
	eventually(t, "no more than the allowed number stays", func() bool {
		open := 0
		for _, r := range idle {
			if !r.conn.isClosed() {
				open++
			}
		}
		return open <= maxUnproven
	})
}

func TestIdleConnectionsEnd(t *testing.T) {
	timing := brisk
	timing.Prove = 100 * time.Millisecond
	n := newNode(t, 1, Options{Timing: timing})
	r, q := dialRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())), dialRogue(t, n.hub, deviceOn(t, sideSecond, n.dev.ID()))
	r.gone()
	q.gone()
}

// TestMalformedControl: frames that lie about their length, end early, never end or do not parse end the connection.
func TestMalformedControl(t *testing.T) {
	long := make([]byte, frameHeader)
	putHeader(long, framePing, 1<<31)
	slightly := make([]byte, frameHeader)
	putHeader(slightly, framePing, MaxControlFrame+1)
	for name, b := range map[string][]byte{
		"huge length":      long,
		"one too long":     slightly,
		"no CBOR":          frameBytesOf(frameHeads, []byte{0xff, 0xff}),
		"empty body":       frameBytesOf(frameHave, nil),
		"nested":           frameBytesOf(frameHeads, bytes.Repeat([]byte{0x81}, 1000)),
		"array of 2^40":    frameBytesOf(frameTags, []byte{0x81, 0x9b, 0, 0, 1, 0, 0, 0, 0, 0}),
		"indefinite":       frameBytesOf(framePing, []byte{0x9f, 0x01, 0xff}),
		"wrong side":       encode(frameProof, msgOpen{Chan: 1, Items: []proofItem{{}}}),
		"refused nothing":  encode(frameRefused, msgRefused{Chan: 1}),
		"pong to no ping":  encode(framePong, msgPing{Echo: 1 << 62}),
		"trailing garbage": frameBytesOf(framePing, []byte{0x81, 0x01, 0x00}),
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, Options{})
			r := newRogue(t, n.hub, deviceOn(t, sideSecond, n.dev.ID())).join()
			r.control.Write(b)
			r.gone()
		})
	}
	t.Run("cut off", func(t *testing.T) {
		n := newNode(t, 1, Options{})
		r := newRogue(t, n.hub, deviceOn(t, sideSecond, n.dev.ID())).join()
		r.control.Write(frameBytesOf(frameHeads, make([]byte, 5000))[:2000])
		r.control.Close()
		r.gone()
	})
	t.Run("unknown type", func(t *testing.T) {
		n := newNode(t, 1, Options{})
		r := newRogue(t, n.hub, deviceOn(t, sideSecond, n.dev.ID())).join()
		r.control.Write(frameBytesOf(200, []byte("from the future")))
		eventually(t, "the connection stays", func() bool { return len(n.rep.Peers()) == 1 })
		stillWorks(t, n)
		if r.conn.isClosed() {
			t.Fatal("an unknown frame ended the connection")
		}
	})
}

// TestReadsNothing: a peer that asks over and over and never reads costs a bounded queue.
func TestReadsNothing(t *testing.T) {
	n := newNode(t, 1, Options{})
	x, y := connect(n.dev.ID(), deviceOn(t, sideFirst, n.dev.ID()).ID())
	n.hub.Attach(x)
	s, err := y.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Write(controlPreamble[:])
	s.Write(encode(frameHello, msgHello{Version: version}))
	readFrame(s, nil, MaxControlFrame)
	ping := encode(framePing, msgPing{Echo: 1})
	for !y.isClosed() {
		if _, err := s.Write(ping); err != nil {
			break
		}
	}
	eventually(t, "it is dropped", y.isClosed)
	eventually(t, "it is logged", func() bool { return n.log.has("does not read") })
}

func TestSilentPeer(t *testing.T) {
	timing := brisk
	timing.Ping = 50 * time.Millisecond
	n := newNode(t, 1, Options{Timing: timing})
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join() // never answers a ping
	r.gone()
	eventually(t, "it is logged", func() bool { return n.log.has("no longer answers") })
}

// TestMalformedRequests: requests out of bounds end the connection.
func TestMalformedRequests(t *testing.T) {
	for name, b := range map[string][]byte{
		"unaligned":      encode(frameAskBlob, askBlob{ID: 1, Chan: 1, Off: 5, Len: 100}),
		"too long":       encode(frameAskBlob, askBlob{ID: 1, Chan: 1, Len: maxRange + 1}),
		"negative":       encode(frameAskBlob, askBlob{ID: 1, Chan: 1, Off: -blob.Group, Len: 1}),
		"overflow":       encode(frameAskBlob, askBlob{ID: 1, Chan: 1, Off: 1<<63 - blob.Group, Len: 1 << 20}),
		"many small":     encode(frameAskSmall, askSmall{ID: 1, Chan: 1, Roots: make([]key.Hash, maxSmall+1)}),
		"no small":       encode(frameAskSmall, askSmall{ID: 1, Chan: 1, Roots: []key.Hash{}}),
		"many blocks":    encode(frameAskBlocks, askBlocks{ID: 1, Chan: 1, Blocks: make([]uint64, maxBlockAsk+1)}),
		"backward tail":  encode(frameAskTail, askTail{ID: 1, Chan: 1, From: 5, To: 5, Max: 1}),
		"endless tail":   encode(frameAskTail, askTail{ID: 1, Chan: 1, To: 1, Max: 1 << 31}),
		"an answer":      frameBytesOf(frameBlob, make([]byte, 100)),
		"longer than it": {0xff, 0xff, 0xff, 0xff, byte(frameAskBlob)},
		"too many":       bytes.Repeat(encode(frameAskTail, askTail{ID: 1, Chan: 1, To: 1, Max: 1}), 20*maxRequests),
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, Options{})
			r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join()
			s := r.stream(1)
			go s.Write(b)
			r.gone()
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	n := newNode(t, 1, Options{})
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join()
	for range maxLanes + 1 {
		go r.conn.Open(t.Context())
	}
	r.gone()
}

// TestAccessIsTakenAway: a stream that is being served ends when the peer is removed.
func TestAccessIsTakenAway(t *testing.T) {
	timing := hasty
	timing.Nobody = 3 * time.Second
	a, b := newNode(t, 1, Options{UpLimit: 512 << 10}), newNode(t, 2, Options{Timing: timing})
	members(a, b)
	linkNodes(a, b)
	ready(t, b, 1)
	ref, bl := makeBlob(64 << 20)
	a.blobs.add(ref, bl)
	done := make(chan error, 1)
	go func() { done <- b.rep.Fetch(t.Context(), ref, 0, ref.Size) }()
	eventually(t, "bytes flow", func() bool { return b.blobs.writes.Load() > 0 })
	a.room.set(b.dev.ID(), room.AccessRemoved)
	if err := <-done; err == nil {
		t.Fatal("the whole blob came")
	}
	if b.blobs.Complete(ref) {
		t.Fatal("the whole blob came")
	}
}

// TestRemovalBeforeItsEvent: who was removed and comes before the hub has heard of it is no stranger for the key that was
// the newest until then.
func TestRemovalBeforeItsEvent(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	b.room.set(a.dev.ID(), room.AccessMember)
	a.room.append(t, key.Control, []byte("the removal"))
	a.room.mu.Lock()
	a.room.keys = []key.Secret{{200}, testRelay}
	a.room.access[b.dev.ID()] = room.AccessRemoved
	a.room.mu.Unlock()
	linkNodes(a, b)
	eventually(t, "it gets what says so and is cut off", func() bool { return a.log.has("cut off from the room") })
	if a.log.has("access=stranger") {
		t.Error("somebody who was removed is taken for a stranger")
	}
}

func TestOwnDeviceIsRefused(t *testing.T) {
	n := newNode(t, 1, Options{})
	x, y := connect(n.dev.ID(), n.dev.ID())
	n.hub.Attach(x)
	if !y.isClosed() {
		t.Fatal("a connection to oneself is served")
	}
}

func TestOtherVersion(t *testing.T) {
	n := newNode(t, 1, Options{})
	r := dialRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
	s, err := r.conn.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		s.Write(controlPreamble[:])
		s.Write(encode(frameHello, msgHello{Version: version + 1}))
	}()
	io.Copy(io.Discard, s)
	r.gone()
	eventually(t, "it is logged", func() bool { return n.log.has("another version") })
}

// TestManyStrangers: the connections of who only has a link are bounded, and do not push out members.
func TestManyStrangers(t *testing.T) {
	n, friend := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(n, friend)
	linkNodes(n, friend)
	ready(t, n, 1)
	for i := range maxStrangers + 20 {
		dev, err := key.DeviceFromSeed(key.Secret{byte(i), 78})
		if err != nil {
			t.Fatal(err)
		}
		newRogue(t, n.hub, dev).join()
	}
	eventually(t, "the number of strangers is bounded", func() bool {
		p := n.rep.Peers()
		return len(p) <= maxStrangers+1 && slices.ContainsFunc(p, func(p Peer) bool { return p.Device == friend.dev.ID() })
	})
}

// TestForgedReaderEntries: a reader that writes to his drive core all the same, with a peer of his own making, changes
// nothing in a real room.
func TestForgedReaderEntries(t *testing.T) {
	open := func(dev *key.Device) *Hub {
		h := NewHub(dev, Options{Timing: brisk, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		t.Cleanup(h.Close)
		return h
	}
	owner, reader := coretest.Device(t, 1), coretest.Device(t, 2)
	ha, hb := open(owner), open(reader)
	a, _, err := room.Create(roomtest.NewStorage(), owner, "room", "owner")
	if err != nil {
		t.Fatal(err)
	}
	link, err := a.Invite(t.Context(), room.InviteOptions{Role: room.RoleReader})
	if err != nil {
		t.Fatal(err)
	}
	b, err := room.Join(roomtest.NewStorage(), reader, link, "reader")
	if err != nil {
		t.Fatal(err)
	}
	rep := ha.Add(a, newFakeBlobs())
	hb.Add(b, newFakeBlobs())
	x, y := connect(owner.ID(), reader.ID())
	ha.Attach(x)
	hb.Attach(y)
	eventually(t, "the reader is let in", func() bool { return b.Status().Standing == room.Admitted })
	eventually(t, "and seen as a member", func() bool { p := rep.Peers(); return len(p) == 1 && p[0].Access == "member" })
	hb.Close()
	eventually(t, "he is away", func() bool { return len(rep.Peers()) == 0 })

	// His core, with entries that his program would not write, signed with his key.
	gen := uint32(0)
	for _, ci := range b.Cores(room.AccessMember) {
		if ci.Device == reader.ID() {
			gen = ci.Gen
		}
	}
	forged := newFakeRoom(reader, a.ID())
	c := forged.core(reader.ID(), key.Drive, gen)
	if _, err := core.Append(c, reader, c.info.ID, [][]byte{[]byte("forged"), bytes.Repeat([]byte{0}, 500), {0xa0}}); err != nil {
		t.Fatal(err)
	}
	r := newRogue(t, ha, reader)
	r.serve(func(s net.Conn, ft frameType, body []byte) {
		if q, err := decode[askTail](body); err == nil && ft == frameAskTail {
			tail, err := forged.ReadTail(q.Core, q.From, 0)
			if err != nil {
				s.Write(frameBytesOf(frameFail, reply(q.ID, flagLast, []byte{1})))
				return
			}
			enc, _ := tail.Encode()
			s.Write(frameBytesOf(frameTail, reply(q.ID, flagLast, enc)))
		}
	})
	r.prove(b.RelayKeys()[0], nil)
	r.greet()
	ci := c.info
	ci.Head = c.Newest
	asked := rep.Stats().EntriesIn
	r.send(frameHeads, msgHeads{Chan: r.ch, Heads: []headItem{headOf(ci)}})
	eventually(t, "the entries have come", func() bool { return rep.Stats().EntriesIn > asked && rep.Stats().Pulling == 0 })
	for i := range uint64(3) {
		block, _ := c.Block(i)
		if _, err := a.Entry(core.Leaf(block)); err == nil {
			t.Errorf("forged entry %d counts", i)
		}
	}
	err = a.Update(t.Context(), func(u *room.Update) error {
		_, err := u.Append(key.Drive, room.Draft{Body: []byte("the room goes on")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSlowButHonest: a peer that keeps to a limit says so and is not taken for one that breaks promises.
func TestSlowButHonest(t *testing.T) {
	timing := brisk
	timing.Deliver = 3 * time.Second
	patient := brisk
	patient.Deliver = 4 * time.Second // the slow one speaks up about every second
	n, friend := newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{UpLimit: 16 << 10, Timing: patient})
	members(n, friend)
	linkNodes(n, friend)
	ready(t, n, 1)
	ref, b := makeBlob(128 << 10)
	friend.blobs.add(ref, b)
	if err := n.rep.Fetch(t.Context(), ref, 0, ref.Size); err != nil {
		t.Fatal(err)
	}
	if len(n.rep.Peers()) != 1 {
		t.Error("it was taken for a peer that does not deliver")
	}
}

// TestThrottle: entries are charged at once and bulk pays for them.
func TestThrottle(t *testing.T) {
	th := newThrottle(1 << 20)
	if th.frame() != 256<<10 {
		t.Errorf("frames of %d bytes at 1 MiB/s", th.frame())
	}
	th.charge(10 << 20)
	if th.limiter.Tokens() > 0 {
		t.Error("entries cost nothing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := th.wait(ctx, 1, 0, nil); err == nil {
		t.Error("bulk does not wait")
	}
	th.set(0)
	if err := th.wait(t.Context(), 1<<30, 0, nil); err != nil {
		t.Error(err)
	}
	if newThrottle(1).frame() != blob.Group || newThrottle(0).frame() != frameBytes {
		t.Error("frames have the wrong size")
	}
}

// TestPromisesHoldNobodyUp: strangers and a member who show one core after another and never deliver an entry take no turn from who does,
// however long they are waited for.
func TestPromisesHoldNobodyUp(t *testing.T) {
	timing := brisk
	timing.Deliver, timing.Ping = time.Hour, time.Hour
	n, friend := newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{Timing: timing})
	members(n, friend)
	silent := func(dev *key.Device, heads ...headItem) {
		r := newRogue(t, n.hub, dev).join()
		r.serve(func(net.Conn, frameType, []byte) {})
		r.send(frameHeads, msgHeads{Chan: r.ch, Heads: heads})
	}
	head := func(dev *key.Device, k key.Kind, gen uint32) headItem {
		return headItem{Device: dev.ID(), Kind: k, Gen: gen, Length: 1, Sig: make([]byte, 64)}
	}
	for i := range byte(3 * pullsPerRoom) {
		dev, err := key.DeviceFromSeed(key.Secret{i, 93})
		if err != nil {
			t.Fatal(err)
		}
		silent(dev, head(dev, key.Control, 0))
	}
	mallory := deviceOn(t, sideFirst, n.dev.ID())
	n.room.set(mallory.ID(), room.AccessMember)
	var heads []headItem
	for gen := range uint32(2 * pullsPerRoom) {
		heads = append(heads, head(mallory, key.Control, gen), head(mallory, key.Chat, gen))
	}
	silent(mallory, heads...)
	eventually(t, "they are waited for", func() bool { return n.rep.Stats().Pulling >= strangersPulls+ownPulls })
	linkNodes(n, friend)
	for i := range 3 {
		for _, kind := range key.Kinds {
			friend.room.append(t, kind, []byte{byte(i)})
		}
		eventually(t, "a friend is heard", func() bool {
			for _, kind := range key.Kinds {
				if n.room.length(friend.dev.ID(), kind) <= uint64(i) {
					return false
				}
			}
			return true
		})
	}
}
