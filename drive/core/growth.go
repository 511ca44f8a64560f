package core

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/key"
)

// growth is a core with leaves added that are not stored: a HashReader over
// the stored hashes before base followed by its own.
type growth struct {
	stored tlog.HashReader
	base   int64 // number of stored hashes that it builds on
	added  []tlog.Hash
	length uint64              // blocks, with the added ones
	known  map[int64]tlog.Hash // stored ones that were read already; nil: they are not kept
}

func newGrowth(stored tlog.HashReader, length uint64) *growth {
	return &growth{stored: stored, base: tlog.StoredHashCount(int64(length)), length: length}
}

// add appends one leaf.
func (g *growth) add(leaf key.Hash) error {
	hs, err := tlog.StoredHashesForRecordHash(int64(g.length), tlog.Hash(leaf), g)
	if err != nil {
		return fmt.Errorf("hashing block %d: %w", g.length, err)
	}
	g.added = append(g.added, hs...)
	g.length++
	return nil
}

// ReadHashes implements tlog.HashReader with at most one call to the storage.
func (g *growth) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var ask []int64
	var at []int
	for i, x := range indexes {
		switch {
		case x < g.base && g.isKnown(x, &out[i]):
		case x < g.base:
			ask, at = append(ask, x), append(at, i)
		case x-g.base < int64(len(g.added)):
			out[i] = g.added[x-g.base]
		default:
			return nil, fmt.Errorf("hash %d: %w", x, ErrRange)
		}
	}
	if len(ask) == 0 {
		return out, nil
	}
	hs, err := g.stored.ReadHashes(ask)
	if err != nil {
		return nil, err
	}
	if len(hs) != len(ask) {
		return nil, fmt.Errorf("storage returned %d of %d hashes: %w", len(hs), len(ask), ErrDamaged)
	}
	for i, h := range hs {
		out[at[i]] = h
		if g.known != nil {
			g.known[ask[i]] = h
		}
	}
	return out, nil
}

// KeepHashes is r with the hashes that were read once kept, for who computes
// many roots of one core. They never change.
func KeepHashes(r Reader) Reader { return keeper{r, map[int64]tlog.Hash{}} }

type keeper struct {
	Reader
	known map[int64]tlog.Hash
}

func (k keeper) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	var ask []int64
	for i, x := range indexes {
		h, ok := k.known[x]
		if !ok {
			ask = append(ask, x)
		}
		out[i] = h
	}
	if len(ask) == 0 {
		return out, nil
	}
	hs, err := k.Reader.ReadHashes(ask)
	if err != nil {
		return nil, err
	}
	if len(hs) != len(ask) {
		return nil, fmt.Errorf("storage returned %d of %d hashes: %w", len(hs), len(ask), ErrDamaged)
	}
	for i, x := range ask {
		k.known[x] = hs[i]
	}
	for i, x := range indexes {
		out[i] = k.known[x]
	}
	return out, nil
}

func (g *growth) isKnown(x int64, h *tlog.Hash) (ok bool) {
	*h, ok = g.known[x]
	return ok
}

// store writes the hashes of the blocks from `have` on and the new length.
func (g *growth) store(w Writer, have uint64) error {
	first := tlog.StoredHashCount(int64(have))
	if err := w.PutHashes(first, g.added[first-g.base:]); err != nil {
		return fmt.Errorf("storing hashes: %w", err)
	}
	if err := w.SetLength(g.length); err != nil {
		return fmt.Errorf("storing length: %w", err)
	}
	return nil
}
