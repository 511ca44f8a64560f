package room

import (
	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// notedTx notes whether anything was written.
type notedTx struct {
	Tx
	wrote  bool
	tables map[string]Rows
	logs   map[string]Rows
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
func (n *notedTx) Log(table string) Rows { return n.rows(&n.logs, table, n.Tx.Log) }

// Rows implements Tx.
func (n *notedTx) Rows(table string) Rows { return n.rows(&n.tables, table, n.Tx.Rows) }

func (n *notedTx) rows(known *map[string]Rows, table string, open func(string) Rows) Rows {
	if r := (*known)[table]; r != nil {
		return r
	}
	if *known == nil {
		*known = map[string]Rows{}
	}
	r := notedRows{open(table), n}
	(*known)[table] = r
	return r
}

type notedRows struct {
	Rows
	n *notedTx
}

func (r notedRows) Put(k, v []byte) error {
	r.n.wrote = true
	return r.Rows.Put(k, v)
}

func (r notedRows) Delete(k []byte) error {
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
