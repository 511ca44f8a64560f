package room

import (
	"context"
	"errors"
	"sync"
)

// Callers of Room.Update who come while a transaction is being made durable go into the next one together. They share its txn: what
// one has read the next need not read again, and one signature is for all that they append (see txn.sign).
//
// The first of them calls Storage.Update, and takes along who else waits at the moment at which its closure runs. A closure that fails
// after it has written, or that needs more than a transaction, is taken out, and its caller runs it alone; the others run again
// without it.

// maxGroup is how many callers share a transaction.
const maxGroup = 256

// maxTakenOut is after how many failures in one group everybody in it runs alone.
const maxTakenOut = 3

// ask is one call of Room.Update.
type ask struct {
	fn    func(*Update) error
	err   error
	alone bool // the caller has to run it alone
	done  chan struct{}
}

// asks are the calls that wait for a transaction.
type asks struct {
	mu      sync.Mutex // guards what follows
	waiting []*ask
	led     bool // somebody is about to take them
}

// add adds a call. It reports whether its caller has to lead.
func (q *asks) add(a *ask) (lead bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, a)
	lead, q.led = !q.led, true
	return lead
}

// take returns those who wait. more says that some are left, and that somebody has to lead them.
func (q *asks) take() (taken []*ask, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxGroup)
	taken, q.waiting = q.waiting[:n:n], q.waiting[n:]
	q.led = len(q.waiting) > 0
	return taken, q.led
}

// group is the calls that share a transaction.
type group struct {
	r     *Room
	asks  []*ask
	taken bool
	t     *txn // that they ran in last
}

var (
	errTakenOut = errors.New("a closure was taken out of its group")
	errEnded    = errors.New("a closure of the same transaction ended its goroutine")
)

// Update runs fn in a transaction, one after the other with all others. fn
// may run more than once and must have no effect but through u; it must not
// call other methods of the Room. The entries it appended are durable when
// Update returns nil.
func (r *Room) Update(ctx context.Context, fn func(u *Update) error) error {
	return r.await(ctx, func() error { return r.grouped(fn) })
}

func (r *Room) grouped(fn func(u *Update) error) error {
	a := &ask{fn: fn, done: make(chan struct{})}
	if r.asks.add(a) {
		(&group{r: r}).lead()
	}
	<-a.done
	if a.alone {
		return r.run(func(t *txn) error { return t.runAsk(t.Tx, fn) })
	}
	return a.err
}

// runAsk runs the closure of a call.
func (t *txn) runAsk(tx Tx, fn func(*Update) error) error {
	if err := fn(&Update{Tx: tx, t: t}); err != nil {
		return err
	}
	return t.advance()
}

// lead runs the group and lets its callers go on.
func (g *group) lead() {
	err := errEnded
	defer func() {
		if !g.taken { // the storage did not even begin
			g.take()
		}
		for _, a := range g.asks {
			if a.err == nil {
				a.err = err
			}
			close(a.done)
		}
	}()
	out := 0
	for {
		if err = g.r.st.Update(g.run); !errors.Is(err, errTakenOut) {
			break
		}
		if out++; out == maxTakenOut {
			g.runAlone(g.asks...)
			err = nil
			return
		}
	}
	if err != nil || g.t == nil {
		return
	}
	g.r.committed(g.t)
	if g.t.more {
		err = g.r.catchUp()
	}
}

func (g *group) take() {
	asks, more := g.r.asks.take()
	g.asks, g.taken = asks, true
	if more {
		go (&group{r: g.r}).lead()
	}
}

// runAlone takes calls out of the group, for their callers to run alone.
func (g *group) runAlone(out ...*ask) {
	var left []*ask
	for _, a := range g.asks {
		alone := false
		for _, o := range out {
			alone = alone || a == o
		}
		if !alone {
			left = append(left, a)
			continue
		}
		a.alone = true
		close(a.done)
	}
	g.asks = left
}

// run is the transaction. It may run more than once.
func (g *group) run(tx Tx) error {
	if !g.taken {
		g.take()
	}
	g.t = nil
	if len(g.asks) == 0 {
		return nil
	}
	noted := &notedTx{Tx: tx}
	t := g.r.begin(noted)
	g.t = t
	t.notes()
	if err := t.makeUp(); err != nil {
		return err
	}
	for _, a := range g.asks {
		noted.wrote = false
		ended := true
		a.err = func() (err error) {
			defer func() {
				if ended && recover() != nil {
					err, noted.wrote = errEnded, true // its caller is to see it
				}
			}()
			err = t.runAsk(noted, a.fn)
			ended = false
			return err
		}()
		if a.err != nil && (noted.wrote || errors.Is(a.err, ErrUpdateNeeded) || errors.Is(a.err, errLost)) {
			g.runAlone(a)
			return errTakenOut
		}
	}
	t.event.Notes = t.notes()
	return t.flush()
}
