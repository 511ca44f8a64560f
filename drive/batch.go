package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Attrs are attributes to set; what is nil or missing stays as it is.
type Attrs struct {
	Perm   *uint32
	MTime  *time.Time
	Xattrs map[string][]byte // user.* attributes to set
	Remove []string          // and to remove
}

func (a Attrs) tree() tree.Attrs {
	t := tree.Attrs{Set: a.Xattrs, Remove: a.Remove}
	if a.Perm != nil {
		m := *a.Perm & uint32(fs.ModePerm)
		t.Mode = &m
	}
	if a.MTime != nil {
		n := tree.Nanos(*a.MTime)
		t.MTime = &n
	}
	return t
}

// Batch collects the changes of one entry: they happen at once or not at all, and each sees what the ones before it did. Commands
// come in two forms, by path and, ending in At, by directory node and name. A Batch is good inside the function that
// [Drive.Write] runs.
type Batch struct {
	d        *Drive
	edit     *tree.Edit
	rows     tree.Rows
	node     func(tree.NodeID) tree.NodeID // what an id means in the edit
	payloads [][]byte
	blobs    []room.BlobHint
	named    []Staged // what the entry names
}

// Write runs fn and makes its changes one entry of the log, durable when Write returns. It returns the new version, or the zero
// version when fn changed nothing. fn may run more than once and must have no other effects.
func (d *Drive) Write(ctx context.Context, fn func(b *Batch) error) (Version, error) {
	r, err := d.update(ctx, fn, nil)
	return Version(r.Entry), err
}

// WriteWith is Write; then runs in the same transaction, after fn's changes became an entry or turned out to be none. What then
// appends to the room is there if the changes are, and the other way round. stat describes a path as the changes leave it. An error of
// then takes the changes back.
func (d *Drive) WriteWith(ctx context.Context, fn func(b *Batch) error, then func(u *room.Update, stat func(path string) (Info, error)) error) (Version, error) {
	r, err := d.update(ctx, fn, then)
	return Version(r.Entry), err
}

// update is WriteWith, where then may be nil; it returns where the entry went, zero when there is none.
func (d *Drive) update(ctx context.Context, fn func(b *Batch) error, then func(*room.Update, func(string) (Info, error)) error) (r room.Receipt, err error) {
	if err := ctxErr(ctx, "writing to the drive"); err != nil {
		return room.Receipt{}, err
	}
	if err := d.ahead.turns.Acquire(ctx, 1); err != nil {
		return room.Receipt{}, fmt.Errorf("writing to the drive: %w", err)
	}
	defer d.ahead.turns.Release(1)
	if err := d.ahead.Flush(ctx); err != nil { // what was done before comes before
		return room.Receipt{}, err
	}
	node := d.ahead.now().in
	d.sweeping.RLock() // what an operation names is not dropped while it is being written
	defer d.sweeping.RUnlock()
	var named []Staged
	err = d.room.Update(ctx, func(u *room.Update) error {
		r, named = room.Receipt{}, nil // a run before this one was taken back
		self, err := u.Self(key.Drive)
		if err != nil {
			return err
		}
		rows := u.Rows(treeTable)
		b := &Batch{d: d, edit: tree.NewEdit(rows, self), rows: rows, node: node}
		if err := fn(b); err != nil {
			return err
		}
		if ops := b.edit.Ops(); len(ops) > 0 {
			body, err := tree.EncodeOps(ops)
			if err != nil {
				return fmt.Errorf("writing to the drive: %w", err)
			}
			if r, err = u.Append(key.Drive, room.Draft{Body: body, Payloads: b.payloads, Blobs: b.blobs, Derived: b.edit}); err != nil {
				return err
			}
			named = b.named
		}
		if then == nil {
			return nil
		}
		return then(u, (&Batch{d: d, edit: tree.NewEdit(rows, self), rows: rows, node: node}).Stat)
	})
	if err != nil {
		return room.Receipt{}, err
	}
	d.wrote(named)
	d.Discard(named...) // the entry keeps them now
	return r, nil
}

