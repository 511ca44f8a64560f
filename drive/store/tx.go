package store

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"strings"

	"github.com/tidwall/btree"
	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Buckets of log.db. Their names and the first byte of their keys never
// change: salvaging a damaged file recognises records by that byte.
var (
	bucketMeta   = []byte("meta")   // 'm' name
	bucketCores  = []byte("cores")  // 'c' core id -> coreRecord
	bucketBlocks = []byte("blocks") // 'b' core number (4) index (8) -> block
	bucketHashes = []byte("hashes") // 'h' core number (4) index (8) -> 32 bytes
	bucketRows   = []byte("rows")   // 't' table NUL key -> value
	logBuckets   = [][]byte{bucketMeta, bucketCores, bucketBlocks, bucketHashes, bucketRows}
)

const logTags = "mcbht" // the first bytes of keys, in the order of logBuckets

var (
	errTxDone   = errors.New("the transaction has ended")
	errReadOnly = errors.New("writing in a read-only transaction")
)

// tx is a transaction: what was in memory when it began over what was in the
// databases, and its own changes. One goroutine at a time uses it.
type tx struct {
	s     *Room
	base  *base
	mem   [2]*btree.BTreeG[*cell] // newest first, nil: there is none. The first is the transaction's own copy if it writes
	write bool
	done  bool
	err   error // damage: the transaction is lost

	seq       uint64 // its number, if it writes
	arena     *arena // for what it puts
	changes   []change
	mark      int  // where those of the closure that runs begin
	writes    int  // how often mem[0] was changed
	essential bool // a row of an essential table changed

	cores  map[key.CoreID]*coreTx
	tables []*rows // that Log and Rows have given, of which there are few

	coreRows *rows // see coreTable
}

// change is one row that a transaction changed, and how to take that back.
type change struct {
	key, value []byte // as in memory; no value: deleted
	prev       *cell  // what was in memory before; nil: nothing
}

var _ room.Tx = (*tx)(nil)

// base is a snapshot of both databases. One transaction at a time reads it; the leader's serves many, one after the other.
type base struct {
	log, index *bolt.Tx
	buckets    [len(logTags)]*stored // of log.db, as in logBuckets
	tables     map[string]*stored    // of index.db
}

// stored is a bucket, and where a transaction was in it last.
type stored struct {
	b      *bolt.Bucket // nil: there is none
	cursor *bolt.Cursor // of nobody for longer than one call
}

func (s *stored) seek(k []byte) (key, value []byte) {
	if s.cursor == nil {
		s.cursor = s.b.Cursor()
	}
	return s.cursor.Seek(k)
}

func (s *Room) newBase() (b *base, err error) {
	b = &base{}
	err = contain(func() (err error) {
		if b.log, err = s.logDB.Begin(false); err != nil {
			return err
		}
		b.index, err = s.indexDB.Load().Begin(false)
		return err
	})
	if err != nil {
		b.end()
		return nil, fmt.Errorf("beginning a snapshot: %w", err)
	}
	return b, nil
}

func (b *base) end() {
	if b == nil {
		return
	}
	for _, t := range []*bolt.Tx{b.log, b.index} {
		if t != nil {
			_ = contain(t.Rollback)
		}
	}
}

// Core implements room.Tx.
func (t *tx) Core(id key.CoreID) (core.Writer, error) {
	if t.done {
		return nil, errTxDone
	}
	if c := t.cores[id]; c != nil {
		return c, nil
	}
	c, err := t.openCore(id)
	if err != nil {
		return nil, err
	}
	if t.cores == nil {
		t.cores = map[key.CoreID]*coreTx{}
	}
	t.cores[id] = c
	return c, nil
}

// Cores implements room.Tx: the cores of which anything is stored, ascending.
func (t *tx) Cores() iter.Seq[key.CoreID] {
	return func(yield func(key.CoreID) bool) {
		r := t.coreTable()
		for k := range r.Scan(nil, nil) {
			if len(k) != len(key.CoreID{}) {
				t.fail(fmt.Errorf("%w: a core id of %d bytes", ErrDamaged, len(k)))
				return
			}
			if !yield(key.CoreID(k)) {
				return
			}
		}
	}
}

// Log implements room.Tx: a table of log.db.
func (t *tx) Log(table string) room.Rows {
	if r := t.table(table, true); r != nil {
		return r
	}
	return t.open(&rows{t: t, prefix: logKey(table), seq: true, name: table})
}

