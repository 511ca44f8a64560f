package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// asked is a request that waits to be served on one data stream.
type asked struct {
	id     uint32
	ch     uint16
	urgent bool
	tail   *askTail
	blob   *askBlob
	small  *askSmall
	blocks *askBlocks
	sent   int64 // tails: bytes sent so far
	window int   // and bytes of blocks in the last one
}

// server answers the requests of one data stream that the peer opened. Requests are read while others are answered;
// urgent ones go first, tails of several cores take turns.
type server struct {
	link   *link
	stream net.Conn
	class  class
	sender *sender

	mu      sync.Mutex // guards what follows
	queue   []*asked
	current *asked
	dropped bool // the current one was cancelled
	wake    chan struct{}
}

// serve runs a data stream that the peer opened until the link ends.
func (l *link) serve(s net.Conn) error {
	s.SetReadDeadline(time.Now().Add(l.hub.timing.Write))
	var pre [8]byte
	if _, err := io.ReadFull(s, pre[:]); err != nil {
		return fmt.Errorf("reading a preamble: %w", err)
	}
	n := int(pre[7])
	if pre[7] = 0; pre != dataPreamble || n >= maxLanes {
		return fmt.Errorf("%w: preamble %x", ErrProtocol, pre)
	}
	s.SetReadDeadline(time.Time{})
	v := &server{link: l, stream: s, class: classBlobs, wake: make(chan struct{}, 1)}
	if n == 0 {
		v.class = classEntries
	}
	v.sender = newSender(l, s, v.class)
	errs := make(chan error, 3)
	go func() { errs <- v.read() }()
	go func() { errs <- v.sender.run() }()
	go func() { errs <- v.answer() }()
	err := <-errs
	v.sender.close()
	s.Close()
	for range 2 {
		<-errs
	}
	if l.ctx.Err() != nil {
		return nil
	}
	return err
}

// read takes requests into the queue.
func (v *server) read() error {
	r := bufio.NewReaderSize(v.stream, 4<<10)
	var buf []byte
	for {
		t, body, err := readFrame(r, buf, MaxControlFrame)
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return fmt.Errorf("reading requests: %w", err)
		}
		buf = body[:0]
		a, err := v.parse(t, body)
		if err != nil {
			return err
		}
		if a == nil {
			continue
		}
		v.mu.Lock()
		over := len(v.queue) >= maxRequests
		v.queue = append(v.queue, a)
		v.mu.Unlock()
		if over {
			return fmt.Errorf("%w: more than %d requests at once", ErrProtocol, maxRequests)
		}
		v.poke()
	}
}

func (v *server) poke() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// parse reads one request. Cancellations act at once and give nil.
func (v *server) parse(t frameType, body []byte) (*asked, error) {
	var a asked
	var err error
	switch t {
	case frameAskTail:
		a.tail, err = ptr(decode[askTail](body))
		a.id, a.ch, a.urgent = a.tail.ID, a.tail.Chan, true
	case frameAskBlob:
		a.blob, err = ptr(decode[askBlob](body))
		a.id, a.ch, a.urgent = a.blob.ID, a.blob.Chan, a.blob.Urgent
	case frameAskSmall:
		a.small, err = ptr(decode[askSmall](body))
		a.id, a.ch, a.urgent = a.small.ID, a.small.Chan, a.small.Urgent
	case frameAskBlocks:
		a.blocks, err = ptr(decode[askBlocks](body))
		a.id, a.ch, a.urgent = a.blocks.ID, a.blocks.Chan, true
	case frameCancel:
		m, err := decode[askCancel](body)
		if err == nil {
			v.cancel(m.ID)
		}
		return nil, err
	default:
		return nil, fmt.Errorf("%w: request type %d", ErrProtocol, t)
	}
	if s := v.link.session(a.ch); s != nil {
		s.counters.addIn(v.class, frameHeader+len(body))
	} else {
		v.link.hub.totals.addIn(v.class, frameHeader+len(body))
	}
	return &a, err
}

func ptr[T any](v T, err error) (*T, error) { return &v, err }

// cancel drops a request: one that waits is answered with a failure, so that the other side knows it is over.
func (v *server) cancel(id uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current != nil && v.current.id == id {
		v.dropped = true
	}
	for i, a := range v.queue {
		if a.id == id {
			v.queue = append(v.queue[:i], v.queue[i+1:]...)
			v.queue = append([]*asked{{id: id}}, v.queue...)
			return
		}
	}
}

