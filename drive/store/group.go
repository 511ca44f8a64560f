package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/pearbox/pearbox/drive/room"
)

// maxGroup is the number of closures in one transaction.
const maxGroup = 256

// maxSpare is the number of changes for which a list is kept for the next
// transaction.
const maxSpare = 1 << 14

// call is one Update on its way through a group.
type call struct {
	fn       func(room.Tx) error
	bytes    int64 // that it put
	err      error
	panicked any
	stack    []byte
	done     chan struct{}
}

// Update implements room.Storage. Closures of concurrent callers run one after
// another in one transaction that is synced once; it returns when that is
// durable and visible to View. A closure may run more than once and must not
// call Update. Whoever puts much waits for a checkpoint that lags behind, after
// his own transaction, so that others need not.
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
	if c.err == nil && c.bytes > bulkSize && s.lagging() {
		if err := s.settle(); err != nil {
			s.log.Debug("waiting for a checkpoint", "err", err) // what this caller wrote is durable
		}
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
	err := s.runOnce(group)
	for tries := 0; errors.Is(err, ErrNoSpace) && s.makeSpace(tries); tries++ {
		err = s.runOnce(group)
	}
	for _, c := range group {
		if err != nil && (c.err == nil || errors.Is(err, ErrFailed)) {
			c.err = err
		}
		c.finish(c.err)
	}
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

// runOnce runs calls in one transaction and commits it. What a closure wrote
// that fails is taken back.
func (s *Room) runOnce(calls []*call) error {
	t, err := s.begin()
	if err != nil {
		return err
	}
	defer t.end()
	used := t.arena.used
	for _, c := range calls {
		before := t.arena.used
		t.mark = len(t.changes)
		c.panicked = nil
		c.err = c.run(t)
		if t.err != nil {
			return s.poison(t.err)
		}
		if c.panicked != nil || c.err != nil {
			t.undo()
		}
		c.bytes = t.arena.used - before
	}
	begun := time.Now()
	if err = s.commit(t); err != nil {
		t.arena.used = used // or each attempt on a full disk would need more space than the one before
	}
	if len(t.changes) > 0 {
		s.commits.add(time.Since(begun), err)
	}
	return err
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

// begin starts a transaction that may write. The leader calls it.
func (s *Room) begin() (*tx, error) {
	if err := s.Failed(); err != nil {
		return nil, err
	}
	if err := s.relieve(); err != nil {
		return nil, err
	}
	l := s.layers.Load()
	if s.base == nil || s.baseOf.epoch != l.epoch || (s.baseOf.frozen == nil) != (l.frozen == nil) {
		s.base.end()
		s.base = nil
		b, err := s.newBase()
		if err != nil {
			return nil, err
		}
		s.base, s.baseOf = b, l
	}
	t := &tx{s: s, base: s.base, write: true, seq: s.seq + 1, arena: &s.arena, changes: s.spare[:0]}
	t.see(l)
	t.mem[0] = l.active.tree.Copy()
	return t, nil
}

// end closes the transaction without committing anything.
func (t *tx) end() {
	t.done = true
	if !t.write {
		t.base.end()
		return
	}
	// The leader's base is for the next one too, and so is the list.
	t.s.spare = nil
	if cap(t.changes) <= maxSpare {
		clear(t.changes)
		t.s.spare = t.changes[:0]
	}
}

// metaSeq is the number of the last transaction that is in log.db; index.db
// repeats it.
const metaSeq = "seq"

// commit makes the transaction durable, and then visible.
func (s *Room) commit(t *tx) error {
	if len(t.changes) == 0 {
		return nil
	}
	if err := s.spaceForCommit(); err != nil {
		return err
	}
	if err := s.journal.append(t.seq, t.changes); err != nil {
		if errors.Is(err, ErrNoSpace) || errors.Is(err, errRecord) {
			return err // nothing of it counts
		}
		return s.poison(err)
	}
	s.seq = t.seq
	s.published(&memory{tree: t.mem[0], size: s.arena.used, last: t.seq})
	if t.essential {
		// The truth is on the disk; without its copy only a damaged log.db is worse off.
		if err := s.copyEssential(); err != nil {
			s.log.Warn("the room's essential rows are in one place only", "dir", s.dir, "err", err)
		}
	}
	if s.arena.used >= freezeSize || s.journal.off >= freezeSize {
		s.freeze()
	}
	return nil
}
