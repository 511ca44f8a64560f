package store

import (
	"errors"
	"fmt"
	"iter"
	"runtime/debug"

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

var (
	errTxDone   = errors.New("the transaction has ended")
	errReadOnly = errors.New("writing in a read-only transaction")
)

// tx is a transaction over log.db and index.db. One goroutine at a time uses
// it.
type tx struct {
	s     *Room
	log   *bolt.Tx
	index *bolt.Tx
	write bool
	done  bool

	logDirty, indexDirty bool  // since it began
	essential            bool  // a row of an essential table changed since it began
	wrote                bool  // since the closure that runs began
	err                  error // damage, or a failed write: the transaction is lost

	buckets [5]*bolt.Bucket // of log.db, as in logBuckets
	cores   map[key.CoreID]*coreTx
	tables  map[string]*rows
	size    int64  // bytes put so far
	arena   []byte // values handed to bbolt, which keeps them until the end
}

var _ room.Tx = (*tx)(nil)

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
		r := rows{t: t, b: t.logBucket(1), prefix: []byte{'c'}, sealed: true, name: "cores"}
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
	return t.table("l"+table, func() *rows {
		return &rows{t: t, b: t.logBucket(4), prefix: append(append([]byte{'t'}, table...), 0), sealed: true, seq: true, name: table}
	})
}

// Rows implements room.Tx: a table of index.db.
func (t *tx) Rows(table string) room.Rows {
	return t.table("i"+table, func() *rows { return &rows{t: t, b: t.indexBucket(table), sealed: true, derived: true, name: table} })
}

func (t *tx) table(name string, open func() *rows) *rows {
	if r := t.tables[name]; r != nil {
		return r
	}
	r := open()
	if t.tables == nil {
		t.tables = map[string]*rows{}
	}
	t.tables[name] = r
	return r
}

// logBucket returns a bucket of logBuckets, nil in a damaged file.
func (t *tx) logBucket(i int) *bolt.Bucket {
	if t.buckets[i] == nil && !t.done {
		_ = t.contain(func() error {
			if t.buckets[i] = t.log.Bucket(logBuckets[i]); t.buckets[i] != nil {
				t.buckets[i].FillPercent = 0.9 // keys ascend within a core
			}
			return nil
		})
		if t.buckets[i] == nil {
			t.fail(fmt.Errorf("%w: log.db has no bucket %s", ErrDamaged, logBuckets[i]))
		}
	}
	return t.buckets[i]
}

// indexBucket returns the bucket of a derived table; nil when it is empty and
// the transaction cannot make it.
func (t *tx) indexBucket(table string) (b *bolt.Bucket) {
	name := []byte("t/" + table)
	err := t.contain(func() (err error) {
		if t.done || t.err != nil {
			return nil
		}
		if t.index == nil {
			if t.index, err = t.s.indexDB.Load().Begin(true); err != nil {
				return err
			}
		}
		if b = t.index.Bucket(name); b == nil && t.write {
			if b, err = t.index.CreateBucket(name); err == nil {
				t.indexDirty = true
			}
		}
		return err
	})
	t.fail(err)
	return b
}

// keep copies v to where it stays until the transaction ends.
func (t *tx) keep(v []byte) []byte {
	start := t.grow(len(v))
	t.arena = append(t.arena, v...)
	return t.arena[start:len(t.arena):len(t.arena)]
}

// grow makes room for n bytes in the arena and returns where they start.
func (t *tx) grow(n int) int {
	if cap(t.arena)-len(t.arena) < n {
		t.arena = make([]byte, 0, max(n, min(1<<18, max(1<<12, 2*cap(t.arena)))))
	}
	return len(t.arena)
}

// fail makes the transaction fail as a whole. The first reason stays.
func (t *tx) fail(err error) error {
	if err != nil && t.err == nil {
		t.err = err
	}
	return err
}

// contain runs code that calls bbolt. bbolt panics when it meets a damaged
// page, and a truncated file faults in the mapping; here both become an error
// that the transaction ends with. Nothing of the caller's may run inside.
func (t *tx) contain(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = t.fail(fmt.Errorf("%w: %v", ErrDamaged, r))
		}
	}()
	return fn()
}

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

// end closes the transaction without committing anything.
func (t *tx) end() {
	t.done = true
	for _, b := range []*bolt.Tx{t.log, t.index} {
		if b == nil {
			continue
		}
		_ = t.contain(b.Rollback) // ErrTxClosed after a commit
	}
}

// faults makes memory faults of this goroutine panic, so that contain can
// catch them, until the function that it returns is called.
func faults() (restore func()) {
	old := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(old) }
}
