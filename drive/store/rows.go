package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/room"
)

// rows is a table: a bucket, or the keys of one with a prefix. Values are
// sealed, those of the store's own table in index.db apart: a checksum follows
// them.
type rows struct {
	t       *tx
	b       *bolt.Bucket // nil when the table is empty and cannot be made
	prefix  []byte
	sealed  bool
	derived bool // of index.db
	seq     bool // values carry the number of their transaction
	soft    bool // a bad checksum concerns only the value
	name    string
	key     []byte // scratch
}

var _ room.Rows = (*rows)(nil)

// full returns the stored key; it is valid until the next call.
func (r *rows) full(k []byte) []byte {
	if len(r.prefix) == 0 {
		return k
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

// touched notes that the transaction has something to commit.
func (r *rows) touched() {
	r.t.wrote = true
	if !r.derived {
		r.t.logDirty = true
		r.t.essential = r.t.essential || r.seq && isEssential(r.name)
	} else {
		r.t.indexDirty = true
	}
}

// Get implements room.Rows.
func (r *rows) Get(k []byte) (v []byte, err error) {
	if err := r.check(); err != nil || r.b == nil {
		return nil, err
	}
	k = r.full(k)
	err = r.t.contain(func() error {
		v = r.b.Get(k)
		return nil
	})
	if err != nil || v == nil || !r.sealed {
		return v, err
	}
	if v, err = r.open(k, v); err != nil && !r.soft {
		r.t.fail(r.wrap(err))
	}
	return v, r.wrap(err)
}

// open returns the value inside a sealed one.
func (r *rows) open(k, stored []byte) ([]byte, error) {
	v, err := unseal(k, stored)
	if err != nil || !r.seq {
		return v, err
	}
	if len(v) < seqSize {
		return nil, fmt.Errorf("%w: a row of %d bytes", ErrDamaged, len(v))
	}
	return v[: len(v)-seqSize : len(v)-seqSize], nil
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
	k = r.full(k)
	r.t.size += int64(len(k) + len(v))
	if r.sealed {
		start := r.t.grow(len(v) + seqSize + sumSize)
		r.t.arena = append(r.t.arena, v...)
		if r.seq {
			r.t.arena = binary.BigEndian.AppendUint64(r.t.arena, r.t.s.seq+1)
		}
		r.t.arena = binary.LittleEndian.AppendUint32(r.t.arena, valueSum(k, r.t.arena[start:]))
		v = r.t.arena[start:len(r.t.arena):len(r.t.arena)]
	} else {
		v = r.t.keep(v)
	}
	r.touched()
	return r.t.contain(func() error { return r.wrap(r.b.Put(k, v)) })
}

// Delete implements room.Rows.
func (r *rows) Delete(k []byte) error {
	if err := r.checkWrite(); err != nil {
		return err
	}
	k = r.full(k)
	r.touched()
	return r.t.contain(func() error { return r.wrap(r.b.Delete(k)) })
}

// Scan implements room.Rows. A damaged page ends it; the transaction then
// fails as a whole.
func (r *rows) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		if r.check() != nil || r.b == nil {
			return
		}
		want := append(bytes.Clone(r.prefix), prefix...)
		start := want
		if f := append(bytes.Clone(r.prefix), from...); bytes.Compare(f, want) > 0 {
			start = f
		}
		var c *bolt.Cursor
		var k, v []byte
		step := func() error {
			if c == nil {
				c = r.b.Cursor()
				k, v = c.Seek(start)
			} else {
				k, v = c.Next()
			}
			return nil
		}
		for r.t.contain(step) == nil && k != nil && bytes.HasPrefix(k, want) {
			val := v
			if r.sealed {
				var err error
				if val, err = r.open(k, v); err != nil {
					r.t.fail(r.wrap(err))
					return
				}
			}
			if !yield(k[len(r.prefix):], val) || r.check() != nil {
				return
			}
		}
	}
}
