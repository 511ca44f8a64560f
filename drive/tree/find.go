package tree

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// From a path or an id to the entry that is displayed, and back.

// Walk follows a slash-separated path from the root; "", "." and "/" are the root.
func (v *View) Walk(path string) (Entry, error) {
	e, below := Entry{Members: rootIDs, Kind: Dir}, false // the root, as far as looking for something in it goes
	for rest := path; rest != ""; {
		var name string
		if name, rest, _ = strings.Cut(rest, "/"); name == "" || name == "." {
			continue
		}
		var err error
		if e, err = v.Lookup(e, name); err != nil {
			if pe, ok := err.(*fs.PathError); ok {
				err = pe.Err
			}
			return Entry{}, &fs.PathError{Op: "walk", Path: path, Err: err}
		}
		below = true
	}
	if !below {
		return v.Root(), nil
	}
	return e, nil
}

// union returns the numbers of the directories that are displayed as one with n.
func (v *View) union(n *node) ([]uint32, error) {
	if n.num == 0 || !n.place.ok {
		return []uint32{n.num}, nil
	}
	parents, err := v.parents(n)
	if err != nil {
		return nil, err
	}
	return v.directories(parents, n.place.name)
}

// maxClimb bounds how deep a node may lie that is looked up by its id. Commands keep to MaxDepth, and what is moved apart from each other
// can come to lie some times as deep; but somebody who makes up operations can nest directories without end.
const maxClimb = 16 * MaxDepth

