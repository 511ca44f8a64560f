package room

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// review looks for cores whose entries may count differently by the state st,
// and counts them anew as far as the budget goes. What is left is continued
// by later transactions: coreRow.Review is the cursor.
func (t *txn) review(st *State) error {
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	for _, c := range cores {
		if c.Kind == key.Control {
			continue
		}
		auth, err := t.authority(st, c)
		if err != nil {
			return err
		}
		if auth == c.Authority {
			continue
		}
		c.Authority, c.dirty = auth, true
		if c.Last > 0 {
			c.Review, c.Found = 1, 0
		}
	}
	return t.continueReview(st, cores)
}

func (t *txn) continueReview(st *State, cores []*coreRow) error {
	if !slices.ContainsFunc(cores, func(c *coreRow) bool { return c.Review > 0 }) {
		return nil
	}
	if err := t.flushViews(); err != nil {
		return err
	}
	kinds := map[key.Kind]bool{}
	for _, c := range cores {
		if c.Review == 0 {
			continue
		}
		if !t.spent() {
			kinds[c.Kind] = true
			if err := t.reviewCore(st, c); err != nil {
				return err
			}
		}
		t.more = t.more || c.Review > 0
	}
	sortCounted(t.again)
	for kind := range kinds {
		if err := t.rebuildFront(kind); err != nil {
			return err
		}
		sortCounted(t.add[kind])
		sortCounted(t.remove[kind])
	}
	return t.flushViews()
}

// reviewCore counts entries of one core anew from its cursor on.
func (t *txn) reviewCore(st *State, c *coreRow) error {
	limit := t.budget
	list, err := t.entries(c, c.Review-1, limit)
	if err != nil {
		return err
	}
	c.dirty = true
	for _, i := range list {
		if t.spent() {
			return nil
		}
		if err := t.reviewEntry(st, c, i); err != nil {
			return err
		}
		c.Review = i.pos.seq + 2
	}
	if len(list) < limit {
		c.Review, c.Counted = 0, c.Found
	}
	return nil
}

// reviewEntry counts one entry anew.
func (t *txn) reviewEntry(st *State, c *coreRow, i placedRow) error {
	p, e := i.pos, i.entryRow
	ck, err := t.clockOf(p, e)
	if err != nil {
		return err
	}
	before := e
	if e.caps, err = t.capsOf(st, c, p.seq, ck); err != nil {
		return err
	}
	if e.counts(c.Kind) {
		c.Found = p.seq + 1
		c.Counted = max(c.Counted, c.Found)
	}
	if e.caps == before.caps {
		t.spend(0)
		return nil
	}
	return t.recount(c, p, before, e, ck)
}

// recount stores what an entry's author could do by it now, and lets the
// views know if it starts or stops to count. A chat entry that goes on to
// count with other capabilities is removed and added.
func (t *txn) recount(c *coreRow, p pos, before, e entryRow, ck clock) error {
	if err := t.putEntry(p, e); err != nil {
		return err
	}
	was, is := before.counts(c.Kind), e.counts(c.Kind)
	if was == is && (!is || c.Kind != key.Chat) {
		t.spend(0)
		return nil
	}
	a, err := t.reopen(c, p, e)
	if err != nil {
		return fmt.Errorf("counting an entry anew: %w", err)
	}
	t.spend(len(a.body))
	t.event.Status = true
	t.changed(c.Kind)
	row := t.shown(c, p, e, a.body, ck)
	if was {
		t.remove[c.Kind] = append(t.remove[c.Kind], t.shown(c, p, before, a.body, ck))
	}
	switch {
	case was && is:
		t.again = append(t.again, row)
		return nil
	case is:
		if c.isBranch() || c.Parted > 0 {
			t.again = append(t.again, row) // after the other history went
		} else {
			t.add[c.Kind] = append(t.add[c.Kind], row)
		}
		err = t.idx.Delete(p.key(rowUncount))
	default:
		err = t.idx.Put(p.key(rowUncount), []byte{})
	}
	if err != nil {
		return fmt.Errorf("counting an entry anew: %w", err)
	}
	return nil
}

// sortCounted puts entries into the order that all peers share, in which
// causes come before effects.
func sortCounted(cs []Counted) {
	slices.SortFunc(cs, compareCounted)
}

func compareCounted(a, b Counted) int {
	return cmp.Or(cmp.Compare(a.Lamport, b.Lamport), slices.Compare(a.Core[:], b.Core[:]), cmp.Compare(a.Seq, b.Seq))
}
