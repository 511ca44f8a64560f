package drive

import (
	"cmp"
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
	with  *removal
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
	for never := map[tree.NodeID]bool{}; ; {
		all, err := d.removals(never)
		if err != nil {
			return nil, err
		}
		var out []Trashed
		whole := true
		for _, together := range all {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if limit > 0 && len(out) >= limit+maxOpen {
				break
			}
			list, err := d.trashed(together)
			if err != nil {
				return nil, err
			}
			for _, r := range together {
				if r.with.more && !r.with.seen {
					whole, never[r.Node] = false, true
				}
			}
			if len(list) > 0 && !goesOn(out, list) {
				out = append(out, tops(list)...)
			}
		}
		if whole {
			return out, nil
		}
	}
}

// removal is the removal of a file or a directory: what went before a directory out of what is below it, and soon before, went with it.
type removal struct {
	core  key.CoreID
	first uint64    // block of the first entry that belongs to it
	began time.Time // when that was
	more  bool      // something below went with it
	seen  bool      // it was there before
}

func removalOf(h tree.Head) *removal {
	return &removal{core: h.Pos.Core, first: h.Pos.Seq, began: time.Unix(0, h.Wall)}
}

// soonAfter reports whether it began so soon after o that both may be one.
func (m *removal) soonAfter(o *removal) bool {
	return m.core == o.core && m.began.Sub(o.began) <= removalGap
}

// join makes o a part of m.
func (m *removal) join(o *removal) {
	m.more = true
	if m.first = min(m.first, o.first); o.began.Before(m.began) {
		m.began = o.began
	}
}

// removed is something in the trash, and its removal.
type removed struct {
	tree.Removed
	with *removal
}

// goneDir is a directory in the trash.
type goneDir struct {
	with   *removal
	placed uint64 // lamport at which it, and those above it that went with it, had their places: what went earlier went from elsewhere
}

// removals reads the trash, in groups of what went in one entry, the newest first, and leaves out what went with a directory. With the
// directories of never, which were shown nowhere before they were deleted, nothing went.
func (d *Drive) removals(never map[tree.NodeID]bool) (all [][]removed, err error) {
	err = d.room.View(func(tx room.Tx) error {
		all = nil
		gone := map[tree.NodeID]goneDir{}
		at := map[key.Hash]int{}
		for r, err := range d.view(tx, nil).Removals() {
			if err != nil {
				return err
			}
			m := removalOf(r.Deleted)
			in, part := gone[r.Dir]
			if part = part && in.with.soonAfter(m) && in.placed <= r.Deleted.Pos.Lamport; part {
				in.with.join(m)
				m = in.with
			} else {
				in.placed = 0
			}
			if r.Node.Kind() == tree.Dir && !never[r.Node] {
				gone[r.Node] = goneDir{m, max(in.placed, r.Placed.Lamport)}
			}
			if part {
				continue
			}
			i, known := at[r.Deleted.ID.Entry]
			if !known {
				i, all = len(all), append(all, nil)
				at[r.Deleted.ID.Entry] = i
			}
			all[i] = append(all[i], removed{r, m})
		}
		slices.SortStableFunc(all, func(a, b []removed) int { return cmp.Compare(b[0].Deleted.Pos.Lamport, a[0].Deleted.Pos.Lamport) })
		return nil
	})
	return all, err
}

