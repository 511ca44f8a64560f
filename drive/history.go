package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Edited says what one operation of an entry did, with the paths of that moment.
type Edited struct {
	What string // create, write, move, delete, attr, keep, mark
	Kind Kind
	Node tree.NodeID
	Path string // after it; of a delete, before it; of a mark, its label
	From string // of a move: the path before it
	Size int64  // of a create or write of a file
}

// Logged is one entry of the drive's history.
type Logged struct {
	Version Version
	Author  key.DeviceID
	Time    time.Time // by the author's clock
	Lamport uint64
	Ops     int      // operations in the entry
	Edits   []Edited // those that were asked for, at most LogOptions.Edits of them
}

// LogOptions choose what Log yields.
type LogOptions struct {
	Path  string // only what concerns this path, as it is now, or what is below it; "": everything
	Edits int    // at most this many edits an entry; 0: DefaultEdits
}

// DefaultEdits is how many edits of one entry Log describes unless told otherwise: an import of a large tree has thousands.
const DefaultEdits = 100

// logPageSize is how many entries are read in one transaction.
const logPageSize = 64

// Log yields the history of the drive, newest first: by the authors' clocks, but never an entry behind what it was made on top of
// ([room.CompareWhen]).
func (d *Drive) Log(ctx context.Context, o LogOptions) iter.Seq2[Logged, error] {
	if o.Edits == 0 {
		o.Edits = DefaultEdits
	}
	return func(yield func(Logged, error) bool) {
		only, err := d.logFilter(o)
		if err != nil {
			yield(Logged{}, err)
			return
		}
		next := d.logPages(only, o)
		for more := true; more; {
			var page []Logged
			if page, more, err = next(); err == nil {
				err = ctxErr(ctx, "reading the history")
			}
			if err != nil {
				yield(Logged{}, err)
				return
			}
			for _, l := range page {
				if !yield(l, nil) {
					return
				}
			}
		}
	}
}

// logPages returns what reads one page of the history after another: of all entries or, when that is known, of those that matter.
func (d *Drive) logPages(only *filter, o LogOptions) func() (page []Logged, more bool, err error) {
	if only == nil || only.entries == nil {
		var from []byte
		return func() (page []Logged, more bool, err error) {
			page, from, err = d.logPage(from, only, o)
			return page, from != nil, err
		}
	}
	var rows []logged
	looked := false
	return func() (page []Logged, more bool, err error) {
		if !looked {
			if rows, err = d.rowsOf(only.entries); err != nil {
				return nil, false, err
			}
			slices.SortFunc(rows, func(a, b logged) int { return bytes.Compare(a.key(), b.key()) })
			looked = true
		}
		part := rows[:min(len(rows), logPageSize)]
		rows = rows[len(part):]
		page, err = d.described(part, only, o.Edits)
		return page, len(rows) > 0, err
	}
}

