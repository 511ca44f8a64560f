package vfs

import (
	"context"
	"errors"
	"fmt"
)

// Rename moves an entry, over a file or an empty directory if there is one. At every instant, whatever becomes of
// the process, the target's name shows its old bytes or the new ones, whole: bytes that are only staged are sealed
// and recorded as the target's next version before Rename returns. Of an edited file that is not all here, others see the version
// before the edit under the target's name until the rest has come: Rename never waits for the network.
func (n *Node) Rename(ctx context.Context, name string, to *Node, newName string, noReplace bool) error {
	fs := n.fs
	if n.past != nil || to.past != nil {
		return ErrReadOnly
	}
	if err := fs.mayChange(); err != nil {
		return err
	}
	if err := checkName(newName); err != nil {
		return err
	}
	if to == fs.root && newName == PastName {
		return errExist
	}
	if err := n.fetchFirst(ctx, name); err != nil {
		return err
	}
	if c, err := to.Lookup(ctx, newName); err == nil && !(n == to && name == newName) {
		err := c.saveFirst(ctx)
		c.Unpin()
		if err != nil {
			return err
		}
	}
	defer fs.lockDirs(n, to)()
	src, err := n.lookup(name)
	if err != nil {
		return err
	}
	defer src.Unpin()
	dst, err := to.lookup(newName)
	if err != nil && (to.Unlinked() || !errors.Is(err, errNotExist)) {
		return err
	}
	if dst != nil {
		defer dst.Unpin()
		if dst == src {
			return nil
		}
		if noReplace {
			return errExist
		}
		unlock, err := n.mayReplace(src, dst)
		if err != nil {
			return err
		}
		defer unlock()
	}
	if src.kind == Dir && to.within(src) {
		return ErrLoop
	}
	unlock, err := lockStages(ctx, src, dst)
	if err != nil {
		return err
	}
	defer unlock()
	m := &move{fs: fs, src: src, dst: dst, from: n, to: to, name: name, newName: newName}
	return m.run(ctx)
}

// fetchFirst fetches what is missing of a staged file that the drive does not show (others removed it): a rename may have to record
// it. One that the drive shows can be renamed there as it is.
func (n *Node) fetchFirst(ctx context.Context, name string) error {
	c, err := n.Lookup(ctx, name)
	if err != nil {
		return err
	}
	defer c.Unpin()
	n.fs.mu.Lock()
	st := c.stage
	need := c.kind == File && st != nil && st.lower.lies() && !c.inDrive
	n.fs.mu.Unlock()
	if !need {
		return nil
	}
	ctx, end := patient(ctx)
	defer end()
	return st.fetch(ctx)
}

// lockDirs locks the names of two directories.
func (fs *FS) lockDirs(a, b *Node) (unlock func()) {
	fs.many.Lock()
	a.ns.Lock()
	if a != b {
		b.ns.Lock()
	}
	return func() {
		if a != b {
			b.ns.Unlock()
		}
		a.ns.Unlock()
		fs.many.Unlock()
	}
}

// lockStages locks the stages of two nodes, in an order that is always the same; b may be nil.
func lockStages(ctx context.Context, a, b *Node) (unlock func(), err error) {
	if b == nil {
		return a.lockStage(ctx, true)
	}
	if a.gen > b.gen {
		a, b = b, a
	}
	ua, err := a.lockStage(ctx, true)
	if err != nil {
		return nil, err
	}
	ub, err := b.lockStage(ctx, true)
	if err != nil {
		ua()
		return nil, err
	}
	return func() { ub(); ua() }, nil
}

// mayReplace checks that src, which is in n, can take dst's place, and keeps a directory empty until the returned function is
// called.
func (n *Node) mayReplace(src, dst *Node) (unlock func(), err error) {
	switch {
	case dst.kind == Dir && src.kind != Dir:
		return nil, ErrIsDir
	case dst.kind != Dir && src.kind == Dir:
		return nil, ErrNotDir
	case dst.kind != Dir:
		return func() {}, nil
	case n.within(dst): // whose names may be locked already
		return nil, ErrNotEmpty
	}
	dst.ns.Lock()
	if err := dst.empty(); err != nil {
		dst.ns.Unlock()
		return nil, err
	}
	return dst.ns.Unlock, nil
}

