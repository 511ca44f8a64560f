package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
)

// stage is a lane without a stream: answers are put in by hand.
type stage struct {
	ln     *lane
	in     chan arrived
	stored chan int // the number of an answer whose storing has begun
	goOn   chan error
	ended  chan error
}

func newStage(t *testing.T) (*stage, *request) {
	n := newNode(t, 1, Options{})
	x, y := connect(n.dev.ID(), deviceOn(t, sideFirst, n.dev.ID()).ID())
	t.Cleanup(func() { y.Close() })
	l := newLink(n.hub, x)
	t.Cleanup(func() { l.cancel(nil) })
	g := &stage{ln: &l.lanes[1], in: make(chan arrived, 8), stored: make(chan int, 8), goOn: make(chan error), ended: make(chan error, 2)}
	count := 0
	r := &request{s: newSession(l, n.rep, 1), id: 1, max: 10_000, onEnd: func(err error) { g.ended <- err }}
	r.onOpen = func(_ frameType, _ byte, body []byte) (func() error, error) {
		if string(body) == "bad" {
			return nil, errBad
		}
		count++
		i := count
		return func() error {
			g.stored <- i
			return <-g.goOn
		}, nil
	}
	g.ln.pending[r.id] = r
	g.ln.bytes = r.max
	stores := make(chan storing, 2)
	g.ln.work.Go(func() {
		defer close(stores)
		for a := range g.in {
			if err := g.ln.take(a, stores); err != nil {
				l.cancel(err)
			}
		}
	})
	g.ln.work.Go(func() { g.ln.store(stores) })
	return g, r
}

func (g *stage) answer(flags byte, body string) {
	b := getBuffer()
	copy(b.room(replyHeader+len(body), 0), reply(1, flags, []byte(body)))
	g.in <- arrived{t: frameSmall, buf: b}
}

func (g *stage) close() {
	close(g.in)
	g.ln.work.Wait()
}

// While one answer is stored the next is verified; they are stored in order, and the request ends behind the last.
func TestLaneStoresInOrder(t *testing.T) {
	g, _ := newStage(t)
	g.answer(0, "one")
	g.answer(0, "two")
	g.answer(flagLast, "three")
	for want := 1; want <= 3; want++ {
		if got := <-g.stored; got != want {
			t.Fatalf("answer %d is stored, want %d", got, want)
		}
		if len(g.ended) > 0 {
			t.Fatal("ended before all was stored")
		}
		g.goOn <- nil
	}
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
	g.close()
	if held := g.ln.owed.held; held != 0 || len(g.ln.pending)+len(g.ln.stale) != 0 {
		t.Errorf("held %d, pending %v, stale %v", held, g.ln.pending, g.ln.stale)
	}
}

// A request that is dropped while an answer is stored ends behind that, once, with the first cause.
func TestLaneDropsBehindStore(t *testing.T) {
	g, r := newStage(t)
	g.answer(0, "one")
	<-g.stored
	g.ln.drop(r, context.Canceled)
	g.ln.drop(r, errStalled)
	g.answer(flagLast, "late")
	if len(g.ended) > 0 {
		t.Fatal("ended while it is stored")
	}
	g.goOn <- nil
	if err := <-g.ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	g.close()
	if len(g.ended) > 0 || len(g.ln.pending)+len(g.ln.stale) != 0 {
		t.Errorf("ended twice, or left behind: pending %v, stale %v", g.ln.pending, g.ln.stale)
	}
}

// A bad answer ends the request behind what is being stored, and what follows is not looked at.
func TestLaneBadBehindStore(t *testing.T) {
	g, _ := newStage(t)
	g.answer(0, "one")
	<-g.stored
	g.answer(0, "bad")
	g.goOn <- nil
	if err := <-g.ended; !errors.Is(err, errBad) {
		t.Error(err)
	}
	g.answer(flagLast, "more")
	g.close()
	if len(g.ended) > 0 || len(g.stored) > 0 {
		t.Error("what follows bad bytes was taken")
	}
}

