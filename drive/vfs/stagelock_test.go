package vfs

import (
	"context"
	"errors"
	"testing"
	"time"
)

// queued waits until n wait for the lock.
func (l *stageLock) queued(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		k := len(l.queue)
		l.mu.Unlock()
		if k == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait for the lock, want %d", k, n)
		}
	}
}

// The lock goes round in order; who gives up waiting is passed over, and a holder makes way for those for whom it says so.
func TestStageLock(t *testing.T) {
	var l stageLock
	ctx := context.Background()
	if !l.tryLock() || l.tryLock() {
		t.Fatal("a lock is held by one")
	}
	order := make(chan int, 3)
	stop := make([]context.CancelFunc, 3)
	for i := range stop {
		var ctx context.Context
		ctx, stop[i] = context.WithCancel(t.Context())
		go func() {
			if err := l.lock(ctx, false); err != nil {
				order <- -1
				return
			}
			order <- i
			l.unlock()
		}()
		l.queued(t, i+1)
	}
	defer stop[0]()
	defer stop[2]()
	stop[1]()
	if got := <-order; got != -1 {
		t.Errorf("the lock went to %d while it was held", got)
	}
	l.unlock()
	if a, b := <-order, <-order; a != 0 || b != 2 {
		t.Errorf("the lock went to %d, then to %d", a, b)
	}

	for _, c := range []struct{ busy, hurry, yields bool }{{false, false, false}, {false, true, true}, {true, false, true}} {
		var l stageLock
		l.tryLock()
		waiting, end := l.waiting(ctx, c.busy)
		got := make(chan error, 1)
		go func() { got <- l.lock(ctx, c.hurry) }()
		l.queued(t, 1)
		if asked := errors.Is(waiting.Err(), context.Canceled); asked != c.yields {
			t.Errorf("%+v: asked to make way: %v", c, asked)
		}
		end()
		if late, end := l.waiting(ctx, c.busy); (late.Err() != nil) != c.yields {
			t.Errorf("%+v: who begins to wait later: %v", c, late.Err())
		} else {
			end()
		}
		l.unlock()
		if err := <-got; err != nil {
			t.Error(err)
		}
		l.unlock()
		if !l.tryLock() {
			t.Errorf("%+v: the lock is not free in the end", c)
		}
	}
}

// A signal that means nothing, and ends the context of a removal, does not keep it from being made when it would be made in a moment.
func TestPatience(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := &Node{kind: File}
	n.wmu.tryLock()
	got := make(chan error, 1)
	go func() {
		unlock, err := n.lockStage(ctx, true)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	n.wmu.queued(t, 1)
	n.wmu.unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	n.wmu.tryLock()
	if _, err := n.lockStage(ctx, true); !errors.Is(err, context.Canceled) { // who has it keeps it
		t.Errorf("waiting for ever: %v", err)
	}
}