// next takes the request to be answered now: the first urgent one, else the first.
func (v *server) next() *asked {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current, v.dropped = nil, false
	if len(v.queue) == 0 {
		return nil
	}
	at := 0
	for i, a := range v.queue {
		if a.urgent {
			at = i
			break
		}
	}
	v.current = v.queue[at]
	v.queue = append(v.queue[:at], v.queue[at+1:]...)
	return v.current
}

// requeue puts the rest of a request back: behind the others of its kind, or to the front for urgent ones to pass.
func (v *server) requeue(a *asked, front bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.dropped:
		v.queue = append(v.queue, &asked{id: a.id})
	case front:
		v.queue = append([]*asked{a}, v.queue...)
	default:
		v.queue = append(v.queue, a)
	}
}

// interrupted reports whether the current request was cancelled, or has to let an urgent one pass.
func (v *server) interrupted(urgent bool) (cancelled, pass bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range v.queue {
		pass = pass || a.urgent
	}
	return v.dropped, pass && !urgent
}

// answer serves requests until the stream ends.
func (v *server) answer() error {
	for {
		a := v.next()
		if a == nil {
			select {
			case <-v.wake:
				continue
			case <-v.sender.done:
				return nil
			case <-v.link.ctx.Done():
				return nil
			}
		}
		if err := v.one(a); err != nil {
			return err
		}
	}
}

// one answers one request, or a part of it. What goes wrong with the data is told to the peer; an error is the
// stream's.
func (v *server) one(a *asked) error {
	s := v.link.session(a.ch)
	if s == nil || !s.rep.enter() {
		return v.sender.fail(nil, a.id, failDenied)
	}
	defer s.rep.exit()
	var err error
	switch {
	case a.tail != nil:
		err = v.serveTail(s, a)
	case a.blob != nil:
		err = v.serveBlob(s, a)
	case a.small != nil:
		err = v.serveSmall(s, a)
	case a.blocks != nil:
		err = v.serveBlocks(s, a)
	default:
		err = errGoneNow
	}
	var code failCode
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errSending):
		return err
	case errors.Is(err, errDenied):
		code = failDenied
	case errors.Is(err, errGoneNow):
		code = failGone
	default:
		code = failError
		v.link.log.Warn("serving a peer failed", "err", err)
	}
	return v.sender.fail(s, a.id, code)
}

// may reports whether the peer is still served what needs this much access. The room is asked each time, so that
// nothing slips out between a removal and the event that tells of it.
func (s *session) may(least room.Access) bool {
	s.rep.mu.Lock()
	ok := s.joined && s.access >= least
	s.rep.mu.Unlock()
	return ok && s.rep.room.Access(s.link.peer) >= least
}

// mayCore says whether the peer is served a core: nil, errDenied, or errGoneNow when it would be and nothing of it is
// here.
func (s *session) mayCore(id key.CoreID) error {
	s.rep.mu.Lock()
	c, known := s.rep.local[id]
	joined := s.joined
	s.rep.mu.Unlock()
	switch {
	case joined && known && c.info.Kind == key.Control:
		return nil
	case !s.may(room.AccessSeeder):
		return errDenied
	case !known:
		return errGoneNow
	}
	return nil
}

// serveTail sends one tail and puts the rest of the request behind those for other cores.
func (v *server) serveTail(s *session, a *asked) error {
	q := a.tail
	if err := s.mayCore(q.Core); err != nil {
		return err
	}
	a.window = min(max(firstTail, 2*a.window), tailWindow)
	t, err := s.readTail(q.Core, q.From, a.window)
	if errors.Is(err, core.ErrRange) || errors.Is(err, room.ErrAbsent) {
		s.asksBeyond(q.Core, q.From)
		return errGoneNow
	} else if err != nil {
		return fmt.Errorf("reading entries: %w", err)
	}
	b, err := t.Encode()
	if err != nil {
		return fmt.Errorf("encoding entries: %w", err)
	}
	a.sent += int64(len(b))
	last := t.End() >= q.To || t.End() >= min(t.Head.Length, s.end(q.Core)) || a.sent+tailWindow > int64(q.Max)
	if err := v.sender.long(s, frameTail, a.id, b, last); err != nil || last {
		return err
	}
	q.From = t.End()
	v.requeue(a, false)
	return nil
}

