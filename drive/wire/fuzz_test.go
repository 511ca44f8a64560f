package wire

import (
	"bufio"
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// messages are examples of every frame that is CBOR, by type.
func messages() map[frameType]any {
	head := headItem{Device: key.DeviceID{1}, Kind: key.Chat, Gen: 2, Length: 3, Root: key.Hash{4}, Sig: make([]byte, 64)}
	return map[frameType]any{
		frameHello:     msgHello{Version: version, Nonce: nonce{1, 2, 3}, Agent: "pearbox 1"},
		frameTags:      msgTags{Tags: []tag{{1}, {2}}},
		frameOpen:      msgOpen{Chan: 1, Items: []proofItem{{Tag: tag{1}, Proof: mac{2}}}},
		frameShut:      msgShut{Chan: 7},
		frameProbe:     msgProbe{Chan: 1, Sum: listedSum(1)},
		frameHeads:     msgHeads{Chan: 1, Heads: []headItem{head}},
		frameRanges:    msgRanges{Chan: 1, Answers: []rangeAnswer{{Prefix: []byte{1, 15}, Differ: 1 << 15, Show: 1, Below: [][]byte{{formListed}}}}},
		framePresence:  msgPresence{Chan: 1, Near: []nearItem{{Device: key.DeviceID{1}, Online: true, Addrs: []string{"/ip4/192.0.2.1/tcp/1"}}}},
		frameLevel:     msgLevel{Chan: 1, All: true},
		frameAcks:      msgAcks{Chan: 1, Acks: []ackItem{{Core: key.CoreID{1}, Length: 5}}},
		frameHaveAsk:   msgHaveAsk{Chan: 1, ID: 2, Roots: []key.Hash{{1}}},
		frameHave:      msgHave{Chan: 1, ID: 2, Items: []haveItem{{All: true, Ranges: []int64{}}, {Ranges: []int64{0, 65536}}}},
		frameRefused:   msgRefused{Chan: 1, Root: key.Hash{1}, Off: blob.Group, Len: 5},
		frameInstance:  msgInstance{ID: instance{1}},
		frameCopied:    msgChan{Chan: 1},
		framePing:      msgPing{Echo: 12345},
		frameAskTail:   askTail{ID: 1, Chan: 1, Core: key.CoreID{1}, From: 1, To: 2, Max: 100},
		frameAskBlob:   askBlob{ID: 1, Chan: 1, Root: key.Hash{1}, Off: blob.Group, Len: 5, Urgent: true},
		frameAskSmall:  askSmall{ID: 1, Chan: 1, Roots: []key.Hash{{1}, {2}}},
		frameAskBlocks: askBlocks{ID: 1, Chan: 1, Core: key.CoreID{1}, Blocks: []uint64{1, 2}},
		frameCancel:    askCancel{ID: 1},
	}
}

// decodeAny decodes a body as the frame type says.
func decodeAny(t frameType, body []byte) (any, error) {
	switch t {
	case frameHello:
		return anyOf(decode[msgHello](body))
	case frameTags:
		return anyOf(decode[msgTags](body))
	case frameOpen, frameProof:
		return anyOf(decode[msgOpen](body))
	case frameShut:
		return anyOf(decode[msgShut](body))
	case frameProbe:
		return anyOf(decode[msgProbe](body))
	case frameHeads:
		return anyOf(decode[msgHeads](body))
	case frameRanges:
		return anyOf(decode[msgRanges](body))
	case framePresence:
		return anyOf(decode[msgPresence](body))
	case frameAcks:
		return anyOf(decode[msgAcks](body))
	case frameLevel:
		return anyOf(decode[msgLevel](body))
	case frameHaveAsk:
		return anyOf(decode[msgHaveAsk](body))
	case frameRefused:
		return anyOf(decode[msgRefused](body))
	case frameInstance:
		return anyOf(decode[msgInstance](body))
	case frameCopied:
		return anyOf(decode[msgChan](body))
	case frameHave:
		return anyOf(decode[msgHave](body))
	case framePing, framePong:
		return anyOf(decode[msgPing](body))
	case frameAskTail:
		return anyOf(decode[askTail](body))
	case frameAskBlob:
		return anyOf(decode[askBlob](body))
	case frameAskSmall:
		return anyOf(decode[askSmall](body))
	case frameAskBlocks:
		return anyOf(decode[askBlocks](body))
	case frameCancel:
		return anyOf(decode[askCancel](body))
	}
	return nil, ErrFrame
}

func anyOf[T any](v T, err error) (any, error) { return v, err }

func TestMessagesComeBack(t *testing.T) {
	for ft, m := range messages() {
		f := encode(ft, m)
		got, err := decodeAny(ft, f[frameHeader:])
		if err != nil {
			t.Errorf("%T: %v", m, err)
		} else if !reflect.DeepEqual(got, m) {
			t.Errorf("%+v came back as %+v", m, got)
		}
		for n := range f[frameHeader:] { // no prefix is a message
			if _, err := decodeAny(ft, f[frameHeader:frameHeader+n]); !errors.Is(err, ErrFrame) {
				t.Errorf("%T cut to %d bytes: %v", m, n, err)
			}
		}
	}
}

// FuzzMessage: what decodes is within its bounds, and comes back the same.
func FuzzMessage(f *testing.F) {
	for ft, m := range messages() {
		f.Add(byte(ft), encode(ft, m)[frameHeader:])
	}
	f.Fuzz(func(t *testing.T, ft byte, body []byte) {
		m, err := decodeAny(frameType(ft), body)
		if err != nil {
			return
		}
		again, err := decodeAny(frameType(ft), encode(frameType(ft), m)[frameHeader:])
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

// FuzzControl: no control frame of a proven peer makes the node fail.
func FuzzControl(f *testing.F) {
	n := newNode(f, 1, Options{})
	dev := deviceOn(f, sideFirst, n.dev.ID())
	n.room.set(dev.ID(), room.AccessMember)
	n.room.append(f, key.Control, []byte("x"))
	for ft, m := range messages() {
		f.Add(byte(ft), encode(ft, m)[frameHeader:])
	}
	x, y := connect(n.dev.ID(), dev.ID())
	f.Cleanup(func() { y.Close() })
	f.Fuzz(func(t *testing.T, ft byte, body []byte) {
		l := newLink(n.hub, x)
		defer l.cancel(nil)
		s := newSession(l, n.rep, 1)
		l.sessions[1], l.byRoom[testRoom], s.live = s, s, true
		n.rep.join(s)
		defer n.rep.leave(s)
		s.reassess()
		l.handle(frameType(ft), body)
		for s.nextHeads() != nil {
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(encode(framePing, msgPing{Echo: 1}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		ft, body, err := readFrame(bytes.NewReader(b), nil, 1000)
		if err == nil && (len(body) > 1000 || !bytes.Equal(frameBytesOf(ft, body), b[:frameHeader+len(body)])) {
			t.Fatalf("%d bytes of type %d", len(body), ft)
		}
	})
}

func FuzzBlobFrame(f *testing.F) {
	f.Add(append(make([]byte, 10), 1, 2, 3))
	f.Add([]byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := parseBlob(b)
		if err == nil && (fr.Off < 0 || fr.Off%blob.Group != 0 || len(fr.Proof) > maxProof || blobHeader+32*len(fr.Proof)+len(fr.Data) != len(b)) {
			t.Fatalf("%d, %d, %d of %d bytes", fr.Off, len(fr.Proof), len(fr.Data), len(b))
		}
	})
}

func FuzzSmallFrame(f *testing.F) {
	fr := newSmallFrame(1, newThrottle(0))
	fr.add(0, []byte("zero"))
	fr.add(9, nil)
	f.Add(fr.body()[replyHeader:])
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := 0
		err := eachSmall(b, func(i int, data []byte) error {
			sum += smallHeader + len(data)
			return nil
		})
		if err == nil && sum != len(b) {
			t.Fatalf("%d bytes read of %d", sum, len(b))
		}
	})
}

// FuzzAnswer: no answer makes a lane fail, whatever was asked.
func FuzzAnswer(f *testing.F) {
	n := newNode(f, 1, Options{})
	x, y := connect(n.dev.ID(), deviceOn(f, sideFirst, n.dev.ID()).ID())
	f.Cleanup(func() { y.Close() })
	f.Add(byte(frameBlob), reply(1, flagLast, make([]byte, 100)))
	f.Add(byte(frameSmall), reply(2, flagLast, make([]byte, 6)))
	f.Add(byte(frameTail), reply(3, flagMore, []byte{1}))
	f.Add(byte(frameFail), reply(1, 0, []byte{1}))
	ref, _ := makeBlob(1 << 20)
	small, _ := makeBlob(0)
	f.Fuzz(func(t *testing.T, ft byte, body []byte) {
		l := newLink(n.hub, x)
		defer l.cancel(nil)
		s := newSession(l, n.rep, 1)
		root, _ := blob.RootOf(ref.CID)
		sink, err := n.blobs.Begin(ref)
		if err != nil {
			t.Fatal(err)
		}
		tk := &task{ref: ref, root: root, sink: sink}
		defer sink.Close()
		fl := &flight{t: tk, s: s, ln: &l.lanes[1], end: ref.Size, asked: ref.Size}
		tk.flights = []*flight{fl}
		batch := &smallBatch{s: s, jobs: []*smallJob{{ref: small}}, came: make([]bool, 1)}
		var parts []byte
		for id, r := range map[uint32]*request{
			1: {ref: ref, onBlob: func(v verified) (func() error, error) { return n.rep.fetch.came(fl, v) }},
			2: {onOpen: func(_ frameType, _ byte, b []byte) (func() error, error) { return nil, batch.open(b) }},
			3: {onFrame: func(_ frameType, flags byte, b []byte) error { _, err := assemble(&parts, flags, b); return err }},
		} {
			r.s, r.id, r.max, r.onEnd = s, id, 10_000, func(error) {}
			l.lanes[1].pending[id] = r
		}
		for range 3 {
			a, err := l.lanes[1].next(bufio.NewReader(bytes.NewReader(frameBytesOf(frameType(ft), body))))
			if err != nil {
				break
			}
			st, err := l.lanes[1].deliver(a)
			if err != nil {
				break
			}
			if st.store != nil {
				st.err = st.store()
			}
			if st.r != nil {
				l.lanes[1].finish(st.r, st.end, st.err)
			}
		}
	})
}
