package room

import (
	"fmt"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// What is handed on. Everybody comes to have a history if carriers lead to its
// end: the first from block 0 on, each other from within what those before it
// bring. One that hands on no more than the end of a history, or what nobody
// else can have a place for, hands on nothing.
//
// A carrier counts only if everybody must take it. Its author may show others
// another one in its place, or go on with it after it was read, or have written
// so many that others refuse some. Of an author of whom that is known no carrier
// of the core counts; what he brought here is handed on by whoever has it.
// Whoever has written too many himself leaves the rest to others.

// uncarried returns the row of a history that is to be handed on, and from which
// block on; nil if none need be.
func (t *txn) uncarried(id key.CoreID) (*coreRow, uint64, error) {
	st, err := t.state()
	if err != nil || st.caps(t.r.dev.ID()) == 0 {
		return nil, 0, err
	}
	trunk, err := t.coreByID(id)
	if err != nil || trunk == nil || !st.known(trunk.Device) {
		return nil, 0, err
	}
	rows, err := t.histories(trunk)
	if err != nil {
		return nil, 0, err
	}
	carriers, err := t.carriersOf(trunk)
	if err != nil {
		return nil, 0, err
	}
	if carriers, err = t.reliable(carriers); err != nil {
		return nil, 0, err
	}
	for _, c := range rows { // parents before their branches
		w, err := t.Core(c.ID)
		if err != nil {
			return nil, 0, fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
		}
		h, err := w.Head()
		if err != nil {
			return nil, 0, err
		}
		if h.Length <= c.At || isCarrier(w, h.Length) {
			continue
		}
		if n, err := t.covered(c, carriers); err != nil || n < h.Length {
			return c, n, err
		}
	}
	return nil, 0, nil
}

// covered returns up to where carriers lead in a history.
func (t *txn) covered(row *coreRow, carriers []*coreRow) (n uint64, err error) {
	for more := true; more; {
		more = false
		for _, c := range carriers {
			if c.Begin > n || c.End <= n {
				continue
			}
			common, err := t.common(c.In, row.no)
			if err != nil {
				return 0, err
			}
			if end := min(c.End, common); end > n {
				n, more = end, true
			}
		}
	}
	return n, nil
}

// common returns up to where two histories of a core are the same.
func (t *txn) common(a, b uint32) (uint64, error) {
	if a == b {
		return core.MaxLength, nil
	}
	var r [2]core.Reader
	for i, no := range []uint32{a, b} {
		c, err := t.core(no)
		if err != nil {
			return 0, err
		}
		if r[i], err = t.Core(c.ID); err != nil {
			return 0, fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
		}
	}
	return core.Common(r[0], r[1])
}

// carriersOf returns the carriers of a core that were looked into, those that are false among them.
func (t *txn) carriersOf(trunk *coreRow) (out []*coreRow, err error) {
	cores, err := t.allCores()
	if err != nil {
		return nil, err
	}
	for _, c := range cores {
		if c.Carries == trunk.ID && (c.Status == coreCarrier || c.Status == coreFalse) {
			out = append(out, c)
		}
	}
	return out, nil
}

// reliable returns the carriers of one core that everybody must take, and those
// of this device.
func (t *txn) reliable(carriers []*coreRow) (out []*coreRow, err error) {
	good := map[key.DeviceID]bool{t.r.dev.ID(): true}
	for _, c := range carriers {
		ok, known := good[c.Device]
		if !known {
			if ok, err = t.reliableAuthor(c.Device, carriers); err != nil {
				return nil, err
			}
			good[c.Device] = ok
		}
		if ok && c.Status == coreCarrier {
			out = append(out, c)
		}
	}
	return out, nil
}

func (t *txn) reliableAuthor(dev key.DeviceID, carriers []*coreRow) (bool, error) {
	for _, c := range carriers {
		if c.Device != dev {
			continue
		}
		w, err := t.Core(c.ID)
		if err != nil {
			return false, fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
		}
		n, err := w.Length()
		if err != nil {
			return false, err
		}
		fork, err := t.Log(tableForks).Get(c.ID[:])
		if err != nil {
			return false, fmt.Errorf("reading the proof of a fork: %w", err)
		}
		if c.Status != coreCarrier || n != c.Next || fork != nil {
			return false, nil
		}
	}
	n, err := t.historiesBy(dev, carriers)
	return n <= maxHistories, err
}

// historiesBy returns how many histories a device has handed on: what another
// carrier of his contains or goes on from is not another one. So it does not
// depend on what others have handed on, or on what came first.
func (t *txn) historiesBy(dev key.DeviceID, carriers []*coreRow) (n int, err error) {
	for i, c := range carriers {
		if c.Device != dev || c.Status != coreCarrier {
			continue
		}
		last := true
		for j, o := range carriers {
			if i == j || o.Device != dev || o.Status != coreCarrier || o.End < c.End || o.End == c.End && j > i {
				continue
			}
			common, err := t.common(c.In, o.In)
			if err != nil {
				return 0, err
			}
			if common >= c.End {
				last = false
				break
			}
		}
		if last {
			n++
		}
	}
	return n, nil
}
