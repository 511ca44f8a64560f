package wire

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// dripper serves requests of one type by a frame that says nothing, again and again, until the test ends. It returns the ids of what
// it was asked.
func (r *rogue) dripper(ask frameType, drop func(id uint32) []byte) <-chan uint32 {
	asked := make(chan uint32, maxRequests)
	r.serve(func(s net.Conn, ft frameType, body []byte) {
		if ft != ask {
			return
		}
		var id uint32
		switch ask {
		case frameAskTail:
			q, _ := decode[askTail](body)
			id = q.ID
		case frameAskSmall:
			q, _ := decode[askSmall](body)
			id = q.ID
		case frameAskBlocks:
			q, _ := decode[askBlocks](body)
			id = q.ID
		}
		asked <- id
		go func() {
			for r.t.Context().Err() == nil {
				if _, err := s.Write(drop(id)); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
	})
	return asked
}

// promise shows n cores that do not exist.
func (r *rogue) promise(k key.Kind, n int) {
	m := msgHeads{Chan: r.ch}
	for i := range n {
		m.Heads = append(m.Heads, headItem{Device: key.DeviceID{0xdd, byte(i)}, Kind: k, Length: 1 << 30, Sig: make([]byte, 64)})
	}
	r.send(frameHeads, m)
}

// oneByte is a tail that never ends.
func oneByte(id uint32) []byte { return frameBytesOf(frameTail, reply(id, flagMore, []byte{1})) }

// TestDrippingTails: who promises many cores and sends a byte of each now and then keeps nobody else from being heard, be it a stranger
// or a member, and is found out. No time is long enough here for the requests to be taken back before the others are heard.
func TestDrippingTails(t *testing.T) {
	for name, access := range map[string]room.Access{"stranger": room.AccessStranger, "member": room.AccessMember} {
		t.Run(name, func(t *testing.T) {
			n, friend := newNode(t, 1, Options{}), newNode(t, 9, Options{})
			members(n, friend)
			r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
			n.room.set(r.dev.ID(), access)
			asked := r.dripper(frameAskTail, oneByte)
			r.join()
			r.promise(key.Control, 2*pullsPerRoom)
			most := pullsPerRoom
			if access == room.AccessStranger {
				most = strangerPulls
			}
			for range most {
				<-asked
			}
			for _, k := range []key.Kind{key.Control, key.Chat, key.Drive} {
				friend.room.append(t, k, []byte("honest"))
			}
			linkNodes(n, friend)
			for _, k := range []key.Kind{key.Control, key.Chat, key.Drive} {
				eventually(t, k.String()+" entries come", func() bool { return n.room.length(friend.dev.ID(), k) == 1 })
			}
			if len(asked) > 0 {
				t.Errorf("it is asked for %d cores more than its share", len(asked))
			}
		})
	}
}

// TestDrippingEnds: bytes that make up no answer are no sign of life.
func TestDrippingEnds(t *testing.T) {
	timing := brisk
	timing.Deliver = 200 * time.Millisecond
	n := newNode(t, 1, Options{Timing: timing})
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
	r.dripper(frameAskTail, oneByte)
	r.join()
	r.promise(key.Chat, 4)
	r.gone()
	if !n.log.has("promised and does not deliver") {
		t.Error("it is not logged")
	}
	stillWorks(t, n)
}

// TestBusyWithEntries: no limit holds entries back, so that nobody is busy with them.
func TestBusyWithEntries(t *testing.T) {
	n := newNode(t, 1, Options{})
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
	r.dripper(frameAskTail, func(id uint32) []byte { return frameBytesOf(frameBusy, reply(id, 0, nil)) })
	r.join()
	r.promise(key.Chat, 1)
	r.gone()
	stillWorks(t, n)
}

// TestOvertaken: a core that somebody promised first and does not send is taken from another who has it.
func TestOvertaken(t *testing.T) {
	timing := brisk
	timing.Deliver = 4 * time.Second // the quarter of it is waited
	n, friend := newNode(t, 1, Options{Timing: timing}), newNode(t, 9, Options{})
	members(n, friend)
	friend.room.append(t, key.Chat, []byte("honest"))
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
	n.room.set(r.dev.ID(), room.AccessMember)
	asked := make(chan askTail, maxRequests)
	r.serve(func(s net.Conn, _ frameType, body []byte) {
		q, _ := decode[askTail](body)
		asked <- q
	})
	r.join()
	ci := friend.room.Cores(room.AccessMember)[0]
	ci.Length, ci.Head.Length = 2, 2
	r.send(frameHeads, msgHeads{Chan: r.ch, Heads: []headItem{headOf(ci)}})
	if q := <-asked; q.Core != ci.ID {
		t.Fatalf("asked for %v", q)
	}
	linkNodes(n, friend)
	eventually(t, "the other is asked", func() bool { return n.room.length(friend.dev.ID(), key.Chat) == 1 })
	if !n.log.has("others are asked") {
		t.Error("the request ended for another reason")
	}
}

// TestVainControl: chat and drive do not wait again and again for control entries that never come, and for those of strangers not at all.
func TestVainControl(t *testing.T) {
	n := newNode(t, 1, Options{})
	p := n.rep
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outside = false  // it is a member, and can tell who is none
	for i := range 3 { // one core after the other is promised, each of them for a moment
		id := key.CoreID{byte(i)}
		p.behind[id], p.pulls[id] = key.Control, &pulling{from: &session{access: room.AccessStranger}}
		if p.controlUnderway() {
			t.Errorf("core %d of a stranger holds the others back", i)
		}
		p.pulls[id].from.access = room.AccessMember
		if got := p.controlUnderway(); got != (i < 2) {
			t.Errorf("core %d holds the others back: %v", i, got)
		}
		delete(p.pulls, id)
		delete(p.behind, id)
		if p.controlUnderway() {
			t.Error("nothing is on its way")
		}
		p.heldFrom = p.heldFrom.Add(-controlFirst * 2 / 3)
	}
}

// TestDrippingSmall: batches of small blobs are taken from who sends nothing of them, and says that he is busy, and asked of another.
func TestDrippingSmall(t *testing.T) {
	timing := brisk
	timing.Stall = 8 * time.Second // a quarter of it is waited, three times at most
	n, friend := newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{})
	members(n, friend)
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
	n.room.set(r.dev.ID(), room.AccessMember)
	asked := r.dripper(frameAskSmall, func(id uint32) []byte { return frameBytesOf(frameBusy, reply(id, 0, nil)) })
	r.join()
	ready(t, n, 1)
	var refs []blob.Ref
	for i := range 300 {
		ref, b := makeBlob(100 + i)
		friend.blobs.add(ref, b)
		refs = append(refs, ref)
	}
	done := make(chan error, 1)
	go func() { done <- n.rep.FetchSmall(t.Context(), refs) }()
	<-asked // all of them, before there is anybody else
	linkNodes(n, friend)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r.conn.isClosed() {
		t.Error("it ended because the connection did")
	}
}

// TestOnlyADripper: who is the only one to ask is not waited for for ever.
func TestOnlyADripper(t *testing.T) {
	timing := brisk
	timing.Stall = 500 * time.Millisecond
	n := newNode(t, 1, Options{Timing: timing})
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
	n.room.set(r.dev.ID(), room.AccessMember)
	r.dripper(frameAskSmall, func(id uint32) []byte { return frameBytesOf(frameBusy, reply(id, 0, nil)) })
	r.join()
	ready(t, n, 1)
	ref, _ := makeBlob(100)
	if err := n.rep.FetchSmall(t.Context(), []blob.Ref{ref}); !errors.Is(err, ErrStalled) {
		t.Error(err)
	}
}

// TestDrippingPayload: who does not send the payload blocks that he is asked for is not waited for for ever, and another is asked.
func TestDrippingPayload(t *testing.T) {
	timing := hasty
	timing.Stall, timing.Deliver = 500*time.Millisecond, time.Hour
	n, friend := newNode(t, 1, Options{Timing: timing}), newNode(t, 9, Options{})
	members(n, friend)
	friend.room.append(t, key.Chat, []byte("entry"), []byte("payload"))
	x, _ := linkNodes(n, friend)
	eventually(t, "the entries come", func() bool { return n.room.length(friend.dev.ID(), key.Chat) == 2 })
	x.Close()
	id := key.CoreIDOf(testRoom, friend.dev.ID(), key.Chat, 0)
	n.room.mu.Lock()
	err := core.Clear(n.room.cores[id], 1)
	n.room.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
	n.room.set(r.dev.ID(), room.AccessMember)
	asked := r.dripper(frameAskBlocks, func(id uint32) []byte { return frameBytesOf(frameBlocks, reply(id, flagMore, []byte{1})) })
	r.join()
	eventually(t, "it is the only one to ask", func() bool {
		peers := n.rep.Peers()
		return len(peers) == 1 && peers[0].Device == r.dev.ID()
	})
	ready(t, n, 1)
	if err := n.rep.FetchPayload(t.Context(), id, 0); !errors.Is(err, ErrNobody) || len(asked) == 0 {
		t.Errorf("asked %d times: %v", len(asked), err)
	}
	linkNodes(n, friend)
	eventually(t, "the other is asked", func() bool { return n.rep.FetchPayload(t.Context(), id, 0) == nil })
}

// TestTooManyProofs: of a block that was asked for a peer may give as many proofs as a forked core may need, and no more.
func TestTooManyProofs(t *testing.T) {
	for _, many := range []int{maxProofs, maxProofs + 1} {
		n, friend := newNode(t, 1, Options{}), newNode(t, 9, Options{})
		members(n, friend)
		friend.room.append(t, key.Chat, []byte("entry"), []byte("payload"))
		id := key.CoreIDOf(testRoom, friend.dev.ID(), key.Chat, 0)
		proofs, err := friend.room.ProvePayloads(id, 1, 1)
		if err != nil || len(proofs) != 1 {
			t.Fatalf("%d proofs: %v", len(proofs), err)
		}
		proof, err := proofs[0].Encode()
		if err != nil {
			t.Fatal(err)
		}
		x, _ := linkNodes(n, friend)
		eventually(t, "the entries come", func() bool { return n.room.length(friend.dev.ID(), key.Chat) == 2 })
		x.Close()
		n.room.mu.Lock()
		err = core.Clear(n.room.cores[id], 1)
		n.room.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID()))
		n.room.set(r.dev.ID(), room.AccessMember)
		r.serve(func(s net.Conn, ft frameType, body []byte) {
			q, err := decode[askBlocks](body)
			if ft != frameAskBlocks || err != nil {
				return
			}
			for i := range many {
				flags := byte(0)
				if i == many-1 {
					flags = flagLast
				}
				s.Write(frameBytesOf(frameBlocks, reply(q.ID, flags, proof)))
			}
		})
		r.join()
		eventually(t, "it is the only one to ask", func() bool {
			peers := n.rep.Peers()
			return len(peers) == 1 && peers[0].Device == r.dev.ID()
		})
		ready(t, n, 1)
		if err := n.rep.FetchPayload(t.Context(), id, 0); err != nil {
			t.Errorf("%d proofs: %v", many, err)
		}
		if got, want := n.rep.Stats().Rejected > 0, many > maxProofs; got != want {
			t.Errorf("%d proofs were refused: %v", many, got)
		}
	}
}