// asksBeyond notes that a peer whose membership ended has come to the end of what it may have of a core: nothing else tells, since it
// does not acknowledge heads that it does not reach. With all of them it is cut off, after a moment to store the last.
func (s *session) asksBeyond(id key.CoreID, from uint64) {
	p := s.rep
	p.mu.Lock()
	defer p.mu.Unlock()
	end, r := s.endOf(id), s.remoteOf(id)
	if end > from || r == nil || r.held >= end {
		return
	}
	r.held = end
	if s.linger != nil && p.knowsRemoval(s) {
		s.linger.Reset(min(p.hub.timing.Linger, time.Second))
	}
}

// end is endOf for who does not hold rep.mu.
func (s *session) end(id key.CoreID) uint64 {
	s.rep.mu.Lock()
	defer s.rep.mu.Unlock()
	return s.endOf(id)
}

// readTail reads what the peer may have of a core from a block on.
func (s *session) readTail(id key.CoreID, from uint64, bytes int) (core.Tail, error) {
	if r, ok := s.rep.room.(reacher); ok {
		return r.ReadTailTo(id, from, s.end(id), bytes)
	}
	return s.rep.room.ReadTail(id, from, bytes)
}

// serveBlocks sends single blocks with their proofs, or what joins two heads.
func (v *server) serveBlocks(s *session, a *asked) error {
	q := a.blocks
	if err := s.mayCore(q.Core); err != nil {
		return err
	}
	if q.Joint {
		j, ok := s.rep.room.(joiner)
		if !ok {
			return errGoneNow
		}
		joint, err := j.ReadJoint(q.Core, q.Blocks[0])
		if err != nil {
			return errGoneNow
		}
		b, err := joint.Encode()
		if err != nil {
			return fmt.Errorf("encoding a joint: %w", err)
		}
		return v.sender.long(s, frameBlocks, a.id, b, true)
	}
	for len(q.Blocks) > 0 {
		if err := s.mayCore(q.Core); err != nil {
			return err
		}
		if cancelled, _ := v.interrupted(true); cancelled {
			return errGoneNow
		}
		i := q.Blocks[0]
		proofs, err := s.rep.room.ProvePayloads(q.Core, i, 1)
		q.Blocks = q.Blocks[1:]
		if err != nil || i >= s.end(q.Core) {
			continue // not here, or no payload
		}
		for _, pr := range proofs {
			b, err := pr.Encode()
			if err != nil {
				return fmt.Errorf("encoding a block: %w", err)
			}
			if err := v.sender.long(s, frameBlocks, a.id, b, false); err != nil {
				return err
			}
		}
	}
	return v.sender.long(s, frameBlocks, a.id, nil, true)
}

// serveBlob sends a range in frames. Between two of them urgent requests pass, and what the peer may have is checked
// again.
func (v *server) serveBlob(s *session, a *asked) error {
	q := a.blob
	src, err := s.rep.blobs.Serve(blob.CIDOf(q.Root))
	if err != nil {
		return errGoneNow
	}
	defer src.Close()
	end := min(q.Off+q.Len, src.Size())
	if q.Off >= end {
		return errGoneNow
	}
	step := int64(v.link.hub.up.frame())
	for q.Off < end {
		if !s.may(room.AccessSeeder) {
			return errDenied
		}
		cancelled, pass := v.interrupted(a.urgent)
		if cancelled {
			return errGoneNow
		}
		if pass {
			q.Len = end - q.Off
			v.requeue(a, true)
			return nil
		}
		n := min(step, end-q.Off)
		b := getBuffer()
		f, err := src.ReadFrame(q.Off, int(n), b.full()[blobRoom:])
		if err != nil || f.Off != q.Off || len(f.Data) == 0 || len(f.Proof) > maxProof {
			b.put()
			if err == nil {
				err = fmt.Errorf("%w: the store gave another frame", errRemote)
			}
			v.link.log.Info("a range is not served", "err", err)
			return errGoneNow
		}
		q.Off += int64(len(f.Data))
		if err := v.sender.blob(s, a.id, b, f, q.Off >= end); err != nil {
			return err
		}
	}
	return nil
}
