package control

import (
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/serve/api"
)

// placing names things in one batch. It remembers the directories that it has
// looked up or made: most of a chunk is in few of them.
type placing struct {
	b    *drive.Batch
	dirs map[string]tree.NodeID
}

// place names one thing that was found, with the staged bytes if it is a file.
// What is there already and equal stays untouched, so that putting something again
// changes nothing.
func (w *placing) place(f found, s drive.Staged) error {
	if f.path == "" {
		return nil // the room itself
	}
	parent, err := w.dir(path.Dir(f.path))
	if err != nil {
		return err
	}
	name := path.Base(f.path)
	have, err := w.b.ChildAt(parent, name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	attrs := drive.Attrs{Perm: &f.perm, MTime: &f.mtime, Xattrs: lacking(have.Xattrs, f.xattrs)}
	switch {
	case f.kind == fs.ModeDir:
		return w.placeDir(parent, name, f, have, missing)
	case !missing && have.IsDir():
		return api.Errorf(api.WrongKind, "%q is a directory in the room and %s is none", f.path, f.local)
	case f.kind == fs.ModeSymlink:
		return w.placeLink(parent, name, f, have, missing)
	case missing:
		_, err := w.b.CreateAt(parent, name, s, attrs)
		return err
	case have.Kind == drive.KindSymlink:
		if err := w.b.RemoveAt(parent, name); err != nil {
			return err
		}
		attrs.Xattrs = f.xattrs
		_, err := w.b.CreateAt(parent, name, s, attrs)
		return err
	}
	attrs.Remove = gone(have.Xattrs, f)
	if sameFile(have, s) {
		if have.Perm == f.perm && sameTime(have.MTime, f.mtime) && len(attrs.Xattrs)+len(attrs.Remove) == 0 {
			return nil
		}
		return w.b.SetAttrAt(parent, name, attrs)
	}
	return w.b.PutAt(parent, name, s, attrs)
}

func (w *placing) placeDir(parent tree.NodeID, name string, f found, have drive.Info, missing bool) error {
	if missing {
		id, err := w.b.MkdirAt(parent, name, drive.Attrs{Perm: &f.perm, MTime: &f.mtime, Xattrs: f.xattrs})
		w.dirs[f.path] = id
		return err
	}
	if !have.IsDir() {
		return api.Errorf(api.WrongKind, "%q is no directory in the room and %s is one", f.path, f.local)
	}
	w.dirs[f.path] = have.Node
	attrs := drive.Attrs{Xattrs: lacking(have.Xattrs, f.xattrs), Remove: gone(have.Xattrs, f)}
	if have.Perm != f.perm {
		attrs.Perm = &f.perm
	} else if len(attrs.Xattrs)+len(attrs.Remove) == 0 {
		return nil
	}
	return w.b.SetAttrAt(parent, name, attrs)
}

func (w *placing) placeLink(parent tree.NodeID, name string, f found, have drive.Info, missing bool) error {
	if !missing {
		if have.Kind == drive.KindSymlink && have.Target == f.target {
			return nil
		}
		if err := w.b.RemoveAt(parent, name); err != nil {
			return err
		}
	}
	return w.b.SymlinkAt(parent, name, f.target, drive.Attrs{MTime: &f.mtime})
}

// dir finds a directory; missing ones are made.
func (w *placing) dir(p string) (tree.NodeID, error) {
	if p == "." || p == "" {
		return tree.Root, nil
	}
	if id, ok := w.dirs[p]; ok {
		return id, nil
	}
	parent, err := w.dir(path.Dir(p))
	if err != nil {
		return tree.NodeID{}, err
	}
	name := path.Base(p)
	i, err := w.b.ChildAt(parent, name)
	id := i.Node
	switch {
	case errors.Is(err, fs.ErrNotExist):
		id, err = w.b.MkdirAt(parent, name, drive.Attrs{})
	case err == nil && !i.IsDir():
		err = &fs.PathError{Op: "put", Path: "/" + p, Err: tree.ErrNotDir}
	}
	if err != nil {
		return tree.NodeID{}, err
	}
	w.dirs[p] = id
	return id, nil
}

func sameFile(have drive.Info, s drive.Staged) bool {
	if have.Kind != drive.KindFile || have.Size != s.Content.Size {
		return false
	}
	return have.Content == nil || have.Content.Plain == s.Content.Plain
}

// sameTime compares times as far as every file system keeps them.
func sameTime(a, b time.Time) bool {
	return a.Truncate(time.Microsecond).Equal(b.Truncate(time.Microsecond))
}
