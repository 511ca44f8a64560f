package store

import (
	"bytes"

	"github.com/tidwall/btree"
	bolt "go.etcd.io/bbolt"
)

// merged walks rows in order, through what is in memory and what is in the
// database. Where several have a row the newest counts.
type merged struct {
	r      *rows
	want   []byte // what keys begin with, as in memory
	from   []byte // where it begins
	mem    [2]memCursor
	db     dbCursor
	writes int // of the transaction, when mem[0] was placed
	begun  bool

	key, value []byte // the row, as in the database
	old        bool   // it comes from there: nobody has looked at its checksum
}

// memCursor is in one table in memory.
type memCursor struct {
	it         btree.IterG[*cell]
	probe      cell
	key, value []byte // key is nil at the end
}

func (c *memCursor) seek(tree *btree.BTreeG[*cell], k, want []byte) {
	c.it.Init(tree, false)
	c.probe.key = k
	c.take(c.it.Seek(&c.probe), want)
}

func (c *memCursor) next(want []byte) { c.take(c.it.Next(), want) }

func (c *memCursor) take(ok bool, want []byte) {
	c.key, c.value = nil, nil
	if !ok {
		return
	}
	if cell := c.it.Item(); bytes.HasPrefix(cell.key, want) {
		c.key, c.value = cell.key, cell.value
	}
}

// dbCursor is in a bucket; its keys lack the first strip bytes.
type dbCursor struct {
	c          *bolt.Cursor // nil: there is no bucket
	key, value []byte
}

// scan begins a walk over the keys that begin with prefix, from the key from on.
// It is to be ended.
func (r *rows) scan(prefix, from []byte) *merged {
	m := r.walk
	if r.walk = nil; m == nil {
		m = &merged{r: r}
		if b := r.bucket(); b != nil {
			m.db.c = b.b.Cursor()
		}
	}
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	m.want = append(append(m.want[:0], r.prefix...), prefix...)
	m.from = append(append(m.from[:0], r.prefix...), from...)
	m.key, m.begun = m.from[r.strip:], false
	return m
}

// end keeps the walk, with its memory, for the next one over the table.
func (m *merged) end() { m.r.walk = m }

// next moves on to the next row; false at the end, or when a page is damaged,
// which the transaction fails of.
func (m *merged) next() bool {
	strip := m.r.strip
	for m.place() == nil {
		m.key, m.value, m.old = nil, nil, false
		for i := range m.mem {
			if c := &m.mem[i]; c.key != nil && (m.key == nil || bytes.Compare(c.key[strip:], m.key) < 0) {
				m.key, m.value = c.key[strip:], c.value
			}
		}
		if m.db.key != nil && (m.key == nil || bytes.Compare(m.db.key, m.key) < 0) {
			m.key, m.value, m.old = m.db.key, m.db.value, true
		}
		if m.key == nil || m.value != nil {
			return m.key != nil
		}
	}
	return false
}

// place brings every cursor behind the last row, or to the first.
func (m *merged) place() error {
	t, strip, first := m.r.t, m.r.strip, !m.begun
	m.begun = true
	for i, tree := range t.mem {
		switch c := &m.mem[i]; {
		case tree == nil:
		case first:
			c.seek(tree, m.from, m.want)
		case i == 0 && m.writes != t.writes: // other tables were written, which moves things
			c.seek(tree, append(m.full(), 0), m.want)
		case c.key != nil && bytes.Equal(c.key[strip:], m.key):
			c.next(m.want)
		}
	}
	m.writes = t.writes
	if m.db.c == nil {
		return nil
	}
	return t.contain(func() error {
		switch {
		case first:
			m.db.key, m.db.value = m.db.c.Seek(m.key)
		case m.db.key != nil && bytes.Equal(m.db.key, m.key):
			m.db.key, m.db.value = m.db.c.Next()
		}
		if m.db.key != nil && !bytes.HasPrefix(m.db.key, m.want[strip:]) {
			m.db.key = nil
		}
		return nil
	})
}

// full returns the key of the row as it would be in memory.
func (m *merged) full() []byte { return append(bytes.Clone(m.want[:m.r.strip]), m.key...) }
