package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
)

// What a request may end with besides nil.
var (
	errDenied  = errors.New("wire: the peer does not serve this")
	errGoneNow = errors.New("wire: the peer does not have this (any more)")
	errRemote  = errors.New("wire: the peer failed to read it")
	errStalled = errors.New("wire: the peer did not deliver")
	errBad     = errors.New("wire: what the peer sent does not verify")
	errBusy    = errors.New("wire: too many requests at once")
)

// failCode travels in a fail frame. Append only.
type failCode uint8

const (
	failGone   failCode = 1
	failDenied failCode = 2
	failError  failCode = 3
)

func (c failCode) err() error {
	switch c {
	case failGone:
		return errGoneNow
	case failDenied:
		return errDenied
	}
	return errRemote
}

// Flags of an answer.
const (
	flagLast = 1 << 0 // nothing follows for this request
	flagMore = 1 << 1 // the next frame of this request continues this one
)

// replyHeader is what the body of every answer begins with: request id (4 bytes, big endian) and flags.
const replyHeader = 5

// request is something asked of a peer on a lane.
type request struct {
	s  *session
	id uint32
	// max bounds the bytes of all answers, frames included. More is a broken protocol.
	max int64
	// onFrame is handed each answer in order by one goroutine; body is valid during the call. An error means that the
	// answer was wrong: the request ends with it.
	onFrame func(t frameType, flags byte, body []byte) error
	// onOpen stands in the place of onFrame where answers are stored: it verifies one and returns what stores it. That is called in
	// order as well, always, while the next answer is verified; body is valid until it returns.
	onOpen func(t frameType, flags byte, body []byte) (store func() error, err error)
	// onBlob stands in the place of onOpen where answers are frames of the blob ref: they are verified while they are read.
	onBlob func(v verified) (store func() error, err error)
	ref    blob.Ref
	// onEnd is called exactly once, after onFrame, or the storing, has returned for the last time.
	onEnd func(error)

	// Guarded by lane.mu.
	last    bool  // the answer has come that says that nothing follows
	running int   // answers that are being dealt with
	after   error // what onEnd gets once they are; nil: nothing yet
}

// lane is one data stream opened by this side: requests go out, answers come in. Lane 0 is for entries, the others for
// blobs. The stream is opened by the first request.
type lane struct {
	link *link
	n    int
	out  *outbox
	work sync.WaitGroup
	owed owed // stands still while this side is busy with what came, or keeps to its own limit

	mu      sync.Mutex // guards what follows
	started bool
	closed  bool
	nextID  uint32
	pending map[uint32]*request
	stale   map[uint32]*request // given up here, answers may still come
	bytes   int64               // sum of max over pending
}

func (ln *lane) init(l *link, n int) {
	ln.link, ln.n, ln.out = l, n, newOutbox()
	ln.pending, ln.stale = map[uint32]*request{}, map[uint32]*request{}
}

func (ln *lane) class() class {
	if ln.n == 0 {
		return classEntries
	}
	return classBlobs
}

// load is how many bytes are asked for on the lane.
func (ln *lane) load() int64 {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	return ln.bytes
}

// ask sends a request. frame makes its frame once the id is known. onEnd is also called when ask fails to send.
func (ln *lane) ask(r *request, frame func(id uint32) []byte) {
	f, err := ln.enter(r, frame)
	if err != nil {
		r.onEnd(err)
		return
	}
	r.s.counters.addOut(ln.class(), len(f))
}

// enter makes a request a pending one and queues its frame.
func (ln *lane) enter(r *request, frame func(id uint32) []byte) ([]byte, error) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	switch {
	case ln.closed || ln.link.ctx.Err() != nil:
		return nil, errGone
	case len(ln.stale) >= maxRequests/2:
		ln.link.cancel(errStalled) // it does not even end what was cancelled
		return nil, errGone
	case len(ln.pending)+len(ln.stale) >= maxRequests:
		return nil, errBusy
	}
	ln.nextID++
	r.id = ln.nextID
	f := frame(r.id)
	if len(ln.pending) == 0 {
		ln.owed.restart()
	}
	if !ln.out.put(f) {
		return nil, errBusy
	}
	ln.pending[r.id] = r
	ln.bytes += r.max
	if !ln.started {
		ln.started = true
		ln.work.Go(ln.run)
	}
	return f, nil
}

