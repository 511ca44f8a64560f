package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
)

// restoration is what a restore is to bring back.
type restoration struct {
	version closure
	path    string   // at the version
	items   []item   // what was shown there: the entry, then what was below it
	up      []string // directories above it that are removed now
}

// offers are the restores that a user finds in the histories of what is listed and in the trash.
type offers struct {
	entries []*posted // that are known
	rows    *Mem
	now     listing
	out     []command
}

// restores are all restores that a user can ask for: of each file and symlink and of all that is in the trash the versions in its history; and
// of what is in the trash the last one before it was removed. That comes back only where its name is free.
func restores(entries []*posted, rows *Mem, now listing) ([]command, error) {
	o := offers{entries: entries, rows: rows, now: now}
	v := Now(rows)
	for _, p := range now.paths() {
		if x := now[p]; x.kind != Dir && x.id == x.members[0] {
			if err := o.versions(v, x.id); err != nil {
				return nil, err
			}
		}
	}
	for t, err := range v.Trash() {
		if err != nil {
			return nil, err
		}
		by, err := o.entry(t.Deleted.ID)
		if err != nil {
			return nil, err
		}
		if err := o.offer(t.Entry.Node, by.knew, true); err != nil {
			return nil, err
		}
		if err := o.versions(v, t.Entry.Node); err != nil {
			return nil, err
		}
	}
	return o.out, nil
}

// versions offers what a node was whenever somebody wrote or moved it.
func (o *offers) versions(v *View, id NodeID) error {
	for p, err := range v.History(id) {
		if err != nil {
			return err
		}
		if p.Op.Node != id {
			break // what had its place before
		}
		if p.Op.Type != OpCreate && p.Op.Type != OpWrite && p.Op.Type != OpMove {
			continue
		}
		by, err := o.entry(p.ID)
		if err != nil {
			return err
		}
		if err := o.offer(id, by.version(), false); err != nil {
			return err
		}
	}
	return nil
}

// entry finds the entry that an operation stands in.
func (o *offers) entry(id OpID) (*posted, error) {
	for _, p := range o.entries {
		if p.ops[0].ID.Entry == id.Entry {
			return p, nil
		}
	}
	return nil, errors.New("an operation of no entry")
}

// version is what is known when the entry is.
func (p *posted) version() closure {
	c := slices.Clone(p.knew)
	c[p.author]++
	return c
}

// within are the operations of those entries that a version has.
func (c closure) within(entries []*posted) (out []Placed) {
	for _, p := range entries {
		if p.seq < c[p.author] {
			out = append(out, p.ops...)
		}
	}
	return out
}

// offer offers a node as it was at a version, which is to read as the oracle says.
func (o *offers) offer(id NodeID, version closure, free bool) error {
	then := AsOf(o.rows, version)
	shown, err := whole(then)
	if err == nil {
		err = shownBy(shown, version.within(o.entries))
	}
	if err != nil {
		return fmt.Errorf("as of %v: %w", version, err)
	}
	e, err := then.Entry(id, id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && e.ID != id {
		return nil // it came and went in one entry, or was there as a copy only
	}
	if err != nil {
		return err
	}
	path, err := then.Path(id)
	if err != nil {
		return err
	}
	b := &restoration{version: version, path: path}
	was := listingOf(shown)
	for _, p := range was.paths() {
		if p == path || strings.HasPrefix(p, path+"/") {
			b.items = append(b.items, was[p])
		}
	}
	dir, ok := o.directory(b, e.Parent)
	to := dir + e.Name
	if x, taken := o.now[to]; !ok || taken && (free || (x.kind == Dir) != (e.Kind == Dir)) {
		return nil
	}
	c := command{verb: "restore", to: to, back: b}
	if !slices.ContainsFunc(o.out, c.restoresLike) {
		o.out = append(o.out, c)
	}
	return nil
}

// restoresLike reports whether two restores bring back the same to the same place.
func (c command) restoresLike(d command) bool {
	return c.to == d.to && slices.EqualFunc(c.back.items, d.back.items, func(a, b item) bool {
		return a.path == b.path && a.id == b.id && a.bytes == b.bytes && a.attributes == b.attributes
	})
}

// directory is the path, with a slash at its end, of the directory that a node is. One that is removed comes back where it was, unless a
// directory has that place now; not ok when something else has.
func (o *offers) directory(b *restoration, id NodeID) (path string, ok bool) {
	if id == Root {
		return "", true
	}
	for p, x := range o.now {
		if x.kind == Dir && slices.Contains(x.members, id) {
			return p + "/", true
		}
	}
	var ops []Placed
	for _, p := range o.entries {
		ops = append(ops, p.ops...)
	}
	at := fold(ops).place[id].Op
	up, ok := o.directory(b, at.Parent)
	path = up + at.Name
	if x, taken := o.now[path]; taken {
		ok = ok && x.kind == Dir
	} else {
		b.up = append(b.up, path)
	}
	return path + "/", ok
}

// restored is the model of a restore: what was there is there again, with its attributes, beside what is there now.
func (l listing) restored(c command) {
	for _, p := range c.back.up {
		l.put(p, item{kind: Dir, loose: true})
	}
	for path, x := range c.brings(l) {
		if now, ok := l[path]; ok {
			l.loosen(now)
		}
		l.put(path, x)
	}
}

// brings yields what a restore puts where. A directory that has the place of a file stays what it is, and the other way round.
func (c command) brings(now listing) iter.Seq2[string, item] {
	return func(yield func(string, item) bool) {
		blocked := ""
		for _, x := range c.back.items {
			path := c.to + strings.TrimPrefix(x.path, c.back.path)
			if blocked != "" && strings.HasPrefix(path, blocked) {
				continue
			}
			if y, ok := now[path]; ok && (y.kind == Dir) != (x.kind == Dir) {
				blocked = path + "/"
			} else if !yield(path, x) {
				return
			}
		}
	}
}
