package room

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// maxRefs is how many dependencies this device gives an entry at most. Tests lower it.
var maxRefs = MaxDeps

// gather appends entries that say nothing (their body is empty, which is no operation or message) while there are more heads than
// the next entry can refer to: views have all of them, and what the entry says about any must be in its closure.
func (t *txn) gather(kind key.Kind, s *sealer, extra int) error {
	for {
		front, err := t.front(kind)
		if err != nil || len(front)+extra <= maxRefs {
			return err
		}
		own, err := t.ownCore(kind)
		if err != nil {
			return err
		}
		others := 0
		for _, f := range front {
			if f.no != own.no {
				others++
			}
		}
		if others+extra <= maxRefs {
			return nil
		}
		if _, err := t.appendCounting(kind, s, header{}, Draft{}); err != nil {
			return err
		}
	}
}

// references returns what a new entry refers to: the frontier of its kind,
// what the caller asks for, and the control entries it acts under, each
// without what the others and its own entry before have seen.
func (t *txn) references(a *arrival, extra []key.Hash) (deps, control []ref, err error) {
	seen := clock{}
	if a.prev > 0 {
		p := pos{a.pos.no, a.prev - 1}
		own, err := t.entry(p)
		if err != nil {
			return nil, nil, err
		}
		c, err := t.clockOf(p, own)
		if err != nil {
			return nil, nil, err
		}
		seen = c.clone()
	}
	deps, missing, err := t.resolve(a.row, uniqueHashes(extra), nil)
	if errors.Is(err, errFalse) {
		return nil, nil, fmt.Errorf("a reference to this log itself or to one of another kind: %w", ErrNotAllowed)
	}
	if err != nil {
		return nil, nil, err
	}
	if missing != nil {
		return nil, nil, fmt.Errorf("entry %s: %w", missing.Short(), ErrNotFound)
	}
	for _, r := range deps {
		if err := t.see(&seen, r); err != nil {
			return nil, nil, err
		}
	}
	front, err := t.newRefs(a.row.Kind, a.row.Kind, a.pos.no, &seen, maxRefs-len(deps))
	if err != nil || a.row.Kind == key.Control {
		return append(deps, front...), nil, err
	}
	control, err = t.newRefs(a.row.Kind, key.Control, a.pos.no, &seen, MaxControl)
	return append(deps, front...), control, err
}

// newRefs returns the entries on the frontier of a kind that seen does not
// include, the latest first, and raises seen by them.
func (t *txn) newRefs(from, kind key.Kind, own uint32, seen *clock, limit int) ([]ref, error) {
	front, err := t.front(kind)
	if err != nil {
		return nil, err
	}
	st, err := t.state()
	if err != nil {
		return nil, err
	}
	sorted := slices.Clone(front)
	slices.SortFunc(sorted, func(a, b frontEntry) int {
		if a.lamport != b.lamport {
			return int(int64(b.lamport) - int64(a.lamport))
		}
		return bytes.Compare(a.id[:], b.id[:])
	})
	var refs []ref
	for _, f := range sorted {
		if f.no == own || seen.includes(f.no, f.seq) || len(refs) == limit {
			continue
		}
		c, err := t.core(f.no)
		if err != nil {
			return nil, err
		}
		if kind == key.Control && !st.speaks(c.Device) && c.Device != t.r.dev.ID() {
			continue // somebody who asks to come in: not part of what one acts under
		}
		row, err := t.entry(f.pos)
		if err != nil {
			return nil, err
		}
		r := ref{f.pos, row}
		if err := t.see(seen, r); err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	return refs, nil
}

// see raises a clock by an entry and its closure.
func (t *txn) see(c *clock, r ref) error {
	k, err := t.clockOf(r.pos, r.row)
	if err != nil {
		return err
	}
	c.merge(k)
	c.raise(r.no, r.seq+1)
	return nil
}

func sortHashes(hs []key.Hash) {
	slices.SortFunc(hs, func(a, b key.Hash) int { return bytes.Compare(a[:], b[:]) })
}

func uniqueHashes(hs []key.Hash) []key.Hash {
	hs = slices.Clone(hs)
	sortHashes(hs)
	return slices.Compact(hs)
}
