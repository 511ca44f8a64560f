package vfs

import (
	"context"
	"errors"
	"time"
)

const (
	smallFile  = 1 << 20 // up to here files are committed many at a time
	batchFiles = 1000
	batchBytes = 32 << 20
	manyLarge  = 2                      // large files sealed at once
	manyFetch  = 8                      // files whose missing bytes are fetched at once
	recheck    = 30 * time.Second       // between versions of a file that is still mapped for writing
	mapQuiet   = 50 * time.Millisecond  // before the first look whether it still is; up to openQuiet before each other
	settleWait = 200 * time.Millisecond // for a file that was just closed to be let go; mapQuiet and a commit
	openQuiet  = 2 * time.Second        // of an open file before a checkpoint
	retryMax   = time.Minute
)

// schedule says that st's bytes shall become a version once it is quiet. fs.mu is held.
func (fs *FS) schedule(n *Node, st *stage) {
	if st.rec.Local && !st.rec.Linger || st.unfinished {
		return
	}
	now := time.Now()
	if st.first.IsZero() {
		st.first = now
	}
	quiet := fs.policy.Quiet
	if !n.inDrive {
		quiet = fs.policy.NewQuiet
	}
	st.due = now.Add(quiet)
	if last := st.first.Add(fs.policy.Cap); st.due.After(last) {
		st.due = last
	}
	fs.pending[st] = struct{}{}
	fs.wakeFor(st)
}

// closedWriter follows the last writer's close. fs.mu is held.
func (fs *FS) closedWriter(n *Node, st *stage) {
	if st.dead {
		return
	}
	if st.rec.Begun {
		if s, err := n.stageStat(); err != nil || s.size > smallFile {
			fs.logged(st.update(func(r *record) { r.Begun = false }))
		}
	}
	if had := n.info.Bytes.Size; n.inDrive && had > passSize {
		if s, err := n.stageStat(); err == nil && s.size > had {
			n.grew = time.Now()
		}
	}
	fs.finished(st)
	fs.schedule(n, st)
	if _, ok := fs.pending[st]; ok && n.inDrive && !st.changed() {
		st.due = time.Now() // nothing to say: end it at once
		fs.wakeFor(st)
	}
	fs.settled.Broadcast()
}

// watchOpen has the committer look after a file that is open for writing. fs.mu is held.
func (fs *FS) watchOpen(st *stage) {
	if st.dead || st.rec.Local {
		return
	}
	st.due = time.Time{}
	if st.opened.IsZero() || st.writers == 1 {
		st.opened = time.Now()
	}
	fs.pending[st] = struct{}{}
}

// unschedule takes st from the committer. fs.mu is held.
func (fs *FS) unschedule(st *stage) {
	st.due = time.Time{}
	if _, ok := fs.pending[st]; ok {
		delete(fs.pending, st)
		fs.settled.Broadcast()
	}
}

// wakeFor wakes the committer if it would look too late by itself. Of many files that are written one after another it hears of the first.
// fs.mu is held.
func (fs *FS) wakeFor(st *stage) {
	if st.due.Before(fs.looks) {
		fs.wake()
	}
}

func (fs *FS) wake() {
	select {
	case fs.kick <- struct{}{}:
	default:
	}
}

// commitLoop commits what is due until the file system closes.
func (fs *FS) commitLoop() {
	defer fs.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(fs.untilDue())
		select {
		case <-fs.quit:
			return
		case <-fs.kick:
			continue
		case <-timer.C:
		}
		small := fs.takeDue()
		for len(small) > 0 {
			k := batchOf(small)
			fs.commit(fs.ctx, small[:k])
			small = small[k:]
		}
	}
}

// lane is stages that are busy and wait for their turn, a few at a time. Nobody waits for a lane. fs.mu guards it.
type lane struct {
	limit int
	run   func(*stage)
	queue []*stage
	busy  int
}

// enter adds a stage. fs.mu is held, by the committer.
func (fs *FS) enter(l *lane, st *stage) {
	l.queue = append(l.queue, st)
	if l.busy == l.limit {
		return
	}
	l.busy++
	fs.wg.Go(func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		for len(l.queue) > 0 {
			st := l.queue[0]
			l.queue = l.queue[1:]
			fs.mu.Unlock()
			l.run(st)
			fs.mu.Lock()
		}
		l.busy--
	})
}

// fetchDue fetches what is missing of a stage that is due. It holds nothing meanwhile, and is due again afterwards.
func (fs *FS) fetchDue(st *stage) {
	ctx, cancel := context.WithCancel(fs.ctx)
	defer cancel()
	fs.mu.Lock()
	st.cancel = cancel
	dead := st.dead
	fs.mu.Unlock()
	var err error
	if !dead {
		err = st.fetch(ctx)
	}
	fs.mu.Lock()
	st.cancel = nil
	if st.dead {
		err = nil
	}
	fs.mu.Unlock()
	fs.finish(st, err, false)
}

// batchOf says how many of the stages to commit together.
func batchOf(sts []*stage) int {
	sum := int64(0)
	for i, st := range sts {
		sum += st.size
		if i+1 == batchFiles || sum > batchBytes {
			return i + 1
		}
	}
	return len(sts)
}

func (fs *FS) untilDue() time.Duration {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	wait := min(5*time.Second, fs.policy.Checkpoint)
	now := time.Now()
	for st := range fs.pending {
		if !st.due.IsZero() && !st.busy {
			wait = min(wait, st.due.Sub(now))
		}
	}
	wait = max(wait, 0)
	fs.looks = now.Add(wait)
	return wait
}

