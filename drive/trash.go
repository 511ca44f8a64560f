package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Trashed is something that was deleted and is listed nowhere since: a directory, a file, or one of several versions of a file that stood beside
// each other.
type Trashed struct {
	Info             // as it was just before, with the path of that moment
	Deletion Version // the entry that deleted it
	By       key.DeviceID
	Deleted  time.Time // by the deleter's clock

	head  tree.Head // of the delete
	write tree.OpID // what wrote the bytes of a file
	first uint64    // block of the first entry that belongs to the same removal
	began time.Time // when that was
}

// removalGap is how long after one another the entries of one removal may come: a large directory goes in many, leaves first.
const removalGap = time.Minute

// maxOpen bounds how many things in the trash an earlier entry is compared with.
const maxOpen = 100

// Trash lists what was deleted, the most recent first, at most limit (0: all). What went together with a directory is not listed by
// itself.
func (d *Drive) Trash(ctx context.Context, limit int) ([]Trashed, error) {
	out, err := d.trash(ctx, limit)
	if err != nil {
		return nil, fmt.Errorf("listing the trash: %w", err)
	}
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

func (d *Drive) trash(ctx context.Context, limit int) ([]Trashed, error) {
	all, err := d.deleted()
	if err != nil {
		return nil, err
	}
	var out []Trashed
	for _, together := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if limit > 0 && len(out) >= limit+maxOpen {
			break
		}
		before, err := d.before(together[0])
		if err == nil {
			together, err = before.paths(together)
		}
		if err == nil {
			together, err = d.unlessRenamed(together)
		}
		if err != nil {
			return nil, err
		}
		if len(together) > 0 && !goesOn(out, together) {
			out = append(out, tops(together)...)
		}
	}
	return out, nil
}

// deleted reads the trash, in groups of what went in one entry, the newest first.
func (d *Drive) deleted() (all [][]Trashed, err error) {
	err = d.room.View(func(tx room.Tx) error {
		all = nil
		at := map[Version]int{}
		for t, err := range d.view(tx, nil).Trash() {
			if err != nil {
				return err
			}
			x := Trashed{
				Info: infoOf(t.Entry, t.Entry.Name), Deletion: Version(t.Deleted.ID.Entry), By: t.Deleted.Author,
				Deleted: time.Unix(0, t.Deleted.Wall), head: t.Deleted, write: t.Entry.Head.ID, first: t.Deleted.Pos.Seq,
			}
			i, known := at[x.Deletion]
			if !known {
				i, all = len(all), append(all, nil)
				at[x.Deletion] = i
			}
			all[i] = append(all[i], x)
		}
		return nil
	})
	return all, err
}

// before is the drive as the deleter of t knew it, without the entries of the removal.
func (d *Drive) before(t Trashed) (*Snapshot, error) {
	c, err := d.room.Closure(t.head.ID.Entry)
	if err != nil {
		return nil, err
	}
	return &Snapshot{d: d, version: t.Deletion, clock: without{c, t.head.Pos.Core, t.first}}, nil
}

// paths gives what was deleted in one entry the paths that it had. It leaves out what was shown nowhere before the entry: that came and
// went within it, and nobody has ever seen it.
func (s *Snapshot) paths(list []Trashed) (shown []Trashed, err error) {
	err = s.read(func(v *tree.View) error {
		shown = list[:0:0]
		for _, t := range list {
			p, err := v.PathOf(t.Node, t.write)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			t.Path, t.Name = p, path.Base(p)
			shown = append(shown, t)
		}
		return nil
	})
	return shown, err
}

// unlessRenamed leaves out what was deleted in one entry that gave its bytes to another file: it was renamed over that one, or was a conflict
// copy that has a name of its own since.
func (d *Drive) unlessRenamed(list []Trashed) ([]Trashed, error) {
	if !slices.ContainsFunc(list, func(t Trashed) bool { return t.Content != nil }) {
		return list, nil
	}
	e, err := d.room.Entry(key.Hash(list[0].Deletion))
	if err != nil {
		return nil, err
	}
	ops, err := tree.DecodeOps(e.Body, e.ID)
	if err != nil {
		return nil, err
	}
	written := map[key.Hash]bool{}
	for _, op := range ops {
		if op.Content != nil {
			written[op.Content.Plain] = true
		}
	}
	return slices.DeleteFunc(list, func(t Trashed) bool { return t.Content != nil && written[t.Content.Plain] }), nil
}

// goesOn reports whether an entry that came before those of newer belongs to the removal of a directory among them, and notes that
// there. Other deletes below the directory that came just before count as part of its removal.
func goesOn(newer, together []Trashed) bool {
	e := together[0]
	for i := len(newer) - 1; i >= max(0, len(newer)-maxOpen); i-- {
		r := &newer[i]
		if r.IsDir() && r.head.Pos.Core == e.head.Pos.Core && r.began.Sub(e.Deleted) <= removalGap && allBelow(r.Path, together) {
			r.first, r.began = min(r.first, e.first), e.Deleted
			return true
		}
	}
	return false
}

func allBelow(dir string, list []Trashed) bool {
	return !slices.ContainsFunc(list, func(t Trashed) bool { return !strings.HasPrefix(t.Path, dir+"/") })
}

// tops leaves out what lies below a directory of the same list.
func tops(list []Trashed) (out []Trashed) {
	dirs := map[string]bool{}
	for _, t := range list {
		if t.IsDir() {
			dirs[t.Path] = true
		}
	}
next:
	for _, t := range list {
		for up := path.Dir(t.Path); up != "."; up = path.Dir(up) {
			if dirs[up] {
				continue next
			}
		}
		t.began = t.Deleted
		out = append(out, t)
	}
	return out
}

// Undelete brings back what was deleted last at a path: as it was just before, of a directory with everything below it. Errors are
// those of BeforeDelete.
func (d *Drive) Undelete(ctx context.Context, p string) (Version, error) {
	before, err := d.BeforeDelete(ctx, p)
	if err != nil {
		return Version{}, err
	}
	return d.Restore(ctx, p, before)
}

// BeforeDelete is the drive as it was just before what was deleted last at a path went. fs.ErrExist when something has the name now,
// fs.ErrNotExist when nothing was ever deleted there.
func (d *Drive) BeforeDelete(ctx context.Context, p string) (*Snapshot, error) {
	p = Clean(p)
	if _, err := d.Now().Stat(p); err == nil {
		return nil, pathErr("restore", p, fs.ErrExist)
	}
	list, err := d.Trash(ctx, 0)
	if err != nil {
		return nil, pathErr("restore", p, err)
	}
	for _, t := range list {
		if t.Path != p && !(t.IsDir() && strings.HasPrefix(p, t.Path+"/")) {
			continue
		}
		before, err := d.before(t)
		if err != nil {
			return nil, pathErr("restore", p, err)
		}
		if _, err := before.Stat(p); err == nil {
			return before, nil
		}
	}
	return nil, pathErr("restore", p, fmt.Errorf("nothing of that name was deleted: %w", fs.ErrNotExist))
}