// drop takes a request back and tells the peer. The request ends with cause, unless it has ended already.
func (ln *lane) drop(r *request, cause error) {
	ln.mu.Lock()
	end := ln.dropLocked(r, cause)
	ln.mu.Unlock()
	if end {
		r.onEnd(cause)
	}
}

// dropLocked does what drop does, but leaves the call of onEnd to the caller when it reports true. When onFrame is
// running it is called after that. ln.mu is held.
func (ln *lane) dropLocked(r *request, cause error) (end bool) {
	if ln.pending[r.id] != r {
		return false
	}
	delete(ln.pending, r.id)
	ln.bytes -= r.max
	ln.stale[r.id] = r
	ln.out.put(encode(frameCancel, askCancel{ID: r.id}))
	if r.running > 0 && r.after == nil {
		r.after = cause
	}
	return r.running == 0
}

// abandon ends the requests of one session, or of all when s is nil.
func (ln *lane) abandon(s *session, cause error) {
	ln.mu.Lock()
	var out []*request
	for _, r := range ln.pending {
		if (s == nil || r.s == s) && ln.dropLocked(r, cause) {
			out = append(out, r)
		}
	}
	ln.mu.Unlock()
	for _, r := range out {
		r.onEnd(cause)
	}
}

// wait returns when nothing of the lane runs any more; the link has ended.
func (ln *lane) wait() {
	ln.mu.Lock()
	ln.closed = true
	ln.mu.Unlock()
	ln.abandon(nil, errGone)
	ln.work.Wait()
}

// run opens the stream and serves it until the link ends.
func (ln *lane) run() {
	l := ln.link
	ctx, cancel := context.WithTimeout(l.ctx, l.hub.timing.Write)
	s, err := l.conn.Open(ctx)
	cancel()
	if err != nil {
		l.cancel(fmt.Errorf("opening a data stream: %w", err))
		return
	}
	if !l.track(s) {
		return
	}
	defer l.untrack(s)
	stores := make(chan storing, 2)
	ln.work.Go(func() {
		defer close(stores)
		if err := ln.read(s, stores); err != nil {
			l.cancel(err)
		}
	})
	ln.work.Go(func() { ln.store(stores) })
	if err := ln.write(s); err != nil {
		l.cancel(err)
	}
}

// write sends requests and notices when the peer owes answers and shows nothing of them.
func (ln *lane) write(s net.Conn) error {
	w := stepWriter{s, ln.link.hub.timing.Write}
	preamble := dataPreamble
	preamble[7] = byte(ln.n)
	if _, err := w.Write(preamble[:]); err != nil {
		return fmt.Errorf("writing to a data stream: %w", err)
	}
	tick := time.NewTicker(max(ln.link.hub.timing.Deliver/8, time.Millisecond))
	defer tick.Stop()
	for {
		frame := ln.out.take()
		if frame == nil {
			select {
			case <-ln.out.wake:
			case <-tick.C:
				ln.overdue()
			case <-ln.link.ctx.Done():
				return nil
			}
			continue
		}
		if _, err := w.Write(frame); err != nil {
			return fmt.Errorf("writing to a data stream: %w", err)
		}
	}
}

// overdue takes back what the peer has owed for too long. A peer that lets that happen twice and shows nothing in between goes.
func (ln *lane) overdue() {
	l := ln.link
	if !ln.owed.over(l.hub.timing.Deliver) {
		return
	}
	ln.mu.Lock()
	n := len(ln.pending)
	ln.mu.Unlock()
	if n == 0 {
		return
	}
	ln.owed.restart()
	l.log.Warn("peer promised and does not deliver", "requests", n, "lane", ln.n)
	ln.abandon(nil, errStalled)
	if l.stalls.Add(1) >= 2 {
		l.cancel(errStalled)
	}
}

// bulk returns the lane for blobs with the least to do.
func (l *link) bulk() *lane {
	best := &l.lanes[1]
	for i := 2; i < maxLanes; i++ {
		if l.lanes[i].load() < best.load() {
			best = &l.lanes[i]
		}
	}
	return best
}
