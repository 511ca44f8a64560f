package vfs

import (
	"context"
	"errors"
	"io/fs"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Over makes a drive of this package's shape of a *drive.Drive.
func Over(d *drive.Drive) Drive { return over{moment{d, d.Now()}} }

// moment reads one state of a drive's tree.
type moment struct {
	d *drive.Drive
	s *drive.Snapshot
}

type over struct{ moment }

var _ Drive = over{}

// infoFrom translates. A conflict copy shares its node with the file that it conflicts with, so what names an entry here is the
// identity that the tree gives to each.
func infoFrom(i drive.Info) Info {
	out := Info{
		Node: NodeID(i.Entry.ID), Name: i.Name, Kind: kindFrom(i.Kind), Perm: i.Perm, MTime: i.MTime,
		Target: i.Target, Xattrs: i.Xattrs, Conflict: i.Conflict, Raw: i,
	}
	if i.Kind == drive.KindDir {
		out.Node = NodeID(i.Node)
	}
	if i.Content != nil {
		out.Bytes = Bytes{Size: i.Content.Size, Plain: i.Content.Plain}
	}
	return out
}

func kindFrom(k drive.Kind) Kind {
	switch k {
	case drive.KindDir:
		return Dir
	case drive.KindSymlink:
		return Symlink
	}
	return File
}

func infosFrom(in []drive.Info) []Info {
	out := make([]Info, len(in))
	for k, i := range in {
		out[k] = infoFrom(i)
	}
	return out
}

func (r moment) Lookup(dir NodeID, name string) (Info, error) {
	i, err := r.s.Child(tree.NodeID(dir), name)
	if err != nil {
		return Info{}, err
	}
	return infoFrom(i), nil
}

func (r moment) List(dir NodeID) ([]Info, error) {
	in, err := r.s.Children(tree.NodeID(dir))
	return infosFrom(in), err
}

func (r moment) Open(ctx context.Context, info Info) (Content, error) {
	f, err := r.d.OpenContent(ctx, info.Raw.(drive.Info))
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Opened implements [Drive]. Only an entry whose heads cannot be written down has none, and there is no such entry.
func (o over) Opened(info Info) []byte {
	b, err := info.Raw.(drive.Info).Entry.Opened().MarshalBinary()
	if err != nil {
		panic("vfs: an entry's heads have no binary form: " + err.Error())
	}
	return b
}

func (o over) Write(ctx context.Context, fn func(Batch) error) error {
	_, err := o.d.Write(ctx, func(b *drive.Batch) error { return fn(batch{b}) })
	return err
}

func (o over) Import(ctx context.Context, files []Source) ([]Imported, error) {
	sources := make([]drive.Source, len(files))
	for i, f := range files {
		sources[i] = drive.Source(f)
	}
	staged, err := o.d.Import(ctx, sources, nil)
	if err != nil {
		return nil, err
	}
	out := make([]Imported, len(staged))
	for i, s := range staged {
		out[i] = imported{s}
	}
	return out, nil
}

func (o over) Path(id NodeID) (string, error) { return o.s.Path(tree.NodeID(id)) }

func (o over) Watch(fn func(Change)) (cancel func()) {
	return o.d.Watch(func(c drive.Change) {
		out := Change{All: c.All}
		for _, dirs := range [][]tree.NodeID{c.Dirs, c.Joined} {
			for _, id := range dirs {
				out.Dirs = append(out.Dirs, NodeID(id))
			}
		}
		for _, id := range c.Nodes {
			out.Nodes = append(out.Nodes, NodeID(id))
		}
		// Everything below a directory that became another one's, or ceased to be, may look different.
		out.All = out.All || len(c.Joined) > 0
		fn(out)
	})
}

func (o over) Writable() bool { return o.d.Room().Can(room.CapDrive) }

func (o over) Past(ctx context.Context, text string) (Reader, error) {
	v, err := o.d.Resolve(ctx, text)
	if err != nil {
		return nil, err
	}
	s, err := o.d.At(v)
	if err != nil {
		return nil, err
	}
	return moment{o.d, s}, nil
}

func (o over) Versions(ctx context.Context, path string) ([]Revision, error) {
	infos, err := o.d.Revisions(path)
	if err != nil {
		return nil, err
	}
	out := make([]Revision, len(infos))
	for k, i := range infos {
		author := i.Author.Short()
		if m, ok := o.d.Room().Member(i.Author); ok && m.Name != "" {
			author = m.Name
		}
		out[k] = Revision{Info: infoFrom(i), Time: i.Written, Author: author, From: o.moment}
	}
	return out, nil
}

type imported struct{ drive.Staged }

func (i imported) Bytes() Bytes { return Bytes{Size: i.Content.Size, Plain: i.Content.Plain} }

func stagedOf(i Imported) drive.Staged {
	if i == nil {
		return drive.Staged{}
	}
	return i.(imported).Staged
}

type batch struct{ b *drive.Batch }

var _ Batch = batch{}

func (a Attrs) drive() drive.Attrs {
	return drive.Attrs{Perm: a.Perm, MTime: a.MTime, Xattrs: a.Xattrs}
}

func (b batch) Mkdir(parent NodeID, name string, a Attrs) error {
	_, err := b.b.MkdirAt(tree.NodeID(parent), name, a.drive())
	return err
}

func (b batch) Symlink(parent NodeID, name, target string, a Attrs) error {
	return b.b.SymlinkAt(tree.NodeID(parent), name, target, a.drive())
}

func (b batch) Create(parent NodeID, name string, c Imported, a Attrs) error {
	_, err := b.b.CreateAt(tree.NodeID(parent), name, stagedOf(c), a.drive())
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Others have taken the name: a write that covers none of their versions stands beside them.
	e, err := b.b.ChildAt(tree.NodeID(parent), name)
	if err != nil {
		return err
	}
	if e.Kind != drive.KindFile {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	return b.b.WriteOpened(tree.Opened{Node: e.Node}, stagedOf(c), a.drive())
}

func (b batch) Write(opened []byte, c Imported, a Attrs) error {
	var o tree.Opened
	if err := o.UnmarshalBinary(opened); err != nil {
		return err
	}
	return b.b.WriteOpened(o, stagedOf(c), a.drive())
}

func (b batch) Move(parent NodeID, name string, newParent NodeID, newName string) error {
	return b.b.MoveAt(tree.NodeID(parent), name, tree.NodeID(newParent), newName)
}

func (b batch) Remove(parent NodeID, name string) error {
	return b.b.RemoveAt(tree.NodeID(parent), name)
}

func (b batch) SetAttr(parent NodeID, name string, a Attrs) error {
	return b.b.SetAttrAt(tree.NodeID(parent), name, a.drive())
}

func (b batch) RemoveXattr(parent NodeID, name, attr string) error {
	return b.b.SetAttrAt(tree.NodeID(parent), name, drive.Attrs{Remove: []string{attr}})
}
