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
		if err := AuditBlocks(r, from, min(from+auditBatch, rep.Length), &rep, bad); err != nil {
			return rep, err
		}
	}
	return rep, AuditEnd(r, &dev, bad)
}

// AuditBlocks audits the blocks [from, to) and the hashes above them, and adds
// what it saw to rep: for who audits a core in several snapshots.
func AuditBlocks(r Reader, from, to uint64, rep *Report, bad func(error)) error {
	leaves, err := Leaves(r, from, to)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	g := newGrowth(r, from)
	for i := from; i < to; i++ {
		leaf := leaves[i-from]
		if err := g.add(leaf); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		b, err := r.Block(i)
		switch {
		case errors.Is(err, ErrAbsent):
			if errors.Is(err, ErrDamaged) { // that is why
				bad(err)
			}
			continue
		case err != nil:
			return fmt.Errorf("audit: block %d: %w", i, err)
		case Leaf(b) != leaf:
			bad(fmt.Errorf("block %d: %w", i, ErrDamaged))
		}
		rep.Present++
		rep.Bytes += uint64(len(b))
	}
	if err := auditHashes(r, g, bad); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
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

// AuditEnd audits the signed head and the anchor. Without dev, who signed them is
// not looked at.
func AuditEnd(r Reader, dev *key.DeviceID, bad func(error)) error {
	length, err := r.Length()
	if err != nil {
		return err
	}
	h, err := r.Head()
	if err != nil {
		return err
	}
	if !h.IsZero() {
		root, err := rootOf(r, min(h.Length, length))
		if err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		if h.Length > length || root != h.Root || dev != nil && h.Verify(*dev) != nil {
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
		return fmt.Errorf("audit: %w", err)
	}
	if a == nil || a.At() != length || a.Root() != root || dev != nil && a.Verify(*dev) != nil {
		bad(fmt.Errorf("anchor at %d: %w", length, ErrDamaged))
	}
	return nil
}
