package wire

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// TestFlippedBits: bytes that do not verify are fetched from somebody else, and their sender is not asked again.
func TestFlippedBits(t *testing.T) {
	r, liar, honest := trio(t)
	for _, size := range []int{5 << 20, 3000} {
		ref, b := makeBlob(size)
		bad := *b
		bad.corrupt = true
		liar.blobs.add(ref, &bad)
		honest.blobs.add(ref, b)
		if err := r.rep.Fetch(t.Context(), ref, 0, ref.Size); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.blobs.bytes(ref), b.data) {
			t.Fatal("it came out different")
		}
	}
	if st := r.rep.Stats(); st.Peers != 2 {
		t.Errorf("%+v", st)
	}
}

// TestOnlyALiar: when nobody else has the bytes, bad ones are not taken.
func TestOnlyALiar(t *testing.T) {
	r, liar, _ := trioWith(t, hasty)
	ref, b := makeBlob(1 << 20)
	b.corrupt = true
	liar.blobs.add(ref, b)
	eventually(t, "its bytes are refused", func() bool {
		if err := r.rep.Fetch(t.Context(), ref, 0, ref.Size); err == nil {
			t.Fatal("bad bytes were taken")
		}
		return r.rep.Stats().Rejected > 0
	})
	if !r.log.has("sent bad bytes") {
		t.Error("it is not logged")
	}
}

// TestLiarGoes: a peer that lies about blob after blob is dropped.
func TestLiarGoes(t *testing.T) {
	r, liar, _ := trioWith(t, hasty)
	for len(r.rep.Peers()) == 2 {
		ref, b := makeBlob(100 << 10)
		b.corrupt = true
		liar.blobs.add(ref, b)
		r.rep.Fetch(t.Context(), ref, 0, ref.Size)
	}
	eventually(t, "the liar is dropped", func() bool { return len(r.rep.Peers()) == 1 })
}

// TestPromises: a peer that says it has everything and delivers nothing does not keep others from delivering, and goes.
func TestPromises(t *testing.T) {
	timing := hasty
	timing.Deliver = time.Second
	n, friend := newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{})
	members(n, friend)
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join()
	r.holdAll()
	r.serve(func(net.Conn, frameType, []byte) {})
	linkNodes(n, friend)
	ready(t, n, 2)
	ref, b := makeBlob(20 << 20)
	friend.blobs.add(ref, b)
	small, sb := makeBlob(100)
	friend.blobs.add(small, sb)
	eventually(t, "the bytes come from the other", func() bool { return n.rep.Fetch(t.Context(), ref, 0, ref.Size) == nil })
	eventually(t, "small ones too", func() bool { return n.rep.Fetch(t.Context(), small, 0, small.Size) == nil })
	other, _ := makeBlob(1 << 20)
	for !r.conn.isClosed() { // it may take a second broken promise
		n.rep.Fetch(t.Context(), other, 0, other.Size)
	}
	if !n.log.has("promised and does not deliver") {
		t.Error("it is not logged")
	}
}

// TestLyingAnswers: answers that are not what was asked for end the request or the connection, and others serve it.
func TestLyingAnswers(t *testing.T) {
	frame := func(off uint64, proofs int, data []byte) []byte {
		b := binary.BigEndian.AppendUint64(nil, off)
		b = binary.BigEndian.AppendUint16(b, uint16(proofs))
		return append(append(b, make([]byte, 32*min(proofs, 100))...), data...)
	}
	for name, answer := range map[string]func(s net.Conn, q askBlob){
		"garbage": func(s net.Conn, q askBlob) {
			s.Write(frameBytesOf(frameBlob, reply(q.ID, flagLast, frame(uint64(q.Off), 3, make([]byte, q.Len)))))
		},
		"another range": func(s net.Conn, q askBlob) {
			s.Write(frameBytesOf(frameBlob, reply(q.ID, flagLast, frame(uint64(q.Off)+blob.Group*100, 0, make([]byte, blob.Group)))))
		},
		"more proofs than bytes": func(s net.Conn, q askBlob) {
			s.Write(frameBytesOf(frameBlob, reply(q.ID, flagLast, frame(uint64(q.Off), 60000, nil))))
		},
		"nothing, and the end": func(s net.Conn, q askBlob) { s.Write(frameBytesOf(frameBlob, reply(q.ID, flagLast, nil))) },
		"a broken group": func(s net.Conn, q askBlob) {
			s.Write(frameBytesOf(frameBlob, reply(q.ID, 0, frame(uint64(q.Off), 0, make([]byte, 100)))))
		},
		"another type":        func(s net.Conn, q askBlob) { s.Write(frameBytesOf(frameTail, reply(q.ID, 0, []byte("x")))) },
		"an answer to no one": func(s net.Conn, q askBlob) { s.Write(frameBytesOf(frameBlob, reply(q.ID+1000, 0, []byte("x")))) },
		"four bytes":          func(s net.Conn, q askBlob) { s.Write(frameBytesOf(frameBlob, []byte{0, 0, 0, 1})) },
		"a huge length":       func(s net.Conn, q askBlob) { s.Write([]byte{0xff, 0xff, 0xff, 0xff, byte(frameBlob)}) },
		"without end": func(s net.Conn, q askBlob) {
			b := frameBytesOf(frameBusy, reply(q.ID, 0, make([]byte, 60000)))
			for range 10_000 {
				if _, err := s.Write(b); err != nil {
					return
				}
			}
		},
		"it ends": func(s net.Conn, q askBlob) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			n, friend := newNode(t, 1, Options{Timing: hasty}), newNode(t, 2, Options{})
			members(n, friend)
			r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join()
			r.holdAll()
			asked := make(chan struct{}, 100)
			r.serve(func(s net.Conn, ft frameType, body []byte) {
				if ft != frameAskBlob {
					return
				}
				q, err := decode[askBlob](body)
				if err != nil {
					t.Error(err)
				}
				select {
				case asked <- struct{}{}:
				default:
				}
				go answer(s, q)
			})
			ready(t, n, 1)
			ref, b := makeBlob(3 << 20)
			done := make(chan error, 1)
			go func() { done <- n.rep.Fetch(t.Context(), ref, 0, ref.Size) }()
			<-asked
			friend.blobs.add(ref, b)
			linkNodes(n, friend)
			err := <-done
			if err != nil { // nobody had it for a moment
				eventually(t, "it arrives", func() bool { return n.rep.Fetch(t.Context(), ref, 0, ref.Size) == nil })
			}
			if !bytes.Equal(n.blobs.bytes(ref), b.data) {
				t.Fatal("it came out different")
			}
		})
	}
}

