package room

import (
	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// notedTx notes whether anything was written.
type notedTx struct {
	Tx
	wrote bool
	known []notedTable
}

// notedTable is a table that was asked for before. There are few.
type notedTable struct {
	name string
	log  bool
	rows *notedRows
}

// Core implements Tx.
func (n *notedTx) Core(id key.CoreID) (core.Writer, error) {
	w, err := n.Tx.Core(id)
	if err != nil {
		return nil, err
	}
	return notedCore{w, n}, nil
}

// Log implements Tx.
func (n *notedTx) Log(table string) Rows {
	if r := n.find(table, true); r != nil {
		return r
	}
	return n.note(table, true, n.Tx.Log(table))
}

// Rows implements Tx.
func (n *notedTx) Rows(table string) Rows {
	if r := n.find(table, false); r != nil {
		return r
	}
	return n.note(table, false, n.Tx.Rows(table))
}

func (n *notedTx) find(table string, log bool) *notedRows {
	for _, t := range n.known {
		if t.log == log && t.name == table {
			return t.rows
		}
	}
	return nil
}

func (n *notedTx) note(table string, log bool, rows Rows) *notedRows {
	if n.known == nil {
		n.known = make([]notedTable, 0, 8)
	}
	r := &notedRows{rows, n}
	n.known = append(n.known, notedTable{table, log, r})
	return r
}

type notedRows struct {
	Rows
	n *notedTx
}

func (r *notedRows) Put(k, v []byte) error {
	r.n.wrote = true
	return r.Rows.Put(k, v)
}

func (r *notedRows) Delete(k []byte) error {
	r.n.wrote = true
	return r.Rows.Delete(k)
}

type notedCore struct {
	core.Writer
	n *notedTx
}

func (c notedCore) SetLength(l uint64) error {
	c.n.wrote = true
	return c.Writer.SetLength(l)
}

func (c notedCore) SetHead(h core.Head) error {
	c.n.wrote = true
	return c.Writer.SetHead(h)
}

func (c notedCore) SetAnchor(b []byte) error {
	c.n.wrote = true
	return c.Writer.SetAnchor(b)
}

func (c notedCore) PutBlock(i uint64, b []byte) error {
	c.n.wrote = true
	return c.Writer.PutBlock(i, b)
}

func (c notedCore) ClearBlock(i uint64) error {
	c.n.wrote = true
	return c.Writer.ClearBlock(i)
}

func (c notedCore) PutHashes(first int64, hs []tlog.Hash) error {
	c.n.wrote = true
	return c.Writer.PutHashes(first, hs)
}
