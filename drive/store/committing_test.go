package store

import (
	"bytes"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// committing is a core.Writer whose every call is a transaction of its own.
type committing struct{ s *Room }

var _ core.Writer = (*committing)(nil)

func (c *committing) view(fn func(core.Writer) error) error {
	return c.s.View(func(tx room.Tx) error {
		w, err := tx.Core(key.CoreID{1})
		if err != nil {
			return err
		}
		return fn(w)
	})
}

func (c *committing) update(fn func(core.Writer) error) error {
	return c.s.Update(func(tx room.Tx) error {
		w, err := tx.Core(key.CoreID{1})
		if err != nil {
			return err
		}
		return fn(w)
	})
}

func (c *committing) ReadHashes(x []int64) (hs []tlog.Hash, err error) {
	err = c.view(func(w core.Writer) error { hs, err = w.ReadHashes(x); return err })
	return hs, err
}

func (c *committing) Length() (n uint64, err error) {
	err = c.view(func(w core.Writer) error { n, err = w.Length(); return err })
	return n, err
}

func (c *committing) Head() (h core.Head, err error) {
	err = c.view(func(w core.Writer) error { h, err = w.Head(); return err })
	return h, err
}

func (c *committing) Anchor() (b []byte, err error) {
	err = c.view(func(w core.Writer) error { b, err = w.Anchor(); b = bytes.Clone(b); return err })
	return b, err
}

func (c *committing) Block(i uint64) (b []byte, err error) {
	err = c.view(func(w core.Writer) error { b, err = w.Block(i); b = bytes.Clone(b); return err })
	return b, err
}

func (c *committing) SetLength(n uint64) error {
	return c.update(func(w core.Writer) error { return w.SetLength(n) })
}

func (c *committing) SetHead(h core.Head) error {
	return c.update(func(w core.Writer) error { return w.SetHead(h) })
}

func (c *committing) SetAnchor(b []byte) error {
	return c.update(func(w core.Writer) error { return w.SetAnchor(b) })
}

func (c *committing) PutBlock(i uint64, b []byte) error {
	return c.update(func(w core.Writer) error { return w.PutBlock(i, b) })
}

func (c *committing) ClearBlock(i uint64) error {
	return c.update(func(w core.Writer) error { return w.ClearBlock(i) })
}

func (c *committing) PutHashes(first int64, hs []tlog.Hash) error {
	return c.update(func(w core.Writer) error { return w.PutHashes(first, hs) })
}