// TestLyingHeads: a head that does not exist, or entries that are not its device's, do no harm to the honest core.
func TestLyingHeads(t *testing.T) {
	victim := newNode(t, 2, Options{})
	victim.room.append(t, key.Chat, []byte("one"), []byte("two"), []byte("three"))
	ci := victim.room.Cores(room.AccessMember)[0]
	good, err := victim.room.ReadTail(ci.ID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(change func(*core.Tail)) []byte {
		bad := good
		bad.Blocks = append([]core.Block(nil), good.Blocks...)
		change(&bad)
		b, err := bad.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	answers := map[string]func(s net.Conn, id uint32){
		"never": func(net.Conn, uint32) {},
		"gone":  func(s net.Conn, id uint32) { s.Write(frameBytesOf(frameFail, reply(id, flagLast, []byte{1}))) },
		"no CBOR": func(s net.Conn, id uint32) {
			s.Write(frameBytesOf(frameTail, reply(id, flagLast, []byte{0xff})))
		},
		"without end": func(s net.Conn, id uint32) {
			for range 10 {
				s.Write(frameBytesOf(frameTail, reply(id, flagMore, make([]byte, MaxDataFrame-replyHeader))))
			}
		},
		"another block": func(s net.Conn, id uint32) {
			s.Write(frameBytesOf(frameTail, reply(id, flagLast, forged(func(b *core.Tail) { b.Blocks[1].Data = []byte("TWO") }))))
		},
		"another signature": func(s net.Conn, id uint32) {
			s.Write(frameBytesOf(frameTail, reply(id, flagLast, forged(func(b *core.Tail) { b.Head.Sig[5] ^= 1 }))))
		},
		"a longer head": func(s net.Conn, id uint32) {
			s.Write(frameBytesOf(frameTail, reply(id, flagLast, forged(func(b *core.Tail) { b.Head.Length = 1000 }))))
		},
		"in another order": func(s net.Conn, id uint32) {
			for from := uint64(2); from < 3; from-- {
				tail, err := victim.room.ReadTail(ci.ID, from, 0)
				if err != nil {
					t.Error(err)
				}
				b, err := tail.Encode()
				if err != nil {
					t.Error(err)
				}
				s.Write(frameBytesOf(frameTail, reply(id, 0, b)))
			}
		},
		"the same again": func(s net.Conn, id uint32) {
			for range 3 {
				s.Write(frameBytesOf(frameTail, reply(id, 0, forged(func(*core.Tail) {}))))
			}
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			timing := brisk
			timing.Deliver = time.Second
			n := newNode(t, 1, Options{Timing: timing})
			r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
			n.room.set(r.dev.ID(), room.AccessMember)
			asked := make(chan struct{}, 10)
			r.serve(func(s net.Conn, ft frameType, body []byte) {
				if ft != frameAskTail {
					return
				}
				q, _ := decode[askTail](body)
				answer(s, q.ID)
				select {
				case asked <- struct{}{}:
				default:
				}
			})
			r.join()
			lie := headOf(ci)
			lie.Length = 1 << 40
			r.send(frameHeads, msgHeads{Chan: r.ch, Heads: []headItem{lie}})
			<-asked
			if name != "the same again" {
				eventually(t, "nothing of it is taken", func() bool { return n.room.length(victim.dev.ID(), key.Chat) == 0 })
			}
			victim.room.set(n.dev.ID(), room.AccessMember)
			n.room.set(victim.dev.ID(), room.AccessMember)
			linkNodes(n, victim)
			eventually(t, "the honest core arrives", func() bool { return n.room.length(victim.dev.ID(), key.Chat) == 3 })
		})
	}
}

// TestTooManyHeads: what a peer says of cores is bounded.
func TestTooManyHeads(t *testing.T) {
	n := newNode(t, 1, Options{})
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join()
	r.serve(func(net.Conn, frameType, []byte) {})
	go func() {
		for i := 0; !r.conn.isClosed(); i++ {
			m := msgHeads{Chan: r.ch}
			for j := range maxHeadsFrame {
				h := headItem{Device: key.DeviceID{byte(i), byte(i >> 8), byte(j), byte(j >> 8)}, Kind: key.Chat, Length: 1, Sig: make([]byte, 64)}
				m.Heads = append(m.Heads, h)
			}
			r.send(frameHeads, m)
		}
	}()
	r.gone()
	if !strings.Contains(n.log.String(), "speaks of more than") {
		eventually(t, "it is logged", func() bool { return n.log.has("speaks of more than") })
	}
}