// RemoveAll removes a path and everything below it. A tree too large for one entry goes in several, leaves first.
func (d *Drive) RemoveAll(ctx context.Context, p string) (Version, error) {
	return d.inSteps(ctx, func(b *Batch, first *room.Receipt) (more bool, err error) {
		if first != nil {
			b.edit.SweepFrom(first.Seq)
		}
		e, err := b.walk(p)
		if err == nil {
			more, err = b.edit.RemoveAll(e)
		}
		return more, pathErr("remove", p, err)
	})
}

// Restore brings back what the path showed at a version: bytes, attributes and place, of a directory with everything below it. What
// is there now and was not then stays. What is too much for one entry comes back in several.
func (d *Drive) Restore(ctx context.Context, p string, then *Snapshot) (Version, error) {
	return d.restore(ctx, p, then, tree.Restoring{})
}

// Rewind is Restore that makes the path equal to what it was: what is there now and was not then is deleted. It returns the paths of
// that, of directories without what was in them.
func (d *Drive) Rewind(ctx context.Context, p string, then *Snapshot) (v Version, removed []string, err error) {
	gone := map[string]bool{} // a step may run more than once
	v, err = d.restore(ctx, p, then, tree.Restoring{Removed: func(below string) { gone[Clean(p+"/"+below)] = true }})
	return v, slices.Sorted(maps.Keys(gone)), err
}

func (d *Drive) restore(ctx context.Context, p string, then *Snapshot, o tree.Restoring) (Version, error) {
	if then.clock == nil {
		return Version{}, pathErr("restore", p, fmt.Errorf("the present is there already: %w", fs.ErrInvalid))
	}
	return d.inSteps(ctx, func(b *Batch, first *room.Receipt) (more bool, err error) {
		if first != nil {
			b.edit.SweepFrom(first.Seq)
		}
		v := tree.AsOf(b.rows, then.clock).WithNames(b.d.deviceName)
		e, err := v.Walk(Clean(p))
		if err == nil {
			more, err = b.edit.WithNames(b.d.deviceName).RestoreSome(v, e, o)
		}
		return more, pathErr("restore", p, err)
	})
}

// inSteps makes an entry of what step does for as long as it says that there is more, and returns the last one's version. first is
// where the first entry went, nil before there is one.
func (d *Drive) inSteps(ctx context.Context, step func(b *Batch, first *room.Receipt) (more bool, err error)) (v Version, err error) {
	var first *room.Receipt
	for more := true; more; {
		r, err := d.update(ctx, func(b *Batch) (err error) {
			more, err = step(b, first)
			return err
		}, nil)
		if err != nil {
			return v, err
		}
		if r.Entry.IsZero() {
			break // nothing was left to do
		}
		if v = Version(r.Entry); first == nil {
			first = &r
		}
	}
	return v, nil
}

// Stat describes the entry at a path as the batch has it so far.
func (b *Batch) Stat(p string) (Info, error) {
	e, err := b.walk(p)
	return infoOf(e, Clean(p)), pathErr("stat", p, err)
}

// ChildAt is Stat by directory node and name.
func (b *Batch) ChildAt(parent tree.NodeID, name string) (Info, error) {
	e, err := b.lookup(parent, name)
	return infoOf(e, ""), pathErr("lookup", name, err)
}

// Shown describes what a file shows as the batch has it so far; name and path are left empty. fs.ErrNotExist when it shows nothing.
func (b *Batch) Shown(id tree.NodeID) (Info, error) {
	v, err := b.view()
	if err != nil {
		return Info{}, err
	}
	es, err := v.Shown(b.node(id))
	if err != nil {
		return Info{}, pathErr("stat", "node "+id.String(), err)
	}
	return infoOf(es[0], ""), nil
}

func (b *Batch) view() (*tree.View, error) {
	if err := b.edit.Derive(); err != nil {
		return nil, err
	}
	return b.edit.View().WithNames(b.d.deviceName), nil
}

