package tree

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A shownEntry is all that is compared of an entry of the displayed tree.
type shownEntry struct {
	path     string
	base     string
	kind     Kind
	id       NodeID
	content  string
	target   string
	mode     uint32
	mtime    int64
	xattrs   map[string][]byte
	members  []NodeID
	heads    []OpID
	conflict bool
}

func (e *shownEntry) String() string {
	return fmt.Sprintf("%s %s %s %s %q %o %d %q %v %v %v", e.path, e.kind, e.id, e.content, e.target, e.mode, e.mtime, e.xattrs, e.members, e.heads, e.conflict)
}

func (e *shownEntry) equal(f *shownEntry) bool {
	return e.path == f.path && e.base == f.base && e.kind == f.kind && e.id == f.id && e.content == f.content && e.target == f.target && e.mode == f.mode && e.mtime == f.mtime &&
		maps.EqualFunc(e.xattrs, f.xattrs, bytes.Equal) && slices.Equal(e.members, f.members) && slices.Equal(e.heads, f.heads) && e.conflict == f.conflict
}

// attrs finds a node's attributes; a file's time is that of the head, unless set later.
func (o *oracle) attrs(n NodeID, head *Placed, to *shownEntry) {
	to.mode = map[Kind]uint32{Dir: 0o755, File: 0o644, Symlink: 0o777}[n.Kind()]
	to.xattrs = map[string][]byte{}
	for _, p := range o.byNode[n] {
		a := p.Op.Attrs
		if a.Mode != nil {
			to.mode = *a.Mode
		}
		brought := n.Kind() != Dir && (p.Op.Type == OpCreate || p.Op.Type == OpWrite)
		if a.MTime != nil && (!brought || p == head) {
			to.mtime = *a.MTime
		}
		for _, k := range a.Remove {
			delete(to.xattrs, k)
		}
		maps.Copy(to.xattrs, a.Set)
	}
}

// whole is everything that is displayed.
func (o *oracle) whole() []shownEntry {
	var out []shownEntry
	var walk func(path string, members []NodeID)
	walk = func(path string, members []NodeID) {
		for _, s := range o.list(members) {
			e := shownEntry{path: path + s.name, base: s.base, kind: s.node.Kind(), id: s.id, members: s.members, heads: s.heads, conflict: s.conflict}
			if s.head != nil {
				e.target = s.head.Op.Target
				if c := s.head.Op.Content; c != nil {
					e.content = c.Plain.Short()
				}
			}
			o.attrs(s.node, s.head, &e)
			out = append(out, e)
			if s.node.Kind() == Dir {
				walk(path+s.name+"/", s.members)
			}
		}
	}
	walk("", []NodeID{Root})
	return out
}

// whole is the same for a View.
func whole(v *View) ([]shownEntry, error) {
	paths, entries, err := walked(v, func(Entry, []Entry) error { return nil })
	return shownOf(paths, entries), err
}

func shownOf(paths []string, entries []Entry) []shownEntry {
	out := make([]shownEntry, 0, len(entries))
	for i := range entries {
		e := &entries[i]
		s := shownEntry{path: paths[i], base: e.Base, kind: e.Kind, id: e.ID, target: e.Target, mode: e.Mode, mtime: e.MTime, xattrs: e.Xattrs, members: e.Members, conflict: e.Conflict}
		if e.Content != nil {
			s.content = e.Content.Plain.Short()
		}
		for _, h := range e.Heads {
			s.heads = append(s.heads, h.ID)
		}
		out = append(out, s)
	}
	return out
}

// agrees compares a view with the oracle's fold of the operations.
func agrees(v *View, ops []Placed) error {
	paths, entries, err := everything(v)
	if err != nil {
		return err
	}
	return shownBy(shownOf(paths, entries), ops)
}

// shownBy compares what is shown with the oracle's fold of the operations.
func shownBy(got []shownEntry, ops []Placed) error {
	want := fold(ops).whole()
	if slices.EqualFunc(got, want, func(a, b shownEntry) bool { return a.equal(&b) }) {
		return nil
	}
	return fmt.Errorf("shown\n  %s\nand not\n  %s", lines(got), lines(want))
}

func lines(list []shownEntry) string {
	var b strings.Builder
	for i := range list {
		fmt.Fprintf(&b, "%s\n  ", &list[i])
	}
	return b.String()
}
