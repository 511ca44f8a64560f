package vfs

import (
	"context"
	"slices"
	"sync"
	"time"
)

// grace is how long what usually takes a moment goes on after its context has ended. A front end cannot tell a program that was killed
// from one to which a signal came that means nothing, as they come to many; and programs do not expect a removal to be interrupted.
const grace = 2 * time.Second

// patient returns a context that ends a while after ctx.
func patient(ctx context.Context) (_ context.Context, end func()) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(grace, cancel)
		context.AfterFunc(late, func() { t.Stop() })
	})
	return late, func() {
		stop()
		cancel()
	}
}

// stageLock is a mutex that is waited for until a context ends, and whose holder can be asked to make way. It goes to those who wait
// in the order in which they came. The zero value is free.
type stageLock struct {
	mu    sync.Mutex // guards what follows
	held  bool
	queue []*stageWait
	yield context.CancelFunc // ends what the holder waits for; nil when that is nothing
	busy  bool               // the holder makes way for whoever comes, not only for those in a hurry
}

type stageWait struct {
	got   chan struct{} // closed when the lock is theirs
	hurry bool
}

// tryLock takes the lock if it is free.
func (l *stageLock) tryLock() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		return false
	}
	l.held = true
	return true
}

// lock takes the lock, or returns the context's error. With hurry a holder that waits for the network makes way.
func (l *stageLock) lock(ctx context.Context, hurry bool) error {
	l.mu.Lock()
	if !l.held {
		l.held = true
		l.mu.Unlock()
		return nil
	}
	w := &stageWait{make(chan struct{}), hurry}
	l.queue = append(l.queue, w)
	l.nudge()
	l.mu.Unlock()
	select {
	case <-w.got:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	i := slices.Index(l.queue, w)
	if i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	l.mu.Unlock()
	if i < 0 { // it came in this very moment
		l.unlock()
	}
	return ctx.Err()
}

// nudge asks the holder to make way if somebody waits for whom it does. mu is held.
func (l *stageLock) nudge() {
	if l.yield != nil && slices.ContainsFunc(l.queue, func(w *stageWait) bool { return l.busy || w.hurry }) {
		l.yield()
	}
}

// unlock gives the lock to whoever waits longest.
func (l *stageLock) unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.yield = nil
	if len(l.queue) == 0 {
		l.held = false
		return
	}
	close(l.queue[0].got)
	l.queue = slices.Delete(l.queue, 0, 1)
}

// waiting returns the context with which the holder waits for something: it ends when the holder is to make way, for those in a hurry
// or, with busy, for whoever wants the lock. end is called before unlock.
func (l *stageLock) waiting(ctx context.Context, busy bool) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.yield, l.busy = cancel, busy
	l.nudge()
	return ctx, func() {
		l.mu.Lock()
		l.yield = nil
		l.mu.Unlock()
		cancel()
	}
}