// within reports whether n is dir or below it.
func (n *Node) within(dir *Node) bool {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	for m := n; m != nil; m = m.dir {
		if m == dir {
			return true
		}
	}
	return false
}

// move is one rename with everything locked.
type move struct {
	fs            *FS
	src, dst      *Node // dst is nil when the name is free
	from, to      *Node
	name, newName string
	linger        *stage // the removal that lingers under newName, held
}

func (m *move) run(ctx context.Context) error {
	fs := m.fs
	linger, unlock := m.to.holdLinger(m.newName)
	defer unlock()
	m.linger = linger
	fs.mu.Lock()
	local := m.to.local() || LocalOnly(m.newName)
	src := m.src
	staged, inDrive, isLocal := src.stage != nil, src.inDrive, src.stage != nil && src.stage.rec.Local
	// What is not here yet is renamed in the drive, and so is what is only open: it has nothing that the drive has not.
	there := !staged || src.kind == File && (src.stage.lower.lies() || !src.stage.changed())
	fs.mu.Unlock()
	switch {
	case local && inDrive && src.kind == File:
		return m.intoLocal(ctx, staged)
	case local && !inDrive:
		return m.retarget(ctx, true)
	case m.to.isLocal() && inDrive:
		return ErrSupport // a replicated directory or symlink cannot go below a local-only directory
	case inDrive && there:
		return m.inDrive(ctx)
	case isLocal && src.kind == Dir:
		return m.publishDir(ctx)
	case isLocal && src.kind == Symlink:
		return m.publishLink(ctx)
	case m.overDrive():
		return m.commitOver(ctx)
	case inDrive:
		return m.inDrive(ctx)
	}
	return m.retarget(ctx, false)
}

func (n *Node) isLocal() bool {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.local()
}

// settle makes the removal that lingers under the new name real.
func (m *move) settle(ctx context.Context) error {
	if m.linger == nil {
		return nil
	}
	st := m.linger
	m.linger = nil
	return m.fs.endLinger(ctx, st)
}

// retarget renames what the journal alone knows.
func (m *move) retarget(ctx context.Context, local bool) error {
	fs := m.fs
	if !local {
		if err := m.settle(ctx); err != nil {
			return err
		}
	}
	if err := fs.keepFirst(m.src, m.dst); err != nil { // the directory may be as new
		return err
	}
	fs.mu.Lock()
	st := m.src.stage
	r := st.rec
	r.Name, r.Local = m.newName, local
	r.Parent, r.Under = m.to.home()
	cs := []change{put(r)}
	synced := r.Synced
	over := m.dst
	if over != nil && over.inDrive {
		over = nil // hidden from now on; removed below
	}
	if over != nil && over.stage != nil {
		cs = append(cs, drop(over.stage.rec.ID))
		synced = synced || over.stage.rec.Synced
	}
	if err := fs.journal.append(cs...); err != nil {
		fs.mu.Unlock()
		return err
	}
	st.rec = r
	if over != nil {
		over.stage.dead = true
		over.displace()
		fs.logged(fs.dropStage(over))
	}
	m.place()
	m.src.retimed()
	fs.mu.Unlock()
	if m.dst != nil && over == nil {
		if err := m.to.removeHidden(ctx, m.newName, m.dst); err != nil {
			return err
		}
	}
	if synced {
		return fs.keep()
	}
	return nil
}

// retimed says when to commit what has got another name in the journal. fs.mu is held.
func (n *Node) retimed() {
	fs, st := n.fs, n.stage
	switch {
	case st.path == "":
	case st.rec.Local:
		st.unfinished = false
		delete(fs.unfinished, st)
		fs.unschedule(st)
	case st.writers > 0:
		fs.watchOpen(st)
	default:
		fs.schedule(n, st)
	}
}

