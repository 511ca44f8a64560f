package wire

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Errors of fetching. Each unwraps to the errno that a file system shows for it.
var (
	// ErrNobody: no connected peer has the bytes now. They may come when another peer does.
	ErrNobody error = &fetchError{"no connected peer has these bytes", syscall.EHOSTUNREACH}
	// ErrStalled: peers have the bytes but none has delivered any for a while.
	ErrStalled error = &fetchError{"peers have these bytes but do not deliver them", syscall.ETIMEDOUT}
)

type fetchError struct {
	text  string
	errno syscall.Errno
}

func (e *fetchError) Error() string { return e.text }
func (e *fetchError) Unwrap() error { return e.errno }

type backgroundKey struct{}

// Background marks a fetch that nobody waits for: it gives way to those of readers.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

func isUrgent(ctx context.Context) bool { return ctx.Value(backgroundKey{}) == nil }

// fetcher brings ranges of blobs: it knows who waits for what, who holds what and what is on its way.
type fetcher struct {
	p          *Replica
	kick       chan struct{}
	duplicates atomic.Int64

	mu       sync.Mutex // guards what follows, and the sessions' share: flow, holds, banned
	sessions map[*session]struct{}
	tasks    map[blob.Ref]*task
	turn     []*task // tasks in the order of their turns
	queries  map[uint32]*query
	lastID   uint32
	rejected int64
}

// task is one blob being fetched.
type task struct {
	ref     blob.Ref
	root    key.Hash
	sink    Sink
	waiters []*waiter
	flights []*flight
	writing int       // frames being written to sink
	gone    bool      // nobody waits any more; sink is closed when writing is 0
	last    time.Time // when bytes last came
	guess   *session  // asked for the beginning before it has said what it holds; nil: nobody
	guessed int64     // bytes that it was asked for
}

// waiter is one call of Fetch.
type waiter struct {
	blob.Range // group aligned
	urgent     bool
	done       chan error
	since      time.Time
	nobody     time.Time // since when nobody is known to hold what is missing; zero: somebody is
}

// flight is a range that is on its way from one peer. All offsets are group aligned, or the blob's end.
type flight struct {
	t     *task
	s     *session
	ln    *lane
	r     *request // nil until it is sent
	start int64
	next  int64 // come up to here
	at    int64 // stored up to here
	end   int64 // wanted up to here; less than asked once another peer has taken work over
	asked int64
	over  bool

	guess  bool       // the peer had not said that it holds this
	urgent bool       // a reader waited for it when it was sent
	bad    blob.Range // what came and was refused
}

// rest is what is wanted and has not come.
func (f *flight) rest() blob.Range { return blob.Range{Off: f.at, Len: max(f.end-f.at, 0)} }

func (f *fetcher) init(p *Replica) {
	f.p, f.kick = p, make(chan struct{}, 1)
	f.sessions, f.tasks, f.queries = map[*session]struct{}{}, map[blob.Ref]*task{}, map[uint32]*query{}
}

func (f *fetcher) poke() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// Fetch brings bytes [off, off+n) of a blob and returns when they are held. Many calls may ask for the same bytes. The
// caller is taken for a reader who waits, unless ctx comes from Background. When ctx ends, what nobody else wants is no
// longer asked for. Ends beyond the blob are cut.
func (p *Replica) Fetch(ctx context.Context, ref blob.Ref, off, n int64) error {
	if err := ref.Validate(); err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	if off < 0 || n <= 0 || off >= ref.Size {
		return nil
	}
	n = min(n, ref.Size-off)
	if ref.Packed() {
		return p.FetchSmall(ctx, []blob.Ref{ref})
	}
	if !p.enter() {
		return ErrClosed
	}
	defer p.exit()
	if p.blobs.Complete(ref) {
		return nil
	}
	w := &waiter{Range: align(off, n, ref.Size), urgent: isUrgent(ctx), done: make(chan error, 1), since: time.Now()}
	t, err := p.fetch.add(ref, w)
	if err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	select {
	case err = <-w.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.ctx.Done():
		err = ErrClosed
	}
	p.fetch.remove(t, w)
	if err != nil {
		return fmt.Errorf("fetching %s: %w", ref.CID, err)
	}
	return nil
}

// add registers a waiter with the task of its blob.
func (f *fetcher) add(ref blob.Ref, w *waiter) (*task, error) {
	root, err := blob.RootOf(ref.CID)
	if err != nil {
		return nil, err
	}
	var drop []onLane
	defer func() { cancelAll(drop) }()
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.tasks[ref]
	if t == nil {
		sink, err := f.p.blobs.Begin(ref)
		if err != nil {
			return nil, err
		}
		t = &task{ref: ref, root: root, sink: sink, last: time.Now()}
		f.tasks[ref] = t
		f.turn = append(f.turn, t)
	}
	t.waiters = append(t.waiters, w)
	f.settle(t)
	if w.urgent { // what was asked for in the background and has not begun is asked for again, to go first
		for _, fl := range t.flights {
			if fl.r != nil && !fl.urgent && fl.at == fl.start && w.Off < fl.end && w.End() > fl.at {
				drop = append(drop, onLane{fl.ln, fl.r})
			}
		}
	}
	f.poke()
	return t, nil
}

