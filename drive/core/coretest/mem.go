// Package coretest has an in-memory core for the tests of others and the
// suite that every implementation of core.Writer passes.
package coretest

import (
	"bytes"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
)

// MemStore is a core in memory. The zero value is an empty one. Its fields are
// open so that tests can damage it. It is not safe for concurrent use.
type MemStore struct {
	Hashes  []tlog.Hash
	Blocks  map[uint64][]byte
	Len     uint64
	Newest  core.Head
	Pending []byte // the anchor
}

var _ core.Writer = (*MemStore)(nil)

// Clone returns an independent copy: what a stolen or restored disk is.
func (m *MemStore) Clone() *MemStore {
	c := *m
	c.Hashes = append([]tlog.Hash(nil), m.Hashes...)
	c.Blocks = make(map[uint64][]byte, len(m.Blocks))
	for i, b := range m.Blocks {
		c.Blocks[i] = bytes.Clone(b)
	}
	c.Pending = bytes.Clone(m.Pending)
	return &c
}

func (m *MemStore) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(m.Hashes)) {
			return nil, fmt.Errorf("hash %d of %d: %w", x, len(m.Hashes), core.ErrRange)
		}
		out[i] = m.Hashes[x]
	}
	return out, nil
}

func (m *MemStore) Length() (uint64, error)  { return m.Len, nil }
func (m *MemStore) Head() (core.Head, error) { return m.Newest, nil }
func (m *MemStore) Anchor() ([]byte, error)  { return m.Pending, nil }

func (m *MemStore) Block(i uint64) ([]byte, error) {
	if b, ok := m.Blocks[i]; ok {
		return b, nil
	}
	if i >= m.Len {
		return nil, core.ErrRange
	}
	return nil, core.ErrAbsent
}

func (m *MemStore) SetLength(n uint64) error  { m.Len = n; return nil }
func (m *MemStore) SetHead(h core.Head) error { m.Newest = h; return nil }
func (m *MemStore) SetAnchor(b []byte) error  { m.Pending = bytes.Clone(b); return nil }
func (m *MemStore) ClearBlock(i uint64) error { delete(m.Blocks, i); return nil }
func (m *MemStore) PutBlock(i uint64, b []byte) error {
	if m.Blocks == nil {
		m.Blocks = map[uint64][]byte{}
	}
	m.Blocks[i] = bytes.Clone(b)
	return nil
}

func (m *MemStore) PutHashes(first int64, hs []tlog.Hash) error {
	if first < 0 || first > int64(len(m.Hashes)) {
		return fmt.Errorf("hashes from %d, %d are here: %w", first, len(m.Hashes), core.ErrGap)
	}
	m.Hashes = append(m.Hashes[:first], hs...)
	return nil
}
