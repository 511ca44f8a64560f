package drive

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/tree"
)

// Difference is one path at which two snapshots differ.
type Difference struct {
	What   string // added, removed, changed (bytes or target), attr (only attributes), moved
	Path   string // in the later snapshot; of what was removed, in the earlier one
	From   string // of what was moved: its path in the earlier one
	Before *Info  // nil when added
	After  *Info  // nil when removed
}

// Diff compares what a path shows in two snapshots, sorted by path. A node that is in both under different paths was moved; of a
// directory that was moved as it is, only the directory itself is listed.
func (d *Drive) Diff(ctx context.Context, p string, from, to *Snapshot) ([]Difference, error) {
	p = Clean(p)
	x := differ{ctx: ctx, from: from, to: to}
	a, errA := from.Stat(p)
	b, errB := to.Stat(p)
	for _, err := range []error{errA, errB} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if errA != nil && errB != nil {
		return nil, errA
	}
	var err error
	switch {
	case errA != nil:
		err = x.all(&x.added, to, b)
	case errB != nil:
		err = x.all(&x.removed, from, a)
	default:
		err = x.pair(a, b)
	}
	if err != nil {
		return nil, err
	}
	x.matchMoves()
	slices.SortFunc(x.out, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	return x.out, nil
}

type differ struct {
	ctx            context.Context
	from, to       *Snapshot
	added, removed []Info // in walk order: parents before children
	out            []Difference
}

func (x *differ) all(to *[]Info, s *Snapshot, top Info) error {
	for i, err := range s.Walk(top.Path) {
		if err != nil {
			return err
		}
		if err := ctxErr(x.ctx, "comparing"); err != nil {
			return err
		}
		*to = append(*to, i)
	}
	return nil
}

// pair compares two entries that have the same path.
func (x *differ) pair(a, b Info) error {
	if a.Kind != b.Kind {
		if err := x.all(&x.removed, x.from, a); err != nil {
			return err
		}
		return x.all(&x.added, x.to, b)
	}
	if what := changed(a, b); what != "" {
		x.out = append(x.out, Difference{What: what, Path: b.Path, Before: &a, After: &b})
	}
	if a.Kind != KindDir {
		return nil
	}
	return x.children(a, b)
}

func (x *differ) children(a, b Info) error {
	if err := ctxErr(x.ctx, "comparing"); err != nil {
		return err
	}
	as, err := x.from.Children(a.Node)
	if err != nil {
		return err
	}
	bs, err := x.to.Children(b.Node)
	if err != nil {
		return err
	}
	was := make(map[string]Info, len(as))
	for _, c := range as {
		c.Path = path.Join(a.Path, c.Name)
		was[c.Name] = c
	}
	for _, c := range bs {
		c.Path = path.Join(b.Path, c.Name)
		old, both := was[c.Name]
		delete(was, c.Name)
		if both {
			err = x.pair(old, c)
		} else {
			err = x.all(&x.added, x.to, c)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if err := x.all(&x.removed, x.from, was[name]); err != nil {
			return err
		}
	}
	return nil
}

// changed says in which way an entry differs, "" when it does not.
func changed(a, b Info) string {
	switch {
	case a.Kind == KindFile && !sameBytes(a.Content, b.Content), a.Target != b.Target:
		return "changed"
	case a.Perm != b.Perm, a.Kind != KindDir && !a.MTime.Equal(b.MTime), !maps.EqualFunc(a.Xattrs, b.Xattrs, bytes.Equal):
		return "attr"
	}
	return ""
}

func sameBytes(a, b *blob.Content) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Size == b.Size && a.Plain == b.Plain
}

// matchMoves turns what was removed here and added there with the same node into moves, and leaves out what came along with a
// directory that was moved.
func (x *differ) matchMoves() {
	gone := make(map[tree.NodeID]Info, len(x.removed))
	for _, i := range x.removed {
		gone[i.Node] = i
	}
	moved := make(map[string]string) // path now -> path before, of directories
	for _, b := range x.added {
		a, ok := gone[b.Node]
		if !ok || a.Kind != b.Kind {
			x.out = append(x.out, Difference{What: "added", Path: b.Path, After: &b})
			continue
		}
		delete(gone, b.Node)
		if b.Kind == KindDir {
			moved[b.Path] = a.Path
		}
		if before, along := moved[path.Dir(b.Path)]; along && a.Path == path.Join(before, b.Name) && changed(a, b) == "" {
			continue
		}
		x.out = append(x.out, Difference{What: "moved", Path: b.Path, From: a.Path, Before: &a, After: &b})
	}
	for _, a := range x.removed {
		if _, still := gone[a.Node]; still {
			x.out = append(x.out, Difference{What: "removed", Path: a.Path, Before: &a})
		}
	}
}
