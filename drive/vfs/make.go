package vfs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// vacant checks that name can be made in n, for holders of n.ns.
func (n *Node) vacant(name string) error {
	if err := n.fs.mayChange(); err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	if n == n.fs.root && name == PastName {
		return errExist
	}
	c, err := n.lookup(name)
	if err == nil {
		c.Unpin()
		return errExist
	}
	if errors.Is(err, errNotExist) {
		n.fs.mu.Lock()
		defer n.fs.mu.Unlock()
		if n.unlinked {
			return errNotExist
		}
		return nil
	}
	return err
}

func (fs *FS) mayChange() error {
	fs.mu.Lock()
	closed := fs.closed
	fs.mu.Unlock()
	switch {
	case closed:
		return ErrUnmounted
	case fs.ro || !fs.drive.Writable():
		return ErrReadOnly
	}
	return nil
}

// Mkdir makes a directory; it is durable after Sync.
func (n *Node) Mkdir(ctx context.Context, name string, perm uint32) (*Node, error) {
	now := time.Now() // a time of its own: that of the log comes later, and is another
	return n.make(ctx, name, record{Kind: Dir, Perm: perm & 0o7777}, func(b Batch, parent NodeID) error {
		perm := perm & 0o7777
		return b.Mkdir(parent, name, Attrs{Perm: &perm, MTime: &now})
	})
}

// Symlink makes a symbolic link; it is durable after Sync.
func (n *Node) Symlink(ctx context.Context, name, target string) (*Node, error) {
	now := time.Now()
	return n.make(ctx, name, record{Kind: Symlink, Target: target, Perm: 0o777}, func(b Batch, parent NodeID) error {
		return b.Symlink(parent, name, target, Attrs{MTime: &now})
	})
}

// make makes a directory or symlink, in the drive or, under a local-only name, in the journal.
func (n *Node) make(ctx context.Context, name string, r record, do func(Batch, NodeID) error) (*Node, error) {
	if n.past != nil {
		return nil, ErrReadOnly
	}
	n.ns.Lock()
	defer n.ns.Unlock()
	if err := n.vacant(name); err != nil {
		return nil, err
	}
	fs := n.fs
	if err := n.settleLinger(ctx, name); err != nil {
		return nil, err
	}
	fs.mu.Lock()
	parent, local := n.info.Node, n.local() || LocalOnly(name)
	age := fs.age
	fs.mu.Unlock()
	if local {
		return n.makeLocal(ctx, name, r)
	}
	if err := fs.later(ctx, func(b Batch) error { return do(b, parent) }); err != nil {
		return nil, err
	}
	fs.mu.Lock()
	fs.epoch.Add(1)
	told := fs.told
	fs.mu.Unlock()
	c, err := n.lookup(name)
	if err != nil {
		return nil, fmt.Errorf("looking at what was just made: %w", err)
	}
	fs.mu.Lock()
	n.changed()
	if fs.age == age && c.kind == Dir { // it is empty: what comes into a directory that nobody knows makes age grow
		c.callRoll(nil, told, true)
	}
	fs.mu.Unlock()
	return c, nil
}

// makeLocal makes a directory or symlink that stays on this machine.
func (n *Node) makeLocal(ctx context.Context, name string, r record) (*Node, error) {
	fs := n.fs
	r.ID, r.Name, r.Local, r.MTime = newStageID(), name, true, time.Now().UnixNano()
	fs.mu.Lock()
	r.Parent, r.Under = n.home()
	fs.mu.Unlock()
	if err := fs.journal.append(put(r)); err != nil {
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	c := fs.newNode(r.Kind)
	c.stage = &stage{fs: fs, node: c, rec: r}
	if r.Kind == Dir {
		fs.byStage[r.ID] = c
	}
	c.place(n, name)
	c.pins++
	n.changed()
	return c, nil
}
