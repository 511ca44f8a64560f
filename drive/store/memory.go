package store

import (
	"bytes"
	"encoding/binary"

	"github.com/tidwall/btree"
)

// memory holds changes that are in the journal and not yet in the databases,
// sorted by key. Once it is published nothing changes it: a transaction works
// on a copy, which shares with it what neither touches.
//
// Keys are those of log.db, and for index.db 'i' table NUL key: one sorted map
// holds the changes of both.
type memory struct {
	tree *btree.BTreeG[*cell]
	size int64  // bytes that it takes, about
	last uint64 // number of the last transaction in it
	// logOnly: index.db is new and has nothing of these transactions.
	logOnly bool
}

// cell is one row as it is stored, checksum and all. The tree holds pointers, since a transaction copies every node that it changes.
// Once it is in a tree nothing changes it.
type cell struct {
	key   []byte
	value []byte // nil: the row is deleted
	at    int    // where in tx.changes the transaction put it that did
}

// tagIndex begins the keys of rows that belong into index.db.
const tagIndex = 'i'

// Limits of what is in memory. The tables of a room take at most hardSize and
// freezeSize together, and what the last transactions before that put.
const (
	freezeSize = 8 << 20  // bytes of the table, or of its journal, from which on a checkpoint begins
	hardSize   = 32 << 20 // bytes from which on all writers wait for the running checkpoint
	bulkSize   = 64 << 10 // bytes of a closure whose caller waits for it from freezeSize on
	cellSize   = 96       // bytes that a row takes besides key and value
)

// treeDegree keeps nodes small: a transaction copies those that it changes.
const treeDegree = 16

func newMemory() *memory {
	less := func(a, b *cell) bool { return bytes.Compare(a.key, b.key) < 0 }
	return &memory{tree: btree.NewBTreeGOptions(less, btree.Options{Degree: treeDegree, NoLocks: true})}
}

// logKey and indexKey are how keys begin that a table has in memory.
func logKey(table string) []byte   { return append(append([]byte{'t'}, table...), 0) }
func indexKey(table string) []byte { return append(append([]byte{tagIndex}, table...), 0) }

// splitIndex returns the table and the key in index.db of a key in memory.
func splitIndex(k []byte) (table string, key []byte, ok bool) {
	if len(k) == 0 || k[0] != tagIndex {
		return "", nil, false
	}
	i := bytes.IndexByte(k, 0)
	if i < 0 {
		return "", nil, false
	}
	return string(k[1:i]), k[i+1:], true
}

// arena is where rows and their bytes are until their table goes. The leader
// alone appends to it.
type arena struct {
	buf   []byte
	cells []cell
	used  int64
}

// Arenas grow by chunks of these sizes.
const (
	arenaMin = 16 << 10
	arenaMax = 256 << 10

	arenaCells = 64 // rows at a time
)

// cell returns a new row.
func (a *arena) cell(key, value []byte, at int) *cell {
	if len(a.cells) == cap(a.cells) {
		a.cells = make([]cell, 0, arenaCells)
	}
	a.cells = append(a.cells, cell{key, value, at})
	return &a.cells[len(a.cells)-1]
}

// seal appends a row in its stored form. strip is how much of the key index.db
// does not have; seq, when it is not 0, follows the value.
func (a *arena) seal(prefix, k, v []byte, strip int, seq uint64) (key, value []byte) {
	n := len(prefix) + len(k) + len(v) + seqSize + sumSize
	a.room(n)
	start := len(a.buf)
	a.buf = append(append(a.buf, prefix...), k...)
	middle := len(a.buf)
	a.buf = append(a.buf, v...)
	if seq != 0 {
		a.buf = binary.BigEndian.AppendUint64(a.buf, seq)
	}
	key, value = a.buf[start:middle:middle], a.buf[middle:]
	a.buf = binary.LittleEndian.AppendUint32(a.buf, valueSum(key[strip:], value))
	a.used += int64(n) + cellSize
	return key, a.buf[middle:len(a.buf):len(a.buf)]
}

// keep appends a key.
func (a *arena) keep(prefix, k []byte) []byte {
	n := len(prefix) + len(k)
	a.room(n)
	start := len(a.buf)
	a.buf = append(append(a.buf, prefix...), k...)
	a.used += int64(n) + cellSize
	return a.buf[start:len(a.buf):len(a.buf)]
}

// room makes the next n bytes lie in one piece.
func (a *arena) room(n int) {
	if cap(a.buf)-len(a.buf) < n {
		a.buf = make([]byte, 0, max(n, min(arenaMax, max(arenaMin, 2*cap(a.buf)))))
	}
}
