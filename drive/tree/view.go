package tree

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/drive/key"
)

// View reads the tree, as it is now or as it was at a version. It is good
// for as long as its rows are and do not change, and for one goroutine at a time.
type View struct {
	rows  Rows
	cores *cores
	label func(key.DeviceID) string
	past  *past   // nil: now
	draft *merger // of an Edit: it has the nodes that rows do not have yet; nil: there are none
	keeps bool    // the Edit's own: the draft keeps the nodes that are read by number or name, since commands come back to them
	ids   map[uint32]NodeID
}

// Now is the tree as all applied operations make it.
func Now(rows Rows) *View {
	return &View{rows: rows, cores: newCores(rows), label: key.DeviceID.Short, ids: map[uint32]NodeID{}}
}

// AsOf is the tree as the operations within c make it.
func AsOf(rows Rows, c Clock) *View {
	v := Now(rows)
	v.past = newPast(v, c)
	return v
}

// WithNames makes conflict names call devices what name returns, which must be
// the same for everyone. Without it they are called by their short ids.
func (v *View) WithNames(name func(key.DeviceID) string) *View {
	v.label = name
	return v
}

// node reads a node by its number, with its place and whether it is visible.
func (v *View) node(num uint32) (*node, error) {
	if v.past != nil {
		return v.past.node(num)
	}
	if v.draft == nil {
		return readNode(v.rows, num)
	}
	if v.keeps {
		return v.draft.look(num)
	}
	if n := v.draft.nodes[num]; n != nil {
		return n, nil
	}
	return readNode(v.rows, num)
}

// decode is node for somebody who has met a row that lists it.
func (v *View) decode(k, b []byte) (*node, error) {
	if v.draft != nil {
		if n := v.draft.nodes[numOf(k)]; n != nil {
			return n, nil
		}
	}
	return decodeNode(k, b)
}

// num finds the number of a node; ok is false when nothing has spoken of it.
func (v *View) num(id NodeID) (num uint32, ok bool, err error) {
	if v.draft != nil {
		if num, ok := v.draft.nums[id]; ok {
			return num, true, nil
		}
	}
	return nodeNum(v.rows, id)
}

func (v *View) includes(a at) bool {
	return v.past == nil || v.past.includes(a)
}

// byID reads a node by its id; fs.ErrNotExist when nothing is known of it.
func (v *View) byID(id NodeID) (*node, error) {
	num, ok, err := v.num(id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("node %s: %w", id, fs.ErrNotExist)
	}
	return v.node(num)
}

// id returns the id of a node that has a number.
func (v *View) id(num uint32) (NodeID, error) {
	if num == 0 {
		return Root, nil
	}
	if v.draft != nil {
		if n := v.draft.nodes[num]; n != nil {
			return n.id, nil
		}
	}
	if id, ok := v.ids[num]; ok {
		return id, nil
	}
	b, err := v.rows.Get(numKey(rowHome, num))
	if err != nil {
		return Root, err
	}
	if len(b) < 17 {
		return Root, errCorrupt
	}
	v.ids[num] = NodeID(b[1:17])
	return v.ids[num], nil
}

// children reads the visible nodes that are placed in a directory, or only those called name there.
func (v *View) children(dir uint32, name *string) ([]*node, error) {
	return v.firstChildren(dir, name, math.MaxInt)
}

// firstChildren is children, but reads no more than limit of the present.
func (v *View) firstChildren(dir uint32, name *string, limit int) ([]*node, error) {
	if v.past != nil {
		return v.past.children(dir, name)
	}
	rows := v.rows.Scan(numKey(rowVisible, dir), nil)
	if name != nil {
		rows = named(v.rows, namePrefix(rowVisible, dir, *name))
	}
	var out []*node
	for k, b := range rows {
		n, err := v.decode(k, b)
		if err != nil {
			return nil, err
		}
		if v.keeps && v.draft != nil && name != nil {
			v.draft.keep(n) // if it did not have it
		}
		if n.num != 0 {
			out = append(out, n)
		}
		if len(out) >= limit {
			break
		}
	}
	return out, nil
}

// members returns the numbers of a displayed directory's members.
func (v *View) members(dir Entry) ([]uint32, error) {
	if dir.Kind != Dir {
		return nil, fmt.Errorf("%s: %w", dir.Name, ErrNotDir)
	}
	if dir.Node == Root {
		return []uint32{0}, nil
	}
	out := make([]uint32, 0, len(dir.Members))
	for _, id := range dir.Members {
		num, ok, err := v.num(id)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, num)
		}
	}
	return out, nil
}

