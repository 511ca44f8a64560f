package vfs

import (
	"context"
	"errors"
	"path"
	"strings"
)

// Walk finds the node at a slash-separated path from the root; "" is the root. Symlinks are not followed. The node
// comes pinned.
func (fs *FS) Walk(ctx context.Context, p string) (*Node, error) {
	n := fs.root
	n.Pin()
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." {
			continue
		}
		c, err := n.Lookup(ctx, name)
		n.Unpin()
		if err != nil {
			return nil, err
		}
		n = c
	}
	return n, nil
}

// parent finds the directory of a path's last name.
func (fs *FS) parent(ctx context.Context, p string) (dir *Node, name string, err error) {
	p = strings.Trim(path.Clean("/"+p), "/")
	if p == "" {
		return nil, "", ErrName
	}
	dir, err = fs.Walk(ctx, path.Dir(p))
	return dir, path.Base(p), err
}

// Stat returns the attributes of what is at a path.
func (fs *FS) Stat(ctx context.Context, p string) (Attr, error) {
	n, err := fs.Walk(ctx, p)
	if err != nil {
		return Attr{}, err
	}
	defer n.Unpin()
	return n.Attr()
}

// ReadDir lists the directory at a path.
func (fs *FS) ReadDir(ctx context.Context, p string) ([]Entry, error) {
	n, err := fs.Walk(ctx, p)
	if err != nil {
		return nil, err
	}
	defer n.Unpin()
	return n.List(ctx)
}

// OpenFile opens the file at a path, and with create makes it if it is missing.
func (fs *FS) OpenFile(ctx context.Context, p string, flags OpenFlags, create bool, perm uint32) (*Handle, error) {
	dir, name, err := fs.parent(ctx, p)
	if err != nil {
		return nil, err
	}
	defer dir.Unpin()
	for try := 0; ; try++ {
		n, err := dir.Lookup(ctx, name)
		if errors.Is(err, errNotExist) && create {
			n, h, err := dir.Create(ctx, name, perm, false, flags)
			if err == nil {
				n.Unpin()
			}
			return h, err
		}
		if err != nil {
			return nil, err
		}
		h, err := n.Open(ctx, flags)
		n.Unpin()
		if !errors.Is(err, ErrStale) || try > 3 {
			return h, err
		}
	}
}

// Mkdir makes a directory.
func (fs *FS) Mkdir(ctx context.Context, p string, perm uint32) error {
	dir, name, err := fs.parent(ctx, p)
	if err != nil {
		return err
	}
	defer dir.Unpin()
	n, err := dir.Mkdir(ctx, name, perm)
	if err == nil {
		n.Unpin()
	}
	return err
}

// Remove removes a file, a symlink or an empty directory.
func (fs *FS) Remove(ctx context.Context, p string) error {
	dir, name, err := fs.parent(ctx, p)
	if err != nil {
		return err
	}
	defer dir.Unpin()
	n, err := dir.Lookup(ctx, name)
	if err != nil {
		return err
	}
	defer n.Unpin()
	if n.kind == Dir {
		return dir.Rmdir(ctx, name)
	}
	return dir.Unlink(ctx, name)
}

// RemoveAll removes what is at a path with everything below it. It stops at the first error.
func (fs *FS) RemoveAll(ctx context.Context, p string) error {
	n, err := fs.Walk(ctx, p)
	if err != nil {
		if errors.Is(err, errNotExist) {
			return nil
		}
		return err
	}
	defer n.Unpin()
	if n.kind == Dir {
		es, err := n.List(ctx)
		if err != nil {
			return err
		}
		for _, e := range es {
			if err := fs.RemoveAll(ctx, path.Join(p, e.Name)); err != nil {
				return err
			}
		}
	}
	err = fs.Remove(ctx, p)
	if errors.Is(err, errNotExist) {
		return nil
	}
	return err
}

// Rename moves what is at one path to another, over a file or an empty directory.
func (fs *FS) Rename(ctx context.Context, from, to string, noReplace bool) error {
	a, name, err := fs.parent(ctx, from)
	if err != nil {
		return err
	}
	defer a.Unpin()
	b, newName, err := fs.parent(ctx, to)
	if err != nil {
		return err
	}
	defer b.Unpin()
	return a.Rename(ctx, name, b, newName, noReplace)
}

// Read reads a whole file.
func (h *Handle) Read(ctx context.Context) ([]byte, error) {
	buf := make([]byte, h.n.size())
	n, err := h.ReadAt(ctx, buf, 0)
	return buf[:n], err
}