// takeDue marks what is due as busy. It returns what is small and whole; what is large, and what has to be fetched first, goes into the
// lane for it.
func (fs *FS) takeDue() (small []*stage) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	now := time.Now()
	for st := range fs.pending {
		if st.busy || !st.isDue(now) {
			continue
		}
		st.busy = true
		fs.busy++
		s, err := st.stat()
		st.size = s.size
		switch {
		case st.lower.lies() && st.changed():
			fs.enter(&fs.fetches, st)
		case err == nil && s.size > smallFile && !st.lower.lies():
			fs.enter(&fs.larges, st)
		default:
			small = append(small, st)
		}
	}
	return small
}

// isDue says whether to commit st now. When one is due, those that soon would be go along: of many files that are written one after
// another each entry then takes many. fs.mu is held.
func (st *stage) isDue(now time.Time) bool {
	if !st.due.IsZero() {
		return !st.due.After(now.Add(st.fs.policy.NewQuiet / 2))
	}
	if st.writers == 0 || now.Sub(st.opened) < st.fs.policy.Checkpoint {
		return false
	}
	s, err := st.stat()
	if err != nil || now.Sub(s.mtime) < openQuiet || !st.changed() || st.database() {
		return false
	}
	st.opened = now
	return true
}

// database reports whether a SQLite journal is live beside the file: a copy of it alone would be torn.
func (st *stage) database() bool {
	if st.node.dir == nil {
		return false
	}
	kids := st.node.dir.kids
	return kids[st.node.name+"-journal"] != nil || kids[st.node.name+"-wal"] != nil
}

// commit commits stages that takeDue returned, in one step of the drive.
func (fs *FS) commit(ctx context.Context, sts []*stage) {
	var locked []*stage
	for _, st := range sts {
		if st.node.wmu.tryLock() {
			locked = append(locked, st)
		} else {
			fs.finish(st, nil, true)
		}
	}
	err := fs.commitLocked(ctx, locked, true)
	if err != nil && len(locked) > 1 { // find the one that spoils it
		for _, st := range locked {
			err := fs.commitLocked(ctx, []*stage{st}, true)
			fs.finish(st, err, false)
			st.node.wmu.unlock()
		}
		return
	}
	for _, st := range locked {
		fs.finish(st, err, false)
		st.node.wmu.unlock()
	}
}

// saved reports whether the last save of a file of the drive is no version yet, and could be one.
func (n *Node) saved() bool {
	if n.kind != File || n.past != nil {
		return false
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	st := n.stage
	return st != nil && n.inDrive && !st.dead && !st.rec.Local && !st.first.IsZero() && !st.lower.lies() && st.changed()
}

// saveFirst makes the last save of a file a version, because what it is is about to go. It returns the context's error alone: what cannot
// be recorded now could not be kept otherwise either.
func (n *Node) saveFirst(ctx context.Context) error {
	if !n.saved() {
		return nil
	}
	ctx, end := patient(ctx)
	defer end()
	unlock, err := n.lockStage(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	n.fs.mu.Lock()
	st := n.stage
	n.fs.mu.Unlock()
	if st == nil {
		return nil
	}
	if err := n.fs.commitLocked(ctx, []*stage{st}, false); err != nil && ctx.Err() == nil {
		path, _ := n.Path()
		n.fs.log.Warn("the last save of a file that is removed or replaced is lost", "path", path, "err", err)
	}
	return ctx.Err()
}

// finish follows an attempt to commit st.
func (fs *FS) finish(st *stage, err error, later bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	st.busy = false
	fs.busy--
	st.tries++
	switch {
	case later:
		if !st.due.IsZero() {
			st.due = time.Now().Add(50 * time.Millisecond)
		}
	case err == nil:
		st.fails, st.err = 0, nil
	case errors.Is(err, context.Canceled):
		st.due = time.Now().Add(100 * time.Millisecond) // somebody had something to do with the file
		if st.writers > 0 && !st.awaited() {
			st.due = time.Time{}
		}
	default:
		st.fails++
		st.err = err
		st.due = time.Now().Add(min(time.Second<<min(st.fails, 8), retryMax))
		path, _ := st.node.path()
		fs.log.Warn("a file cannot become part of the drive yet", "path", path, "err", err, "try", st.fails)
	}
	fs.settled.Broadcast()
	fs.wake()
}

// commitLocked seals stages, writes them into the drive and ends them. The nodes' wmu are held; with yields whoever wants the file goes
// before the sealing of one, which then fails.
func (fs *FS) commitLocked(ctx context.Context, sts []*stage, yields bool) error {
	var todo []*stage
	fs.mu.Lock()
	for _, st := range sts {
		n := st.node
		switch {
		case st.dead || n.stage != st && !st.rec.Linger:
			fs.unschedule(st)
		case st.rec.Linger:
			fs.mu.Unlock()
			if err := fs.endLinger(ctx, st); err != nil {
				return err
			}
			fs.mu.Lock()
		case n.inDrive && st.writers == 0 && (!st.changed() || !st.awaited() && time.Since(st.copied) < recheck) && st.mapped():
			st.lookLater()
		case n.inDrive && st.writers == 0 && !st.changed() && st.lent() && !n.overtaken():
			st.lookLater()
		case n.inDrive && !st.changed() && st.writers == 0:
			fs.epoch.Add(1)
			if err := fs.dropStage(n); err != nil {
				fs.mu.Unlock()
				return err
			}
		case st.writers > 0 && !st.changed():
			st.due, st.answered = time.Time{}, st.asked
		case st.lower.lies(): // written to since it was taken: what is missing is fetched first
		default:
			todo = append(todo, st)
		}
	}
	fs.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	sealing, end := ctx, func() {}
	if yields && len(sts) == 1 {
		sealing, end = sts[0].node.wmu.waiting(ctx, true)
	}
	done, err := fs.seal(sealing, todo)
	end()
	if err != nil {
		return err
	}
	return fs.record(ctx, done)
}