// Rows implements room.Tx: a table of index.db.
func (t *tx) Rows(table string) room.Rows {
	if r := t.table(table, false); r != nil {
		return r
	}
	prefix := indexKey(table)
	return t.open(&rows{t: t, prefix: prefix, strip: len(prefix), name: table})
}

// coreTable holds the records of cores; meta is the store's own small table.
func (t *tx) coreTable() *rows {
	if t.coreRows == nil {
		t.coreRows = &rows{t: t, prefix: []byte{'c'}, name: "cores"}
	}
	return t.coreRows
}
func (t *tx) meta() *rows { return &rows{t: t, prefix: []byte{'m'}, name: "meta"} }

// table returns a table that was opened before; nil when none was.
func (t *tx) table(name string, log bool) *rows {
	for _, r := range t.tables {
		if r.seq == log && r.name == name {
			return r
		}
	}
	return nil
}

func (t *tx) open(r *rows) *rows {
	if t.tables == nil {
		t.tables = make([]*rows, 0, 8)
	}
	t.tables = append(t.tables, r)
	return r
}

// bucket returns where a table is in its database; nil when it is not.
func (t *tx) bucket(r *rows) *stored {
	if t.done || t.err != nil {
		return nil
	}
	b := t.base
	if r.strip > 0 {
		c := b.tables[r.name]
		if c == nil {
			c = &stored{}
			if t.contain(func() error { c.b = b.index.Bucket([]byte("t/" + r.name)); return nil }) != nil {
				return nil
			}
			if b.tables == nil {
				b.tables = map[string]*stored{}
			}
			b.tables[r.name] = c
		}
		return c.orNil()
	}
	i := strings.IndexByte(logTags, r.prefix[0])
	if b.buckets[i] == nil {
		c := &stored{}
		if t.contain(func() error { c.b = b.log.Bucket(logBuckets[i]); return nil }) != nil {
			return nil
		}
		if c.b == nil {
			t.fail(fmt.Errorf("%w: log.db has no bucket %s", ErrDamaged, logBuckets[i]))
		}
		b.buckets[i] = c
	}
	return b.buckets[i].orNil()
}

func (s *stored) orNil() *stored {
	if s.b == nil {
		return nil
	}
	return s
}

// set puts a row into memory; without a value it is deleted.
func (t *tx) set(r *rows, key, value []byte) {
	c := t.arena.cell(key, value, len(t.changes))
	prev, had := t.mem[0].SetHint(c, &r.hint)
	if had && prev.at >= t.mark && prev.at < len(t.changes) && bytes.Equal(t.changes[prev.at].key, key) {
		c.at = prev.at // this closure put it before
		t.changes[c.at].value = value
	} else {
		t.changes = append(t.changes, change{key: key, value: value, prev: prev})
	}
	t.writes++
	t.essential = t.essential || r.seq && isEssential(r.name)
}

// undo takes back what the closure that runs has changed.
func (t *tx) undo() {
	for i := len(t.changes) - 1; i >= t.mark; i-- {
		if c := t.changes[i]; c.prev != nil {
			t.mem[0].Set(c.prev)
		} else {
			t.mem[0].Delete(&cell{key: c.key})
		}
	}
	clear(t.changes[t.mark:])
	t.changes = t.changes[:t.mark]
	t.writes++
	t.cores = nil // they remember lengths and heads
}

// fail makes the transaction fail as a whole. The first reason stays.
func (t *tx) fail(err error) error {
	if err != nil && t.err == nil {
		t.err = err
	}
	return err
}

// contain runs code that calls bbolt. bbolt panics when it meets a damaged
// page, and a truncated file faults in the mapping; here both become an error.
// Nothing of the caller's may run inside.
func contain(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return fn()
}

// contain does that inside a transaction, which ends with the error.
func (t *tx) contain(fn func() error) error { return t.fail(contain(fn)) }

// call runs a caller's closure. Reading a slice of a truncated file faults;
// that becomes an error, every other panic goes on.
func (t *tx) call(fn func(room.Tx) error) (err error) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if fault, ok := r.(interface {
			error
			Addr() uintptr
		}); ok {
			err = t.fail(fmt.Errorf("%w: %w", ErrDamaged, fault))
			return
		}
		panic(r)
	}()
	return fn(t)
}

// faults makes memory faults of this goroutine panic, so that contain can
// catch them, until the function that it returns is called.
func faults() (restore func()) {
	old := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(old) }
}
