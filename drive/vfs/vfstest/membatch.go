package vfstest

import (
	"crypto/rand"
	"fmt"
	iofs "io/fs"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/vfs"
)

// memBatch is one step of a drive in memory; the drive is locked.
type memBatch struct{ m *Mem }

// edit returns a node that may be changed.
func (b *memBatch) edit(n *memNode) *memNode {
	c := *n
	b.m.nodes[n.id] = &c
	return &c
}

func (b *memBatch) add(kind vfs.Kind, parent vfs.NodeID, name string, a vfs.Attrs) (*memNode, error) {
	if d := b.m.nodes[parent]; d == nil || d.gone {
		return nil, iofs.ErrNotExist
	}
	n := &memNode{kind: kind, parent: parent, name: name, mtime: time.Now(), perm: 0o644}
	rand.Read(n.id[:])
	b.m.nodes[n.id] = n
	b.set(n, a)
	return n, nil
}

func (b *memBatch) set(n *memNode, a vfs.Attrs) {
	if a.Perm != nil {
		n.perm = *a.Perm
	}
	if a.MTime != nil {
		n.mtime = *a.MTime
	}
	if len(a.Xattrs) > 0 {
		x := map[string][]byte{}
		for k, v := range n.xattrs {
			x[k] = v
		}
		for k, v := range a.Xattrs {
			x[k] = v
		}
		n.xattrs = x
	}
}

func (b *memBatch) free(parent vfs.NodeID, name string) error {
	if b.m.child(parent, name) != nil {
		return iofs.ErrExist
	}
	return nil
}

func (b *memBatch) Lookup(parent vfs.NodeID, name string) (vfs.Info, error) {
	n := b.m.child(parent, name)
	if n == nil {
		return vfs.Info{}, iofs.ErrNotExist
	}
	return n.info(), nil
}

func (b *memBatch) Mkdir(parent vfs.NodeID, name string, a vfs.Attrs) error {
	if err := b.free(parent, name); err != nil {
		return err
	}
	_, err := b.add(vfs.Dir, parent, name, a)
	return err
}

func (b *memBatch) Symlink(parent vfs.NodeID, name, target string, a vfs.Attrs) error {
	if err := b.free(parent, name); err != nil {
		return err
	}
	n, err := b.add(vfs.Symlink, parent, name, a)
	if err == nil {
		n.target = target
	}
	return err
}

func (b *memBatch) Create(parent vfs.NodeID, name string, c vfs.Imported, a vfs.Attrs) error {
	for i := 2; b.m.child(parent, name) != nil; i++ {
		name = fmt.Sprintf("%s (conflict %d)", name, i)
	}
	n, err := b.add(vfs.File, parent, name, a)
	if err == nil {
		n.data = c.(memBytes)
	}
	return err
}

func (b *memBatch) Write(opened []byte, c vfs.Imported, a vfs.Attrs) error {
	n := b.m.nodes[vfs.NodeID(opened[:16])]
	if n == nil || n.gone {
		return iofs.ErrNotExist
	}
	if string(b.m.Opened(n.info())) != string(opened) {
		return b.Create(n.parent, n.name, c, a)
	}
	n = b.edit(n)
	n.versions = append(slices.Clone(n.versions), n.data)
	n.data = c.(memBytes)
	if a.Whole {
		n.xattrs = nil
	}
	b.set(n, a)
	return nil
}

func (b *memBatch) Move(parent vfs.NodeID, name string, newParent vfs.NodeID, newName string) error {
	n := b.m.child(parent, name)
	if n == nil {
		return iofs.ErrNotExist
	}
	over := b.m.child(newParent, newName)
	if over != nil && over.id == n.id {
		return nil
	}
	if over != nil && over.kind == vfs.File && n.kind == vfs.File {
		o := b.edit(over)
		o.versions = append(slices.Clone(o.versions), o.data)
		o.data, o.perm, o.mtime, o.xattrs = n.data, n.perm, n.mtime, n.xattrs
		b.edit(n).gone = true
		return nil
	}
	if over != nil {
		b.edit(over).gone = true
	}
	n = b.edit(n)
	n.parent, n.name = newParent, newName
	return nil
}

func (b *memBatch) Exchange(parent vfs.NodeID, name string, newParent vfs.NodeID, newName string) error {
	x, y := b.m.child(parent, name), b.m.child(newParent, newName)
	if x == nil || y == nil {
		return iofs.ErrNotExist
	}
	x, y = b.edit(x), b.edit(y)
	x.parent, x.name, y.parent, y.name = newParent, newName, parent, name
	return nil
}

func (b *memBatch) Remove(parent vfs.NodeID, name string) error {
	n := b.m.child(parent, name)
	if n == nil {
		return iofs.ErrNotExist
	}
	for _, c := range b.m.nodes {
		if !c.gone && c.parent == n.id && c.id != (vfs.NodeID{}) {
			return vfs.ErrNotEmpty
		}
	}
	b.edit(n).gone = true
	return nil
}

func (b *memBatch) SetAttr(parent vfs.NodeID, name string, a vfs.Attrs) error {
	n := b.m.child(parent, name)
	if n == nil {
		return iofs.ErrNotExist
	}
	b.set(b.edit(n), a)
	return nil
}

func (b *memBatch) RemoveXattr(parent vfs.NodeID, name, attr string) error {
	n := b.m.child(parent, name)
	if n == nil {
		return iofs.ErrNotExist
	}
	n = b.edit(n)
	x := map[string][]byte{}
	for k, v := range n.xattrs {
		if k != attr {
			x[k] = v
		}
	}
	n.xattrs = x
	return nil
}
