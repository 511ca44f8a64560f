package wire

import (
	"context"
	"errors"
	"testing"
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
		g.ln.dispatch(g.in, stores)
	})
	g.ln.work.Go(func() { g.ln.store(stores) })
	return g, r
}

func (g *stage) answer(flags byte, body string) {
	b := getBuffer()
	copy(b.room(replyHeader+len(body), 0), reply(1, flags, []byte(body)))
	g.in <- arrived{frameBlob, b}
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