func (b *Batch) walk(p string) (tree.Entry, error) {
	v, err := b.view()
	if err != nil {
		return tree.Entry{}, err
	}
	return v.Walk(Clean(p))
}

func (b *Batch) lookup(parent tree.NodeID, name string) (tree.Entry, error) {
	v, err := b.view()
	if err != nil {
		return tree.Entry{}, err
	}
	dir, err := node(v, b.node(parent))
	if err != nil {
		return tree.Entry{}, err
	}
	return v.Lookup(dir, name)
}

// parent returns the directory that a path names its last element in.
func (b *Batch) parent(p string) (dir tree.NodeID, name string, err error) {
	p = Clean(p)
	if p == "" {
		return tree.NodeID{}, "", fmt.Errorf("the root itself: %w", fs.ErrInvalid)
	}
	e, err := b.walk(path.Dir(p))
	if err != nil {
		return tree.NodeID{}, "", err
	}
	if e.Kind != tree.Dir {
		return tree.NodeID{}, "", tree.ErrNotDir
	}
	return e.Node, path.Base(p), nil
}

// at runs a command on the parent and name of a path.
func (b *Batch) at(op, p string, fn func(dir tree.NodeID, name string) error) error {
	dir, name, err := b.parent(p)
	if err == nil {
		err = fn(dir, name)
	}
	var pe *PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return pathErr(op, Clean(p), err)
}

// Mkdir makes a directory.
func (b *Batch) Mkdir(p string, a Attrs) error {
	return b.at("mkdir", p, func(dir tree.NodeID, name string) error {
		_, err := b.MkdirAt(dir, name, a)
		return err
	})
}

// MkdirAt makes a directory and returns its node, which has a local name until the batch is written.
func (b *Batch) MkdirAt(dir tree.NodeID, name string, a Attrs) (tree.NodeID, error) {
	id, err := b.edit.Mkdir(b.node(dir), name, a.tree())
	return id, pathErr("mkdir", name, err)
}

