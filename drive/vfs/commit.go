package vfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	smallFile  = 1 << 20 // up to here files are committed many at a time
	batchFiles = 1000
	batchBytes = 32 << 20
	manyLarge  = 2                // large files sealed at once
	recheck    = 30 * time.Second // of a file that is still mapped for writing
	openQuiet  = 2 * time.Second  // of an open file before a checkpoint
	retryMax   = time.Minute
)

// schedule says that st's bytes shall become a version once it is quiet. fs.mu is held.
func (fs *FS) schedule(n *Node, st *stage) {
	if st.rec.Local && !st.rec.Linger {
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
	fs.wake()
}

// closedWriter follows the last writer's close. fs.mu is held.
func (fs *FS) closedWriter(n *Node, st *stage) {
	if st.dead {
		return
	}
	fs.schedule(n, st)
	if _, ok := fs.pending[st]; ok && n.inDrive && !st.changed() {
		st.due = time.Now() // nothing to say: end it at once
	}
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

func (fs *FS) wake() {
	select {
	case fs.kick <- struct{}{}:
	default:
	}
}

// commitLoop commits what is due until the file system closes.
func (fs *FS) commitLoop() {
	defer fs.wg.Done()
	large := make(chan struct{}, manyLarge)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(fs.untilDue())
		select {
		case <-fs.quit:
			for range manyLarge {
				large <- struct{}{}
			}
			return
		case <-fs.kick:
			continue
		case <-timer.C:
		}
		small, big := fs.takeDue()
		for len(small) > 0 {
			k := batchOf(small)
			fs.commit(fs.ctx, small[:k])
			small = small[k:]
		}
		for _, st := range big {
			large <- struct{}{}
			go func() {
				defer func() { <-large }()
				fs.commit(fs.ctx, []*stage{st})
			}()
		}
	}
}

// batchOf says how many of the stages to commit together.
func batchOf(sts []*stage) int {
	sum := int64(0)
	for i, st := range sts {
		if s, err := st.stat(); err == nil {
			sum += s.size
		}
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
	return max(wait, 0)
}

// takeDue marks what is due as busy and returns it.
func (fs *FS) takeDue() (small, large []*stage) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	now := time.Now()
	for st := range fs.pending {
		if st.busy || !st.isDue(now) {
			continue
		}
		st.busy = true
		fs.busy++
		if s, err := st.stat(); err == nil && s.size > smallFile {
			large = append(large, st)
		} else {
			small = append(small, st)
		}
	}
	return small, large
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
		if st.node.wmu.TryLock() {
			locked = append(locked, st)
		} else {
			fs.finish(st, nil, true)
		}
	}
	err := fs.commitLocked(ctx, locked)
	if err != nil && len(locked) > 1 { // find the one that spoils it
		for _, st := range locked {
			err := fs.commitLocked(ctx, []*stage{st})
			fs.finish(st, err, false)
			st.node.wmu.Unlock()
		}
		return
	}
	for _, st := range locked {
		fs.finish(st, err, false)
		st.node.wmu.Unlock()
	}
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
		if st.writers > 0 {
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

// sealed is a stage whose bytes the blob store has.
type sealed struct {
	st   *stage
	imp  Imported
	stat fileStat
	copy string // a snapshot: the stage goes on
	same bool   // the drive's entry has these bytes
}

// commitLocked seals stages, writes them into the drive and ends them. The nodes' wmu are held.
func (fs *FS) commitLocked(ctx context.Context, sts []*stage) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
		case n.inDrive && !st.changed() && st.writers == 0 && st.mapped():
			st.due, st.force = time.Now().Add(openQuiet), false
		case n.inDrive && !st.changed() && st.writers == 0:
			fs.epoch.Add(1)
			if err := fs.dropStage(n); err != nil {
				fs.mu.Unlock()
				return err
			}
		case st.writers > 0 && !st.changed():
			st.due, st.force = time.Time{}, false
		default:
			todo = append(todo, st)
			if len(sts) == 1 {
				st.cancel = cancel
			}
		}
	}
	fs.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	done, err := fs.seal(ctx, todo)
	fs.mu.Lock()
	for _, st := range todo {
		st.cancel = nil
	}
	fs.mu.Unlock()
	if err != nil {
		return err
	}
	return fs.record(ctx, done)
}

