package vfs

import (
	"context"
	"errors"
)

// Unlink removes a file or symlink, durably after Sync of the directory. Open handles go on working.
func (n *Node) Unlink(ctx context.Context, name string) error { return n.remove(ctx, name, false) }

// Rmdir removes an empty directory, durably after Sync of n.
func (n *Node) Rmdir(ctx context.Context, name string) error { return n.remove(ctx, name, true) }

func (n *Node) remove(ctx context.Context, name string, dir bool) error {
	if n.past != nil {
		return ErrReadOnly
	}
	if err := n.fs.mayChange(); err != nil {
		return err
	}
	if dir { // whose own names are locked, too
		n.fs.many.Lock()
		defer n.fs.many.Unlock()
	}
	c, err := n.lockForRemoval(ctx, name)
	if err != nil {
		return err
	}
	defer n.ns.Unlock()
	defer c.Unpin()
	if dir != (c.kind == Dir) {
		if dir {
			return ErrNotDir
		}
		return ErrIsDir
	}
	if dir {
		c.ns.Lock()
		defer c.ns.Unlock()
		if err := c.emptyHere(); err != nil { // the rest the drive looks at by itself
			return err
		}
	}
	unlock, err := c.lockStage(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	return n.removeChild(ctx, name, c)
}

// lockForRemoval locks the names and finds the one that is to go, whose last save is recorded.
func (n *Node) lockForRemoval(ctx context.Context, name string) (*Node, error) {
	for try := 0; ; try++ {
		n.ns.Lock()
		c, err := n.lookup(name)
		if err != nil {
			n.ns.Unlock()
			return nil, err
		}
		if try > 0 || !c.saved() {
			return c, nil
		}
		n.ns.Unlock()
		err = c.saveFirst(ctx)
		c.Unpin()
		if err != nil {
			return nil, err
		}
	}
}

// removeChild removes c, whose stage the caller has locked, from the drive and from staging.
func (n *Node) removeChild(ctx context.Context, name string, c *Node) error {
	fs := n.fs
	fs.mu.Lock()
	parent, at, inDrive := c.at()
	st, node := c.stage, c.info.Node
	fs.mu.Unlock()
	if inDrive {
		if err := fs.voiding(st, place{parent, at, node}); err != nil {
			return err
		}
		err := fs.later(ctx, func(b Batch) error { return b.Remove(parent, at) })
		if err != nil && !errors.Is(err, errNotExist) {
			fs.unvoid(st)
			return err
		}
		if err := fs.keepFirst(c); err != nil {
			return err
		}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	c.displace()
	c.leaveDrive()
	err := fs.dropStage(c)
	n.changed()
	return err
}

// empty checks that a directory has no entries, for holders of n.ns.
func (n *Node) empty() error {
	if err := n.emptyHere(); err != nil || n.isLocal() {
		return err
	}
	infos, err := n.fs.drive.List(n.id())
	if err != nil && !errors.Is(err, errNotExist) {
		return err
	}
	if len(infos) > 0 {
		return ErrNotEmpty
	}
	return nil
}

// emptyHere is empty but for what the drive shows.
func (n *Node) emptyHere() error {
	fs := n.fs
	fs.mu.Lock()
	for _, c := range n.kids {
		if c.stage != nil {
			fs.mu.Unlock()
			return ErrNotEmpty
		}
	}
	lingering := !n.local() && len(n.linger) > 0
	fs.mu.Unlock()
	if lingering {
		return n.settleLingers(context.Background())
	}
	return nil
}
