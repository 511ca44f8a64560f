package core

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/key"
)

// Append adds blocks to the device's own core and signs the new head, once
// for all of them. It refuses to sign on top of hashes that do not match the
// last head, or of a core whose end is not here: each would make a fork. That
// id is one of the device's own cores is for the caller to know. The head must
// not leave the machine before the transaction is durable.
func Append(w Writer, d *key.Device, id key.CoreID, blocks [][]byte) (Head, error) {
	a, err := NewAppender(w, d, id)
	if err != nil {
		return Head{}, err
	}
	if err := a.Append(blocks); err != nil {
		return Head{}, err
	}
	return a.Sign()
}

// Appender is Append in several steps within one transaction: what is appended
// is stored at once, and one signature at the end is for all of it. Until then
// the core's head is not at its end, and nothing else may write the core. A
// transaction that ends without Sign must not be committed.
type Appender struct {
	w    Writer
	dev  *key.Device
	id   key.CoreID
	g    *growth
	root key.Hash // of all blocks; zero while there are none
	from uint64   // that the last head signs
}

// NewAppender begins an append, with the checks of Append.
func NewAppender(w Writer, d *key.Device, id key.CoreID) (*Appender, error) {
	n, err := w.Length()
	if err != nil {
		return nil, fmt.Errorf("appending: %w", err)
	}
	g := newGrowth(w, n)
	g.known = map[int64]tlog.Hash{}
	old, err := ownHead(w, g, id)
	if err != nil {
		return nil, fmt.Errorf("appending: %w", err)
	}
	return &Appender{w: w, dev: d, id: id, g: g, root: old.Root, from: old.Length}, nil
}

// Length is the number of blocks, with what was appended.
func (a *Appender) Length() uint64 { return a.g.length }

// Root is the root over all blocks; the zero hash when there are none.
func (a *Appender) Root() key.Hash { return a.root }

// Append stores blocks behind those that are here, or none of them.
func (a *Appender) Append(blocks [][]byte) error {
	if len(blocks) == 0 {
		return fmt.Errorf("appending: no blocks: %w", ErrLimit)
	}
	if uint64(len(blocks)) > MaxLength-a.g.length {
		return fmt.Errorf("appending: core full: %w", ErrLimit)
	}
	for i, b := range blocks {
		if err := checkBlock(b); err != nil {
			return fmt.Errorf("appending block %d of %d: %w", i, len(blocks), err)
		}
	}
	first := a.g.length
	for i, b := range blocks {
		if err := a.g.add(Leaf(b)); err != nil {
			return fmt.Errorf("appending: %w", err)
		}
		if err := a.w.PutBlock(first+uint64(i), b); err != nil {
			return fmt.Errorf("storing block: %w", err)
		}
	}
	root, err := rootOf(a.g, a.g.length)
	if err != nil {
		return fmt.Errorf("appending: %w", err)
	}
	a.root = root
	return a.g.store(a.w, first)
}

// Sign signs and stores the head of everything that was appended.
func (a *Appender) Sign() (Head, error) {
	if a.g.length == a.from {
		return Head{}, fmt.Errorf("signing: nothing was appended: %w", ErrLimit)
	}
	head := SignHead(a.dev, a.id, a.g.length, a.root)
	if err := a.w.SetHead(head); err != nil {
		return Head{}, fmt.Errorf("storing head: %w", err)
	}
	a.from = head.Length
	return head, nil
}

// ownHead returns the head to append to. g is w with nothing added.
func ownHead(w Writer, g *growth, id key.CoreID) (Head, error) {
	n := g.length
	h, err := w.Head()
	if err != nil {
		return Head{}, err
	}
	switch {
	case n != h.Length:
		return Head{}, ErrBehind
	case n == 0:
		return Head{}, nil
	case h.Core != id:
		return Head{}, ErrCore
	}
	root, err := rootOf(g, n)
	if err != nil {
		return Head{}, err
	}
	if root != h.Root {
		return Head{}, fmt.Errorf("own head at %d: %w", n, ErrDamaged)
	}
	return h, nil
}
