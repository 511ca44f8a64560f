package tree

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A plain model of a file system: a command changes what was listed before it to what is to be listed after
// it, and nothing else. It knows nothing of operations.

type item struct {
	path, dir, base string
	kind            Kind
	bytes           string // or target
	conflict        bool
	id              NodeID
	members         []NodeID
	attributes
	loose bool // in the model: what attributes it has is not foreseen
}

// attributes are those that commands set.
type attributes struct {
	mode  uint32
	mtime int64
	user  string // user.x; empty: there is none
}

type listing map[string]item

// paths are all that are listed, in order.
func (l listing) paths() []string { return slices.Sorted(maps.Keys(l)) }

func (v *View) listing() (listing, error) {
	shown, err := whole(v)
	return listingOf(shown), err
}

func listingOf(shown []shownEntry) listing {
	out := make(listing, len(shown))
	for i := range shown {
		e := &shown[i]
		x := item{path: e.path, dir: e.path[:strings.LastIndexByte(e.path, '/')+1], base: e.base, kind: e.kind, bytes: e.target, conflict: e.conflict, id: e.id, members: e.members,
			attributes: attributes{e.mode, e.mtime, string(e.xattrs[userX])}}
		if e.content != "" {
			x.bytes = e.content
		}
		out[e.path] = x
	}
	return out
}

// command is what a user does: to the entry at from, or to a new one at to.
type command struct {
	verb     string // create mkdir write rm rmdir rmr mv; and link chmod touch set unset restore rewind
	from, to string
	bytes    string       // or target
	value    int          // that attributes are made of; 0: none are set
	back     *restoration // of a restore
	more     bool         // it has to do with attributes, symlinks or the past
}

func (c command) String() string {
	out := strings.TrimSpace(c.verb + " " + c.from + " " + c.to + " " + c.bytes)
	if c.back != nil {
		out += fmt.Sprintf(" as %s was at %v", c.back.path, c.back.version)
	}
	return out
}

// under calls fn for a path and everything below it.
func (l listing) under(path string, fn func(item)) {
	for p, x := range l {
		if p == path || strings.HasPrefix(p, path+"/") {
			fn(x)
		}
	}
}

func (l listing) put(path string, x item) {
	x.path, x.dir = path, path[:strings.LastIndexByte(path, '/')+1]
	l[path] = x
}

// do is the model. The second result is items that move along, under names that are not foreseen here.
func (l listing) do(c command) (after listing, along []item) {
	after = listing{}
	for p, x := range l {
		after[p] = x
	}
	switch c.verb {
	case "create":
		after.put(c.to, item{kind: File, bytes: c.bytes, attributes: c.made(0o644)})
	case "mkdir":
		after.put(c.to, item{kind: Dir, attributes: c.made(0o755)})
	case "link":
		after.put(c.to, item{kind: Symlink, bytes: c.bytes, attributes: c.made(0o777)})
	case "write":
		x := l[c.from]
		x.bytes = c.bytes
		if c.value != 0 {
			x.mtime = c.made(0).mtime
		}
		after.put(c.from, x)
	case "chmod", "touch", "set", "unset":
		x := l[c.from]
		after.loosen(x)
		c.change(&x.attributes)
		after.put(c.from, x)
	case "restore", "rewind":
		after.restored(c)
	case "rm", "rmdir", "rmr":
		l.under(c.from, func(x item) { delete(after, x.path) })
	case "mv":
		x, to := l[c.from], l[c.to]
		if c.from == c.to {
			break
		}
		l.under(c.from, func(y item) { delete(after, y.path) })
		if to.kind != Dir {
			after.loosen(to)
		}
		l.under(c.from, func(y item) { after.put(c.to+strings.TrimPrefix(y.path, c.from), y) })
		if y := after[c.to]; to.conflict { // what has its place is the conflict entry that it was
			y.conflict = true
			after[c.to] = y
		}
		if x.kind == Dir || to.path != "" && to.kind == x.kind || !slices.Contains(x.members, x.id) {
			break
		}
		for p, y := range after { // conflict copies go with their file
			if p != c.to && y.conflict && len(y.members) > 0 && slices.Contains(x.members, y.members[0]) && !slices.Contains(y.members, y.id) {
				delete(after, p)
				along = append(along, y)
			}
		}
	}
	return after, along
}

// compare checks what is listed now against the model.
func (l listing) compare(c command, now listing) error {
	want, along := l.do(c)
	used := map[string]bool{}
	for _, y := range along {
		found := false
		for p, x := range now {
			if x.id == y.id && x.bytes == y.bytes && x.conflict {
				used[p], found = true, true
			}
		}
		if !found && !now.hides(y) {
			return fmt.Errorf("%s: %s did not come along", c, y.path)
		}
	}
	for p, x := range want {
		y, ok := now[p]
		if !ok && x.conflict && now.hides(x) {
			continue
		}
		if !ok || y.kind != x.kind || y.bytes != x.bytes || !x.loose && y.attributes != x.attributes {
			return fmt.Errorf("%s: %s should be %s %s %v and is %s %s %v", c, p, x.kind, x.bytes, x.attributes, y.kind, y.bytes, y.attributes)
		}
	}
	for p := range now {
		if _, ok := want[p]; !ok && !used[p] {
			return fmt.Errorf("%s: %s should not be there", c, p)
		}
	}
	return nil
}

// hides reports whether an entry with the same bytes stands where x would be.
func (l listing) hides(x item) bool {
	for _, y := range l {
		if y.kind == x.kind && y.bytes == x.bytes && y.kind != Dir {
			return true
		}
	}
	return false
}

