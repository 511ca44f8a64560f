package vfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Progress tells how far a Sync or a Close is.
type Progress struct {
	Files int    // still to be committed
	Bytes int64  // in those files
	Path  string // one of them
}

// Pending lists the paths of what is written but not yet part of the drive, local-only names aside.
func (fs *FS) Pending() []string {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var all []string
	for st := range fs.pending {
		if p, ok := st.node.path(); ok && !st.rec.Linger {
			all = append(all, p)
		}
	}
	return all
}

// Unfinished lists the paths of new files that somebody was writing when an earlier process ended without an end in order: what there is
// of them is shown here. They become part of the drive when somebody closes them who wrote to them, by fsync, or by Sync of the very path.
func (fs *FS) Unfinished() []string {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var all []string
	for st := range fs.unfinished {
		if p, ok := st.node.path(); ok {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

// Failing tells how many files could not become part of the drive at the last try and wait for the next, and why one of them could not.
func (fs *FS) Failing() (n int, why error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for st := range fs.pending {
		if st.err != nil {
			n, why = n+1, st.err
		}
	}
	return n, why
}

// leaveUnfinished makes a stage of an earlier process unfinished, if it is. Short files are written in a moment, and who wrote one has
// most likely closed it when the process ended just before it heard of that: they are not. fs.mu is held.
func (fs *FS) leaveUnfinished(st *stage) bool {
	if !st.rec.Begun || st.rec.Synced || st.rec.Opened != nil {
		return false
	}
	if s, err := st.stat(); err != nil || s.size <= smallFile {
		return false
	}
	st.unfinished = true
	fs.unfinished[st] = struct{}{}
	return true
}

// finished says that an unfinished stage may become a version. fs.mu is held.
func (fs *FS) finished(st *stage) {
	if st.unfinished {
		st.unfinished = false
		delete(fs.unfinished, st)
		fs.schedule(st.node, st)
	}
}

// Sync commits everything pending at or below path ("" is everything), and every change of names and attributes, and
// returns when it is durable in the drive. A file that is open for writing is committed as it is. progress, if not nil, is called now and then
// from the calling goroutine.
func (fs *FS) Sync(ctx context.Context, path string, progress func(Progress)) error {
	fs.mu.Lock()
	for st := range fs.unfinished {
		if p, _ := st.node.path(); p != "" && p == path {
			fs.finished(st)
		}
	}
	fs.mu.Unlock()
	err := fs.settle(ctx, func(st *stage) bool { return st.under(path) }, progress)
	if e := fs.drive.Flush(ctx); e != nil {
		err = errors.Join(err, fmt.Errorf("changes are not part of the drive yet: %w", e))
	}
	return err
}

// Settle commits what is pending and closed, and returns when that is part of the drive: whoever reads the drive then sees what programs
// here have saved. What is written to the drive next is seen here, too: a stage that hides it until the kernel has let go of the file is
// waited for, and so is the word of a close that is on its way, both for a moment. Removals that linger go on doing so: the file that is
// about to be saved there keeps its history. It fails as Sync does, and when ctx ends.
func (fs *FS) Settle(ctx context.Context) error {
	open := func(st *stage) bool { return st.writers > 0 }
	closed := func(st *stage) bool { return st.writers == 0 && !st.rec.Linger }
	hides := func(st *stage) bool { return closed(st) && time.Since(st.copied) < settleWait }
	fs.moment(ctx, open)
	if err := fs.settle(ctx, closed, nil); err != nil {
		return err
	}
	fs.moment(ctx, hides)
	return ctx.Err()
}

// moment returns when no stage is so any more, or after settleWait.
func (fs *FS) moment(ctx context.Context, so func(*stage) bool) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		fs.mu.Lock()
		fs.settled.Broadcast()
		fs.mu.Unlock()
	})()
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for ctx.Err() == nil && !fs.closed {
		any := false
		for st := range fs.pending {
			any = any || so(st)
		}
		if !any {
			return
		}
		fs.settled.Wait()
	}
}

// settle commits the files that which picks; fs.mu is held when it is called.
func (fs *FS) settle(ctx context.Context, which func(*stage) bool, progress func(Progress)) error {
	defer context.AfterFunc(ctx, func() {
		fs.mu.Lock()
		fs.settled.Broadcast()
		fs.mu.Unlock()
	})()
	fs.mu.Lock()
	defer fs.mu.Unlock()
	left := map[*stage]int{}
	now := time.Now()
	for st := range fs.pending {
		if !which(st) {
			continue
		}
		st.due = now
		st.asked++
		left[st] = st.tries
	}
	fs.wake()
	for {
		var err error
		p := Progress{}
		for st, tries := range left {
			_, waits := fs.pending[st]
			if !waits || !st.awaited() && !st.busy {
				delete(left, st)
				continue
			}
			if st.err != nil && st.tries > tries {
				err = st.err
			}
			p.Files++
			if s, e := st.stat(); e == nil && st.path != "" {
				p.Bytes += s.size
			}
			p.Path, _ = st.node.path()
		}
		if progress != nil {
			fs.mu.Unlock()
			progress(p)
			fs.mu.Lock()
		}
		switch {
		case len(left) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("%d files are written but not part of the drive yet: %w", p.Files, err)
		case ctx.Err() != nil:
			return fmt.Errorf("%d files are written but not part of the drive yet: %w", p.Files, ctx.Err())
		case fs.closed:
			return ErrUnmounted
		}
		fs.settled.Wait()
	}
}

// under reports whether the stage concerns path or something below it. fs.mu is held.
func (st *stage) under(path string) bool {
	if path == "" {
		return true
	}
	p, _ := st.node.path()
	return p == path || len(p) > len(path) && p[:len(path)] == path && p[len(path)] == '/'
}
