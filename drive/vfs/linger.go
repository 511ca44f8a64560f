package vfs

import (
	"context"
	"errors"
	"os"
	"time"
)

// An editor that keeps a backup renames file to file~ and saves file anew. In the drive that shall be one new
// version of file, not a removal and a new file. So a file renamed to a local-only name leaves a *lingering removal*
// behind: the entry is gone for everybody here, and the drive hears of it only if nothing is saved under the name
// for a while.

// newLinger makes the stage of a lingering removal. fs.mu is held.
func (fs *FS) newLinger(dir *Node, r record, info Info) *stage {
	ghost := fs.newNode(File)
	ghost.dir, ghost.name, ghost.info, ghost.unlinked = dir, r.Name, info, true
	st := &stage{fs: fs, node: ghost, rec: r}
	ghost.stage = st
	if dir.linger == nil {
		dir.linger = map[string]*stage{}
	}
	dir.linger[r.Name] = st
	st.due = time.Now().Add(fs.policy.Linger)
	fs.pending[st] = struct{}{}
	fs.wake()
	return st
}

// forgetLinger ends a lingering removal whose record is or will be dropped. fs.mu is held.
func (fs *FS) forgetLinger(st *stage) {
	st.dead = true
	if dir := st.node.dir; dir.linger[st.rec.Name] == st {
		delete(dir.linger, st.rec.Name)
		dir.release()
	}
	fs.unschedule(st)
}

// endLinger makes the removal now. Should others have changed the file since, it reappears instead. The ghost's wmu is
// held.
func (fs *FS) endLinger(ctx context.Context, st *stage) error {
	fs.mu.Lock()
	r, dead := st.rec, st.dead
	fs.mu.Unlock()
	if dead {
		return nil
	}
	err := fs.later(ctx, func(b Batch) error {
		info, err := b.Lookup(r.Parent, r.Name)
		if err != nil {
			return err
		}
		if info.Node != r.Node || string(fs.drive.Opened(info)) != string(r.Opened) {
			return nil
		}
		return b.Remove(r.Parent, r.Name)
	})
	if err != nil && !errors.Is(err, errNotExist) {
		return err
	}
	if err := fs.drive.Keep(); err != nil { // the file's other name may be durable
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.forgetLinger(st)
	fs.epoch.Add(1)
	return fs.journal.append(drop(r.ID))
}

// holdLinger keeps a lingering removal of name as it is, if there is one, until unlock. n.ns is held.
func (n *Node) holdLinger(name string) (st *stage, unlock func()) {
	fs := n.fs
	fs.mu.Lock()
	st = n.linger[name]
	fs.mu.Unlock()
	if st == nil {
		return nil, func() {}
	}
	st.node.wmu.lock(context.Background(), true) // who has it makes a step of the drive, and waits for nobody
	fs.mu.Lock()
	dead := st.dead
	fs.mu.Unlock()
	if dead {
		st.node.wmu.unlock()
		return nil, func() {}
	}
	return st, st.node.wmu.unlock
}

// settleLinger makes a lingering removal of name real, because something else takes its place. n.ns is held.
func (n *Node) settleLinger(ctx context.Context, name string) error {
	st, unlock := n.holdLinger(name)
	defer unlock()
	if st == nil {
		return nil
	}
	return n.fs.endLinger(ctx, st)
}

func (n *Node) settleLingers(ctx context.Context) error {
	n.fs.mu.Lock()
	var names []string
	for name := range n.linger {
		names = append(names, name)
	}
	n.fs.mu.Unlock()
	for _, name := range names {
		if err := n.settleLinger(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Create makes a new file and opens it for writing. exclusive is O_EXCL; without it a file that is there by now is
// opened, and cut to nothing with Trunc. The file is in the drive some time after its last close; until then it
// survives this process, and from fsync on a power failure.
func (n *Node) Create(ctx context.Context, name string, perm uint32, exclusive bool, flags OpenFlags) (*Node, *Handle, error) {
	if n.past != nil {
		return nil, nil, ErrReadOnly
	}
	c, h, err := n.createOrFind(ctx, name, perm, exclusive, flags)
	if err != nil || h != nil {
		return c, h, err
	}
	if h, err = c.Open(ctx, flags|Write); err != nil { // which may wait for bytes: the directory is free meanwhile
		c.Unpin()
		return nil, nil, err
	}
	return c, h, nil
}

// createOrFind makes a new file, or finds the one that is there, and then returns no handle.
func (n *Node) createOrFind(ctx context.Context, name string, perm uint32, exclusive bool, flags OpenFlags) (*Node, *Handle, error) {
	n.ns.Lock()
	defer n.ns.Unlock()
	err := n.vacant(name)
	if errors.Is(err, errExist) && !exclusive {
		c, err := n.lookup(name)
		return c, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	return n.create(ctx, name, perm, flags)
}

// create makes the staging file and node of a new file. n.ns is held.
func (n *Node) create(ctx context.Context, name string, perm uint32, flags OpenFlags) (*Node, *Handle, error) {
	fs := n.fs
	fs.mu.Lock()
	r := record{Kind: File, Name: name, Perm: perm & 0o7777, Local: n.local() || LocalOnly(name)}
	r.Begun = !r.Local
	r.Parent, r.Under = n.home()
	fs.mu.Unlock()
	var ended []change
	was, unlock := n.holdLinger(name)
	defer unlock()
	if was != nil { // the file is saved anew: it keeps its history
		r.Node, r.Opened, r.SetPerm, r.Begun = was.rec.Node, was.rec.Opened, true, false
		ended = append(ended, drop(was.rec.ID))
	}
	id, f, err := fs.emptyStageFile()
	if err != nil {
		return nil, nil, err
	}
	r.ID = id
	if err := fs.journal.append(append(ended, put(r))...); err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	c := fs.newNode(File)
	st := &stage{fs: fs, node: c, path: f.Name(), rec: r, fresh: true}
	c.stage, c.rev = st, &rev{path: st.path}
	if was != nil {
		fs.forgetLinger(was)
		c.joinDrive(was.node.info)
	}
	c.place(n, name)
	c.pins++
	n.changed()
	return c, c.writeHandle(st, f, flags&^Trunc), nil
}