// What comes behind the answer that says that nothing follows breaks the connection, and reaches nobody.
func TestLaneAfterLast(t *testing.T) {
	g, r := newStage(t)
	g.answer(flagLast, "one")
	<-g.stored
	g.answer(0, "two") // while "one" is still being stored
	eventually(t, "the connection ends", func() bool { return g.ln.link.ctx.Err() != nil })
	g.goOn <- nil
	if err := <-g.ended; err != nil {
		t.Error(err)
	}
	g.close()
	if cause := context.Cause(g.ln.link.ctx); !errors.Is(cause, ErrProtocol) {
		t.Errorf("it ends with %v", cause)
	}
	if len(g.stored) > 0 || len(g.ended) > 0 || r.running != 0 {
		t.Error("it was handed to the request that is over")
	}
}

// TestLaneReadsInStep: whatever is wrong with a blob frame, the stream goes on behind it.
func TestLaneReadsInStep(t *testing.T) {
	n := newNode(t, 1, Options{})
	x, y := connect(n.dev.ID(), deviceOn(t, sideFirst, n.dev.ID()).ID())
	t.Cleanup(func() { y.Close() })
	l := newLink(n.hub, x)
	t.Cleanup(func() { l.cancel(nil) })
	ref, data := makeBlob(3 * blob.Group)
	ln := &l.lanes[1]
	ln.pending[1] = &request{id: 1, ref: ref, onBlob: func(verified) (func() error, error) { return nil, nil }}
	ln.pending[2] = &request{id: 2, onOpen: func(frameType, byte, []byte) (func() error, error) { return nil, nil }}
	whole := func(id uint32, change func(body []byte)) []byte {
		body := reply(id, flagLast, blobBytes(t, data, 0, 2*blob.Group))
		change(body)
		return body
	}
	at := replyHeader + blobHeader + 32 // where the data begins: the two groups are joined to the third by one value
	for _, c := range []struct {
		name string
		body []byte
		good bool
	}{
		{"right", whole(1, func([]byte) {}), true},
		{"of nothing that was asked for", whole(7, func([]byte) {}), false},
		{"for a request of another kind", whole(2, func([]byte) {}), false},
		{"wrong bytes", whole(1, func(b []byte) { b[len(b)-1] ^= 1 }), false},
		{"an offset beyond the blob", whole(1, func(b []byte) { b[replyHeader+5] = 8 }), false},
		{"an offset within a group", whole(1, func(b []byte) { b[replyHeader+7] = 8 }), false},
		{"more proof than there is", whole(1, func(b []byte) { b[at-33] = maxProof }), false},
		{"too much proof", whole(1, func(b []byte) { b[at-34] = 255 }), false},
		{"no data", whole(1, func([]byte) {})[:at], false},
		{"not even a head", whole(1, func([]byte) {})[:at-33], false},
		{"a group and a half", whole(1, func([]byte) {})[:at+blob.Group*3/2], false},
	} {
		r := bufio.NewReaderSize(bytes.NewReader(append(frameBytesOf(frameBlob, c.body), frameBytesOf(frameBusy, reply(1, 0, nil))...)), 4<<10)
		a, err := ln.next(r)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if good := a.v.Data != nil && a.v.err == nil; good != c.good {
			t.Errorf("%s: taken for good: %v (%v)", c.name, good, a.v.err)
		}
		if len(a.buf.bytes()) != len(c.body) {
			t.Errorf("%s: %d bytes of %d", c.name, len(a.buf.bytes()), len(c.body))
		}
		if a, err = ln.next(r); err != nil || a.t != frameBusy {
			t.Errorf("%s: what follows is %d, %v", c.name, a.t, err)
		}
	}
	cut := frameBytesOf(frameBlob, whole(1, func([]byte) {}))
	for _, n := range []int{1, frameHeader, frameHeader + at - 1, frameHeader + at, frameHeader + at + blob.Group, len(cut) - 1} {
		if _, err := ln.next(bufio.NewReaderSize(bytes.NewReader(cut[:n]), 4<<10)); err == nil {
			t.Errorf("a frame of which %d bytes come is taken", n)
		}
	}
}
