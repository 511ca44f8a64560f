package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/pearbox/pearbox/drive/blob"
)

// Answers go from the stream to their requests in two steps, each with a goroutine of its own: they are read and verified, and stored.
// Bytes of a blob are verified and decrypted piece by piece as they are read, while the processor's cache has them.

// arrived is an answer on its way from the stream to its request.
type arrived struct {
	t   frameType
	buf *buffer
	v   verified // of a blob frame
}

// verified is a frame of a blob, of which Data is the plaintext if err is nil.
type verified struct {
	blob.Frame
	opened blob.Opened
	err    error
}

// storing is an answer that has been verified.
type storing struct {
	r     *request
	store func() error // nil: there is nothing to store
	err   error        // how the request ends, if not for store
	end   bool
	buf   *buffer
}

// read reads answers into pooled buffers and hands them on.
func (ln *lane) read(s net.Conn, out chan<- storing) error {
	r := bufio.NewReaderSize(shower{s, ln}, 4<<10)
	for {
		a, err := ln.next(r)
		if err != nil {
			return fmt.Errorf("reading a data stream: %w", err)
		}
		if n := frameHeader + len(a.buf.bytes()); ln.n == 0 {
			ln.link.hub.down.charge(n)
		} else {
			ln.owed.hold()
			err := ln.link.hub.down.wait(ln.link.ctx, n, 0, nil)
			ln.owed.release()
			if err != nil {
				a.buf.put()
				return nil
			}
		}
		if err := ln.take(a, out); err != nil {
			return err
		}
	}
}

// next reads one answer, and verifies it if it is one with bytes of a blob.
func (ln *lane) next(r *bufio.Reader) (a arrived, err error) {
	t, n, err := readHeader(r, MaxDataFrame)
	if err != nil {
		return a, err
	}
	head, err := peekHead(r, t, n)
	if err != nil {
		return a, err
	}
	a = arrived{t: t, buf: getBuffer()} // only now: an idle stream holds no memory
	body := a.buf.room(n, head)
	got, err := io.ReadFull(r, body[:head])
	if err == nil && head > 0 {
		got, err = a.verify(ln, r, head)
	}
	if err == nil {
		_, err = io.ReadFull(r, body[got:])
	}
	if err != nil {
		a.buf.put()
		return a, noEOF(err)
	}
	return a, nil
}

// peekHead returns how much of a blob frame's body of n bytes stands before the ciphertext; 0 for other frames, and for those that are
// too short or have too long a proof.
func peekHead(r *bufio.Reader, t frameType, n int) (int, error) {
	const fixed = replyHeader + blobHeader
	if t != frameBlob || n < fixed {
		return 0, nil
	}
	h, err := r.Peek(fixed)
	if err != nil {
		return 0, noEOF(err)
	}
	if values := int(binary.BigEndian.Uint16(h[fixed-2:])); values <= maxProof && fixed+32*values <= n {
		return fixed + 32*values, nil
	}
	return 0, nil
}

// verify reads a blob frame, of whose body got bytes have been read, as far as it is what its request asked for. It returns how much has
// been read then; an error is the stream's.
func (a *arrived) verify(ln *lane, r io.Reader, got int) (_ int, err error) {
	body := a.buf.bytes()
	f, bad := parseBlob(body[replyHeader:])
	ref, asked := ln.asksFor(binary.BigEndian.Uint32(body))
	if bad != nil || !asked {
		a.v.err = bad
		return got, nil
	}
	a.v.Frame = f
	a.v.opened, a.v.err = f.OpenFrom(ref, func(group []byte) error {
		var n int
		n, err = io.ReadFull(r, group)
		got += n
		return err
	})
	return got, err
}

// asksFor returns the blob that a request, which has not ended, asks for.
func (ln *lane) asksFor(id uint32) (blob.Ref, bool) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	r := ln.pending[id]
	if r == nil || r.onBlob == nil {
		return blob.Ref{}, false
	}
	return r.ref, true
}

// take hands an answer to its request, or on to the goroutine that stores. An error ends the connection.
func (ln *lane) take(a arrived, out chan<- storing) error {
	ln.owed.hold()
	st, err := ln.deliver(a)
	if st.r != nil {
		st.buf = a.buf
		out <- st // gives back the buffer, and lets the clock go on
		return nil
	}
	ln.release(a.buf)
	return err
}