// gather reads the visible children of several directories.
func (v *View) gather(members []uint32, name *string) ([]*node, error) {
	var out []*node
	for _, m := range members {
		more, err := v.children(m, name)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// Root is the root directory.
func (v *View) Root() Entry {
	n, err := v.node(0)
	if err != nil { // whatever is read next says so
		n = &node{alive: true}
	}
	e, _ := v.dirEntry([]*node{n})
	return e
}

// Lookup finds what a directory shows under a name; fs.ErrNotExist, ErrNotDir.
func (v *View) Lookup(dir Entry, name string) (Entry, error) {
	members, err := v.members(dir)
	if err != nil {
		return Entry{}, err
	}
	nodes, err := v.gather(members, &name)
	if err != nil {
		return Entry{}, err
	}
	lines, err := v.group(name, nodes)
	if err != nil {
		return Entry{}, err
	}
	if len(lines) > 0 && lines[0].holds {
		return lines[0].entry, nil
	}
	if strings.Contains(name, conflictInfix) || dir.Node == Root && strings.HasPrefix(name, recoveredPrefix) {
		all, err := v.unusual(members, nil)
		if err != nil {
			return Entry{}, err
		}
		for _, e := range all {
			if e.Name == name {
				return e, nil
			}
		}
	}
	return Entry{}, &fs.PathError{Op: "lookup", Path: name, Err: fs.ErrNotExist}
}

// List lists a directory, sorted by name.
func (v *View) List(dir Entry) ([]Entry, error) {
	members, err := v.members(dir)
	if err != nil {
		return nil, err
	}
	return v.list(members)
}

func (v *View) list(members []uint32) ([]Entry, error) {
	nodes, err := v.gather(members, nil)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(nodes, func(a, b *node) int { return cmp.Compare(a.place.name, b.place.name) })
	lines := make([]line, 0, len(nodes)) // entries are large: growing this by halves was most of a listing
	for len(nodes) > 0 {
		n := 1
		for n < len(nodes) && nodes[n].place.name == nodes[0].place.name {
			n++
		}
		if n == 1 && nodes[0].alone() {
			l, err := v.plainLine(nodes[0].place.name, nodes[0])
			if err != nil {
				return nil, err
			}
			lines, nodes = append(lines, l), nodes[1:]
			continue
		}
		more, err := v.group(nodes[0].place.name, nodes[:n])
		if err != nil {
			return nil, err
		}
		lines, nodes = append(lines, more...), nodes[n:]
	}
	if slices.Contains(members, 0) {
		more, err := v.recovered(lines)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return v.named(lines, nil)
}

// Walk follows a slash-separated path from the root; "", "." and "/" are the root.
func (v *View) Walk(path string) (Entry, error) {
	e, err := v.Root(), error(nil)
	for name := range strings.SplitSeq(path, "/") {
		if err != nil {
			return Entry{}, &fs.PathError{Op: "walk", Path: path, Err: err}
		}
		if name == "" || name == "." {
			continue
		}
		e, err = v.Lookup(e, name)
		if pe, ok := err.(*fs.PathError); ok {
			err = pe.Err
		}
	}
	if err != nil {
		return Entry{}, &fs.PathError{Op: "walk", Path: path, Err: err}
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
	members := []uint32{0}
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
	return v.entryOf(n, id)
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
	e, err := v.entryOf(n, id)
	if err == nil && e.ID != id && !slices.Contains(e.Members, id) {
		return Entry{}, fmt.Errorf("node %s: %w", id, fs.ErrNotExist)
	}
	return e, err
}

// entryOf finds the entry with the ID that shows n, or else the first that shows it.
func (v *View) entryOf(n *node, id NodeID) (Entry, error) {
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
		lines, err := v.group(n.place.name, nodes)
		if err != nil {
			return Entry{}, err
		}
		if e := lines[0].entry; lines[0].holds && (e.ID == id || e.Kind == Dir && n.kind() == Dir) {
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
		case e.ID == id:
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
	names := []string{e.Name}
	err = v.climb(e.Parent, func(n *node) error {
		name := n.place.name // a directory has the name that it was given
		if !n.place.ok {
			e, err := v.entryOf(n, n.id)
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

func (v *View) by(node NodeID, s stamp) Head {
	if s.at.isZero() {
		return Head{}
	}
	return Head{Node: node, Pos: v.cores.pos(s.at), ID: OpID{s.entry, s.at.index}, Author: v.cores.get(s.at.core).author, Wall: s.wall}
}

// numOf is the last part of a child's key.
func numOf(k []byte) uint32 { return binary.BigEndian.Uint32(k[len(k)-4:]) }
