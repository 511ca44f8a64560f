package wire

import (
	"encoding/binary"
	"fmt"
)

// Answers go from the stream to their requests in three steps, each with a goroutine of its own: they are read, verified, and stored.

// storing is an answer that has been verified.
type storing struct {
	r     *request
	store func() error // nil: there is nothing to store
	err   error        // how the request ends, if not for store
	end   bool
	buf   *buffer
}

// dispatch hands answers to their requests, and what is to be stored on to the goroutine that does.
func (ln *lane) dispatch(in <-chan arrived, out chan<- storing) {
	for a := range in {
		ln.owed.hold()
		st, err := ln.deliver(a.t, a.buf.bytes())
		if st.r != nil {
			st.buf = a.buf
			out <- st // gives back the buffer, and lets the clock go on
			continue
		}
		ln.release(a.buf)
		if err != nil {
			ln.link.cancel(err)
			break
		}
	}
	for a := range in {
		a.buf.put()
	}
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
func (ln *lane) deliver(t frameType, body []byte) (st storing, err error) {
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
	if r.onOpen != nil { // behind what came before it
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
