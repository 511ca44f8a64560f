package core

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/key"
)

// Report counts what an audit saw.
type Report struct {
	Length  uint64 // blocks
	Present uint64 // blocks that are here themselves
	Bytes   uint64 // their bytes
}

// auditBatch is the number of blocks whose hashes are read at once.
const auditBatch = 256

// Audit recomputes a whole core from its leaf hashes and the blocks that are
// here: every inner hash, the signed head, the anchor. Each thing that does
// not match goes to bad, with an error that wraps ErrDamaged; errors of
// reading end the audit.
func Audit(r Reader, dev key.DeviceID, bad func(error)) (Report, error) {
	var rep Report
	var err error
	if rep.Length, err = r.Length(); err != nil {
		return rep, err
	}
	for from := uint64(0); from < rep.Length; from += auditBatch {
		if err := auditBlocks(r, from, min(from+auditBatch, rep.Length), &rep, bad); err != nil {
			return rep, fmt.Errorf("audit: %w", err)
		}
	}
	if err := auditHeads(r, dev, rep.Length, bad); err != nil {
		return rep, fmt.Errorf("audit: %w", err)
	}
	return rep, nil
}

func auditBlocks(r Reader, from, to uint64, rep *Report, bad func(error)) error {
	leaves, err := Leaves(r, from, to)
	if err != nil {
		return err
	}
	g := newGrowth(r, from)
	for i := from; i < to; i++ {
		leaf := leaves[i-from]
		if err := g.add(leaf); err != nil {
			return err
		}
		b, err := r.Block(i)
		switch {
		case errors.Is(err, ErrAbsent):
			continue
		case err != nil:
			return fmt.Errorf("block %d: %w", i, err)
		case Leaf(b) != leaf:
			bad(fmt.Errorf("block %d: %w", i, ErrDamaged))
		}
		rep.Present++
		rep.Bytes += uint64(len(b))
	}
	return auditHashes(r, g, bad)
}

// auditHashes compares the stored hashes with those computed from the leaves.
func auditHashes(r Reader, g *growth, bad func(error)) error {
	idx := make([]int64, len(g.added))
	for i := range idx {
		idx[i] = g.base + int64(i)
	}
	stored, err := r.ReadHashes(idx)
	if err != nil {
		return err
	}
	for i, h := range stored {
		if h != g.added[i] {
			level, n := tlog.SplitStoredHashIndex(idx[i])
			bad(fmt.Errorf("hash %d at level %d: %w", n, level, ErrDamaged))
		}
	}
	return nil
}

func auditHeads(r Reader, dev key.DeviceID, length uint64, bad func(error)) error {
	h, err := r.Head()
	if err != nil {
		return err
	}
	if !h.IsZero() {
		root, err := rootOf(r, min(h.Length, length))
		if err != nil {
			return err
		}
		if h.Length > length || root != h.Root || h.Verify(dev) != nil {
			bad(fmt.Errorf("head at %d: %w", h.Length, ErrDamaged))
		}
	}
	if h.Length >= length {
		return nil
	}
	a, err := readAnchor(r)
	if err != nil {
		bad(err)
		return nil
	}
	root, err := rootOf(r, length)
	if err != nil {
		return err
	}
	if a == nil || a.At() != length || a.Root() != root || a.Verify(dev) != nil {
		bad(fmt.Errorf("anchor at %d: %w", length, ErrDamaged))
	}
	return nil
}
