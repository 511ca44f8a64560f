package room

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// Where entries of one kind stand in time.
//
// Logical time alone puts what two groups wrote apart from each other in no order that anybody expects: who wrote more comes later. So
// every drive and chat entry has a place in time, Counted.When: by its author's clock, and never before anything of its kind that it
// stands on. Sorted by (When, lamport, core, seq), causes come before effects, and what was written apart stands by the clock.
//
// Clocks may be wrong. Each entry therefore carries on, from what it stands on, the latest times of a few devices (claims). Its place is
// the latest of them and of its own clock, but for claims that are more than clockSkew ahead of its clock and of all others below them:
// those of a device whose clock was ahead, or that lied. What this device wrote and the entry stands on is then moved back to the entry's
// place. An entry whose own clock is behind the claims of all others, and of two at least, is thought to be the one that is wrong, and
// doubts only the latest. So one wrong clock moves at most what its device wrote, and a few that are far ahead at the same time, more of
// them than maxClaims, leave the order of logical time. All of this is a function of the set of entries.

const (
	// maxClaims is the number of devices whose latest times are carried on. It decides about the order, so it is part of the format.
	maxClaims = 4
	// clockSkew is how far, in milliseconds, the clocks of devices may differ without doubt.
	clockSkew = 10 * 60 * 1000
)

// claim is a time in unix milliseconds that a device gave as the present.
type claim struct {
	no   uint32 // local number of a core of the device
	when int64
}

// claims are the latest times of different devices, the latest first.
type claims struct {
	n    int
	list [maxClaims]claim
}

func (c *claims) all() []claim { return c.list[:c.n] }

// deviceOf returns whose a core is.
func (t *txn) deviceOf(no uint32) (key.DeviceID, error) {
	c, err := t.core(no)
	if err != nil {
		return key.DeviceID{}, err
	}
	return c.Device, nil
}

// claim adds what a device claims.
func (t *txn) claim(c *claims, x claim) error {
	dev, err := t.deviceOf(x.no)
	if err != nil {
		return err
	}
	at := c.n
	for i, o := range c.all() {
		other, err := t.deviceOf(o.no)
		if err != nil {
			return err
		}
		if other == dev {
			if o.when >= x.when {
				return nil
			}
			copy(c.list[i:], c.list[i+1:c.n])
			c.n--
			at = min(at, i)
			break
		}
		if at == c.n && (x.when > o.when || x.when == o.when && bytes.Compare(dev[:], other[:]) < 0) {
			at = i
		}
	}
	if at == maxClaims {
		return nil
	}
	c.n = min(c.n+1, maxClaims)
	copy(c.list[at+1:c.n], c.list[at:])
	c.list[at] = x
	return nil
}

// claimAll adds what another entry carries on.
func (t *txn) claimAll(c *claims, o *claims) error {
	if c.n == 0 {
		*c = *o
		return nil
	}
	for _, x := range o.all() {
		if err := t.claim(c, x); err != nil {
			return err
		}
	}
	return nil
}

// place is where an entry stands in time whose author's clock says wall, and the first how many of the claims it doubts.
func (c *claims) place(wall int64) (when int64, doubted int) {
	all := c.all()
	above := 0
	for above < len(all) && all[above].when > wall+clockSkew {
		above++
	}
	doubts := above
	if above == len(all) && above > 1 {
		doubts = 1
	}
	for doubted < doubts {
		below := wall
		if doubted+1 < len(all) {
			below = max(below, all[doubted+1].when)
		}
		if all[doubted].when <= below+clockSkew {
			break
		}
		doubted++
	}
	if doubted < len(all) {
		wall = max(wall, all[doubted].when)
	}
	return wall, doubted
}

// setWhen gives an entry its place in time, and moves back what it proves to be older.
func (t *txn) setWhen(a *arrival, e *entryRow) error {
	wall := e.wall / 1e6
	if a.row.Kind == key.Control {
		e.when = wall
		return nil
	}
	when, doubted := a.claims.place(wall)
	e.when, e.claims = when, a.claims
	for _, x := range a.claims.list[:doubted] {
		dev, err := t.deviceOf(x.no)
		if err == nil {
			err = t.moveBack(a, dev, when)
		}
		if err != nil {
			return fmt.Errorf("moving back what a wrong clock put ahead: %w", err)
		}
	}
	return t.claim(&e.claims, claim{a.pos.no, when})
}

// moveBack gives what a device wrote and an arrival stands on a place that is no later than when.
func (t *txn) moveBack(a *arrival, dev key.DeviceID, when int64) error {
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	for _, c := range cores {
		if c.Device != dev || c.Kind != a.row.Kind {
			continue
		}
		// Within a core the places rise: the walk ends at the first that is not too late.
		for n := a.clock.at(c.no); n > 0 && (c.From == 0 || n >= c.From); {
			p := pos{c.no, n - 1}
			e, err := t.entry(p)
			if err != nil {
				return err
			}
			if e.when <= when {
				break
			}
			was := e.when
			e.when, n = when, e.prev
			if err := t.putEntry(p, e); err != nil {
				return err
			}
			if err := t.moved(c, p, e, was); err != nil {
				return err
			}
		}
	}
	return nil
}

// moved tells the views of an entry that stands elsewhere in time now.
func (t *txn) moved(c *coreRow, p pos, e entryRow, was int64) error {
	if !e.counts(c.Kind) {
		return nil
	}
	if len(t.add[c.Kind])+len(t.remove[c.Kind])+len(t.again) > 0 { // these are told where it was
		if err := t.flushViews(); err != nil {
			return err
		}
	}
	t.changed(c.Kind)
	for _, v := range t.r.views {
		if o, ok := v.(Ordered); ok && v.Kind() == c.Kind {
			if err := o.Moved(t.Tx, counted(c, p.seq, e, nil), was); err != nil {
				return fmt.Errorf("%s: %w", v.Name(), err)
			}
		}
	}
	return nil
}

// appendWhen writes a place in time and claims, relative to it.
func (e *entryRow) appendWhen(b []byte) []byte {
	b = binary.AppendVarint(b, e.when)
	b = binary.AppendUvarint(b, uint64(e.claims.n))
	for _, x := range e.claims.all() {
		b = binary.AppendUvarint(b, uint64(x.no))
		b = binary.AppendVarint(b, x.when-e.when)
	}
	return b
}

// parseWhen reads what appendWhen wrote.
func (e *entryRow) parseWhen(b []byte) ([]byte, error) {
	var n, no uint64
	var later int64
	var err error
	if e.when, b, err = varint(b); err != nil {
		return nil, err
	}
	if n, b, err = uvarint(b); err != nil || n > maxClaims {
		return nil, fmt.Errorf("%w: place in time", ErrFormat)
	}
	e.claims.n = int(n)
	for i := range e.claims.all() {
		if no, b, err = uvarint(b); err != nil {
			return nil, err
		}
		if later, b, err = varint(b); err != nil {
			return nil, err
		}
		e.claims.list[i] = claim{uint32(no), e.when + later}
	}
	return b, nil
}

// CompareWhen is the order in which entries of one kind are shown: by time, and causes before effects.
func CompareWhen(a, b Counted) int {
	if a.When != b.When {
		return int(max(-1, min(1, a.When-b.When)))
	}
	return compareCounted(a, b)
}
