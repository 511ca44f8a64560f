package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// smallBatches is how many batches of small blobs one peer is asked for at once.
const smallBatches = 4

// maxHanded is how often a blob is taken from a peer of which nothing comes, for others to be asked.
const maxHanded = 3

// smallFetcher brings small blobs in batches. What is asked for while batches are under way makes up the next one.
type smallFetcher struct {
	p    *Replica
	kick chan struct{}

	mu      sync.Mutex // guards what follows, and the sessions' share: small, smallLast, smallFrom
	jobs    map[blob.Ref]*smallJob
	queue   []*smallJob // those that are not under way, oldest first
	batches map[*smallBatch]struct{}
	last    time.Time // when a blob last came
}

// smallJob is one blob wanted by at least one call.
type smallJob struct {
	ref    blob.Ref
	root   key.Hash
	urgent bool
	users  int
	busy   bool                   // under way at some peer
	handed int                    // times it was taken from a peer of which nothing came
	tried  map[*session]time.Time // peers that did not have it, and when that was
	nobody time.Time              // since when all peers have been tried; zero: some have not
	since  time.Time
	done   chan struct{}
	err    error // valid when done is closed
}

func (f *smallFetcher) init(p *Replica) {
	f.p, f.kick, f.jobs, f.batches = p, make(chan struct{}, 1), map[blob.Ref]*smallJob{}, map[*smallBatch]struct{}{}
}

func (f *smallFetcher) poke() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// FetchSmall brings whole blobs of at most blob.MaxPacked bytes, any number of them, in batches. When some cannot be
// had, the others are there and the error is the first of the failures. Background applies as with Fetch.
func (p *Replica) FetchSmall(ctx context.Context, refs []blob.Ref) error {
	for _, r := range refs {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("fetching: %w", err)
		}
		if !r.Packed() {
			return fmt.Errorf("fetching: a blob of %d bytes is not small: %w", r.Size, blob.ErrContent)
		}
	}
	if !p.enter() {
		return ErrClosed
	}
	defer p.exit()
	f := &p.small
	// Chunks keep what is queued bounded however many refs there are.
	for len(refs) > 0 {
		n := min(len(refs), 8*maxSmall)
		jobs := f.add(refs[:n], isUrgent(ctx))
		refs = refs[n:]
		err := f.await(ctx, jobs)
		f.release(jobs)
		if err != nil {
			return fmt.Errorf("fetching small blobs: %w", err)
		}
	}
	return nil
}

// add makes jobs of the blobs that are not here, or joins those that exist.
func (f *smallFetcher) add(refs []blob.Ref, urgent bool) (out []*smallJob) {
	missing := f.p.blobs.Missing(refs)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range missing {
		j := f.jobs[r]
		if j == nil {
			root, err := blob.RootOf(r.CID)
			if err != nil {
				continue // validated before
			}
			j = &smallJob{ref: r, root: root, done: make(chan struct{}), since: time.Now()}
			f.jobs[r] = j
			f.queue = append(f.queue, j)
		}
		j.urgent = j.urgent || urgent
		j.users++
		out = append(out, j)
	}
	if len(out) > 0 {
		f.poke()
	}
	return out
}

func (f *smallFetcher) await(ctx context.Context, jobs []*smallJob) (first error) {
	for _, j := range jobs {
		select {
		case <-j.done:
			if first == nil {
				first = j.err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-f.p.ctx.Done():
			return ErrClosed
		}
	}
	return first
}

// release lets go of jobs; those that nobody wants any more are forgotten unless they are under way.
func (f *smallFetcher) release(jobs []*smallJob) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := false
	for _, j := range jobs {
		if j.users--; j.users == 0 && f.jobs[j.ref] == j && !j.busy {
			delete(f.jobs, j.ref)
			gone = true
		}
	}
	if gone {
		f.queue = slices.DeleteFunc(f.queue, func(j *smallJob) bool { return j.users == 0 })
	}
}

// end finishes a job. f.mu is held.
func (f *smallFetcher) end(j *smallJob, err error) {
	if f.jobs[j.ref] == j {
		delete(f.jobs, j.ref)
		j.err = err
		close(j.done)
	}
}

// run hands batches to peers.
func (f *smallFetcher) run() {
	tick := time.NewTicker(max(f.p.hub.timing.Nobody/8, time.Millisecond))
	defer tick.Stop()
	for {
		var clock <-chan time.Time
		if f.wanted() > 0 {
			clock = tick.C
		}
		select {
		case <-f.kick:
		case <-clock:
			f.timeouts()
		case <-f.p.ctx.Done():
			return
		}
		f.pump()
	}
}

