package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
)

// quiet is how long a peer that owes bytes may show none before others take its work over.
const quiet = time.Second

// patience is by how much a peer has to be slower than another would be before work is taken from it: less would cost
// more in bytes that come twice than it gains.
const patience = 200 * time.Millisecond

// pump asks peers for what is wanted, as far as their windows allow. Peers take turns, so that none gets everything;
// who finds nothing takes work over from slower ones.
func (f *fetcher) pump() {
	var out []*flight
	var drop []onLane
	f.mu.Lock()
	now := time.Now()
	for again := true; again; {
		again = false
		for s := range f.sessions {
			window := s.flow.window(s.link, f.p.hub.down)
			if s.flow.flights >= maxFlights || s.flow.inflight >= window+urgentExtra || s.resting(now) {
				continue
			}
			if fl := f.choose(s, window, s.flow.inflight >= window, now); fl != nil {
				again = true
				out = append(out, fl)
			}
		}
	}
	for s := range f.sessions {
		if window := s.flow.window(s.link, f.p.hub.down); len(f.sessions) > 1 && s.flow.inflight < window/2 && !s.resting(now) {
			fl, victim := f.steal(s, window, now)
			if fl != nil {
				out = append(out, fl)
			}
			if victim != nil && victim.r != nil {
				drop = append(drop, onLane{victim.ln, victim.r})
			}
		}
	}
	f.mu.Unlock()
	cancelAll(drop)
	for _, fl := range out {
		f.send(fl)
	}
}

// requestSize is how much one request asks for: enough of them fit into the window to keep the way full.
func requestSize(window int64) int64 {
	return min(max(window/4/blob.Group*blob.Group, blob.Group), maxRange)
}

// choose finds the next range that a peer should be asked for: readers' before the rest, or only those, blobs in turns.
// f.mu is held.
func (f *fetcher) choose(s *session, window int64, readers bool, now time.Time) *flight {
	for _, urgent := range []bool{true, false} {
		if readers && !urgent {
			return nil
		}
		for i, t := range f.turn {
			held, ok := f.held(s, t)
			most := requestSize(window)
			if !ok && urgent {
				most = min(most, f.guessable(s, t, now))
				ok = most > 0
			}
			if !ok {
				continue
			}
			for _, w := range t.waiters {
				if w.urgent != urgent {
					continue
				}
				free := t.sink.Missing(w.Off, w.Len)
				for _, fl := range t.flights {
					free = subtract(free, fl.rest())
				}
				if held != nil {
					free = intersect(free, held)
				}
				if len(free) == 0 {
					continue
				}
				f.turn = append(slices.Delete(f.turn, i, i+1), t)
				r := free[0]
				return f.launch(t, s, r.Off, r.Off+min(r.Len, most), now)
			}
		}
	}
	return nil
}

// held returns which ranges of a task's blob a peer has; nil and true mean all. f.mu is held.
func (f *fetcher) held(s *session, t *task) ([]blob.Range, bool) {
	h := s.holds[t.root]
	if h == nil || !h.known || !h.all && len(h.ranges) == 0 {
		return nil, false
	}
	if _, bad := s.banned[t.root]; bad {
		return nil, false
	}
	if h.all {
		return nil, true
	}
	return h.ranges, true
}

// launch makes a flight. f.mu is held.
func (f *fetcher) launch(t *task, s *session, off, end int64, now time.Time) *flight {
	fl := &flight{t: t, s: s, ln: s.link.bulk(), start: off, next: off, at: off, end: end, asked: end}
	if h := s.holds[t.root]; h == nil || !h.known {
		fl.guess = true
		t.guessed += end - off
	}
	t.flights = append(t.flights, fl)
	s.flow.flights++
	s.flow.sent(end-off, now)
	return fl
}

// steal takes work over from a slower peer when there is nothing else to ask for: a flight that has not begun or whose
// peer is quiet, or the second half of one that goes on. f.mu is held.
func (f *fetcher) steal(s *session, window int64, now time.Time) (fl, emptied *flight) {
	if s.flow.inflight > 0 && now.Sub(s.flow.last) > quiet {
		return nil, nil
	}
	var victim *flight
	var worst time.Duration
	for _, t := range f.turn {
		held, ok := f.held(s, t)
		if !ok {
			continue
		}
		for _, o := range t.flights {
			r := o.rest()
			if o.s == s || o.over || r.Len == 0 || held != nil && total(intersect([]blob.Range{r}, held)) < r.Len {
				continue
			}
			late := o.s.flow.eta(0)
			if now.Sub(o.s.flow.last) > o.quietFor() {
				late = max(late, f.p.hub.timing.Deliver)
			} else if o.at > o.start && r.Len < 4*blob.Group {
				continue // about to be done
			}
			mine := s.flow.eta(r.Len) + time.Duration(s.link.rtt.Load())
			// Of one peer's flights the newest: it is the least likely to be under way already.
			if late > 2*mine+patience && late >= worst {
				worst, victim = late, o
			}
		}
	}
	if victim == nil {
		return nil, nil
	}
	mid := victim.at
	if victim.at > victim.start && now.Sub(victim.s.flow.last) <= quiet {
		mid += (victim.end - victim.at) / 2 / blob.Group * blob.Group
	}
	fl = f.launch(victim.t, s, mid, min(victim.end, mid+requestSize(window)), now)
	victim.s.flow.got(victim.end-mid, false, now)
	victim.end = mid
	if victim.at >= victim.end {
		emptied = victim
	}
	return fl, emptied
}