// parents returns the members of the displayed directory that a placed node is in.
func (v *View) parents(n *node) ([]uint32, error) {
	members := rootNums
	var names []string // of the directories that n is in, the nearest first
	for num := n.place.dir; num != 0; {
		p, err := v.node(num)
		if err != nil {
			return nil, err
		}
		if !p.place.ok {
			members = []uint32{num}
			break
		}
		if len(names) == maxClimb {
			return nil, fmt.Errorf("node %s: %w", n.id, ErrTooDeep)
		}
		names, num = append(names, p.place.name), p.place.dir
	}
	for _, name := range slices.Backward(names) {
		var err error
		if members, err = v.directories(members, name); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// directories returns the numbers of the visible directories that are called name in any of the parents.
func (v *View) directories(parents []uint32, name string) ([]uint32, error) {
	nodes, err := v.gather(parents, &name)
	if err != nil {
		return nil, err
	}
	return dirsAmong(nodes), nil
}

// Node finds the entry that shows a node (of a file: its main, or else the first
// of its conflict copies); fs.ErrNotExist when nothing does.
func (v *View) Node(id NodeID) (Entry, error) {
	if id == Root {
		return v.Root(), nil
	}
	n, err := v.byID(id)
	if err != nil {
		return Entry{}, err
	}
	if !n.visible() {
		return Entry{}, fmt.Errorf("node %s: %w", id, fs.ErrNotExist)
	}
	return v.entryOf(n, withID(id))
}

// Shown is what a node shows, whatever stands beside it: a file's versions, the displayed one first, or the directory. Names are left empty, and
// so is what the entry that it is part of has from others. It costs much less than Node. fs.ErrNotExist.
func (v *View) Shown(id NodeID) ([]Entry, error) {
	n, err := v.byID(id)
	if err != nil {
		return nil, err
	}
	if !n.visible() {
		return nil, fmt.Errorf("node %s: %w", id, fs.ErrNotExist)
	}
	if n.kind() == Dir {
		e, err := v.common(n)
		return []Entry{e}, err
	}
	var out []Entry
	for i := range n.heads {
		e, err := v.fileEntry(n, &n.heads[i])
		if err != nil {
			return nil, err
		}
		if out = append(out, e); i == n.main() {
			out[0], out[i] = out[i], out[0]
		}
	}
	return out, nil
}

// Entry finds the displayed entry with the ID; node is its Node. fs.ErrNotExist.
func (v *View) Entry(node, id NodeID) (Entry, error) {
	n, err := v.byID(node)
	if err != nil {
		return Entry{}, err
	}
	if n.num == 0 {
		return v.Root(), nil
	}
	if !n.visible() {
		return Entry{}, fmt.Errorf("node %s: %w", node, fs.ErrNotExist)
	}
	e, err := v.entryOf(n, withID(id))
	if err == nil && e.ID != id && !slices.Contains(e.Members, id) {
		return Entry{}, fmt.Errorf("node %s: %w", id, fs.ErrNotExist)
	}
	return e, err
}

// withID is whether an entry has the ID.
func withID(id NodeID) func(*Entry) bool { return func(e *Entry) bool { return e.ID == id } }

// entryOf finds the entry of those that show n which is wanted, or else the first of them.
func (v *View) entryOf(n *node, wanted func(*Entry) bool) (Entry, error) {
	parents, nodes := []uint32{0}, []*node(nil)
	var base *string
	var err error
	if n.place.ok {
		base = &n.place.name
		if parents, err = v.parents(n); err != nil {
			return Entry{}, err
		}
		if nodes, err = v.gather(parents, &n.place.name); err != nil {
			return Entry{}, err
		}
		if len(nodes) == 1 && n.kind() == Dir && nodes[0].kind() == Dir {
			return v.dirEntry(nodes)
		}
		lines, err := v.group(n.place.name, nodes)
		if err != nil {
			return Entry{}, err
		}
		if e := lines[0].entry; lines[0].holds && (wanted(&e) || e.Kind == Dir && n.kind() == Dir) {
			return e, nil
		}
	}
	all, err := v.unusual(parents, base)
	if err != nil {
		return Entry{}, err
	}
	var found *Entry
	for i := range all {
		switch e := &all[i]; {
		case !slices.Contains(e.Members, n.id):
		case wanted(e):
			return *e, nil
		case found == nil || e.Node == n.id && e.ID == n.id:
			found = e
		}
	}
	if found == nil {
		return Entry{}, fmt.Errorf("node %s: %w", n.id, fs.ErrNotExist)
	}
	return *found, nil
}

// Path is the path of a node's entry, without a leading slash; the root's is "".
func (v *View) Path(id NodeID) (string, error) {
	e, err := v.Node(id)
	if err != nil || id == Root {
		return "", err
	}
	return v.pathOf(e)
}

// PathOf is the path of the entry that one version of a file is behind, named by the write that made it: of a version that stands beside
// another it is a conflict name. Of what is shown by no version of that write it is the [View.Path].
func (v *View) PathOf(id NodeID, head OpID) (string, error) {
	n, err := v.byID(id)
	if err != nil {
		return "", err
	}
	if !n.visible() {
		return "", fmt.Errorf("node %s: %w", id, fs.ErrNotExist)
	}
	if id == Root {
		return "", nil
	}
	e, err := v.entryOf(n, func(e *Entry) bool {
		return slices.ContainsFunc(e.Heads, func(h Head) bool { return h.ID == head })
	})
	if err != nil {
		return "", err
	}
	return v.pathOf(e)
}

func (v *View) pathOf(e Entry) (string, error) {
	names := []string{e.Name}
	err := v.climb(e.Parent, func(n *node) error {
		name := n.place.name // a directory has the name that it was given
		if !n.place.ok {
			e, err := v.entryOf(n, withID(n.id))
			if err != nil {
				return err
			}
			name = e.Name
		}
		names = append(names, name)
		return nil
	})
	slices.Reverse(names)
	return strings.Join(names, "/"), err
}

// Dir is the directory that a node is placed in, which may not be displayed; ok is false for one that is placed nowhere. It costs much less
// than Path.
func (v *View) Dir(id NodeID) (dir NodeID, ok bool, err error) {
	n, err := v.byID(id)
	if err != nil || n.num == 0 || !n.place.ok {
		return Root, false, err
	}
	dir, err = v.id(n.place.dir)
	return dir, err == nil, err
}

// climb calls fn for a directory and those above it, but for the root.
func (v *View) climb(id NodeID, fn func(*node) error) error {
	num, _, err := v.num(id)
	for err == nil && num != 0 {
		var n *node
		if n, err = v.node(num); err != nil {
			break
		}
		if err = fn(n); err == nil && !n.place.ok {
			break
		}
		num = n.place.dir
	}
	return err
}
