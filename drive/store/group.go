package store

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/room"
)

// maxGroup is the number of closures in one transaction.
const maxGroup = 256

// maxReruns is how often a group runs again because a closure failed after it
// had written. What is left after that runs one by one.
const maxReruns = 3

// call is one Update on its way through a group.
type call struct {
	fn       func(room.Tx) error
	err      error
	panicked any
	stack    []byte
	done     chan struct{}
}

// Update implements room.Storage. Closures of concurrent callers run one after
// another in one transaction that is synced once; it returns when log.db is
// durable and the state is visible to View. A closure may run more than once
// and must not call Update.
func (s *Room) Update(fn func(room.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	c := &call{fn: fn, done: make(chan struct{})}
	s.queueMu.Lock()
	s.queue = append(s.queue, c)
	s.queueMu.Unlock()
	select {
	case <-c.done: // an earlier leader took it along
	case s.leader <- struct{}{}:
		s.lead(c)
		<-c.done
	}
	if c.panicked != nil {
		panic(fmt.Sprintf("%v\n\nin a closure of Update:\n%s", c.panicked, c.stack))
	}
	return c.err
}

// lead runs groups until own is done, then hands the lead over.
func (s *Room) lead(own *call) {
	defer func() { <-s.leader }()
	defer faults()()
	for {
		select {
		case <-own.done:
			return
		default:
		}
		s.queueMu.Lock()
		n := min(len(s.queue), maxGroup)
		group := s.queue[:n:n]
		s.queue = append([]*call(nil), s.queue[n:]...)
		s.queueMu.Unlock()
		s.runGroup(group)
	}
}

// runGroup runs the calls and finishes every one of them.
func (s *Room) runGroup(group []*call) {
	defer func() { // a closure that ends its goroutine must not leave others waiting
		for _, c := range group {
			c.finish(errors.New("a closure of the same transaction ended its goroutine"))
		}
	}()
	spaceMade := false
	for reruns := 0; len(group) > 0; reruns++ {
		part := group
		if reruns > maxReruns {
			part = group[:1]
		}
		bad, err := s.runOnce(part)
		switch {
		case bad != nil:
			bad.finish(bad.err)
			group = without(group, bad)
		case errors.Is(err, ErrNoSpace) && !spaceMade && s.releaseReserve():
			spaceMade = true
		default:
			for _, c := range part {
				if err != nil {
					c.err = err
				}
				c.finish(c.err)
			}
			group = group[len(part):]
		}
	}
}

func without(group []*call, bad *call) []*call {
	out := make([]*call, 0, len(group))
	for _, c := range group {
		if c != bad {
			out = append(out, c)
		}
	}
	return out
}

// finish lets the caller go on; only the first time counts.
func (c *call) finish(err error) {
	select {
	case <-c.done:
	default:
		c.err = err
		close(c.done)
	}
}

// runOnce runs calls in one transaction and commits it. When a closure failed
// after it had written, nothing is committed and that call is returned.
func (s *Room) runOnce(calls []*call) (bad *call, err error) {
	t, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer t.end()
	for _, c := range calls {
		t.wrote = false
		c.err = c.run(t)
		if t.err != nil {
			return nil, s.poison(t.err)
		}
		if c.panicked != nil || c.err != nil && t.wrote {
			return c, nil
		}
	}
	changes, begun := t.logDirty || t.indexDirty, time.Now()
	err = s.commit(t)
	if changes {
		s.commits.add(time.Since(begun), err)
	}
	return nil, err
}

// run calls the closure; a panic is kept for the caller's goroutine.
func (c *call) run(t *tx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.panicked, c.stack = r, debug.Stack()
		}
	}()
	return t.call(c.fn)
}

// begin starts a transaction that may write. index.db follows when it is
// needed.
func (s *Room) begin() (*tx, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	t := &tx{s: s, write: true}
	var err error
	if t.log, err = s.logDB.Begin(true); err != nil {
		return nil, fmt.Errorf("beginning a transaction: %w", err)
	}
	return t, nil
}

// metaSeq is the number of the last transaction that changed log.db; index.db
// repeats it, so that one that missed a transaction is recognised.
const metaSeq = "seq"

// commit makes the transaction durable, log.db first, and then visible.
func (s *Room) commit(t *tx) error {
	s.visible.Lock()
	defer s.visible.Unlock()
	now := *s.pair.Load()
	if t.logDirty || t.indexDirty {
		if err := s.spaceForCommit(t.size); err != nil {
			return err
		}
	}
	if t.logDirty {
		now.log = t.log.ID()
		seq := place8(s.seq + 1)
		if err := t.meta().Put([]byte(metaSeq), seq); err != nil {
			return s.poison(err)
		}
		index := rows{t: t, b: t.indexBucket(indexMeta), derived: true, name: indexMeta}
		if err := index.Put([]byte(metaSeq), seq); err != nil {
			return s.poison(err)
		}
		if err := t.contain(func() error { return s.commitLog(t.log) }); err != nil {
			if retryable(err) {
				return fmt.Errorf("writing log.db: %w", spaceError(err))
			}
			return s.poison(fmt.Errorf("writing log.db: %w", err))
		}
		s.seq++
	}
	if t.indexDirty {
		now.index = t.index.ID()
		if err := t.contain(t.index.Commit); err != nil {
			// What was promised is in log.db. The index lacks it and goes when the room is opened again.
			return s.poison(fmt.Errorf("writing index.db: %w", err))
		}
		s.indexWrites.Add(1)
	}
	t.end()
	s.pair.Store(&now)
	if t.essential {
		// The truth is on the disk; without its copy only a damaged log.db is worse off.
		if err := s.copyEssential(); err != nil {
			s.log.Warn("the room's essential rows are in one place only", "dir", s.dir, "err", err)
		}
	}
	return nil
}

// retryable reports whether a failed commit wrote nothing that counts: the
// disk was full before anything was synced.
func retryable(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT))
}

// commitBolt is Room.commitLog but in tests.
func commitBolt(t *bolt.Tx) error { return t.Commit() }