// MkdirAll makes a directory and the ones above it that are missing.
func (b *Batch) MkdirAll(p string, a Attrs) error {
	p = Clean(p)
	if p == "" {
		return nil
	}
	e, err := b.walk(p)
	if err == nil {
		if e.Kind != tree.Dir {
			return pathErr("mkdir", p, tree.ErrNotDir)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return pathErr("mkdir", p, err)
	}
	if err := b.MkdirAll(path.Dir(p), a); err != nil {
		return err
	}
	return b.Mkdir(p, a)
}

// Symlink makes a symbolic link.
func (b *Batch) Symlink(p, target string, a Attrs) error {
	return b.at("symlink", p, func(dir tree.NodeID, name string) error { return b.SymlinkAt(dir, name, target, a) })
}

// SymlinkAt makes a symbolic link.
func (b *Batch) SymlinkAt(dir tree.NodeID, name, target string, a Attrs) error {
	_, err := b.edit.Symlink(b.node(dir), name, target, a.tree())
	return pathErr("symlink", name, err)
}

// Put gives the file at a path new bytes, and makes it when it is missing. What others write meanwhile stays beside it.
func (b *Batch) Put(p string, s Staged, a Attrs) error {
	return b.at("put", p, func(dir tree.NodeID, name string) error { return b.PutAt(dir, name, s, a) })
}

// PutAt is Put by directory node and name.
func (b *Batch) PutAt(dir tree.NodeID, name string, s Staged, a Attrs) error {
	e, err := b.lookup(dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err := b.CreateAt(dir, name, s, a)
		return err
	case err != nil:
		return pathErr("put", name, err)
	case e.Kind == tree.Dir:
		return pathErr("put", name, tree.ErrIsDir)
	case e.Kind != tree.File:
		return pathErr("put", name, ErrNotFile)
	}
	return b.WriteOpened(e.Opened(), s, a)
}

// CreateAt makes a file; fs.ErrExist when the name is taken.
func (b *Batch) CreateAt(dir tree.NodeID, name string, s Staged, a Attrs) (tree.NodeID, error) {
	id, err := b.edit.Create(b.node(dir), name, b.content(s), a.tree())
	if err == nil {
		b.name(s)
	}
	return id, pathErr("create", name, err)
}

// WriteOpened gives a file new bytes in place of the versions that opened tells of; fs.ErrNotExist when nothing of it is left.
func (b *Batch) WriteOpened(o tree.Opened, s Staged, a Attrs) error {
	err := b.edit.Write(o, b.content(s), a.tree())
	if err == nil {
		b.name(s)
	}
	return pathErr("write", "node "+o.Node.String(), err)
}

// content is how an operation of the entry that is being made names staged bytes; once there is one, name follows.
func (b *Batch) content(s Staged) *blob.Content {
	if s.Content.Size == 0 {
		return nil
	}
	c := s.Content
	if s.data != nil {
		c.Payload = uint32(len(b.payloads) + 1)
	}
	return &c
}

// name notes that the entry names staged bytes.
func (b *Batch) name(s Staged) {
	if s.Content.Size == 0 {
		return
	}
	if s.data != nil {
		b.payloads = append(b.payloads, s.data)
	}
	b.named = append(b.named, s)
	for _, p := range s.Content.Parts {
		b.blobs = append(b.blobs, room.BlobHint{CID: p.CID, Size: p.Size})
	}
}

// Move renames an entry, as rename(2) does: over a file, or over an empty directory.
func (b *Batch) Move(from, to string) error {
	e, err := b.walk(from)
	if err != nil {
		return pathErr("move", Clean(from), err)
	}
	return b.at("move", to, func(dir tree.NodeID, name string) error { return b.edit.Move(e, dir, name) })
}

// MoveAt is Move by directory nodes and names.
func (b *Batch) MoveAt(dir tree.NodeID, name string, newDir tree.NodeID, newName string) error {
	e, err := b.lookup(dir, name)
	if err == nil {
		err = b.edit.Move(e, b.node(newDir), newName)
	}
	return pathErr("move", name, err)
}

// ExchangeAt gives two entries each other's names: in three moves, the first to a name that nothing has and that is gone with the batch.
func (b *Batch) ExchangeAt(dir tree.NodeID, name string, newDir tree.NodeID, newName string) error {
	free, err := b.freeName(dir)
	if err == nil {
		err = b.MoveAt(dir, name, dir, free)
	}
	if err == nil {
		err = b.MoveAt(newDir, newName, dir, name)
	}
	if err == nil {
		err = b.MoveAt(dir, free, newDir, newName)
	}
	return err
}

// freeName is a name that a directory does not show.
func (b *Batch) freeName(dir tree.NodeID) (string, error) {
	for i := 0; ; i++ {
		name := fmt.Sprintf(".exchange-%d", i)
		if _, err := b.lookup(dir, name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

// Remove removes a file, a symbolic link or an empty directory.
func (b *Batch) Remove(p string) error {
	return b.at("remove", p, b.RemoveAt)
}

// RemoveAt is Remove by directory node and name.
func (b *Batch) RemoveAt(dir tree.NodeID, name string) error {
	done, err := b.edit.RemoveAlone(b.node(dir), name)
	if done || err != nil {
		return pathErr("remove", name, err)
	}
	e, err := b.lookup(dir, name)
	if err == nil {
		err = b.edit.Remove(e)
	}
	return pathErr("remove", name, err)
}

// SetAttr sets attributes of the entry at a path.
func (b *Batch) SetAttr(p string, a Attrs) error {
	return b.at("setattr", p, func(dir tree.NodeID, name string) error { return b.SetAttrAt(dir, name, a) })
}

// SetAttrAt is SetAttr by directory node and name.
func (b *Batch) SetAttrAt(dir tree.NodeID, name string, a Attrs) error {
	e, err := b.lookup(dir, name)
	if err == nil {
		err = b.edit.SetAttr(e, a.tree())
	}
	return pathErr("setattr", name, err)
}

// Mark gives the present moment a label.
func (b *Batch) Mark(label string) error { return b.edit.Mark(label) }
