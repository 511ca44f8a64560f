package vfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// Rename moves an entry, over a file or an empty directory if there is one. At every instant, whatever becomes of
// the process, the target's name shows its old bytes or the new ones, whole: bytes that are only staged are sealed
// and recorded as the target's next version before Rename returns.
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
	defer fs.lockDirs(n, to)()
	src, err := n.lookup(name)
	if err != nil {
		return err
	}
	defer src.Unpin()
	dst, err := to.lookup(newName)
	if err != nil && !errors.Is(err, errNotExist) {
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
		unlock, err := mayReplace(src, dst)
		if err != nil {
			return err
		}
		defer unlock()
	}
	if src.kind == Dir && to.within(src) {
		return ErrLoop
	}
	defer lockStages(src, dst)()
	m := &move{fs: fs, src: src, dst: dst, from: n, to: to, name: name, newName: newName}
	return m.run(ctx)
}

// lockDirs locks the names of two directories. Only one operation at a time locks more than one directory.
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
func lockStages(a, b *Node) (unlock func()) {
	if b == nil {
		return a.lockStage()
	}
	if a.gen > b.gen {
		a, b = b, a
	}
	ua := a.lockStage()
	ub := b.lockStage()
	return func() { ub(); ua() }
}

// mayReplace checks that src can take dst's place, and keeps a directory empty until the returned function is
// called.
func mayReplace(src, dst *Node) (unlock func(), err error) {
	switch {
	case dst.kind == Dir && src.kind != Dir:
		return nil, ErrIsDir
	case dst.kind != Dir && src.kind == Dir:
		return nil, ErrNotDir
	case dst.kind != Dir:
		return func() {}, nil
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
	fs.mu.Unlock()
	switch {
	case local && inDrive && src.kind == File:
		return m.intoLocal(ctx, staged)
	case local && !inDrive:
		return m.retarget(ctx, true)
	case m.to.isLocal() && inDrive:
		return ErrSupport // a replicated directory or symlink cannot go below a local-only directory
	case inDrive && !staged:
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

// overDrive reports whether the target's name is one that the drive shows, or would if its removal did not linger.
func (m *move) overDrive() bool {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	return m.dst != nil && m.dst.inDrive || m.linger != nil
}

// retarget renames what the journal alone knows.
func (m *move) retarget(ctx context.Context, local bool) error {
	fs := m.fs
	if !local {
		if err := m.settle(ctx); err != nil {
			return err
		}
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
	if st.path != "" && st.writers == 0 {
		if local {
			fs.unschedule(st)
		} else {
			fs.schedule(m.src, st)
		}
	}
	fs.mu.Unlock()
	if m.dst != nil && over == nil {
		if err := m.to.removeHidden(ctx, m.newName, m.dst); err != nil {
			return err
		}
	}
	if synced {
		return fs.journal.sync()
	}
	return nil
}

// removeHidden removes an entry of the drive whose name something staged has taken.
func (n *Node) removeHidden(ctx context.Context, name string, c *Node) error {
	fs := n.fs
	fs.mu.Lock()
	parent := n.info.Node
	fs.mu.Unlock()
	err := fs.write(ctx, func(b Batch) error { return b.Remove(parent, name) })
	if err != nil && !errors.Is(err, errNotExist) {
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
	if err := fs.write(ctx, func(b Batch) error { return b.Move(from, m.name, to, m.newName) }); err != nil {
		fs.unvoid(over)
		return err
	}
	return m.moved(ctx)
}

// moved follows a rename that the drive has made.
func (m *move) moved(ctx context.Context) error {
	fs := m.fs
	info, err := fs.drive.Lookup(m.to.id(), m.newName)
	if err != nil {
		return fmt.Errorf("looking at what was just renamed: %w", err)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	src := m.src
	if m.dst != nil {
		m.dst.displace()
		m.dst.leaveDrive()
		err = fs.dropStage(m.dst)
	}
	m.place()
	src.joinDrive(info)
	if src.rev != nil && src.stage == nil {
		src.rev.info = info
	}
	if st := src.stage; st != nil && !st.dead {
		e := st.update(func(r *record) {
			r.Parent, r.Name, r.Node, r.Opened = m.to.info.Node, m.newName, info.Node, fs.drive.Opened(info)
		})
		err = errors.Join(err, e)
	}
	return err
}

func (n *Node) id() NodeID {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.info.Node
}

// commitOver records staged bytes as the next version of the entry that has the name. The journal knows first: from
// then on the name shows the new bytes, whatever happens.
func (m *move) commitOver(ctx context.Context) error {
	fs := m.fs
	st := m.src.stage
	done, err := fs.seal(context.WithoutCancel(ctx), []*stage{st})
	if err != nil {
		return err
	}
	imp := done[0].imp
	fs.mu.Lock()
	p, before := m.plan(done[0]), st.rec
	err = m.announce(p, imp.Bytes())
	fs.mu.Unlock()
	if err != nil {
		return err
	}
	if err := fs.write(ctx, p.add); err != nil {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		m.takeBack(before)
		return err
	}
	info, shown := fs.find(p.to, m.newName, imp.Bytes())
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if m.dst != nil {
		m.dst.displace()
		m.dst.leaveDrive()
		err = fs.dropStage(m.dst)
	}
	var ended []change
	if l := m.linger; l != nil {
		fs.forgetLinger(l)
		ended = append(ended, drop(l.rec.ID))
	}
	m.place()
	c, path := fs.recorded(&plan{sealed: done[0], info: info, shown: shown})
	err = errors.Join(err, fs.journal.append(append(ended, c)...))
	if path != "" && err == nil {
		fs.removeLater(path)
	}
	return err
}

// announce tells the journal of the rename that p is about to make in the drive. fs.mu is held.
func (m *move) announce(p *overPlan, b Bytes) error {
	r := m.src.stage.rec
	r.Became = &b
	if p.inDrive {
		r.Void = &place{p.from, m.name, m.src.info.Node}
		cs := []change{put(r)}
		if m.dst != nil && m.dst.stage != nil {
			d := m.dst.stage.rec
			d.Void = r.Void
			cs = append(cs, put(d))
		}
		return m.fs.journal.append(cs...)
	}
	r.Parent, r.Under, r.Name = p.to, stageID{}, m.newName
	r.Local, r.Perm, r.SetPerm, r.Opened, r.Node = false, *p.attrs.Perm, true, p.target, NodeID{}
	var cs []change
	if m.linger != nil {
		r.Node = m.linger.rec.Node
		cs = append(cs, drop(m.linger.rec.ID))
	} else if m.dst != nil {
		r.Node = m.dst.info.Node
		if m.dst.stage != nil {
			cs = append(cs, drop(m.dst.stage.rec.ID))
		}
	}
	return m.fs.journal.append(append(cs, put(r))...)
}

// takeBack makes the journal what it was before announce. fs.mu is held.
func (m *move) takeBack(before record) {
	cs := []change{put(before)}
	if m.linger != nil {
		cs = append(cs, put(m.linger.rec))
	}
	if m.dst != nil && m.dst.stage != nil && !m.dst.stage.dead {
		cs = append(cs, put(m.dst.stage.rec))
	}
	m.fs.logged(m.fs.journal.append(cs...))
}

// overPlan is what a rename of staged bytes over an entry does in the drive.
type overPlan struct {
	*plan
	from, to NodeID
	name     string
	newName  string
	target   []byte // the file that gets the bytes; nil: none does
	replaced bool   // something else goes
	inDrive  bool   // the source has an entry of its own
}

// plan is what commitOver will do. fs.mu is held.
func (m *move) plan(d sealed) *overPlan {
	fs := m.fs
	r := &d.st.rec
	p := &overPlan{plan: d.plan(), from: m.from.info.Node, to: m.to.info.Node, name: m.name, newName: m.newName,
		inDrive: m.src.inDrive}
	perm := m.src.perm()
	p.attrs.Perm = &perm
	p.attrs.Xattrs = maps.Clone(r.Xattrs)
	switch l := m.linger; {
	case l != nil:
		p.target = l.rec.Opened
	case m.dst.kind == File:
		p.target = fs.drive.Opened(m.dst.info)
	default:
		p.replaced = true
	}
	return p
}

func (p *overPlan) add(b Batch) error {
	if p.inDrive { // the drive knows how a file replaces a file; it gets the new bytes first
		if err := b.Write(p.opened, p.imp, Attrs{MTime: p.attrs.MTime}); err == nil {
			return b.Move(p.from, p.name, p.to, p.newName)
		} else if !errors.Is(err, errNotExist) {
			return err
		}
	}
	if p.replaced {
		if err := b.Remove(p.to, p.newName); err != nil && !errors.Is(err, errNotExist) {
			return err
		}
	}
	if p.target != nil {
		err := b.Write(p.target, p.imp, p.attrs)
		if !errors.Is(err, errNotExist) {
			return err
		}
	}
	return b.Create(p.to, p.newName, p.imp, p.attrs)
}

// intoLocal renames a file of the drive to a local-only name: a copy of its bytes goes on under that name, and the
// entry's removal lingers. What is large or not here stays in the drive, under the new name.
func (m *move) intoLocal(ctx context.Context, staged bool) error {
	fs := m.fs
	src := m.src
	fs.mu.Lock()
	info := src.info
	fs.mu.Unlock()
	if !staged {
		if info.Bytes.Size > copyLimit || src.Status(ctx) != "local" {
			return m.inDriveOrRefuse(ctx)
		}
		if _, err := src.stageFor(context.WithoutCancel(ctx), -1); err != nil {
			return err
		}
	}
	fs.mu.Lock()
	st := src.stage
	r := st.rec
	r.Parent, r.Under = m.to.home()
	r.Name, r.Local, r.Node, r.Opened, r.SetPerm = m.newName, true, NodeID{}, nil, false
	r.Perm, r.Xattrs = src.perm(), info.Xattrs
	l := record{ID: newStageID(), Kind: File, Linger: true, Parent: m.from.info.Node, Name: m.name,
		Node: info.Node, Opened: fs.drive.Opened(info)}
	cs := []change{put(r), put(l)}
	over := m.dst
	if over != nil && over.inDrive {
		over = nil
	}
	if over != nil && over.stage != nil {
		cs = append(cs, drop(over.stage.rec.ID))
	}
	if err := fs.journal.append(cs...); err != nil {
		fs.mu.Unlock()
		return err
	}
	st.rec = r
	fs.unschedule(st)
	src.leaveDrive()
	if over != nil {
		over.stage.dead = true
		over.displace()
		fs.logged(fs.dropStage(over))
	}
	m.place()
	fs.newLinger(m.from, l, info)
	fs.mu.Unlock()
	if m.dst != nil && over == nil {
		return m.to.removeHidden(ctx, m.newName, m.dst)
	}
	return nil
}

func (m *move) inDriveOrRefuse(ctx context.Context) error {
	if m.to.isLocal() {
		return ErrTooBig
	}
	return m.inDrive(ctx)
}

// publishLink renames a symlink out of its local-only name.
func (m *move) publishLink(ctx context.Context) error {
	fs := m.fs
	if err := m.settle(ctx); err != nil {
		return err
	}
	target, err := m.src.Readlink()
	if err != nil {
		return err
	}
	to := m.to.id()
	fs.mu.Lock()
	over := m.dst != nil && m.dst.inDrive
	fs.mu.Unlock()
	err = fs.write(ctx, func(b Batch) error {
		if over {
			if err := b.Remove(to, m.newName); err != nil {
				return err
			}
		}
		return b.Symlink(to, m.newName, target, Attrs{})
	})
	if err != nil {
		return err
	}
	return m.published(ctx)
}

// published follows the making of a drive entry for a symlink or directory that was local.
func (m *move) published(ctx context.Context) error {
	fs := m.fs
	info, err := fs.drive.Lookup(m.to.id(), m.newName)
	if err != nil {
		return fmt.Errorf("looking at what was just made: %w", err)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if m.dst != nil {
		m.dst.displace()
		m.dst.leaveDrive()
		err = fs.dropStage(m.dst)
	}
	st := m.src.stage
	err = errors.Join(err, fs.journal.append(drop(st.rec.ID)))
	st.dead = true
	delete(fs.byStage, st.rec.ID)
	m.src.stage = nil
	m.src.joinDrive(info)
	m.place()
	return err
}

// publishDir renames a directory out of its local-only name: it is made in the drive, and everything in it follows.
func (m *move) publishDir(ctx context.Context) error {
	fs := m.fs
	if err := m.settle(ctx); err != nil {
		return err
	}
	to := m.to.id()
	fs.mu.Lock()
	perm := m.src.stage.rec.Perm
	over := m.dst != nil && m.dst.inDrive
	fs.mu.Unlock()
	err := fs.write(ctx, func(b Batch) error {
		if over {
			if err := b.Remove(to, m.newName); err != nil {
				return err
			}
		}
		return b.Mkdir(to, m.newName, Attrs{Perm: &perm})
	})
	if err != nil {
		return err
	}
	fs.mu.Lock()
	var kids []*Node
	for _, c := range m.src.kids {
		kids = append(kids, c)
		c.pins++
	}
	fs.mu.Unlock()
	if err := m.published(ctx); err != nil {
		return err
	}
	for _, c := range kids {
		defer c.Unpin()
		fs.mu.Lock()
		name := c.name
		fs.mu.Unlock()
		sub := &move{fs: fs, src: c, from: m.src, to: m.src, name: name, newName: name}
		unlock := c.lockStage()
		err := sub.run(ctx)
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
