package drive

// What the log says of an entry, and which entries are about a path.

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// filter chooses the operations that concern one path.
type filter struct {
	path    string
	nodes   map[tree.NodeID]bool // the nodes behind the path and, over its prev's, those before them
	inside  bool                 // of a directory: what is below the path, too
	ever    map[tree.NodeID]bool // inside: what may have been there; nil: that is not known
	known   bool                 // entries are all with operations on any of these nodes
	entries []key.Hash
}

// maxEver is how much is read to find out what was ever at a path or below it. Where there was more, all entries are looked at.
const maxEver = 20_000

func (f *filter) below(at string) bool {
	return f.inside && (at == f.path || strings.HasPrefix(at, f.path+"/"))
}

// places remembers where the directories of a view are.
type places struct {
	v    *tree.View
	dirs map[tree.NodeID]string
}

// dirOf is the path of the directory that a node is placed in; known is false when it has none.
func (p *places) dirOf(id tree.NodeID) (path string, known bool) {
	dir, ok, err := p.v.Dir(id)
	if err != nil || !ok {
		return "", false
	}
	path, known = p.dirs[dir]
	if known {
		return path, true
	}
	if path, err = p.v.Path(dir); err != nil {
		return "", false
	}
	p.dirs[dir] = path
	return path, true
}

// may reports whether an operation on a node may be one that the filter wants, at a fraction of what it costs to say what it did.
func (f *filter) may(node tree.NodeID, before, after *places) bool {
	if f == nil || f.nodes[node] {
		return true
	}
	if !f.inside || f.ever != nil {
		return f.ever[node]
	}
	anywhere := false
	for _, p := range []*places{after, before} {
		dir, known := p.dirOf(node)
		if known && (f.below(dir) || dir == Clean(path.Dir(f.path))) {
			return true
		}
		anywhere = anywhere || known
	}
	return !anywhere
}

func (f *filter) wants(e Edited) bool {
	return f == nil || f.nodes[e.Node] || f.below(e.Path) || e.From != "" && f.below(e.From)
}

// logFilter finds the nodes that have, or once had, the path.
func (d *Drive) logFilter(o LogOptions) (*filter, error) {
	p := Clean(o.Path)
	if p == "" {
		return nil, nil
	}
	var f *filter
	err := d.room.View(func(tx room.Tx) error {
		f = &filter{path: p, nodes: make(map[tree.NodeID]bool)}
		v := d.view(tx, nil)
		e, err := v.Walk(p)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, tree.ErrNotDir):
			f.inside = true // removed since: whatever happened under that path
		case err != nil:
			return err
		default:
			f.inside, f.known = e.Kind == tree.Dir, e.Kind != tree.Dir
			if err := f.follow(v, append([]tree.NodeID{e.Node}, e.Members...)); err != nil {
				return err
			}
		}
		if !f.inside {
			return nil
		}
		ever, known, err := v.Ever(p, maxEver)
		if known {
			f.known, f.ever, f.entries = true, ever.Nodes, append(f.entries, ever.Entries...)
		}
		return err
	})
	return f, pathErr("log", p, err)
}

// follow notes nodes and those that had their places before them.
func (f *filter) follow(v *tree.View, nodes []tree.NodeID) error {
	for _, m := range nodes {
		f.nodes[m] = true
		for op, err := range v.History(m) {
			if err != nil {
				return err
			}
			f.nodes[nodeOf(op)] = true
			f.entries = append(f.entries, op.ID.Entry)
		}
	}
	return nil
}

// nodeOf is the node that an operation is about.
func nodeOf(p tree.Placed) tree.NodeID {
	if p.Op.Type == tree.OpCreate {
		return p.Op.Node.Resolve(p.ID.Entry)
	}
	return p.Op.Node
}

// fullEntry is an entry with its operations and what its author knew.
type fullEntry struct {
	logged
	ops   []tree.Op
	clock room.Clock
}

func (d *Drive) fullEntry(row logged) (fullEntry, error) {
	e, err := d.room.Entry(row.ID)
	if err != nil {
		return fullEntry{}, err
	}
	ops, err := tree.DecodeOps(e.Body, row.ID)
	if err != nil {
		return fullEntry{}, err
	}
	clock, err := d.room.Closure(row.ID)
	return fullEntry{row, ops, clock}, err
}