// remove takes a waiter away, and cancels what only it wanted.
func (f *fetcher) remove(t *task, w *waiter) {
	f.mu.Lock()
	if i := slices.Index(t.waiters, w); i >= 0 {
		t.waiters = slices.Delete(t.waiters, i, i+1)
	}
	drop := f.unwanted(t)
	if len(t.waiters) == 0 && !t.gone {
		t.gone = true
		delete(f.tasks, t.ref)
		if i := slices.Index(f.turn, t); i >= 0 {
			f.turn = slices.Delete(f.turn, i, i+1)
		}
		f.closeSink(t)
	}
	f.mu.Unlock()
	cancelAll(drop)
	f.poke()
}

// onLane is a request and where it was made.
type onLane struct {
	ln *lane
	r  *request
}

// cancelAll takes requests back. f.mu is not held.
func cancelAll(drop []onLane) {
	for _, d := range drop {
		d.ln.drop(d.r, context.Canceled)
	}
}

// closeSink closes the sink of a task that is gone once nothing is written to it. f.mu is held.
func (f *fetcher) closeSink(t *task) {
	if t.gone && t.writing == 0 && t.sink != nil {
		t.sink.Close()
		t.sink = nil
	}
}

// unwanted returns the requests of a task for what nobody waits for. f.mu is held.
func (f *fetcher) unwanted(t *task) (drop []onLane) {
	for _, fl := range t.flights {
		if fl.r != nil && !slices.ContainsFunc(t.waiters, func(w *waiter) bool { return w.Off < fl.end && w.End() > fl.at }) {
			drop = append(drop, onLane{fl.ln, fl.r})
		}
	}
	return drop
}

// settle ends the waits that are satisfied. f.mu is held.
func (f *fetcher) settle(t *task) {
	if t.sink == nil {
		return
	}
	for _, w := range t.waiters {
		if len(t.sink.Missing(w.Off, w.Len)) == 0 {
			w.end(nil)
		}
	}
}

func (w *waiter) end(err error) {
	select {
	case w.done <- err:
	default:
	}
}

// run asks for what is wanted whenever something has changed, and ends waits that lead nowhere.
func (f *fetcher) run() {
	tick := time.NewTicker(max(min(f.p.hub.timing.Nobody, f.p.hub.timing.Stall)/8, time.Millisecond))
	defer tick.Stop()
	for {
		var clock <-chan time.Time
		if f.waiting() { // an idle room wakes nobody
			clock = tick.C
		}
		select {
		case <-f.kick:
		case <-clock:
			f.timeouts()
		case <-f.p.ctx.Done():
			f.finish()
			return
		}
		f.query()
		f.guess()
		f.pump()
	}
}

// waiting reports whether anybody waits for anything.
func (f *fetcher) waiting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.tasks) > 0
}

// finish ends all waits when the replica stops.
func (f *fetcher) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tasks {
		for _, w := range t.waiters {
			w.end(ErrClosed)
		}
	}
}

// timeouts ends the waits for bytes that nobody has or delivers.
func (f *fetcher) timeouts() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, timing := time.Now(), f.p.hub.timing
	for _, t := range f.turn {
		f.settle(t)
		for _, w := range t.waiters {
			if f.hopeful(t, w, now) {
				w.nobody = time.Time{}
			} else if w.nobody.IsZero() {
				w.nobody = now
			}
			switch {
			case !w.nobody.IsZero() && now.Sub(w.nobody) >= timing.Nobody:
				w.end(ErrNobody)
			case now.Sub(w.since) >= timing.Stall && now.Sub(t.last) >= timing.Stall:
				w.end(ErrStalled)
			}
		}
	}
}

// hopeful reports whether some peer holds, or may turn out to hold, some of what a waiter misses. f.mu is held.
func (f *fetcher) hopeful(t *task, w *waiter, now time.Time) bool {
	missing := t.sink.Missing(w.Off, w.Len)
	for s := range f.sessions {
		h := s.holds[t.root]
		if h == nil {
			continue
		}
		if _, bad := s.banned[t.root]; bad {
			continue
		}
		if h.asking && !h.known && now.Sub(h.at) < f.p.hub.timing.Nobody {
			return true
		}
		if h.known && (h.all || len(intersect(missing, h.ranges)) > 0) {
			return true
		}
	}
	return false
}

// sessionCame makes a peer known that takes requests.
func (f *fetcher) sessionCame(s *session) {
	f.mu.Lock()
	f.sessions[s] = struct{}{}
	f.mu.Unlock()
	f.poke()
}

// sessionWent forgets a peer. Its flights have been ended by its lanes.
func (f *fetcher) sessionWent(s *session) {
	f.mu.Lock()
	delete(f.sessions, s)
	for id, q := range f.queries {
		if q.s == s {
			delete(f.queries, id)
		}
	}
	f.mu.Unlock()
	f.poke()
}

// duplicate counts bytes that came although they were no longer wanted.
func (f *fetcher) duplicate(n int64) { f.duplicates.Add(n) }

func (f *fetcher) stats(st *Stats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st.Fetching, st.Duplicates, st.Rejected = len(f.tasks), f.duplicates.Load(), f.rejected
	for _, t := range f.turn {
		wanted := []blob.Range{{Off: 0, Len: t.ref.Size}}
		for _, w := range t.waiters {
			wanted = subtract(wanted, w.Range)
		}
		missing := t.sink.Missing(0, t.ref.Size)
		for _, r := range wanted {
			missing = subtract(missing, r)
		}
		st.Wanted += total(missing)
	}
}
