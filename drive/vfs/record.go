package vfs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

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
		p.attrs.Perm, p.attrs.Xattrs, p.attrs.Whole = &perm, r.Xattrs, true
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
	defer fs.discard(done)
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
	fs.mu.Lock()
	told := fs.told
	fs.mu.Unlock()
	for _, p := range ps {
		p.info, p.shown = fs.find(p.parent, p.name, p.imp.Bytes())
	}
	var left []leftover
	fs.mu.Lock()
	fs.epoch.Add(1)
	cs := make([]change, 0, len(ps))
	for _, p := range ps {
		c, l := fs.recorded(p)
		p.st.node.seen(told)
		cs, left = append(cs, c), append(left, l)
	}
	err = fs.journal.append(cs...)
	fs.mu.Unlock()
	if err == nil {
		err = fs.journal.sync()
	}
	if err != nil {
		return err
	}
	for _, l := range left {
		fs.letGo(l)
	}
	return nil
}

// discard lets go of what no entry was made to name.
func (fs *FS) discard(done []sealed) {
	for _, d := range done {
		fs.drive.Discard(d.imp)
	}
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
// staging file to let go of after that. fs.mu is held.
func (fs *FS) recorded(p *plan) (change, leftover) {
	st, n := p.st, p.st.node
	st.answered, st.first = p.asked, time.Time{}
	if p.shown {
		if n.dir != nil && n.name != p.info.Name {
			fs.replaceKid(n.dir, p.info.Name, n)
		}
		n.joinDrive(p.info)
	}
	if p.copy != "" {
		return fs.goOn(p), leftover{}
	}
	fs.unschedule(st)
	delete(fs.unfinished, st)
	st.dead = true
	n.stage = nil
	n.rev.path, n.rev.info = "", p.info
	if !p.shown { // others' version won the name in this very moment
		n.leaveDrive()
		n.stale = true
		n.displace()
	}
	n.release()
	return drop(st.rec.ID), leftover{st, n.opens == 0}
}

// goOn lets the stage of a file that is open or mapped go on from what the drive has now, and returns what to tell the journal. The file
// may have come from another name by a rename, and from one that stays on this machine. fs.mu is held.
func (fs *FS) goOn(p *plan) change {
	st, n := p.st, p.st.node
	r := st.rec
	r.Became, r.Local = nil, false
	if n.dir != nil {
		r.Parent, r.Under = n.dir.home()
		r.Name = n.name
	}
	if p.shown {
		r.Node, r.Opened, r.SetPerm = p.info.Node, fs.drive.Opened(p.info), false
	}
	st.rec, st.base, st.fresh = r, p.stat, false
	fs.watchOpen(st)
	if st.writers == 0 {
		// A mapping, or the kernel is about to let a descriptor go: until then the stage hides what others write.
		st.copied = time.Now()
		st.due = st.copied.Add(mapQuiet)
		if st.changed() { // saved while it was sealed
			st.first = st.copied
		}
	}
	if st.awaited() { // by somebody who came after the copy was made
		st.due = time.Now()
	}
	return put(r)
}
