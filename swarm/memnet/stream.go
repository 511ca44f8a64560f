package memnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// window is how many bytes one direction of a stream holds before Write blocks.
const window = 1 << 20

var errReset = errors.New("memnet: stream reset")

// half is one direction of a stream: a queue of pieces, each with the time of its arrival.
type half struct {
	net      *Net
	from, to key.DeviceID
	name     string

	mu       sync.Mutex // guards everything below; cond is signalled on each change
	cond     *sync.Cond
	pieces   []piece
	size     int
	free     time.Time // when the sender's line is free again
	last     time.Time // arrival of the last piece: order is kept
	finished bool      // no more pieces: EOF after the last
	broken   bool      // reset
	deaf     bool      // the reader closed
	readBy   time.Time
	writeBy  time.Time
	rng      *rand.Rand
}

type piece struct {
	data    []byte
	arrives time.Time
}

// newHalf makes the direction from a to b of a stream with the given name.
func newHalf(a, b *Conn, stream string) *half {
	sum := key.Sum(fmt.Appendf(nil, "%d %s from %s", a.host.net.seed, stream, a.host.id))
	h := &half{net: a.host.net, from: a.host.id, to: b.host.id, name: stream,
		rng: rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])))}
	h.cond = sync.NewCond(&h.mu)
	return h
}

func (h *half) change(f func()) {
	h.mu.Lock()
	f()
	h.mu.Unlock()
	h.cond.Broadcast()
}

// wait sleeps until a change, or until at if that is not zero. Call with mu held: the timer needs it too, so it cannot fire unheard.
func (h *half) wait(at time.Time) {
	if !at.IsZero() {
		t := time.AfterFunc(time.Until(at), func() { h.change(func() {}) })
		defer t.Stop()
	}
	h.cond.Wait()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		now := time.Now()
		switch {
		case h.broken:
			return 0, errReset
		case h.deaf:
			return 0, net.ErrClosed
		case !h.readBy.IsZero() && !now.Before(h.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(h.pieces) > 0 && !now.Before(h.pieces[0].arrives):
			n := copy(p, h.pieces[0].data)
			if n == len(h.pieces[0].data) {
				h.pieces = h.pieces[1:]
			} else {
				h.pieces[0].data = h.pieces[0].data[n:]
			}
			h.size -= n
			h.cond.Broadcast()
			return n, nil
		case len(h.pieces) == 0 && h.finished:
			return 0, io.EOF
		}
		at := h.readBy
		if len(h.pieces) > 0 && (at.IsZero() || h.pieces[0].arrives.Before(at)) {
			at = h.pieces[0].arrives
		}
		h.wait(at)
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for {
		switch {
		case h.broken:
			return n, errReset
		case h.finished:
			return n, net.ErrClosed
		case h.deaf:
			return n, io.ErrClosedPipe
		case !h.writeBy.IsZero() && !time.Now().Before(h.writeBy):
			return n, os.ErrDeadlineExceeded
		case n == len(p):
			return n, nil
		case h.size < window:
			data := append([]byte(nil), p[n:n+min(len(p)-n, window-h.size, 64<<10)]...)
			free, arrives, observe := h.net.delay(len(data), h.free, h.rng)
			if arrives.Before(h.last) {
				arrives = h.last
			}
			h.free, h.last = free, arrives
			if observe != nil {
				observe(Sent{h.from, h.to, h.name, data, arrives})
			}
			h.pieces = append(h.pieces, piece{data, arrives})
			h.size += len(data)
			n += len(data)
			h.cond.Broadcast()
			if n == len(p) {
				return n, nil
			}
			continue
		}
		h.wait(h.writeBy)
	}
}

// stream is one end of a stream.
type stream struct {
	conn    *Conn
	in, out *half
}

var _ net.Conn = (*stream)(nil)

// newStream makes the two ends of the stream that a opens with that number.
func newStream(a, b *Conn, number int) (here, there *stream) {
	name := fmt.Sprintf("%s-%s %d.%d", a.host.id.Short(), b.host.id.Short(), a.number, number)
	x, y := newHalf(b, a, name), newHalf(a, b, name)
	return &stream{conn: a, in: x, out: y}, &stream{conn: b, in: y, out: x}
}

func (s *stream) Read(p []byte) (int, error)  { return s.in.read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.out.write(p) }

// CloseWrite lets the peer read EOF after what was written.
func (s *stream) CloseWrite() error { s.out.change(func() { s.out.finished = true }); return nil }

// Close closes both directions; what was written still arrives.
func (s *stream) Close() error {
	s.conn.forget(s)
	s.out.change(func() { s.out.finished = true })
	s.in.change(func() { s.in.deaf = true; s.in.pieces = nil; s.in.size = 0 })
	return nil
}

// Reset gives up the stream on both ends.
func (s *stream) Reset() error { s.conn.forget(s); s.reset(); return nil }

func (s *stream) reset() {
	for _, h := range []*half{s.in, s.out} {
		h.change(func() { h.broken = true })
	}
}

func (s *stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}
func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.change(func() { s.in.readBy = t })
	return nil
}
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.change(func() { s.out.writeBy = t })
	return nil
}
func (s *stream) LocalAddr() net.Addr  { return deviceAddr(s.conn.host.id.String()) }
func (s *stream) RemoteAddr() net.Addr { return deviceAddr(s.conn.remote.String()) }

type deviceAddr string

func (a deviceAddr) Network() string { return "memnet" }
func (a deviceAddr) String() string  { return string(a) }
