package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
)

// restoration is what a restore is to bring back.
type restoration struct {
	version closure
	path    string   // at the version
	items   []item   // what was shown there: the entry, unless it is the root, then what was below it
	up      []string // directories above it that are removed now
}

// offers are the restores that a user finds in the histories of what is listed and in the trash.
type offers struct {
	entries []*posted // that are known
	rows    *Mem
	now     listing
	out     []command
}

// restores are all restores that a user can ask for: of each file and symlink and of all that is in the trash the versions in its history; of
// what is in the trash the last one before it was removed, which comes back only where its name is free; and of each directory,
// and of everything, what its path showed at each moment, in both ways: what is there now and was not then stays, or goes.
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
	for t, err := range trash(v) {
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
	return o.out, o.directories()
}

// directories offers what the paths of directories showed after each entry.
func (o *offers) directories() error {
	for _, p := range o.entries {
		then := AsOf(o.rows, p.version())
		was, err := o.at(then, p.version())
		if err != nil {
			return err
		}
		for _, path := range append(o.now.paths(), "") {
			if path != "" && (o.now[path].kind != Dir || was[path].kind != Dir || was[path].path == "") {
				continue
			}
			e, err := then.Walk(path)
			if err != nil {
				return err
			}
			o.add("restore", e, path, p.version(), was)
			o.add("rewind", e, path, p.version(), was)
		}
	}
	return nil
}

// at is what is shown as of a version, which is to be what the oracle says.
func (o *offers) at(then *View, version closure) (listing, error) {
	shown, err := whole(then)
	if err == nil {
		err = shownBy(shown, version.within(o.entries))
	}
	if err != nil {
		err = fmt.Errorf("as of %v: %w", version, err)
	}
	return listingOf(shown), err
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

// offer offers a node as it was at a version.
func (o *offers) offer(id NodeID, version closure, free bool) error {
	then := AsOf(o.rows, version)
	was, err := o.at(then, version)
	if err != nil {
		return err
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
	verb := "restore"
	if x, taken := o.now[path]; taken && (x.kind == Dir) != (e.Kind == Dir) {
		verb = "rewind" // the other one goes nowhere
	}
	if c := o.command(verb, e, path, version, was); c != nil && !(free && o.now[c.to].path != "") {
		o.take(*c)
	}
	return nil
}

// add offers an entry that was at a path.
func (o *offers) add(verb string, e Entry, path string, version closure, was listing) {
	if c := o.command(verb, e, path, version, was); c != nil {
		o.take(*c)
	}
}

func (o *offers) take(c command) {
	if !slices.ContainsFunc(o.out, c.restoresLike) {
		o.out = append(o.out, c)
	}
}

// command is what brings back an entry that was at a path; nil when it is refused.
func (o *offers) command(verb string, e Entry, path string, version closure, was listing) *command {
	c := command{verb: verb, back: &restoration{version: version, path: path}}
	for _, p := range was.paths() {
		if path == "" || p == path || strings.HasPrefix(p, path+"/") {
			c.back.items = append(c.back.items, was[p])
		}
	}
	if path == "" {
		return &c
	}
	dir, ok := o.directory(c.back, e.Parent)
	c.to = dir + e.Name
	if x, taken := o.now[c.to]; !ok || taken && (x.kind == Dir) != (e.Kind == Dir) && verb == "restore" {
		return nil
	}
	return &c
}

// restoresLike reports whether two restores bring back the same to the same place.
func (c command) restoresLike(d command) bool {
	return c.verb == d.verb && c.to == d.to && slices.EqualFunc(c.back.items, d.back.items, func(a, b item) bool {
		return a.path == b.path && a.id == b.id && a.bytes == b.bytes && a.attributes == b.attributes && slices.Equal(a.members, b.members)
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

// restored is the model of a restore: what was there is there again, with its attributes, beside what is there now; or in its stead.
func (l listing) restored(c command) {
	for _, p := range c.back.up {
		l.put(p, item{kind: Dir, loose: true})
	}
	was := maps.Clone(l)
	if c.verb == "rewind" {
		maps.DeleteFunc(l, func(p string, _ item) bool { return c.to == "" || p == c.to || strings.HasPrefix(p, c.to+"/") })
	}
	for path, x := range c.brings(was) {
		if now, ok := was[path]; ok {
			l.loosen(now)
		}
		l.put(path, x)
	}
}

// brings yields what a restore puts where. A directory that has the place of a file stays what it is, and the other way round, unless
// what was not there then goes.
func (c command) brings(now listing) iter.Seq2[string, item] {
	return func(yield func(string, item) bool) {
		blocked := ""
		for _, x := range c.back.items {
			path := c.to + strings.TrimPrefix(x.path, c.back.path)
			if blocked != "" && strings.HasPrefix(path, blocked) {
				continue
			}
			if y, ok := now[path]; ok && (y.kind == Dir) != (x.kind == Dir) && c.verb == "restore" {
				blocked = path + "/"
			} else if !yield(path, x) {
				return
			}
		}
	}
}
