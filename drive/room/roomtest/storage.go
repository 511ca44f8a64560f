// Package roomtest has a room.Storage in memory, for tests of everything that
// stands on rooms. It rolls back, reruns and loses what a real one may.
package roomtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// ErrCrash is returned by the transaction that a crash ends.
var ErrCrash = errors.New("the machine crashed")

var (
	errReadOnly     = errors.New("written in a read-only transaction")
	errNeverDeleted = errors.New("a row of a log table is deleted: see room.Tx")
)

// Storage is a room.Storage in memory. Snapshots never block. It is safe for
// concurrent use.
type Storage struct {
	writer sync.Mutex // held by Update

	mu      sync.Mutex // guards what follows
	tables  map[string]*node
	rerun   bool
	crash   int
	full    bool
	moved   bool
	commits int
}

var (
	_ room.Storage   = (*Storage)(nil)
	_ room.Relocator = (*Storage)(nil)
)

// NewStorage returns an empty storage.
func NewStorage() *Storage { return &Storage{tables: map[string]*node{}} }

// RerunAll makes every Update run its closure twice and keep the second run,
// as a group commit may.
func (s *Storage) RerunAll() { s.set(func() { s.rerun = true }) }

// CrashAfter makes the n-th Update from now on (1: the next) lose what it
// wrote to derived tables but keep the truth, and return ErrCrash.
func (s *Storage) CrashAfter(n int) { s.set(func() { s.crash = n }) }

// DropDerived throws all derived tables away, as an unclean start does.
func (s *Storage) DropDerived() {
	s.set(func() {
		for name := range s.tables {
			if name[0] == 'd' {
				delete(s.tables, name)
			}
		}
	})
}

// Clone returns a copy, as a backup would be.
func (s *Storage) Clone() *Storage {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := NewStorage()
	for name, n := range s.tables {
		c.tables[name] = n
	}
	return c
}

// Fill lets the disk be full, or not any more: then an Update that writes
// anything does nothing and returns ENOSPC.
func (s *Storage) Fill(full bool) { s.set(func() { s.full = full }) }

// Move makes the storage report that its files were copied or restored.
func (s *Storage) Move() { s.set(func() { s.moved = true }) }

// Relocated implements room.Relocator.
func (s *Storage) Relocated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// Settled implements room.Relocator.
func (s *Storage) Settled() error {
	s.set(func() { s.moved = false })
	return nil
}

// Commits returns how many transactions were committed.
func (s *Storage) Commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

func (s *Storage) set(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// Update implements room.Storage.
func (s *Storage) Update(fn func(room.Tx) error) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	t := s.begin(true)
	if s.rerun {
		if err := fn(t); err != nil {
			return err
		}
		t = s.begin(true)
	}
	if err := fn(t); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crash > 0 {
		if s.crash--; s.crash == 0 {
			for name, n := range t.tables {
				if name[0] != 'd' {
					s.tables[name] = n
				}
			}
			return ErrCrash
		}
	}
	if s.full && t.wrote {
		return fmt.Errorf("writing: %w", syscall.ENOSPC)
	}
	s.tables = t.tables
	s.commits++
	return nil
}

// View implements room.Storage.
func (s *Storage) View(fn func(room.Tx) error) error { return fn(s.begin(false)) }

func (s *Storage) begin(write bool) *tx {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &tx{tables: make(map[string]*node, len(s.tables)), write: write}
	for name, n := range s.tables {
		t.tables[name] = n
	}
	return t
}

type tx struct {
	tables map[string]*node
	write  bool
	wrote  bool // a row was put or deleted, there or not
}

var _ room.Tx = (*tx)(nil)

// Tables are named by what they are: l truth, d derived, c a core.
func (t *tx) Log(table string) room.Rows  { return &rows{t, "l" + table} }
func (t *tx) Rows(table string) room.Rows { return &rows{t, "d" + table} }