// wanted is how many blobs are.
func (f *smallFetcher) wanted() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.jobs)
}

// timeouts takes batches back of which nothing comes, and ends the jobs for which every peer has been tried, or which none delivers.
func (f *smallFetcher) timeouts() {
	askable := f.askable()
	var drop []onLane
	defer func() {
		for _, d := range drop {
			d.ln.drop(d.r, errStalled)
		}
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	now, timing := time.Now(), f.p.hub.timing
	for b := range f.batches {
		if f.stuck(b, askable, now) {
			drop = append(drop, onLane{b.ln, b.r})
		}
	}
	keep := f.queue[:0]
	for _, j := range f.queue {
		open := j.open(askable.all, nil)
		switch {
		case open:
			j.nobody = time.Time{}
		case j.nobody.IsZero():
			j.nobody = now
		}
		var err error
		if !open && now.Sub(j.nobody) >= timing.Nobody {
			err = ErrNobody
		} else if now.Sub(j.since) >= timing.Stall && now.Sub(f.last) >= timing.Stall {
			err = ErrStalled
		}
		for s, at := range j.tried { // another chance: it may have come by now
			if now.Sub(at) >= timing.Retry {
				delete(j.tried, s)
			}
		}
		if err != nil {
			f.end(j, err)
		} else {
			keep = append(keep, j)
		}
	}
	clear(f.queue[len(keep):])
	f.queue = keep
}

// open reports whether a peer other than but has not been tried.
func (j *smallJob) open(sessions []*session, but *session) bool {
	return slices.ContainsFunc(sessions, func(s *session) bool { _, tried := j.tried[s]; return !tried && s != but })
}

// stuck reports whether a batch is to be taken back: nothing of it has come for Stall, or nothing at all of its peer for a quarter of that
// and there is somebody else to ask. Frames that hold no blob do not count, and neither does it whether the peer says that it is busy.
// f.mu is held.
func (f *smallFetcher) stuck(b *smallBatch, others askable, now time.Time) bool {
	stall := f.p.hub.timing.Stall
	if now.Sub(b.last) >= stall {
		return true
	}
	if now.Sub(b.last) < stall/4 || now.Sub(b.s.smallLast) < stall/4 {
		return false
	}
	return slices.ContainsFunc(b.jobs, func(j *smallJob) bool { return j.handed < maxHanded && j.open(others.before(b.s), b.s) })
}

// askable are the peers that take requests.
type askable struct {
	all    []*session
	trusts []*session // those that are more than somebody with a link, who promises what he likes
}

func (f *smallFetcher) askable() (a askable) {
	f.p.mu.Lock()
	defer f.p.mu.Unlock()
	a.all = f.p.readySessions()
	for _, s := range a.all {
		if f.p.trusts(s) {
			a.trusts = append(a.trusts, s)
		}
	}
	return a
}

// before returns the peers that are asked with s, or before it: strangers are asked for what no other peer has.
func (a askable) before(s *session) []*session {
	if slices.Contains(a.trusts, s) {
		return a.trusts
	}
	return a.all
}

// pump makes batches for all peers that have room for one.
func (f *smallFetcher) pump() {
	askable := f.askable()
	for again := true; again; {
		again = false
		for _, s := range askable.all {
			f.mu.Lock()
			var batch []*smallJob
			now := time.Now()
			slow := now.Before(s.smallFrom) && len(askable.before(s)) > 1
			if s.small < smallBatches && !s.resting(now) && !slow {
				batch = f.take(s, askable)
			}
			if len(batch) > 0 {
				s.small++
			}
			f.mu.Unlock()
			if len(batch) > 0 {
				again = true
				f.ask(s, batch)
			}
		}
	}
}

// take makes a batch for a peer out of the queue, readers' wishes first. With several peers the batches are smaller, so
// that all get a share. f.mu is held.
func (f *smallFetcher) take(s *session, from askable) (batch []*smallJob) {
	peers := len(from.before(s))
	strange := peers > len(from.trusts)
	limit := min(maxSmall, max(64, (len(f.queue)+peers-1)/peers))
	size := int64(0)
	for _, urgent := range []bool{true, false} {
		keep := f.queue[:0]
		for _, j := range f.queue {
			_, tried := j.tried[s]
			if j.urgent != urgent || tried || len(batch) >= limit || size+j.ref.Size > maxSmallBytes || strange && j.open(from.trusts, nil) {
				keep = append(keep, j)
				continue
			}
			j.busy = true
			size += j.ref.Size
			batch = append(batch, j)
		}
		clear(f.queue[len(keep):])
		f.queue = keep
	}
	return batch
}

// ask requests a batch.
func (f *smallFetcher) ask(s *session, jobs []*smallJob) {
	b := &smallBatch{s: s, ln: s.link.bulk(), jobs: jobs, came: make([]bool, len(jobs)), data: make([]blob.Opened, 0, len(jobs)), last: time.Now()}
	m := askSmall{Chan: s.ch, Roots: make([]key.Hash, len(jobs))}
	size := int64(0)
	for i, j := range jobs {
		m.Roots[i] = j.root
		m.Urgent = m.Urgent || j.urgent
		size += j.ref.Size
	}
	b.room(size + int64(len(jobs)+1)*smallHeader)
	b.r = &request{
		s: s, max: size + int64(len(jobs)+1)*smallHeader + smallSlack,
		onOpen: func(t frameType, flags byte, body []byte) (func() error, error) {
			if t != frameSmall {
				return nil, fmt.Errorf("%w: frame type %d", errBad, t)
			}
			if len(body) == 0 && flags&flagLast == 0 {
				return nil, fmt.Errorf("%w: a frame without a blob", errBad)
			}
			if err := b.open(body); err != nil {
				return nil, err
			}
			f.came(b)
			if flags&flagLast == 0 {
				return nil, nil
			}
			if !f.p.enter() {
				return nil, ErrClosed
			}
			return func() error {
				defer f.p.exit()
				return f.store(b)
			}, nil
		},
		onEnd: func(err error) { f.ended(b, err) },
	}
	f.mu.Lock()
	f.batches[b] = struct{}{}
	f.mu.Unlock()
	b.ln.ask(b.r, func(id uint32) []byte {
		m.ID = id
		return encode(frameAskSmall, m)
	})
}

// came notes that blobs of a batch have come.
func (f *smallFetcher) came(b *smallBatch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	b.last, b.s.smallLast, f.last = now, now, now
}

// errStore wraps what the store says, so that it is not taken for the peer's fault.
var errStore = errors.New("storing")

// store writes what has come of a batch, with one sync.
func (f *smallFetcher) store(b *smallBatch) error {
	if len(b.data) == 0 {
		return nil
	}
	if err := f.p.blobs.StoreSmall(b.data); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	return nil
}

// ended finishes the jobs of a batch, or puts them back into the queue.
func (f *smallFetcher) ended(b *smallBatch, err error) {
	stored := err == nil
	if err != nil && !errors.Is(err, errStore) && len(b.data) > 0 && f.p.enter() {
		stored = f.store(b) == nil // what came before it went wrong is good
		f.p.exit()
	}
	b.free()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.batches, b)
	b.s.small--
	now := time.Now()
	if errors.Is(err, errStalled) { // others first
		b.s.smallFrom = now.Add(f.p.hub.timing.Stall / 4)
	}
	for i, j := range b.jobs {
		j.busy = false
		switch {
		case b.came[i] && stored:
			f.end(j, nil)
		case errors.Is(err, errStore):
			f.end(j, err)
		case j.users == 0:
			delete(f.jobs, j.ref)
		default:
			if errors.Is(err, errGone) || errors.Is(err, errBusy) {
				b.s.rest()
			} else {
				if j.tried == nil {
					j.tried = map[*session]time.Time{}
				}
				j.tried[b.s] = now
				if errors.Is(err, errStalled) {
					j.handed++
				}
				if isBadAnswer(err) {
					j.tried[b.s] = now.Add(time.Hour)
				}
			}
			f.queue = append(f.queue, j)
		}
	}
	if isBadAnswer(err) {
		f.rejected(b.s, err)
	}
	f.poke()
}

// isBadAnswer reports whether a batch ended because of what the peer sent.
func isBadAnswer(err error) bool { return errors.Is(err, errBad) || errors.Is(err, ErrFrame) }

// rejected notes that a peer sent bad bytes.
func (f *smallFetcher) rejected(s *session, err error) {
	s.link.log.Warn("peer sent bad small blobs", "err", err)
	f.p.rejected.Add(1)
	if s.strikes.Add(1) >= maxStrikes {
		s.link.cancel(errBad)
	}
}
