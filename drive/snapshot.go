package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Snapshot reads the tree: as it is, each call anew, or as it was at a version, for ever the same.
type Snapshot struct {
	d       *Drive
	version Version
	clock   room.Clock // nil: now
}

// Now reads the tree as it is at each call.
func (d *Drive) Now() *Snapshot { return &Snapshot{d: d} }

// At reads the tree as it was at a version; the zero version is Now.
func (d *Drive) At(v Version) (*Snapshot, error) {
	if v.IsNow() {
		return d.Now(), nil
	}
	c, err := d.clock(v)
	if err != nil {
		return nil, err
	}
	return &Snapshot{d: d, version: v, clock: c}, nil
}

// Version is the version read; zero for Now.
func (s *Snapshot) Version() Version { return s.version }

func (s *Snapshot) read(fn func(v *tree.View) error) error {
	return s.d.room.View(func(tx room.Tx) error { return fn(s.d.view(tx, s.clock)) })
}

// Stat describes the entry at a path; "" is the root. A missing one is fs.ErrNotExist.
func (s *Snapshot) Stat(p string) (Info, error) {
	p = Clean(p)
	var info Info
	err := s.read(func(v *tree.View) error {
		e, err := v.Walk(p)
		info = infoOf(e, p)
		return err
	})
	return info, pathErr("stat", p, err)
}

// List lists a directory, sorted by name.
func (s *Snapshot) List(p string) ([]Info, error) {
	p = Clean(p)
	var infos []Info
	err := s.read(func(v *tree.View) error {
		dir, err := v.Walk(p)
		if err != nil {
			return err
		}
		infos, err = list(v, dir, p)
		return err
	})
	return infos, pathErr("list", p, err)
}

func list(v *tree.View, dir tree.Entry, p string) ([]Info, error) {
	entries, err := v.List(dir)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, len(entries))
	for i, e := range entries {
		infos[i] = infoOf(e, path.Join(p, e.Name))
	}
	return infos, nil
}

// infosOf is list where paths are left empty.
func infosOf(entries []tree.Entry) []Info {
	infos := make([]Info, len(entries))
	for i, e := range entries {
		infos[i] = infoOf(e, "")
	}
	return infos
}

// ByNode describes the entry that shows a node. Path is left empty: see [Snapshot.Path].
func (s *Snapshot) ByNode(id tree.NodeID) (Info, error) {
	var info Info
	err := s.read(func(v *tree.View) error {
		e, err := node(v, id)
		info = infoOf(e, "")
		return err
	})
	return info, pathErr("stat", "node "+id.String(), err)
}

// Shown describes what nodes show, one after another: directories, and every version of files, conflict copies too, the displayed one first.
// Names and paths are left empty. Nodes that are not there are left out, and so are those that cannot be read, of which the error tells the first.
func (s *Snapshot) Shown(ids []tree.NodeID) (infos []Info, err error) {
	verr := s.read(func(v *tree.View) error {
		infos, err = make([]Info, 0, len(ids)), nil
		for _, id := range ids {
			entries, nerr := v.Shown(id)
			if nerr != nil && err == nil && !errors.Is(nerr, fs.ErrNotExist) {
				err = pathErr("stat", "node "+id.String(), nerr)
			}
			for _, e := range entries {
				infos = append(infos, infoOf(e, ""))
			}
		}
		return nil
	})
	return infos, errors.Join(err, verr)
}

func node(v *tree.View, id tree.NodeID) (tree.Entry, error) {
	if id == tree.Root {
		return v.Root(), nil
	}
	return v.Node(id)
}

// Child describes what the directory node dir shows under a name. Path is left empty.
func (s *Snapshot) Child(dir tree.NodeID, name string) (Info, error) {
	var info Info
	err := s.read(func(v *tree.View) error {
		d, err := node(v, dir)
		if err != nil {
			return err
		}
		e, err := v.Lookup(d, name)
		info = infoOf(e, "")
		return err
	})
	return info, pathErr("lookup", name, err)
}

// Children lists the directory node dir, sorted by name. Paths are left empty.
func (s *Snapshot) Children(dir tree.NodeID) ([]Info, error) {
	var infos []Info
	err := s.read(func(v *tree.View) error {
		d, err := node(v, dir)
		if err != nil {
			return err
		}
		entries, err := v.List(d)
		infos = infosOf(entries)
		return err
	})
	return infos, pathErr("list", "node "+dir.String(), err)
}

// Path is the path of the entry that shows a node.
func (s *Snapshot) Path(id tree.NodeID) (string, error) {
	var p string
	err := s.read(func(v *tree.View) (err error) {
		p, err = v.Path(id)
		return err
	})
	return p, pathErr("path", "node "+id.String(), err)
}

// Walk yields the entry at a path and everything below it, parents before children, in the order of the names. An error about one
// directory is yielded and the walk goes on. Now may change under a walk: a directory is read when the walk gets there.
func (s *Snapshot) Walk(p string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		top, err := s.Stat(p)
		if err != nil {
			yield(Info{}, err)
			return
		}
		s.walk(top, yield)
	}
}

func (s *Snapshot) walk(at Info, yield func(Info, error) bool) bool {
	if !yield(at, nil) {
		return false
	}
	if !at.IsDir() {
		return true
	}
	infos, err := s.Children(at.Node)
	if err != nil {
		return yield(at, err)
	}
	for _, c := range infos {
		c.Path = path.Join(at.Path, c.Name)
		if !s.walk(c, yield) {
			return false
		}
	}
	return true
}

// Open opens the file at a path. ctx bounds only the opening.
func (s *Snapshot) Open(ctx context.Context, p string) (*File, Info, error) {
	info, err := s.Follow(p)
	if err != nil {
		return nil, Info{}, err
	}
	f, err := s.d.OpenContent(ctx, info)
	return f, info, err
}

// maxLinks bounds the symbolic links followed on the way to one file.
const maxLinks = 40

// Follow is Stat of what symbolic links at the end of p lead to. A link that leads out of the drive is fs.ErrNotExist.
func (s *Snapshot) Follow(p string) (Info, error) {
	at := Clean(p)
	for range maxLinks {
		info, err := s.Stat(at)
		if err != nil || info.Kind != KindSymlink {
			return info, err
		}
		if path.IsAbs(info.Target) {
			return Info{}, pathErr("follow", p, fmt.Errorf("the link leads out of the drive, to %s: %w", info.Target, fs.ErrNotExist))
		}
		at = path.Join(path.Dir(at), info.Target)
		if at == ".." || strings.HasPrefix(at, "../") {
			return Info{}, pathErr("follow", p, fmt.Errorf("the link leads out of the drive: %w", fs.ErrNotExist))
		}
		at = Clean(at)
	}
	return Info{}, pathErr("follow", p, fmt.Errorf("more than %d symbolic links: %w", maxLinks, fs.ErrInvalid))
}

// Clean gives a path the form that this package uses: no slash at the ends, no "." and no "..".
func Clean(p string) string {
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

func pathErr(op, p string, err error) error {
	if err == nil {
		return nil
	}
	return &PathError{Op: op, Path: "/" + p, Err: err}
}

// clock returns how far a version reaches.
func (d *Drive) clock(v Version) (room.Clock, error) {
	d.mu.Lock()
	c, ok := d.cuts[v]
	d.mu.Unlock()
	if ok {
		return c, nil
	}
	c, err := d.room.Closure(key.Hash(v))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrVersion, v.Short(), err)
	}
	return c, nil
}