// removeHidden removes an entry of the drive whose name something staged has taken.
func (n *Node) removeHidden(ctx context.Context, name string, c *Node) error {
	fs := n.fs
	fs.mu.Lock()
	parent := n.info.Node
	fs.mu.Unlock()
	if err := fs.journal.sync(); err != nil { // what takes the name must not be lost with what had it
		return err
	}
	err := fs.later(ctx, func(b Batch) error { return b.Remove(parent, name) })
	if err != nil && !errors.Is(err, errNotExist) {
		return err
	}
	if err := fs.keepFirst(c); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	c.unlinked = true
	c.leaveDrive()
	return fs.dropStage(c)
}

// place shows the node under its new name. fs.mu is held.
func (m *move) place() {
	if m.dst != nil && m.to.kids[m.newName] == m.dst {
		m.dst.displace()
	}
	m.src.place(m.to, m.newName)
	m.from.changed()
	m.to.changed()
}

// inDrive renames an entry of the drive, with its stage if it has one.
func (m *move) inDrive(ctx context.Context) error {
	fs := m.fs
	if err := m.settle(ctx); err != nil {
		return err
	}
	fs.mu.Lock()
	from, to, node := m.from.info.Node, m.to.info.Node, m.src.info.Node
	var over *stage
	if m.dst != nil {
		over = m.dst.stage
	}
	fs.mu.Unlock()
	if err := fs.voiding(over, place{from, m.name, node}); err != nil {
		return err
	}
	if err := m.heading(&place{Parent: to, Name: m.newName}); err != nil {
		fs.unvoid(over)
		return err
	}
	if err := fs.later(ctx, func(b Batch) error { return b.Move(from, m.name, to, m.newName) }); err != nil {
		fs.unvoid(over)
		fs.logged(m.heading(nil))
		return err
	}
	return m.moved(ctx)
}

// heading tells the journal where a staged file is about to go in the drive, where the entry that it replaces may be its own from then on.
func (m *move) heading(to *place) error {
	fs := m.fs
	fs.mu.Lock()
	st := m.src.stage
	if m.src.kind != File || m.dst == nil || st == nil || st.dead {
		fs.mu.Unlock()
		return nil
	}
	err := st.update(func(r *record) { r.To = to })
	synced := st.rec.Synced
	fs.mu.Unlock()
	if err == nil && synced {
		err = fs.journal.sync()
	}
	return err
}

// moved follows a rename that the drive has made.
func (m *move) moved(ctx context.Context) error {
	fs := m.fs
	fs.mu.Lock()
	to, told := m.to.info.Node, fs.told
	fs.mu.Unlock()
	info, err := fs.drive.Lookup(to, m.newName)
	if err != nil {
		return fmt.Errorf("looking at what was just renamed: %w", err)
	}
	if err := fs.keepFirst(m.src, m.dst); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if m.dst != nil {
		m.dst.displace()
		m.dst.leaveDrive()
		err = fs.dropStage(m.dst)
	}
	m.place()
	return errors.Join(err, m.src.cameTo(m.to, info, told))
}

// cameTo follows a move of n's entry to where the drive shows it as info says; told is the state of fs.told when it was looked at. Should
// others have written to the file since n's bytes were read, n goes on with those: whoever looks the name up gets theirs, and what was
// made of the older ones stands beside them. fs.mu is held.
func (n *Node) cameTo(dir *Node, info Info, told uint64) error {
	overtaken := n.kind == File && info.Bytes != n.info.Bytes
	if overtaken {
		info.Bytes, info.MTime, info.Raw = n.info.Bytes, n.info.MTime, n.info.Raw
	}
	n.joinDrive(info)
	if overtaken {
		n.checked = 0
	} else {
		n.seen(told)
	}
	if n.rev != nil && n.stage == nil {
		n.rev.info = info
	}
	st := n.stage
	if st == nil || st.dead {
		return nil
	}
	return st.update(func(r *record) {
		r.Parent, r.Name, r.Node, r.Opened = dir.info.Node, n.name, info.Node, n.fs.drive.Opened(info)
		r.To = nil
	})
}

func (n *Node) id() NodeID {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.info.Node
}