// seal imports the stages' bytes. The staging files keep their names until the drive has recorded them: a second
// name, a hard link, is what the blob store takes over.
func (fs *FS) seal(ctx context.Context, sts []*stage) (done []sealed, err error) {
	srcs := make([]Source, 0, len(sts))
	defer func() {
		for _, s := range srcs {
			s.File.Close()
			os.Remove(s.Path)
		}
	}()
	for _, st := range sts {
		f, err := os.Open(st.path)
		if err != nil {
			return nil, fmt.Errorf("sealing: %w", err)
		}
		fs.mu.Lock()
		writers := st.writers
		fs.mu.Unlock()
		d := sealed{st: st}
		src := Source{File: f, Path: st.path + ".seal"}
		os.Remove(src.Path)
		live := writers > 0 || mapped(f)
		d.stat, err = st.before(live)
		switch {
		case err != nil:
		case live:
			d.copy = src.Path
			src.File, err = snapshot(ctx, f, src.Path)
		default:
			err = os.Link(st.path, src.Path)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("sealing: %w", err)
		}
		if src.File != f {
			f.Close()
		}
		srcs, done = append(srcs, src), append(done, d)
	}
	imps, err := fs.drive.Import(ctx, srcs)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	for i := range done {
		done[i].imp = imps[i]
	}
	return done, nil
}

// tick is longer than what the kernel's file times are counted in: within it two writes may leave the same time.
const tick = 20 * time.Millisecond

// before returns how the staging file is before its bytes are taken, so that what is written to it from then on shows
// as a change. Of a live one that is written to this very moment no time tells that: nothing equals what is returned.
func (st *stage) before(live bool) (fileStat, error) {
	s, err := st.stat()
	if err != nil || !live || time.Since(s.ctime) > tick {
		return s, err
	}
	time.Sleep(tick)
	if s, err = st.stat(); err == nil && time.Since(s.ctime) <= tick {
		s.ctime = time.Time{}
	}
	return s, err
}

// mapped reports whether somebody can still write to the file: through a shared mapping, which outlives close(2)
// and, with passthrough, is on the staging file itself. A read lease is refused while anybody can.
func mapped(f *os.File) bool {
	fd := f.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
	return false
}

// mapped is mapped of the staging file, if that can be told.
func (st *stage) mapped() bool {
	f, err := os.Open(st.path)
	if err != nil {
		return false
	}
	defer f.Close()
	return mapped(f)
}

// snapshot copies a file that may still be written to.
func snapshot(ctx context.Context, f *os.File, path string) (*os.File, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	g, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if unix.IoctlFileClone(int(g.Fd()), int(f.Fd())) != nil {
		_, err = copyRange(g, f, 0, fi.Size())
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		g.Close()
		os.Remove(path)
		return nil, err
	}
	return g, nil
}

// plan is what one sealed file is in a batch, taken before the batch runs.
type plan struct {
	sealed
	parent NodeID
	name   string
	opened []byte
	attrs  Attrs
	info   Info // afterwards
	shown  bool // under its name
}

// plans reads what the batch needs. fs.mu is held.
func (d sealed) plan() *plan {
	n, r := d.st.node, &d.st.rec
	p := &plan{sealed: d, parent: r.Parent, name: r.Name, opened: r.Opened}
	if n.dir != nil && n.dir.inDrive {
		p.parent, p.name = n.dir.info.Node, n.name
	}
	mtime := d.stat.mtime
	p.attrs.MTime = &mtime
	if r.Opened == nil || r.SetPerm {
		perm := r.Perm
		p.attrs.Perm, p.attrs.Xattrs = &perm, r.Xattrs
	}
	p.same = p.same && n.inDrive && n.info.Bytes == d.imp.Bytes()
	return p
}

// unchanged reports whether the drive has these bytes already, so that only the attributes may differ. That the entry's
// author says so is not enough: what was saved here would be gone if it is not true.
func (fs *FS) unchanged(ctx context.Context, d sealed) bool {
	fs.mu.Lock()
	n, r := d.st.node, &d.st.rec
	info := n.info
	same := n.inDrive && r.Opened != nil && info.Bytes == d.imp.Bytes() && !r.SetPerm
	fs.mu.Unlock()
	if !same {
		return false
	}
	v, ok := fs.drive.(interface {
		Verify(context.Context, Info) bool
	})
	return !ok || v.Verify(ctx, info)
}

// add puts the file into a batch.
func (p *plan) add(b Batch) error {
	if p.opened != nil {
		if p.same {
			if p.attrs.MTime.Equal(p.st.node.info.MTime) {
				return nil
			}
			if err := b.SetAttr(p.parent, p.name, Attrs{MTime: p.attrs.MTime}); !errors.Is(err, errNotExist) {
				return err
			}
			return nil
		}
		err := b.Write(p.opened, p.imp, p.attrs)
		if !errors.Is(err, errNotExist) {
			return err
		}
		if p.attrs.Perm == nil { // removed by others while it was edited here: it comes back as a new file
			perm := p.st.rec.Perm
			p.attrs.Perm = &perm
		}
	}
	err := b.Create(p.parent, p.name, p.imp, p.attrs)
	if errors.Is(err, errNotExist) { // its directory is gone
		p.parent = NodeID{}
		err = b.Create(p.parent, p.name, p.imp, p.attrs)
	}
	return err
}

