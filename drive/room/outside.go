package room

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// Outside is what is known beside the entries that count.
type Outside struct {
	Sum key.Hash // another one whenever other drive or chat entries are here that do not count, or not yet
	// Settled: every entry that could be processed was, and no more of this device's own logs is known, or likely, to have been written
	// than is here. Otherwise what counts may change without anything being written: tables are being made anew, or members are
	// about to be asked for what a restored directory lacks.
	Settled bool
}

// Outside reads no bodies.
func (r *Room) Outside() (o Outside, err error) {
	err = r.view(func(t *txn) error {
		lacks, err := t.lacks()
		if err != nil {
			return err
		}
		o.Settled = !lacks
		cores, err := t.allCores()
		if err != nil {
			return err
		}
		st, err := t.state()
		if err != nil {
			return err
		}
		sum := sha256.New()
		for _, c := range cores {
			w, err := t.Core(c.ID)
			if err != nil {
				return err
			}
			n, err := w.Length()
			if err != nil {
				return err
			}
			behind := c.Status == coreOpen && c.Waiting == waitNone && c.Next < n
			if c.Device == r.dev.ID() && c.Status == coreOpen && !behind {
				wrote, err := t.wrote(c.ID)
				if err != nil {
					return err
				}
				behind = wrote > n
			}
			o.Settled = o.Settled && !behind && c.Review == 0
			if c.Next < n && c.Kind != key.Control {
				fmt.Fprintf(sum, "waiting %s %d %d %d %d %d\n", c.ID, c.Next, n, c.Status, c.Waiting, st.caps(c.Device))
			}
		}
		err = t.uncounted(func(c *coreRow, p pos, e entryRow) error {
			if c.Kind != key.Control {
				fmt.Fprintf(sum, "quarantined %s\n", e.id)
			}
			return nil
		})
		sum.Sum(o.Sum[:0])
		return err
	})
	if err != nil {
		return Outside{}, fmt.Errorf("looking at what does not count: %w", err)
	}
	return o, nil
}

// uncounted goes over the entries that were processed and do not count.
func (t *txn) uncounted(fn func(c *coreRow, p pos, e entryRow) error) error {
	for k := range t.idx.Scan([]byte{rowUncount}, nil) {
		c, err := t.core(be32(k[1:]))
		if err != nil {
			return err
		}
		p := pos{c.no, be64(k[5:])}
		e, err := t.entry(p)
		if err == nil {
			err = fn(c, p, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readUncounted reads such an entry; one that cannot be read has no Body.
func (t *txn) readUncounted(c *coreRow, p pos, e entryRow) Counted {
	a, err := t.reopen(c, p, e)
	if err != nil {
		return counted(c, p.seq, e, nil)
	}
	return counted(c, p.seq, e, some(a.body))
}

// some tells an empty body from none.
func some(body []byte) []byte {
	if body == nil {
		return []byte{}
	}
	return body
}

// EachOutside calls fn for the entries of a kind that are kept and do not count, and for those that wait, of devices that may write
// such entries now. One that cannot be read has no Body; of those after it that wait nothing is told. fn must not call methods of
// the Room. An error of fn ends it and is returned.
func (r *Room) EachOutside(kind key.Kind, fn func(e Counted) error) error {
	return r.view(func(t *txn) error {
		err := t.uncounted(func(c *coreRow, p pos, e entryRow) error {
			if c.Kind != kind {
				return nil
			}
			return fn(t.readUncounted(c, p, e))
		})
		if err != nil {
			return err
		}
		return t.eachWaiting(kind, func(e Counted) (bool, error) { return true, fn(e) })
	})
}

// eachWaiting goes over the entries of a kind that are here but whose closure is not, in each core up to the first that cannot be read,
// which has no Body. It ends when fn reports false.
func (t *txn) eachWaiting(kind key.Kind, fn func(e Counted) (more bool, err error)) error {
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	st, err := t.state()
	if err != nil {
		return err
	}
	for _, c := range cores {
		if c.Kind != kind || kind == key.Control || c.Status == coreFalse || c.Waiting == waitNone {
			continue
		}
		if need := needOf(kind); st.caps(c.Device)&need != need {
			continue // it would be the way in for who may not write: what it waits for need not exist
		}
		if more, err := t.waitingIn(c, fn); err != nil || !more {
			return err
		}
	}
	return nil
}

func (t *txn) waitingIn(c *coreRow, fn func(e Counted) (bool, error)) (more bool, err error) {
	w, err := t.Core(c.ID)
	if err != nil {
		return false, err
	}
	n, err := w.Length()
	if err != nil {
		return false, err
	}
	for i := c.Next; i < n; {
		a := &arrival{row: c, pos: pos{c.no, i}}
		wait, err := t.open(a, w)
		if err == nil && wait == waitNone {
			wait, err = t.openBody(a)
		}
		if err != nil {
			return true, notFalse(err)
		}
		e := entryRow{id: a.id, lamport: a.header.Lamport, wall: a.header.Wall, payloads: a.header.Payloads}
		if wait != waitNone {
			return fn(counted(c, i, e, nil))
		}
		if more, err := fn(counted(c, i, e, some(a.body))); err != nil || !more {
			return more, err
		}
		i += 1 + uint64(a.header.Payloads)
	}
	return true, nil
}

func notFalse(err error) error {
	if errors.Is(err, errFalse) {
		return nil
	}
	return err
}
