package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
)

// rogue is a peer that speaks the protocol by hand.
type rogue struct {
	t       testing.TB
	conn    *memConn
	dev     *key.Device
	side    side
	hs      handshake
	control net.Conn
	frames  chan rogueFrame // what came on the control stream
	ch      uint16          // the proven channel
}

type rogueFrame struct {
	t    frameType
	body []byte
}

// deviceOn returns a device that stands on the given side towards a node.
func deviceOn(t testing.TB, s side, to key.DeviceID) *key.Device {
	for seed := byte(100); seed < 200; seed++ {
		if d := coretest.Device(t, seed); sideOf(d.ID(), to) == s {
			return d
		}
	}
	t.Fatal("no such device")
	return nil
}

// newRogue connects to a node and exchanges hellos.
func newRogue(t testing.TB, n *Hub, dev *key.Device) *rogue {
	t.Helper()
	own := newNonce()
	r := dialRogue(t, n, dev)
	r.hello(&own)
	return r
}

// dialRogue only connects.
func dialRogue(t testing.TB, n *Hub, dev *key.Device) *rogue {
	x, y := connect(n.self, dev.ID())
	n.Attach(x)
	t.Cleanup(func() { y.Close() })
	return &rogue{t: t, conn: y, dev: dev, side: sideOf(dev.ID(), n.self), frames: make(chan rogueFrame, 4096)}
}

// hello exchanges hellos; without an own nonce the node's is sent back.
func (r *rogue) hello(own *nonce) {
	r.t.Helper()
	var err error
	if r.side == sideFirst {
		if r.control, err = r.conn.Open(context.Background()); err == nil {
			_, err = r.control.Write(controlPreamble[:])
		}
	} else if r.control, err = r.conn.Accept(r.t.Context()); err == nil {
		var pre [8]byte
		_, err = io.ReadFull(r.control, pre[:])
	}
	if err != nil {
		r.t.Fatal(err)
	}
	wrote := make(chan struct{})
	write := func(m msgHello) {
		r.control.Write(encode(frameHello, m))
		close(wrote)
	}
	if own != nil {
		go write(msgHello{Version: version, Nonce: *own})
	}
	in := bufio.NewReader(r.control)
	_, body, err := readFrame(in, nil, MaxControlFrame)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := decode[msgHello](body)
	if err != nil {
		r.t.Fatal(err)
	}
	if own == nil {
		own = &m.Nonce
		go write(m)
	}
	<-wrote
	r.hs = handshake{first: r.conn.self, second: r.conn.peer.self, firstNonce: *own, secondNonce: m.Nonce}
	if r.side == sideSecond {
		r.hs = handshake{first: r.conn.peer.self, second: r.conn.self, firstNonce: m.Nonce, secondNonce: *own}
	}
	go func() {
		defer close(r.frames)
		for {
			t, body, err := readFrame(in, nil, MaxControlFrame)
			if err != nil {
				return
			}
			if t == framePing {
				continue
			}
			r.frames <- rogueFrame{t, body}
		}
	}()
}

func (r *rogue) send(t frameType, m any) { r.control.Write(encode(t, m)) }

// await returns the next frame of a type, or false when the connection ends first.
func (r *rogue) await(t frameType) ([]byte, bool) {
	deadline := time.After(60 * time.Second)
	for {
		select {
		case f, ok := <-r.frames:
			if !ok {
				return nil, false
			}
			if f.t == t {
				return f.body, true
			}
		case <-deadline:
			r.t.Fatalf("no frame of type %d", t)
		}
	}
}

