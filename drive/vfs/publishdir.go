package vfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A directory under a local-only name that gets another name becomes part of the drive, and everything in it follows: itself in a step of
// the drive, then what is in it in the step of the journal in which its own record ends, then the directories and symlinks in it in the same
// way. The journal knows first where it goes (record.To). So whenever the process dies, all that was in it is in it, under one of
// the two names, and the next process goes on (replay).

// together is how many records one append of the journal tells of at most, and togetherBytes how many bytes of what they hold.
var (
	together      = 1000
	togetherBytes = maxRecord / 4
)

// publishDir renames a directory out of its local-only name.
func (m *move) publishDir(ctx context.Context) error {
	fs, src := m.fs, m.src
	if err := m.settle(ctx); err != nil {
		return err
	}
	src.ns.Lock() // nothing comes and nothing goes meanwhile
	defer src.ns.Unlock()
	fs.mu.Lock()
	attrs, err := src.published()
	to := place{Parent: m.to.info.Node, Name: m.newName}
	over := m.dst != nil && m.dst.inDrive
	if over {
		to.Node = m.dst.info.Node
	}
	if err == nil {
		err = src.stage.update(func(r *record) { r.To = &to })
	}
	fs.mu.Unlock()
	if err != nil {
		return err
	}
	err = fs.later(ctx, func(b Batch) error {
		if over {
			if err := b.Remove(to.Parent, m.newName); err != nil {
				return err
			}
		}
		return b.Mkdir(to.Parent, m.newName, attrs)
	})
	if err != nil {
		fs.mu.Lock()
		fs.logged(src.stage.update(func(r *record) { r.To = nil }))
		fs.mu.Unlock()
		return err
	}
	info, err := fs.drive.Lookup(to.Parent, m.newName)
	if err != nil {
		return fmt.Errorf("looking at what was just made: %w", err)
	}
	return m.becomes(ctx, info)
}

// published are the attributes with which a directory or symlink that stays on this machine becomes part of the drive. fs.mu is held.
func (n *Node) published() (Attrs, error) {
	a, err := n.attr()
	if n.kind != Dir {
		return Attrs{MTime: &a.MTime}, err
	}
	return Attrs{Perm: &a.Perm, MTime: &a.MTime, Xattrs: n.stage.rec.Xattrs}, err
}

// becomes makes the directory, whose names are locked, the one of the drive that info tells of.
func (m *move) becomes(ctx context.Context, info Info) error {
	fs, src := m.fs, m.src
	if err := fs.drive.Keep(); err != nil { // the journal is going to rest on it
		return err
	}
	fs.mu.Lock()
	kids, synced, err := m.handOver(info)
	fs.mu.Unlock()
	for _, c := range kids {
		defer c.Unpin()
	}
	if err == nil && synced {
		err = fs.keep()
	}
	for _, c := range kids {
		if err != nil {
			return err
		}
		if c.kind == File || LocalOnly(c.name) {
			continue
		}
		err = (&move{fs: fs, src: c, from: src, to: src, name: c.name, newName: c.name}).publish(ctx)
	}
	return err
}

// publish makes a directory or symlink that stays on this machine, in a directory of the drive that is locked, part of the drive under
// its own name. A directory that the drive has there already is taken for it.
func (m *move) publish(ctx context.Context) error {
	info, err := m.fs.drive.Lookup(m.to.id(), m.newName)
	switch {
	case err == nil && info.Kind == Dir && m.src.kind == Dir:
		m.src.ns.Lock()
		defer m.src.ns.Unlock()
		return m.becomes(ctx, info)
	case m.src.kind == Dir:
		return m.publishDir(ctx)
	}
	return m.publishLink(ctx)
}

