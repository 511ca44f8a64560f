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
	if name != nil {
		return v.childrenNamed(dir, *name)
	}
	var out []*node
	for k, b := range v.rows.Scan(numKey(rowVisible, dir), nil) {
		n, err := v.decode(k, b)
		if err != nil {
			return nil, err
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

// childrenNamed reads the visible nodes of the present that are called name in a directory.
func (v *View) childrenNamed(dir uint32, name string) (out []*node, err error) {
	if o, ok := v.rows.(*overlay); ok {
		if rows, ok := o.named(rowVisible, dir, name); ok {
			for _, p := range rows {
				if out, err = v.child(out, p.k, p.v); err != nil {
					return nil, err
				}
			}
			return out, nil
		}
	}
	return v.allNamed(dir, name)
}

func (v *View) allNamed(dir uint32, name string) (out []*node, err error) {
	for k, b := range v.rows.Scan(namePrefix(rowVisible, dir, name), nil) {
		if out, err = v.child(out, k, b); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (v *View) child(out []*node, k, b []byte) ([]*node, error) {
	n, err := v.decode(k, b)
	if err != nil {
		return nil, err
	}
	if v.keeps && v.draft != nil {
		v.draft.keep(n) // if it did not have it
	}
	if n.num != 0 {
		out = append(out, n)
	}
	return out, nil
}

// noneNamed reports whether directories show nothing under a name, and cannot.
func (v *View) noneNamed(members []uint32, name string) (bool, error) {
	if v.past != nil || strings.Contains(name, conflictInfix) || strings.HasPrefix(name, recoveredPrefix) {
		return false, nil
	}
	for _, m := range members {
		if nodes, err := v.childrenNamed(m, name); err != nil || len(nodes) > 0 {
			return false, err
		}
	}
	return true, nil
}

// rootNums and rootIDs are the members of the root. Nobody changes them.
var (
	rootNums = []uint32{0}
	rootIDs  = []NodeID{Root}
)

// members returns the numbers of a displayed directory's members.
func (v *View) members(dir Entry) ([]uint32, error) {
	if dir.Kind != Dir {
		return nil, fmt.Errorf("%s: %w", dir.Name, ErrNotDir)
	}
	if dir.Node == Root {
		return rootNums, nil
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
	if len(members) == 1 {
		return v.children(members[0], name)
	}
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
	return v.lookup(dir, members, name)
}

// lookup is Lookup in a directory with these members.
func (v *View) lookup(dir Entry, members []uint32, name string) (Entry, error) {
	nodes, err := v.gather(members, &name)
	if err != nil {
		return Entry{}, err
	}
	if len(nodes) == 1 {
		switch n := nodes[0]; {
		case n.kind() == Dir:
			return v.dirEntry(nodes)
		case n.alone():
			var e Entry
			err := v.plainEntry(&e, name, n)
			return e, err
		}
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
	return v.display(members, nodes)
}

// display makes the listing of directories that are displayed as one and of all that is in them.
func (v *View) display(members []uint32, nodes []*node) ([]Entry, error) {
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

func (v *View) by(node NodeID, s stamp) (h Head) {
	v.setHead(&h, node, &s)
	return h
}

// setHead is by into a Head that is zero.
func (v *View) setHead(h *Head, node NodeID, s *stamp) {
	if s.at.isZero() {
		return
	}
	core := v.cores.get(s.at.core)
	h.Node, h.ID, h.Author, h.Wall = node, OpID{s.entry, s.at.index}, core.author, s.wall
	h.Pos = Pos{Lamport: s.at.lamport, Core: core.id, Seq: s.at.seq, Index: s.at.index}
}

// numOf is the last part of a child's key.
func numOf(k []byte) uint32 { return binary.BigEndian.Uint32(k[len(k)-4:]) }