// prove goes through the proof honestly, but for what mangle does to the own proof.
func (r *rogue) prove(relay key.Secret, mangle func(*msgOpen)) {
	r.t.Helper()
	own := r.hs.tag(relay)
	answer := msgOpen{Items: []proofItem{{Tag: own, Proof: r.hs.prove(relay, r.side, own)}}}
	if r.side == sideSecond {
		body, ok := r.await(frameTags)
		if !ok {
			r.t.Fatal("no tags")
		}
		m, _ := decode[msgTags](body)
		if !slices.Contains(m.Tags, own) {
			r.t.Fatal("the tag of the common key is not shown")
		}
		answer.Chan = 1
		if mangle != nil {
			mangle(&answer)
		}
		r.send(frameOpen, answer)
		r.ch = answer.Chan
		if mangle == nil {
			if _, ok := r.await(frameProof); !ok {
				r.t.Fatal("no proof comes back")
			}
		}
		return
	}
	r.send(frameTags, msgTags{Tags: padTags([]tag{own})})
	body, ok := r.await(frameOpen)
	if !ok {
		r.t.Fatal("no channel is opened")
	}
	m, _ := decode[msgOpen](body)
	if !r.hs.check(relay, sideSecond, own, m.Items[0].Proof) {
		r.t.Fatal("the node's proof does not hold")
	}
	answer.Chan, r.ch = m.Chan, m.Chan
	if mangle != nil {
		mangle(&answer)
	}
	r.send(frameProof, answer)
}

// join proves the key and greets on the channel, so that requests come.
func (r *rogue) join() *rogue {
	r.t.Helper()
	r.prove(testRelay, nil)
	r.greet()
	return r
}

// greet takes its part in comparing heads, as who has none.
func (r *rogue) greet() {
	r.t.Helper()
	if r.side == sideFirst {
		r.send(frameProbe, msgProbe{Chan: r.ch, Sum: []byte{formListed}})
		return
	}
	body, ok := r.await(frameProbe)
	if !ok {
		r.t.Fatal("no probe comes")
	}
	m, err := decode[msgProbe](body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.send(frameRanges, msgRanges{Chan: r.ch, Answers: []rangeAnswer{nothingOf(m.Sum)}})
}

// nothingOf answers a summary of all cores by who has none.
func nothingOf(sum []byte) rangeAnswer {
	a := rangeAnswer{Prefix: []byte{}, Below: [][]byte{}}
	if sum[0] == formBranches {
		a.Differ = 0xffff
		for range branches {
			a.Below = append(a.Below, []byte{formListed})
		}
		return a
	}
	cores, _ := parseListed(sum[1:])
	a.Differ = uint16(1<<len(cores) - 1)
	a.Show = a.Differ
	return a
}

// gone waits until the node has closed the connection.
func (r *rogue) gone() {
	r.t.Helper()
	eventually(r.t, "the rogue is dropped", r.conn.isClosed)
}

// stream opens a data stream.
func (r *rogue) stream(lane byte) net.Conn {
	r.t.Helper()
	s, err := r.conn.Open(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	p := dataPreamble
	p[7] = lane
	s.Write(p[:])
	return s
}

// serve answers what the node asks on its data streams. answer gets each request and the stream.
func (r *rogue) serve(answer func(s net.Conn, t frameType, body []byte)) {
	go func() {
		for {
			s, err := r.conn.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				var pre [8]byte
				io.ReadFull(s, pre[:])
				in := bufio.NewReader(s)
				for {
					t, body, err := readFrame(in, nil, MaxControlFrame)
					if err != nil {
						return
					}
					if t != frameCancel {
						answer(s, t, body)
					}
				}
			}()
		}
	}()
}

// reply is the body of an answer.
func reply(id uint32, flags byte, rest []byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, id), flags), rest...)
}

// blobBytes is what a blob frame has behind the header of an answer.
func blobBytes(t testing.TB, b *fakeBlob, off, n int64) []byte {
	proof, err := blob.Proof(bytes.NewReader(b.outboard), b.size, off, n)
	if err != nil {
		t.Error(err)
	}
	out := binary.BigEndian.AppendUint64(nil, uint64(off))
	out = binary.BigEndian.AppendUint16(out, uint16(len(proof)))
	for _, v := range proof {
		out = append(out, v[:]...)
	}
	return append(out, b.data[off:off+n]...)
}

// holdAll answers have queries with "everything".
func (r *rogue) holdAll() {
	go func() {
		for f := range r.frames {
			if f.t != frameHaveAsk {
				continue
			}
			m, _ := decode[msgHaveAsk](f.body)
			a := msgHave{Chan: m.Chan, ID: m.ID}
			for range m.Roots {
				a.Items = append(a.Items, haveItem{All: true, Ranges: []int64{}})
			}
			r.send(frameHave, a)
		}
	}()
}