// rowsOf finds the rows of entries, but for those that are not in the history (any more).
func (d *Drive) rowsOf(ids []key.Hash) (rows []logged, err error) {
	err = d.room.View(func(tx room.Tx) error {
		rows = nil
		for _, id := range ids {
			k, err := tx.Rows(logTable).Get(idKey(id))
			if err != nil {
				return err
			}
			if k == nil {
				continue
			}
			k = append([]byte{'o'}, k...)
			v, err := tx.Rows(logTable).Get(k)
			if err != nil {
				return err
			}
			row, err := parseLogged(k, v)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// Logged describes entries of the history, as Log does, in the order given. Those that are not in it (any more) are left out.
func (d *Drive) Logged(ids []key.Hash) (list []Logged, err error) {
	for part := range slices.Chunk(ids, logPageSize) {
		rows, err := d.rowsOf(part)
		if err != nil {
			return nil, fmt.Errorf("reading the history: %w", err)
		}
		page, err := d.described(rows, nil, DefaultEdits)
		if err != nil {
			return nil, err
		}
		list = append(list, page...)
	}
	return list, nil
}

// logPage describes the next entries, at most logPageSize of them, from the row from on, and returns where to go on, nil at the end.
func (d *Drive) logPage(from []byte, only *filter, o LogOptions) (page []Logged, next []byte, err error) {
	rows, next, err := d.logRows(from)
	if err != nil {
		return nil, nil, err
	}
	page, err = d.described(rows, only, o.Edits)
	return page, next, err
}

// described says what the entries of rows did, with at most edits of each, and leaves out those that did nothing that only wants.
func (d *Drive) described(rows []logged, only *filter, edits int) (page []Logged, err error) {
	// What the room is asked for is read before the transaction below: one inside another could wait for a writer that waits for it.
	full := make([]fullEntry, 0, len(rows))
	for _, row := range rows {
		e, err := d.fullEntry(row)
		if errors.Is(err, room.ErrNotFound) {
			continue // it stopped counting since
		}
		if err != nil {
			return nil, fmt.Errorf("entry %s: %w", row.ID.Short(), err)
		}
		full = append(full, e)
	}
	err = d.room.View(func(tx room.Tx) error {
		page = nil
		for _, e := range full {
			if l := e.describe(d.view(tx, without{e.clock, e.core, e.seq}), d.view(tx, e.clock), only, edits); only == nil || len(l.Edits) > 0 {
				page = append(page, l)
			}
		}
		return nil
	})
	return page, err
}

func (d *Drive) logRows(from []byte) (rows []logged, next []byte, err error) {
	err = d.room.View(func(tx room.Tx) error {
		rows, next = nil, nil
		for k, v := range tx.Rows(logTable).Scan([]byte{'o'}, from) {
			if len(rows) == logPageSize {
				next = slices.Clone(k)
				return nil
			}
			row, err := parseLogged(k, v)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, next, err
}

// Latest is the newest version in the order of Log; zero when nothing was ever written.
func (d *Drive) Latest() (v Version, err error) {
	err = d.room.View(func(tx room.Tx) error {
		v = Version{}
		for k, row := range tx.Rows(logTable).Scan([]byte{'o'}, nil) {
			l, err := parseLogged(k, row)
			v = Version(l.ID)
			return err
		}
		return nil
	})
	return v, err
}

// filter chooses the operations that concern one path.
type filter struct {
	path    string
	nodes   map[tree.NodeID]bool // the nodes behind the path and, over its prev's, those before them
	inside  bool                 // of a directory: what is below the path, too
	entries []key.Hash           // unless inside: those with operations on the nodes
}

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
	if !f.inside {
		return false
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
		if errors.Is(err, fs.ErrNotExist) {
			f.inside = true // removed since: whatever happened under that path
			return nil
		}
		if err != nil {
			return err
		}
		f.inside = e.Kind == tree.Dir
		told := map[key.Hash]bool{}
		for _, m := range append([]tree.NodeID{e.Node}, e.Members...) {
			f.nodes[m] = true
			for op, err := range v.History(m) {
				if err != nil {
					return err
				}
				f.nodes[nodeOf(op)] = true
				if id := op.ID.Entry; !f.inside && !told[id] {
					told[id] = true
					f.entries = append(f.entries, id)
				}
			}
		}
		return nil
	})
	return f, pathErr("log", p, err)
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

// describe says what the entry did, with at most n edits, of those that only wants.
func (e fullEntry) describe(before, after *tree.View, only *filter, n int) Logged {
	l := Logged{Version: Version(e.ID), Author: e.Author, Time: time.Unix(0, e.Wall), Lamport: e.lamport, Ops: len(e.ops)}
	was, is := &places{before, map[tree.NodeID]string{}}, &places{after, map[tree.NodeID]string{}}
	for i, op := range e.ops {
		if len(l.Edits) == n {
			break
		}
		if !only.may(op.Node.Resolve(e.ID), was, is) {
			continue
		}
		d, told := describeOp(op, tree.OpID{Entry: e.ID, Index: uint32(i)}, before, after)
		if told && only.wants(d) {
			l.Edits = append(l.Edits, d)
		}
	}
	return l
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
	switch op.Type {
	case tree.OpCreate:
		e.What, e.Path = "create", at(after)
	case tree.OpWrite:
		e.What, e.Path = "write", at(after)
	case tree.OpMove:
		e.What, e.Path, e.From = "move", at(after), at(before)
	case tree.OpDelete:
		e.What, e.Path = "delete", removedPath(op.Node, before, after)
	case tree.OpAttr:
		e.What, e.Path = "attr", at(after)
	case tree.OpMark:
		e.What, e.Path = "mark", op.Label
	default:
		return e, false
	}
	return e, true
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

// Revisions yields the versions that the bytes of the file at a path had, newest first.
func (d *Drive) Revisions(p string) ([]Info, error) {
	p = Clean(p)
	var infos []Info
	err := d.room.View(func(tx room.Tx) error {
		v := d.view(tx, nil)
		e, err := v.Walk(p)
		if err != nil {
			return err
		}
		if e.Kind != tree.File {
			return ErrNotFile
		}
		infos = nil
		for op, err := range v.History(e.Node) {
			if err != nil {
				return err
			}
			if op.Op.Type != tree.OpWrite && op.Op.Type != tree.OpCreate {
				continue
			}
			was, err := v.ContentAt(op)
			if err != nil {
				return err
			}
			i := infoOf(was, p)
			i.Version, i.Author, i.Written = Version(op.ID.Entry), op.Author, time.Unix(0, op.Wall)
			infos = append(infos, i)
		}
		return nil
	})
	return infos, pathErr("revisions", p, err)
}

// Conflicts lists everything that is shown under a conflict name.
func (d *Drive) Conflicts() ([]Info, error) {
	var infos []Info
	err := d.room.View(func(tx room.Tx) error {
		v := d.view(tx, nil)
		es, err := v.Conflicts()
		if err != nil {
			return err
		}
		infos = nil
		for _, e := range es {
			dir, err := v.Path(e.Parent)
			if err != nil {
				return err
			}
			infos = append(infos, infoOf(e, Clean(dir+"/"+e.Name)))
		}
		return nil
	})
	return infos, err
}

// Marked is a labelled moment.
type Marked struct {
	Label   string
	Version Version
	Author  key.DeviceID
	Time    time.Time
}

// Marks lists the marks, newest first.
func (d *Drive) Marks() ([]Marked, error) {
	var marks []Marked
	err := d.room.View(func(tx room.Tx) error {
		marks = nil
		for m, err := range d.view(tx, nil).Marks() {
			if err != nil {
				return err
			}
			marks = append(marks, Marked{m.Label, Version(m.By.ID.Entry), m.By.Author, time.Unix(0, m.By.Wall)})
		}
		return nil
	})
	return marks, err
}

// StateHash is a hash of the whole tree: equal sets of entries give equal hashes on every device. It reads everything.
func (d *Drive) StateHash() (h key.Hash, err error) {
	err = d.room.View(func(tx room.Tx) error {
		h, err = tree.StateHash(tx.Rows(treeTable))
		return err
	})
	return h, err
}
