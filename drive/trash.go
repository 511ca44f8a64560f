package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Trashed is something that was deleted and is listed nowhere since.
type Trashed struct {
	Info             // as it was just before, with the path of that moment
	Deletion Version // the entry that deleted it
	By       key.DeviceID
	Deleted  time.Time // by the deleter's clock

	head tree.Head // of the delete
}

// Trash lists what was deleted, the most recent first, at most limit (0: all). What went together with a directory in one entry is not
// listed by itself.
func (d *Drive) Trash(ctx context.Context, limit int) ([]Trashed, error) {
	var all []Trashed
	err := d.room.View(func(tx room.Tx) error {
		all = nil
		for t, err := range d.view(tx, nil).Trash() {
			if err != nil {
				return err
			}
			all = append(all, Trashed{
				Info: infoOf(t.Entry, t.Entry.Name), Deletion: Version(t.Deleted.ID.Entry), By: t.Deleted.Author,
				Deleted: time.Unix(0, t.Deleted.Wall), head: t.Deleted,
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the trash: %w", err)
	}
	var out []Trashed
	for from := 0; from < len(all) && (limit == 0 || len(out) < limit); {
		if err := ctxErr(ctx, "listing the trash"); err != nil {
			return nil, err
		}
		n := 1
		for from+n < len(all) && all[from+n].Deletion == all[from].Deletion {
			n++
		}
		together := all[from : from+n]
		from += n
		before, err := d.before(together[0].head)
		if err == nil {
			err = before.paths(together)
		}
		if err != nil {
			return nil, fmt.Errorf("listing the trash: %w", err)
		}
		out = append(out, tops(together)...)
	}
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

// before is the drive as the author of an operation knew it, without the entry that holds it.
func (d *Drive) before(h tree.Head) (*Snapshot, error) {
	c, err := d.room.Closure(h.ID.Entry)
	if err != nil {
		return nil, err
	}
	return &Snapshot{d: d, version: Version(h.ID.Entry), clock: without{c, h.Pos.Core, h.Pos.Seq}}, nil
}

// paths gives what was deleted in one entry the paths that it had. What the deleter did not see displayed keeps its name alone.
func (s *Snapshot) paths(list []Trashed) error {
	return s.read(func(v *tree.View) error {
		for i := range list {
			p, err := v.Path(list[i].Node)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err == nil {
				list[i].Path, list[i].Name = p, path.Base(p)
			}
		}
		return nil
	})
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
		for up := path.Dir(t.Path); up != "." && up != "/"; up = path.Dir(up) {
			if dirs[up] {
				continue next
			}
		}
		out = append(out, t)
	}
	return out
}

// Undelete brings back what was deleted last at a path: as it was just before, of a directory with everything below it. fs.ErrExist
// when something has the name now, fs.ErrNotExist when nothing was ever deleted there.
func (d *Drive) Undelete(ctx context.Context, p string) (Version, error) {
	p = Clean(p)
	if _, err := d.Now().Stat(p); err == nil {
		return Version{}, pathErr("restore", p, fs.ErrExist)
	}
	list, err := d.Trash(ctx, 0)
	if err != nil {
		return Version{}, pathErr("restore", p, err)
	}
	for _, t := range list {
		if t.Path != p && !(t.IsDir() && len(p) > len(t.Path) && p[:len(t.Path)+1] == t.Path+"/") {
			continue
		}
		before, err := d.before(t.head)
		if err != nil {
			return Version{}, pathErr("restore", p, err)
		}
		if _, err := before.Stat(p); err == nil {
			return d.Restore(ctx, p, before)
		}
	}
	return Version{}, pathErr("restore", p, fmt.Errorf("nothing of that name was deleted: %w", fs.ErrNotExist))
}