// describe says what the entry did, of that which only wants: n edits one by one, the others in numbers.
func (e fullEntry) describe(before, after *tree.View, only *filter, n int) Logged {
	l := Logged{Version: Version(e.ID), Author: e.Author, Time: time.Unix(0, e.Wall), Lamport: e.lamport, Ops: len(e.ops)}
	was, is := &places{before, map[tree.NodeID]string{}}, &places{after, map[tree.NodeID]string{}}
	one := func(i int) (Edited, bool) {
		return describeOp(e.ops[i], tree.OpID{Entry: e.ID, Index: uint32(i)}, before, after)
	}
	var firsts []int // operations that l.Rest begin with
	var written tree.NodeID
	for i, op := range e.ops {
		node := op.Node.Resolve(e.ID)
		if !only.may(node, was, is) {
			continue
		}
		if len(l.Edits) < n {
			if d, told := one(i); told && only.wants(d) {
				l.Edits = append(l.Edits, d)
			}
			continue
		}
		own := op.Type == tree.OpAttr && node == written // the attributes that come with new bytes
		written = node
		if d, told := countedEdit(op, node, was, is); told && !own && (only == nil || only.nodes[node] || only.below(d.Dir)) {
			if l.count(d) {
				firsts = append(firsts, i)
			}
		}
	}
	for k, i := range firsts {
		if l.Rest[k].Count == 1 && k < n {
			l.Rest[k].One, _ = one(i)
		}
	}
	return l
}

// count adds edits to the rest, and reports whether they are the first of their sort.
func (l *Logged) count(d Edits) (first bool) {
	same := func(o Edits) bool { return o.What == d.What && o.Kind == d.Kind && o.Dir == d.Dir }
	if i := slices.IndexFunc(l.Rest, same); i >= 0 {
		l.Rest[i].Count += d.Count
		return false
	}
	l.Rest = append(l.Rest, d)
	return true
}

// countedEdit says as much of what an operation did as is told of many, at a fraction of the cost.
func countedEdit(op tree.Op, node tree.NodeID, was, is *places) (d Edits, told bool) {
	if op.Type == tree.OpMark {
		return Edits{What: editWords[op.Type], Count: 1}, true
	}
	at := is
	if op.Type == tree.OpDelete {
		at = was
	}
	d = Edits{What: editWords[op.Type], Kind: node.Kind(), Count: 1}
	d.Dir, _ = at.dirOf(node)
	return d, d.What != ""
}

// without is a clock up to, and not with, one entry.
type without struct {
	room.Clock
	core key.CoreID
	seq  uint64
}

func (w without) Length(core key.CoreID) uint64 {
	n := w.Clock.Length(core)
	if core == w.core {
		return min(n, w.seq)
	}
	return n
}

// editWords are the operations that the log tells of. Others only accompany them.
var editWords = map[tree.Type]string{
	tree.OpCreate: "create", tree.OpWrite: "write", tree.OpMove: "move", tree.OpDelete: "delete", tree.OpAttr: "attr", tree.OpMark: "mark",
}

// describeOp says what an operation did. Paths that cannot be told, because the node is displayed nowhere at that moment, are left
// empty. Operations that only accompany others are not told.
func describeOp(op tree.Op, id tree.OpID, before, after *tree.View) (Edited, bool) {
	e := Edited{Node: op.Node, Kind: op.Node.Kind()}
	if op.Type == tree.OpCreate {
		e.Node = op.Node.Resolve(id.Entry)
	}
	at := func(v *tree.View) string { p, _ := v.Path(e.Node); return p }
	if op.Content != nil {
		e.Size = op.Content.Size
	}
	e.What = editWords[op.Type]
	switch op.Type {
	case tree.OpMove:
		e.Path, e.From = at(after), at(before)
	case tree.OpDelete:
		e.Path = removedPath(op.Node, before, after)
	case tree.OpMark:
		e.Path = op.Label
	case tree.OpCreate, tree.OpWrite, tree.OpAttr:
		e.Path = at(after)
	}
	return e, e.What != ""
}

// removedPath is the path that a delete took away: of a file of which another version stays the name of the version that went.
func removedPath(id tree.NodeID, before, after *tree.View) string {
	was, _ := before.Shown(id) // what is displayed nowhere has no path to tell
	staying, _ := after.Shown(id)
	for _, stays := range staying {
		was = slices.DeleteFunc(was, func(e tree.Entry) bool { return e.Head.ID == stays.Head.ID })
	}
	if len(was) == 0 {
		p, _ := before.Path(id)
		return p
	}
	p, _ := before.PathOf(id, was[0].Head.ID)
	return p
}
