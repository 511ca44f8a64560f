package vfs

import (
	"context"
	"errors"
	"fmt"
)

// intoLocal renames a file of the drive to a local-only name: a copy of its bytes goes on under that name, and the
// entry's removal lingers. What is large or not here stays in the drive, under the new name.
func (m *move) intoLocal(ctx context.Context, staged bool) error {
	fs := m.fs
	src := m.src
	fs.mu.Lock()
	info := src.info
	absent := staged && src.stage.lower.lies()
	fs.mu.Unlock()
	if (!staged || absent) && (info.Bytes.Size > copyLimit || fs.presence(info) != "local") {
		return m.inDriveOrRefuse(ctx)
	}
	if !staged {
		if _, err := src.stageFor(context.WithoutCancel(ctx), -1); err != nil {
			return err
		}
	}
	fs.mu.Lock()
	st := src.stage
	fs.mu.Unlock()
	if err := st.complete(ctx); err != nil { // the drive is going to let go of what lies below
		return err
	}
	if err := fs.keepFirst(src, m.dst); err != nil { // the directory may be as new
		return err
	}
	fs.mu.Lock()
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
	st.rec, st.fresh = r, true // should it come back, that is a file that the drive does not have
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
	attrs, err := m.src.published()
	fs.mu.Unlock()
	if err != nil {
		return err
	}
	err = fs.later(ctx, func(b Batch) error {
		if over {
			if err := b.Remove(to, m.newName); err != nil {
				return err
			}
		}
		return b.Symlink(to, m.newName, target, attrs)
	})
	if err != nil {
		return err
	}
	return m.published(ctx)
}

// published follows the making of a drive entry for a symlink that was local.
func (m *move) published(ctx context.Context) error {
	fs := m.fs
	info, err := fs.drive.Lookup(m.to.id(), m.newName)
	if err != nil {
		return fmt.Errorf("looking at what was just made: %w", err)
	}
	if err := fs.drive.Keep(); err != nil { // fsync may have acknowledged what is in it
		return err
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