// run does one command as an entry and compares what is listed after it with the model.
func (c command) run(r *replica) error {
	was, err := r.view().listing()
	if err != nil {
		return err
	}
	_, err = c.runOn(r, was)
	return err
}

// runOn is run when it is known what is listed; it returns what is shown then.
func (c command) runOn(r *replica, was listing) ([]shownEntry, error) {
	if err := r.do(func(e *Edit) error { return c.give(e, r.rows) }); err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	return c.done(r, was)
}

// done is what is left of runOn once the entry is written.
func (c command) done(r *replica, was listing) ([]shownEntry, error) {
	shown, err := whole(r.view())
	if err != nil {
		return nil, err
	}
	return shown, c.shows(r.w, was, shown)
}

// shows compares what is shown after a command with the model.
func (c command) shows(w *world, was listing, shown []shownEntry) error {
	now := listingOf(shown)
	if c.bytes != "" && c.verb != "link" {
		c.bytes = content(c.bytes).Plain.Short()
	}
	w.forget(was, now)
	return was.compare(c, now)
}

// give gives the command to an edit of the rows.
func (c command) give(e *Edit, rows *Mem) error {
	if c.back != nil {
		then := AsOf(rows, c.back.version)
		of, err := then.Walk(c.back.path)
		if err != nil {
			return err
		}
		var how Restoring
		if c.verb == "rewind" {
			how.Removed = func(string) {}
		}
		return e.Restore(then, of, how)
	}
	v := e.View()
	var x Entry
	var err error
	if c.from != "" {
		if x, err = v.Walk(c.from); err != nil {
			return err
		}
	}
	dir, name := Root, c.to
	if i := strings.LastIndexByte(c.to, '/'); i >= 0 {
		d, err := v.Walk(c.to[:i])
		if err != nil {
			return err
		}
		dir, name = d.Node, c.to[i+1:]
	}
	switch c.verb {
	case "create":
		_, err = e.Create(dir, name, content(c.bytes), c.attrs())
	case "mkdir":
		_, err = e.Mkdir(dir, name, c.attrs())
	case "link":
		_, err = e.Symlink(dir, name, c.bytes, c.attrs())
	case "write":
		err = e.Write(x.Opened(), content(c.bytes), c.attrs())
	case "rm", "rmdir":
		err = e.Remove(x)
	case "rmr":
		_, err = e.RemoveAll(x)
	case "mv":
		err = e.Move(x, dir, name)
	case "chmod", "touch", "set", "unset":
		err = e.SetAttr(x, c.attrs())
	}
	return err
}

// forget notes bytes that somebody took away who was shown them, if only in one place of several.
func (w *world) forget(was, now listing) {
	count := map[string]int{}
	for _, x := range now {
		count[x.bytes]++
	}
	for _, x := range was {
		if count[x.bytes]--; x.kind != Dir && count[x.bytes] < 0 {
			w.gone = append(w.gone, x.bytes)
		}
	}
}

// kept checks that what is not shown any more was taken away by somebody who was shown it.
func (w *world) kept() error {
	now, err := w.reps[0].view().listing()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, x := range now {
		there[x.bytes] = true
	}
	for _, p := range w.entries {
		for _, o := range p.ops {
			if bytes := o.Op.bytes(); bytes != "" && !there[bytes] && !slices.Contains(w.gone, bytes) {
				return fmt.Errorf("bytes %s are gone and nobody removed them", bytes)
			}
		}
	}
	return nil
}

// bytes are what an operation has a file hold, or where it has a symlink lead; empty: nothing.
func (o *Op) bytes() string {
	if o.Content != nil {
		return o.Content.Plain.Short()
	}
	return o.Target
}

// commands are all that a user could do with what is listed, within two directories' depth.
func (l listing) commands(names []string, bytes string) []command {
	var out []command
	dirs := []string{""}
	for p, x := range l {
		if x.kind == Dir && strings.Count(p, "/") == 0 {
			dirs = append(dirs, p+"/")
		}
	}
	slices.Sort(dirs)
	paths := l.paths()
	for _, d := range dirs {
		for _, n := range names {
			if _, ok := l[d+n]; ok {
				continue
			}
			out = append(out, command{verb: "create", to: d + n, bytes: bytes}, command{verb: "mkdir", to: d + n})
			for _, p := range paths {
				if !strings.HasPrefix(d, p+"/") && p != d+n {
					out = append(out, command{verb: "mv", from: p, to: d + n})
				}
			}
		}
	}
	for _, p := range paths {
		x := l[p]
		if x.kind == Dir {
			empty := true
			l.under(p, func(y item) { empty = empty && y.path == p })
			if empty {
				out = append(out, command{verb: "rmdir", from: p})
			} else {
				out = append(out, command{verb: "rmr", from: p})
			}
		} else {
			if x.kind == File {
				out = append(out, command{verb: "write", from: p, bytes: bytes})
			}
			out = append(out, command{verb: "rm", from: p})
		}
		for _, q := range paths {
			y := l[q]
			if q == p || y.kind != x.kind || strings.HasPrefix(q, p+"/") {
				continue
			}
			if y.kind == Dir {
				empty := true
				l.under(q, func(z item) { empty = empty && z.path == q })
				if !empty || strings.HasPrefix(p, q+"/") {
					continue
				}
			}
			out = append(out, command{verb: "mv", from: p, to: q})
		}
	}
	return out
}