// trashed describes what went in one entry and is listed nowhere.
func (d *Drive) trashed(together []removed) (list []Trashed, err error) {
	err = d.room.View(func(tx room.Tx) error {
		list = nil
		v := d.view(tx, nil)
		for _, r := range together {
			all, err := v.Trashed(r.Removed)
			if errors.Is(err, fs.ErrNotExist) {
				continue // it does not count any more
			}
			if err != nil {
				return err
			}
			for _, t := range all {
				list = append(list, Trashed{
					Info: infoOf(t.Entry, t.Entry.Name), Deletion: Version(t.Deleted.ID.Entry), By: t.Deleted.Author, Deleted: time.Unix(0, t.Deleted.Wall),
					head: t.Deleted, write: t.Entry.Head.ID, with: r.with,
				})
			}
		}
		return nil
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	before, err := d.before(list[0], list[0].head.Pos.Seq)
	if err == nil {
		list, err = before.paths(list)
	}
	if err == nil {
		list, err = d.unlessRenamed(list)
	}
	if err == nil {
		list, err = d.unlessBack(list)
	}
	return list, err
}

// unlessBack leaves out files that are there again: the same bytes under the same name.
func (d *Drive) unlessBack(list []Trashed) (gone []Trashed, err error) {
	err = d.Now().read(func(v *tree.View) error {
		gone = list[:0:0]
		for _, t := range list {
			e, err := v.Walk(t.Path)
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, tree.ErrNotDir):
			case err != nil:
				return err
			case t.Kind == KindFile && e.Kind == KindFile && sameBytes(t.Content, e.Content):
				continue
			}
			gone = append(gone, t)
		}
		return nil
	})
	return gone, err
}

// before is the drive as the deleter of t knew it, without his entries from block first on.
func (d *Drive) before(t Trashed, first uint64) (*Snapshot, error) {
	c, err := d.room.Closure(t.head.ID.Entry)
	if err != nil {
		return nil, err
	}
	return &Snapshot{d: d, version: t.Deletion, clock: without{c, t.head.Pos.Core, first}}, nil
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
			t.with.seen = true
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

// goesOn reports whether what went in an entry that came before those of newer belongs to the removal of a directory among them, and notes that
// there. Other deletes below the directory that came just before count as part of its removal.
func goesOn(newer, together []Trashed) bool {
	for i := len(newer) - 1; i >= max(0, len(newer)-maxOpen); i-- {
		r := &newer[i]
		if r.IsDir() && r.with.soonAfter(removalOf(together[0].head)) && allBelow(r.Path, together) {
			for _, t := range together {
				r.with.join(t.with)
			}
			return true
		}
	}
	return false
}

func allBelow(dir string, list []Trashed) bool {
	return !slices.ContainsFunc(list, func(t Trashed) bool { return !strings.HasPrefix(t.Path, dir+"/") })
}

// tops leaves out what lies below a directory of the same list: it went with that.
func tops(list []Trashed) (out []Trashed) {
	dirs := map[string]*removal{}
	for _, t := range list {
		if t.IsDir() {
			dirs[t.Path] = t.with
		}
	}
	for _, t := range list {
		var top *removal
		for up := path.Dir(t.Path); up != "."; up = path.Dir(up) {
			if dirs[up] != nil {
				top = dirs[up]
			}
		}
		if top == nil {
			out = append(out, t)
		} else {
			top.join(t.with)
		}
	}
	return out
}

// Undelete brings back what was deleted last at a path: as it was just before, of a directory with everything below it. Errors are
// those of BeforeDelete.
func (d *Drive) Undelete(ctx context.Context, p string) (v Version, err error) {
	moments, err := d.BeforeDelete(ctx, p)
	for _, before := range moments {
		if v, err = d.Restore(ctx, p, before); err != nil {
			break
		}
	}
	return v, err
}

// BeforeDelete is the drive as it was just before what was deleted last at a path went. A directory may have gone in several entries; then there
// are two moments to restore, one after the other: before the first of them, and before the last, for what was written there meanwhile.
// fs.ErrExist when something has the name now, fs.ErrNotExist when nothing was ever deleted there.
func (d *Drive) BeforeDelete(ctx context.Context, p string) ([]*Snapshot, error) {
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
		var moments []*Snapshot
		for _, first := range slices.Compact([]uint64{t.with.first, t.head.Pos.Seq}) {
			before, err := d.before(t, first)
			if err != nil {
				return nil, pathErr("restore", p, err)
			}
			if _, err := before.Stat(p); err == nil {
				moments = append(moments, before)
			}
		}
		if len(moments) > 0 {
			return moments, nil
		}
	}
	return nil, pathErr("restore", p, fmt.Errorf("nothing of that name was deleted: %w", fs.ErrNotExist))
}