// handOver tells the journal that all in the directory is in the one of the drive, and shows it so. It returns what is in it, pinned, and
// whether fsync has acknowledged something of that. fs.mu is held.
func (m *move) handOver(info Info) (kids []*Node, synced bool, err error) {
	fs, src := m.fs, m.src
	var was, now []record
	for _, c := range src.kids {
		kids, was = append(kids, c), append(was, c.stage.rec)
		c.pins++
	}
	now, err = fs.moveIn(was, src.stage.rec.ID, info.Node)
	if err != nil {
		return kids, false, err
	}
	if m.dst != nil {
		m.dst.displace()
		m.dst.leaveDrive()
		err = fs.dropStage(m.dst)
	}
	src.stage.dead = true
	delete(fs.byStage, src.stage.rec.ID)
	src.stage = nil
	src.joinDrive(info)
	m.place()
	for i, c := range kids {
		c.stage.rec = now[i]
		c.retimed()
		synced = synced || now[i].Synced
	}
	return kids, synced, err
}

// moveIn tells the journal that what was under a local-only name in the directory id is in the directory dir of the drive, and that the
// record of id has ended. When that fails, nothing has changed.
func (fs *FS) moveIn(was []record, id stageID, dir NodeID) (now []record, err error) {
	cs := make([]change, 0, len(was)+1)
	for _, r := range was {
		r.Parent, r.Under = dir, stageID{}
		r.Local = r.Kind != File || LocalOnly(r.Name) // what is no file follows by itself
		now, cs = append(now, r), append(cs, put(r))
	}
	done := 0
	for cs = append(cs, drop(id)); done < len(cs); {
		n := fitting(cs[done:])
		if err = fs.journal.append(cs[done : done+n]...); err != nil {
			break
		}
		done += n
	}
	if err == nil {
		return now, nil
	}
	for _, r := range was[:done] {
		fs.logged(fs.journal.append(put(r)))
	}
	return nil, err
}

// fitting is how many of the first changes go into one append.
func fitting(cs []change) (n int) {
	for bytes := 0; n < min(len(cs), together); n++ {
		if r := cs[n].Put; r != nil {
			bytes += len(r.Name) + len(r.Target) + len(r.Opened)
			for name, v := range r.Xattrs {
				bytes += len(name) + len(v)
			}
		}
		if bytes > togetherBytes && n > 0 {
			break
		}
	}
	return n
}

// arrived ends the records of directories under local-only names that the drive has under the names to which they were on their way when
// the process died.
func (fs *FS) arrived(recs []record) error {
	for _, r := range recs {
		if r.Kind != Dir || r.To == nil {
			continue
		}
		info, err := fs.drive.Lookup(r.To.Parent, r.To.Name)
		if err != nil && !errors.Is(err, errNotExist) {
			return err
		}
		if err == nil && info.Kind == Dir && !fs.same(info.Node, r.To.Node) {
			in := slices.DeleteFunc(slices.Clone(recs), func(k record) bool { return k.Under != r.ID })
			_, err = fs.moveIn(in, r.ID, info.Node)
		} else {
			r.To = nil
			err = fs.journal.append(put(r))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publishRest makes what is not under a local-only name any more, and did not become part of the drive before the process died, so.
func (fs *FS) publishRest(ctx context.Context, recs []record) {
	for _, r := range recs {
		if !r.Local || r.Kind == File || r.Under != (stageID{}) || LocalOnly(r.Name) || fs.mayChange() != nil {
			continue
		}
		dir, err := fs.homeOf(r)
		if err == nil {
			defer dir.Unpin()
			fs.mu.Lock()
			c := dir.kids[r.Name]
			is := c != nil && c.stage != nil && c.stage.rec.ID == r.ID
			fs.mu.Unlock()
			if !is { // another one has the name
				continue
			}
			err = (&move{fs: fs, src: c, from: dir, to: dir, name: r.Name, newName: r.Name}).publish(ctx)
		}
		if err != nil {
			fs.log.Warn("what has got another name stays on this machine alone", "name", r.Name, "err", err)
		}
	}
}