func (t *tx) Core(id key.CoreID) (core.Writer, error) {
	return &coreRows{rows{t, "c" + string(id[:])}}, nil
}

func (t *tx) Cores() iter.Seq[key.CoreID] {
	var ids []key.CoreID
	for name, n := range t.tables {
		if name[0] == 'c' && n != nil {
			ids = append(ids, key.CoreID([]byte(name[1:])))
		}
	}
	slices.SortFunc(ids, func(a, b key.CoreID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Values(ids)
}

type rows struct {
	t    *tx
	name string
}

func (r *rows) Get(k []byte) ([]byte, error) {
	v, _ := r.t.tables[r.name].get(k)
	return v, nil
}

func (r *rows) Put(k, v []byte) error {
	if !r.t.write {
		return errReadOnly
	}
	r.t.wrote = true
	val := append(make([]byte, 0, len(v)), v...)
	r.t.tables[r.name] = r.t.tables[r.name].put(bytes.Clone(k), val)
	return nil
}

func (r *rows) Delete(k []byte) error {
	if !r.t.write {
		return errReadOnly
	}
	if r.name[0] == 'l' {
		return errNeverDeleted
	}
	r.t.wrote = true
	if _, ok := r.t.tables[r.name].get(k); ok {
		r.t.tables[r.name] = r.t.tables[r.name].del(k)
	}
	return nil
}

func (r *rows) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	n := r.t.tables[r.name]
	return func(yield func(k, v []byte) bool) {
		n.scan(from, func(k, v []byte) bool { return bytes.HasPrefix(k, prefix) && yield(k, v) })
	}
}

// coreRows is a core in a table.
type coreRows struct{ rows }

var _ core.Writer = (*coreRows)(nil)

func index(prefix byte, i uint64) []byte { return binary.BigEndian.AppendUint64([]byte{prefix}, i) }

func (c *coreRows) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		v, _ := c.Get(index('h', uint64(n)))
		if len(v) != tlog.HashSize {
			return nil, fmt.Errorf("no hash %d", n)
		}
		out[i] = tlog.Hash(v)
	}
	return out, nil
}

func (c *coreRows) PutHashes(first int64, hs []tlog.Hash) error {
	for i, h := range hs {
		if err := c.Put(index('h', uint64(first)+uint64(i)), h[:]); err != nil {
			return err
		}
	}
	return nil
}

func (c *coreRows) Length() (uint64, error) {
	n, err := c.number("length")
	if err != nil {
		return 0, err
	}
	h, err := c.Head()
	return max(n, h.Length), err
}

func (c *coreRows) SetLength(n uint64) error {
	return c.Put([]byte("length"), binary.BigEndian.AppendUint64(nil, n))
}

func (c *coreRows) number(name string) (uint64, error) {
	v, err := c.Get([]byte(name))
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

func (c *coreRows) Head() (core.Head, error) {
	v, err := c.Get([]byte("head"))
	if err != nil || v == nil {
		return core.Head{}, err
	}
	return core.ParseHead(v)
}

func (c *coreRows) SetHead(h core.Head) error {
	b, err := h.MarshalBinary()
	if err != nil {
		return err
	}
	return c.Put([]byte("head"), b)
}

func (c *coreRows) Anchor() ([]byte, error) { return c.Get([]byte("anchor")) }

func (c *coreRows) SetAnchor(b []byte) error {
	if b == nil {
		return c.Delete([]byte("anchor"))
	}
	return c.Put([]byte("anchor"), b)
}

func (c *coreRows) Block(i uint64) ([]byte, error) {
	v, err := c.Get(index('b', i))
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, fmt.Errorf("block %d: %w", i, core.ErrAbsent)
	}
	return v, nil
}

func (c *coreRows) PutBlock(i uint64, b []byte) error { return c.Put(index('b', i), b) }
func (c *coreRows) ClearBlock(i uint64) error         { return c.Delete(index('b', i)) }