// send makes the request of a flight.
func (f *fetcher) send(fl *flight) {
	f.mu.Lock()
	if fl.over || fl.end <= fl.at || fl.t.gone {
		f.mu.Unlock()
		f.ended(fl, context.Canceled)
		return
	}
	ask := askBlob{Chan: fl.s.ch, Root: fl.t.root, Off: fl.start, Len: fl.end - fl.start}
	ask.Urgent = slices.ContainsFunc(fl.t.waiters, func(w *waiter) bool { return w.urgent && w.Off < fl.end && w.End() > fl.at })
	fl.asked, fl.urgent = fl.end, ask.Urgent
	fl.r = &request{
		s:      fl.s,
		max:    ask.Len + (ask.Len/blob.Group+2)*blobRoom,
		ref:    fl.t.ref,
		onBlob: func(v verified) (func() error, error) { return f.came(fl, v) },
		onEnd:  func(err error) { f.ended(fl, err) },
	}
	f.mu.Unlock()
	fl.ln.ask(fl.r, func(id uint32) []byte {
		ask.ID = id
		return encode(frameAskBlob, ask)
	})
}

// came takes one frame of a flight and returns what stores it. It runs on the lane's goroutine, while the frame before is stored.
func (f *fetcher) came(fl *flight, v verified) (store func() error, err error) {
	if v.Data == nil {
		return nil, cmp.Or(v.err, fmt.Errorf("%w: a blob frame that is too short, or came before it was asked for", ErrFrame))
	}
	if !f.p.enter() {
		return nil, context.Canceled
	}
	sink, err := f.expect(fl, v.Frame)
	if err != nil {
		f.p.exit()
		return nil, err
	}
	n := int64(len(v.Data))
	if v.err != nil {
		defer f.p.exit()
		return nil, f.refused(fl, blob.Range{Off: v.Off, Len: n}, v.err)
	}
	if len(sink.Missing(v.Off, n)) == 0 {
		return func() error {
			defer f.p.exit()
			f.duplicate(n)
			return f.stored(fl, v.Off+n, nil)
		}, nil
	}
	return func() error {
		defer f.p.exit()
		return f.stored(fl, v.Off+n, sink.Store(v.opened, fl.urgent))
	}, nil
}

// expect checks that a frame is the one that has to come now, and returns what it is stored in. Unless it fails, stored has to follow.
func (f *fetcher) expect(fl *flight, fr blob.Frame) (Sink, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := fr.Off + int64(len(fr.Data))
	whole := end%blob.Group == 0 || end == fl.t.ref.Size
	if fr.Off != fl.next || end > fl.asked || !whole {
		return nil, fmt.Errorf("%w: bytes %d to %d, not asked for", errBad, fr.Off, end)
	}
	if fl.t.gone || fl.t.sink == nil {
		return nil, context.Canceled
	}
	fl.next = end
	fl.t.writing++
	return fl.t.sink, nil
}

// stored notes that what comes before end has been stored, or that it could not be.
func (f *fetcher) stored(fl *flight, end int64, err error) error {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.t.writing--
	f.closeSink(fl.t)
	if err != nil {
		return f.writeFailed(fl.t, err)
	}
	// What another peer has taken over is accounted for already.
	fl.s.flow.got(max(min(end, fl.end)-fl.at, 0), true, now)
	fl.at, fl.t.last = end, now
	f.settle(fl.t)
	f.poke()
	if fl.at >= fl.end && fl.end < fl.asked {
		return context.Canceled // the rest is another peer's now
	}
	return nil
}

// refused notes that a frame was not what it should be.
func (f *fetcher) refused(fl *flight, r blob.Range, err error) error {
	f.mu.Lock()
	fl.bad = r
	f.mu.Unlock()
	return f.stored(fl, r.Off, err)
}

// writeFailed tells a bad frame, which is the peer's fault, from a store that cannot write, which ends the task's
// waits. f.mu is held.
func (f *fetcher) writeFailed(t *task, err error) error {
	if isBadFrame(err) {
		return fmt.Errorf("%w: %w", errBad, err)
	}
	for _, w := range t.waiters {
		w.end(err)
	}
	return context.Canceled
}

// isBadFrame reports whether a frame was refused for what it holds.
func isBadFrame(err error) bool { return errors.Is(err, blob.ErrFrame) }

// ended draws the consequences of the end of a flight.
func (f *fetcher) ended(fl *flight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.over {
		return
	}
	fl.over = true
	fl.s.flow.flights--
	if i := slices.Index(fl.t.flights, fl); i >= 0 {
		fl.t.flights = slices.Delete(fl.t.flights, i, i+1)
	}
	now := time.Now()
	fl.s.flow.got(max(fl.end-fl.at, 0), false, now)
	h := fl.s.holds[fl.t.root]
	switch {
	case fl.guessedWrong(err):
	case errors.Is(err, errGone), errors.Is(err, errBusy):
		fl.s.rest()
	case err == nil || errors.Is(err, context.Canceled):
		if err == nil && fl.at < fl.end && h != nil { // said to be over too early
			*h = holding{known: true, at: now}
		}
	case errors.Is(err, errGoneNow), errors.Is(err, errDenied), errors.Is(err, errRemote), errors.Is(err, errStalled):
		if h != nil {
			*h = holding{known: true, at: now} // asked again after a while
		}
	default:
		f.rejected++
		if _, again := fl.s.banned[fl.t.root]; !again && fl.bad.Len > 0 {
			fl.s.refuse(fl.t.root, fl.bad)
		}
		if len(fl.s.banned) < maxHaveBlobs {
			fl.s.banned[fl.t.root] = struct{}{}
		}
		fl.s.link.log.Warn("peer sent bad bytes, it is not asked for this blob again", "blob", fl.t.ref.CID, "err", err)
		if len(fl.s.banned) >= maxBannedBlobs {
			fl.s.link.cancel(errBad)
		}
	}
	f.poke()
}