// record writes sealed files into the drive and ends their stages.
func (fs *FS) record(ctx context.Context, done []sealed) error {
	ps := make([]*plan, len(done))
	for i, d := range done {
		done[i].same = fs.unchanged(ctx, d)
	}
	fs.mu.Lock()
	for i, d := range done {
		ps[i] = d.plan()
	}
	err := fs.becoming(done)
	fs.mu.Unlock()
	if err == nil {
		err = fs.journal.sync()
	}
	if err != nil {
		return err
	}
	err = fs.write(ctx, func(b Batch) error {
		for _, p := range ps {
			if err := p.add(b); err != nil {
				return fmt.Errorf("recording %q: %w", p.name, err)
			}
		}
		return nil
	})
	if err != nil {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		for _, d := range done {
			fs.logged(d.st.update(func(r *record) { r.Became = nil }))
		}
		return err
	}
	for _, p := range ps {
		p.info, p.shown = fs.find(p.parent, p.name, p.imp.Bytes())
	}
	var paths []string
	fs.mu.Lock()
	fs.epoch.Add(1)
	cs := make([]change, 0, len(ps))
	for _, p := range ps {
		c, path := fs.recorded(p)
		cs = append(cs, c)
		if path != "" {
			paths = append(paths, path)
		}
	}
	err = fs.journal.append(cs...)
	fs.mu.Unlock()
	if err == nil {
		err = fs.journal.sync()
	}
	if err != nil {
		return err
	}
	for _, path := range paths {
		os.Remove(path)
	}
	return nil
}

// becoming writes down what is about to be recorded, so that replay sees that it was. fs.mu is held.
func (fs *FS) becoming(done []sealed) error {
	cs := make([]change, len(done))
	for i, d := range done {
		b := d.imp.Bytes()
		d.st.rec.Became = &b
		cs[i] = put(d.st.rec)
	}
	return fs.journal.append(cs...)
}

// find looks a committed file up: under its name, or where a conflict put it.
func (fs *FS) find(parent NodeID, name string, b Bytes) (Info, bool) {
	info, err := fs.drive.Lookup(parent, name)
	if err == nil && info.Kind == File && info.Bytes == b {
		return info, true
	}
	infos, _ := fs.drive.List(parent)
	for _, i := range infos {
		if i.Kind == File && i.Bytes == b && i.Conflict {
			return i, true
		}
	}
	return Info{}, false
}

// recorded ends or renews a stage whose bytes the drive has now, and returns what to tell the journal and which
// staging file to remove after that. fs.mu is held.
func (fs *FS) recorded(p *plan) (change, string) {
	st, n := p.st, p.st.node
	st.force, st.first = false, time.Time{}
	if p.shown {
		if n.dir != nil && n.name != p.info.Name {
			fs.replaceKid(n.dir, p.info.Name, n)
		}
		n.joinDrive(p.info)
	}
	if p.copy != "" {
		r := st.rec
		r.Became = nil
		if p.shown {
			r.Node, r.Opened, r.SetPerm = p.info.Node, fs.drive.Opened(p.info), false
		}
		st.rec, st.base, st.fresh = r, p.stat, false
		st.due = time.Time{}
		if st.writers == 0 {
			st.due = time.Now().Add(recheck)
		}
		return put(r), ""
	}
	fs.unschedule(st)
	st.dead = true
	n.stage = nil
	n.rev.path, n.rev.info = "", p.info
	if !p.shown { // others' version won the name in this very moment
		n.leaveDrive()
		n.stale = true
		n.displace()
	}
	n.release()
	return drop(st.rec.ID), st.path
}

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

// Sync commits everything pending at or below path ("" is everything) and returns when it is durable
// in the drive. A file that is open for writing is committed as it is. progress, if not nil, is called now and then
// from the calling goroutine.
func (fs *FS) Sync(ctx context.Context, path string, progress func(Progress)) error {
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
		if !st.under(path) {
			continue
		}
		st.due, st.force = now, true
		left[st] = st.tries
	}
	fs.wake()
	for {
		var err error
		p := Progress{}
		for st, tries := range left {
			_, waits := fs.pending[st]
			if !waits || !st.force && !st.busy {
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
