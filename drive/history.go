package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
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
	Rest    []Edits  // the others
}

// Edits are several edits of one sort in one directory.
type Edits struct {
	What  string // as in Edited
	Kind  Kind
	Dir   string // where they are after it, of a delete before it; "" also when that cannot be told
	Count int
	One   Edited // of a single one: what it is
}

// LogOptions choose what Log yields.
type LogOptions struct {
	Path  string // only what concerns this path, as it is now, or what is below it; "": everything
	Edits int    // at most this many edits an entry; 0: DefaultEdits
}

// DefaultEdits is how many edits of one entry Log describes unless told otherwise: an import of a large tree has thousands.
const DefaultEdits = 100

// logPageSize is how many entries are read in one transaction, at most: the first pages are smaller, since who asks for the last entry alone
// is not to wait for what all those before it did.
const (
	logPageSize      = 64
	firstLogPageSize = 4
)

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
	size := firstLogPageSize / 2
	grown := func() int { size = min(2*size, logPageSize); return size }
	if only == nil || !only.known {
		var from []byte
		return func() (page []Logged, more bool, err error) {
			page, from, err = d.logPage(from, grown(), only, o)
			return page, from != nil, err
		}
	}
	var rows []logged
	looked := false
	return func() (page []Logged, more bool, err error) {
		if !looked {
			if rows, err = d.rowsOf(each(only.entries)); err != nil {
				return nil, false, err
			}
			slices.SortFunc(rows, func(a, b logged) int { return bytes.Compare(a.key(), b.key()) })
			looked = true
		}
		part := rows[:min(len(rows), grown())]
		rows = rows[len(part):]
		page, err = d.described(part, only, o.Edits)
		return page, len(rows) > 0, err
	}
}

// each returns every id once.
func each(ids []key.Hash) []key.Hash { return slices.Compact(sorted(ids)) }

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

// logPage describes the next entries, at most limit of them, from the row from on, and returns where to go on, nil at the end.
func (d *Drive) logPage(from []byte, limit int, only *filter, o LogOptions) (page []Logged, next []byte, err error) {
	rows, next, err := d.logRows(from, limit)
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

func (d *Drive) logRows(from []byte, limit int) (rows []logged, next []byte, err error) {
	err = d.room.View(func(tx room.Tx) error {
		rows, next = nil, nil
		for k, v := range tx.Rows(logTable).Scan([]byte{'o'}, from) {
			if len(rows) == limit {
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
