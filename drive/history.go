package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
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

// logPage is how many entries are read in one transaction.
const logPage = 64

// Log yields the history of the drive, newest first.
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
		keys, err := d.logKeys()
		if err != nil {
			yield(Logged{}, err)
			return
		}
		for page := range slices.Chunk(keys, logPage) {
			var out []Logged
			err := d.room.View(func(tx room.Tx) error {
				out = out[:0]
				for _, k := range page {
					l, ok, err := d.describe(tx, k, only, o)
					if err != nil {
						return err
					}
					if ok {
						out = append(out, l)
					}
				}
				return nil
			})
			if err == nil {
				err = ctxErr(ctx, "reading the history")
			}
			for _, l := range out {
				if !yield(l, nil) {
					return
				}
			}
			if err != nil {
				yield(Logged{}, err)
				return
			}
		}
	}
}

// logKeys returns the keys of all entries, newest first.
func (d *Drive) logKeys() (keys [][]byte, err error) {
	err = d.room.View(func(tx room.Tx) error {
		keys = nil
		for k := range tx.Rows(logTable).Scan([]byte{'o'}, nil) {
			keys = append(keys, slices.Clone(k))
		}
		return nil
	})
	slices.Reverse(keys)
	return keys, err
}

// filter chooses the operations that concern one path.
type filter struct {
	nodes map[tree.NodeID]bool   // the nodes behind the path and, over its prev's, those before them
	below func(path string) bool // for directories: is a path inside
}

func (f *filter) wants(e Edited) bool {
	return f == nil || f.nodes[e.Node] || f.below != nil && (f.below(e.Path) || e.From != "" && f.below(e.From))
}

// logFilter finds the nodes that have, or once had, the path.
func (d *Drive) logFilter(o LogOptions) (*filter, error) {
	p := Clean(o.Path)
	if p == "" {
		return nil, nil
	}
	f := &filter{nodes: make(map[tree.NodeID]bool)}
	below := func(at string) bool { return at == p || strings.HasPrefix(at, p+"/") }
	err := d.room.View(func(tx room.Tx) error {
		v := d.view(tx, nil)
		e, err := v.Walk(p)
		if errors.Is(err, fs.ErrNotExist) {
			f.below = below // removed since: whatever happened under that path
			return nil
		}
		if err != nil {
			return err
		}
		if e.Kind == tree.Dir {
			f.below = below
		}
		for _, m := range append([]tree.NodeID{e.Node}, e.Members...) {
			f.nodes[m] = true
			for op, err := range v.History(m) {
				if err != nil {
					return err
				}
				f.nodes[nodeOf(op)] = true
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

// describe reads one entry and says what it did; ok is false when nothing in it concerns the filter.
func (d *Drive) describe(tx room.Tx, k []byte, only *filter, o LogOptions) (l Logged, ok bool, err error) {
	v, err := tx.Rows(logTable).Get(k)
	if err != nil || v == nil {
		return l, false, err // it stopped counting since
	}
	row, err := parseLogged(k, v)
	if err != nil {
		return l, false, err
	}
	e, err := d.room.Entry(row.ID)
	if err != nil {
		return l, false, fmt.Errorf("entry %s: %w", row.ID.Short(), err)
	}
	ops, err := tree.DecodeOps(e.Body, row.ID)
	if err != nil {
		return l, false, fmt.Errorf("entry %s: %w", row.ID.Short(), err)
	}
	clock, err := d.room.Closure(row.ID)
	if err != nil {
		return l, false, err
	}
	after := d.view(tx, clock)
	before := d.view(tx, without{clock, row.core, row.seq})
	l = Logged{Version: Version(row.ID), Author: row.Author, Time: time.Unix(0, row.Wall), Lamport: row.lamport, Ops: len(ops)}
	for i, op := range ops {
		if len(l.Edits) == o.Edits {
			break
		}
		e, told := describeOp(op, tree.OpID{Entry: row.ID, Index: uint32(i)}, before, after)
		if told && only.wants(e) {
			l.Edits = append(l.Edits, e)
		}
	}
	return l, only == nil || len(l.Edits) > 0, nil
}

// without is a clock up to, and not with, one entry.
type without struct {
	room.Clock
	core key.CoreID
	seq  uint64
}

func (w without) Includes(core key.CoreID, seq uint64) bool {
	return w.Clock.Includes(core, seq) && (core != w.core || seq < w.seq)
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
		e.What, e.Path = "delete", at(before)
	case tree.OpAttr:
		e.What, e.Path = "attr", at(after)
	case tree.OpMark:
		e.What, e.Path = "mark", op.Label
	default:
		return e, false
	}
	return e, true
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
