package room

import (
	"errors"
	"fmt"
	"slices"
)

// rowView is the prefix of the rows that say for which version of a view its
// tables were made.
const rowView = "xview/"

func versionOf(v View) string {
	if vv, ok := v.(Versioned); ok {
		return vv.Version()
	}
	return "-"
}

// markViews notes that the views' tables are up to date.
func (t *txn) markViews() error {
	for _, v := range t.r.views {
		if err := t.idx.Put([]byte(rowView+v.Name()), []byte(versionOf(v))); err != nil {
			return fmt.Errorf("noting a view: %w", err)
		}
	}
	return nil
}

// refreshViews applies all counting entries again to views that are new or
// have changed.
func (r *Room) refreshViews() error {
	for _, v := range r.views {
		var stale bool
		err := r.view(func(t *txn) (err error) {
			stale, err = t.stale(v)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if !stale {
			continue
		}
		if err := r.replay(v); err != nil {
			return fmt.Errorf("making %s anew: %w", v.Name(), err)
		}
	}
	return nil
}

// stale reports whether a view's tables were made by another version of it.
func (t *txn) stale(v View) (bool, error) {
	have, err := t.idx.Get([]byte(rowView + v.Name()))
	return string(have) != versionOf(v), err
}

// replayBatch is how many entries one transaction of a replay applies.
const replayBatch = 4096

func (r *Room) replay(v View) error {
	err := r.update(func(t *txn) error {
		if vv, ok := v.(Versioned); ok {
			return vv.Reset(t.Tx)
		}
		return nil
	})
	if err != nil {
		return err
	}
	type item struct {
		pos
		lamport uint64
		row     Counted
	}
	var all []item
	err = r.view(func(t *txn) error {
		cores, err := t.allCores()
		if err != nil {
			return err
		}
		for _, c := range cores {
			if c.Kind != v.Kind() {
				continue
			}
			list, err := t.entries(c, 0, 0)
			if err != nil {
				return err
			}
			for _, e := range list {
				if e.counts(c.Kind) {
					all = append(all, item{e.pos, e.lamport, counted(c, e.seq, e.entryRow, nil)})
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b item) int { return compareCounted(a.row, b.row) })
	for part := range slices.Chunk(all, replayBatch) {
		err := r.update(func(t *txn) error {
			add := make([]Counted, 0, len(part))
			for _, i := range part {
				c, err := t.core(i.no)
				if err != nil {
					return err
				}
				e, err := t.entry(i.pos)
				if err != nil {
					return err
				}
				a, err := t.reopen(c, i.pos, e)
				if err != nil {
					return err
				}
				ck, err := t.clockOf(i.pos, e)
				if err != nil {
					return err
				}
				add = append(add, t.shown(c, i.pos, e, a.body, ck))
			}
			return t.apply(v, add, nil)
		})
		if errors.Is(err, ErrUpdateNeeded) {
			return r.update(func(t *txn) error { return t.setHold(true) })
		}
		if err != nil {
			return err
		}
	}
	return r.update(func(t *txn) error { return t.idx.Put([]byte(rowView+v.Name()), []byte(versionOf(v))) })
}
