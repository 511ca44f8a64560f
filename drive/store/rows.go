package store

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/tidwall/btree"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/pearbox/pearbox/drive/room"
)

// rows is a table: the keys with a prefix, in memory and in a bucket. Values
// are sealed: a checksum follows them.
type rows struct {
	t      *tx
	prefix []byte // of keys in memory
	strip  int    // how much of it keys in the database lack: all of it in index.db, nothing in log.db
	seq    bool   // values carry the number of their transaction
	soft   bool   // a bad checksum concerns only the value
	name   string

	b      *stored
	opened bool           // b is what there is; nil: nothing
	walk   *merged        // one that has ended
	key    []byte         // scratch
	small  [64]byte       // where that begins
	probe  cell           // the same
	hint   btree.PathHint // where the last key was in memory
}

var _ room.Rows = (*rows)(nil)

// maxValue is the most bytes that a row takes; a record of the journal has the length of all of them in four bytes.
const maxValue = 256 << 20

// full returns the key in memory; it is valid until the next call.
func (r *rows) full(k []byte) []byte {
	if r.key == nil {
		r.key = r.small[:0]
	}
	r.key = append(append(r.key[:0], r.prefix...), k...)
	return r.key
}

func (r *rows) check() error {
	if r.t.done {
		return errTxDone
	}
	return r.t.err
}

func (r *rows) checkWrite() error {
	if err := r.check(); err != nil {
		return err
	}
	if !r.t.write {
		return fmt.Errorf("table %s: %w", r.name, errReadOnly)
	}
	return nil
}

// bucket returns where the table is in its database; nil when it is not.
func (r *rows) bucket() *stored {
	if !r.opened {
		r.opened, r.b = true, r.t.bucket(r)
	}
	return r.b
}

// Get implements room.Rows.
func (r *rows) Get(k []byte) (v []byte, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	k = r.full(k)
	for i, tree := range r.t.mem {
		if tree == nil {
			continue
		}
		var c *cell
		var ok bool
		r.probe.key = k
		if i == 0 {
			c, ok = tree.GetHint(&r.probe, &r.hint)
		} else {
			c, ok = tree.Get(&r.probe)
		}
		if ok {
			return r.inner(c.value), nil
		}
	}
	b := r.bucket()
	if b == nil {
		return nil, r.t.err
	}
	err = r.t.contain(func() error {
		if found, value := b.seek(k[r.strip:]); bytes.Equal(found, k[r.strip:]) {
			v = value
		}
		return nil
	})
	if err != nil || v == nil {
		return nil, err
	}
	if v, err = r.open(k[r.strip:], v); err != nil && !r.soft {
		r.t.fail(r.wrap(err))
	}
	return v, r.wrap(err)
}

// inner returns the value inside one that was sealed here; nil of none.
func (r *rows) inner(stored []byte) []byte {
	if stored == nil {
		return nil
	}
	n := len(stored) - sumSize
	if r.seq {
		n -= seqSize
	}
	return stored[:n:n]
}

// open checks a value of the database and returns what is inside.
func (r *rows) open(k, stored []byte) ([]byte, error) {
	v, err := unseal(k, stored)
	if err != nil {
		return v, err
	}
	if r.seq && len(v) < seqSize {
		return nil, fmt.Errorf("%w: a row of %d bytes", ErrDamaged, len(v))
	}
	return r.inner(stored), nil
}

func (r *rows) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("table %s: %w", r.name, err)
}

// Put implements room.Rows.
func (r *rows) Put(k, v []byte) error {
	if err := r.checkWrite(); err != nil {
		return err
	}
	switch n := len(r.prefix) - r.strip + len(k); { // a checkpoint must not meet what the database refuses
	case n == 0:
		return r.wrap(bolterrors.ErrKeyRequired)
	case n > bolt.MaxKeySize:
		return r.wrap(bolterrors.ErrKeyTooLarge)
	case len(v) > maxValue:
		return r.wrap(bolterrors.ErrValueTooLarge)
	}
	seq := uint64(0)
	if r.seq {
		seq = r.t.seq
	}
	key, stored := r.t.arena.seal(r.prefix, k, v, r.strip, seq)
	r.t.set(r, key, stored)
	return nil
}

// Delete implements room.Rows.
func (r *rows) Delete(k []byte) error {
	if err := r.checkWrite(); err != nil {
		return err
	}
	r.t.set(r, r.t.arena.keep(r.prefix, k), nil)
	return nil
}

// Scan implements room.Rows. A damaged page ends it; the transaction then
// fails as a whole.
func (r *rows) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := range r.stored(prefix, from) {
			if !yield(k[len(r.prefix)-r.strip:], r.inner(v)) {
				return
			}
		}
	}
}

// stored yields rows as Scan does, key and value as in the database.
func (r *rows) stored(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		if r.check() != nil {
			return
		}
		m := r.scan(prefix, from)
		defer m.end()
		for m.next() {
			if m.old {
				if _, err := r.open(m.key, m.value); err != nil {
					r.t.fail(r.wrap(err))
					return
				}
			}
			if !yield(m.key, m.value) || r.check() != nil {
				return
			}
		}
	}
}
