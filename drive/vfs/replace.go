package vfs

import (
	"context"
	"errors"
	"maps"
)

// overDrive reports whether the target's name is one that the drive shows, or would if its removal did not linger.
func (m *move) overDrive() bool {
	m.fs.mu.Lock()
	defer m.fs.mu.Unlock()
	return m.dst != nil && m.dst.inDrive || m.linger != nil
}

// commitOver records staged bytes as the next version of the entry that has the name. The journal knows first: from
// then on the name shows the new bytes, whatever happens.
func (m *move) commitOver(ctx context.Context) error {
	fs := m.fs
	st := m.src.stage
	done, err := fs.seal(context.WithoutCancel(ctx), []*stage{st}) // all of it is here
	if err != nil {
		return err
	}
	defer fs.discard(done)
	imp := done[0].imp
	fs.mu.Lock()
	replaces := m.dst != nil && m.dst.stage != nil && m.dst.stage.rec.Synced
	fs.mu.Unlock()
	if replaces { // fsync acknowledged the bytes that go: those that come must be as safe
		if err := fs.syncStage(st, nil); err != nil {
			return err
		}
	}
	if err := fs.keepFirst(m.src, m.dst); err != nil { // the directory may be as new
		return err
	}
	fs.mu.Lock()
	p, before := m.plan(done[0]), st.rec
	err = m.announce(p, imp.Bytes())
	fs.mu.Unlock()
	if err == nil {
		// Before the drive: after a power failure a record of before would show the source's old name again.
		err = fs.journal.sync()
	}
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
	c, left := fs.recorded(&plan{sealed: done[0], info: info, shown: shown})
	err = errors.Join(err, fs.journal.append(append(ended, c)...))
	if err == nil {
		fs.letGoLater(left)
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
	p.attrs.Xattrs, p.attrs.Whole = maps.Clone(r.Xattrs), true
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