// release ends the work on an answer.
func (ln *lane) release(b *buffer) {
	ln.owed.release()
	b.put()
}

// store stores verified answers, in order.
func (ln *lane) store(in <-chan storing) {
	for st := range in {
		err := st.err
		if st.store != nil {
			err = st.store()
		}
		ln.finish(st.r, st.end, err)
		ln.release(st.buf)
	}
}

// deliver hands one answer to its request. An error breaks the connection; what is merely wrong ends the request. What it returns with
// a request is to be stored and finished.
func (ln *lane) deliver(a arrived) (st storing, err error) {
	t, body := a.t, a.buf.bytes()
	if len(body) < replyHeader {
		return st, fmt.Errorf("%w: an answer of %d bytes", ErrFrame, len(body))
	}
	id, flags, rest := binary.BigEndian.Uint32(body), body[4], body[replyHeader:]
	size := int64(frameHeader + len(body))
	end := flags&flagLast != 0 || t == frameFail
	r, late, err := ln.arrive(id, size, end)
	if r != nil {
		r.s.counters.addIn(ln.class(), int(size))
	}
	if err != nil {
		return st, err
	}
	var store func() error
	switch {
	case late:
		r.s.rep.fetch.duplicate(size)
		return st, nil
	case t == frameBusy && ln.n == 0:
		err = fmt.Errorf("%w: busy with entries, which no limit holds back", ErrProtocol)
		ln.link.cancel(err)
	case t == frameBusy:
		ln.owed.restart()
	case t == frameBlob && r.onBlob != nil:
		store, err = r.onBlob(a.v)
	case t != frameFail && r.onBlob != nil:
		err = fmt.Errorf("%w: frame type %d", errBad, t)
	case t != frameFail && r.onOpen != nil:
		store, err = r.onOpen(t, flags, rest)
	case t != frameFail:
		err = r.onFrame(t, flags, rest)
	case len(rest) == 1:
		err = failCode(rest[0]).err()
	default:
		err = fmt.Errorf("%w: a failure of %d bytes", ErrFrame, len(rest))
	}
	if t != frameBusy && (err == nil && flags&flagMore == 0 || end) {
		ln.owed.restart()
		ln.link.stalls.Store(0)
	}
	if r.onOpen != nil || r.onBlob != nil { // behind what came before it
		return storing{r: r, store: store, err: err, end: end}, nil
	}
	ln.finish(r, end, err)
	return st, nil
}

// arrive looks up the request of an answer and counts the answer against what was asked for. Unless it is late, finish
// has to follow.
func (ln *lane) arrive(id uint32, size int64, end bool) (r *request, late bool, err error) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if r = ln.pending[id]; r == nil {
		r, late = ln.stale[id], true
	}
	switch {
	case r == nil:
		return nil, false, fmt.Errorf("%w: an answer to no request", ErrProtocol)
	case r.last:
		return r, late, fmt.Errorf("%w: an answer behind the last", ErrProtocol)
	}
	r.last = end
	r.max -= size
	if late && end {
		delete(ln.stale, id)
	} else if !late {
		ln.bytes -= size
	}
	if r.max < 0 {
		return r, late, fmt.Errorf("%w: an answer without end", ErrProtocol)
	}
	if !late {
		r.running++
	}
	return r, late, nil
}

// finish follows arrive, once for each answer that was not late: it ends the request when the peer has said that nothing follows, when
// what came was wrong, or when it was dropped meanwhile.
func (ln *lane) finish(r *request, end bool, err error) {
	ln.mu.Lock()
	r.running--
	done := end || err != nil
	switch {
	case ln.pending[r.id] != r: // dropped
		if done = r.after != nil && r.running == 0; done {
			err, r.after = r.after, nil
		}
		if end {
			delete(ln.stale, r.id)
		}
	case end:
		delete(ln.pending, r.id)
		ln.bytes -= r.max
	case err != nil:
		done = ln.dropLocked(r, err)
	}
	ln.mu.Unlock()
	if done {
		r.onEnd(err)
	}
}
