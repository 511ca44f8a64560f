package room

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// Where entries of one kind stand in time.
//
// Logical time alone puts what two groups wrote apart from each other in no order that anybody expects: who wrote more comes later. So
// every drive and chat entry has a place in time, Counted.When: the latest time that its author, or the author of anything of its kind that
// it stands on, gave as the present, and then the latest that another device gave. Sorted by (When, lamport, core, seq), causes come before
// effects, since whoever knows more knows times that are no earlier, and what was written apart stands by the clock.
//
// A place never changes, and nothing but the closure of its entry decides about it: what does not count moves nothing unless somebody
// chose to stand on it, and an entry that comes costs its own row. So a clock that is wrong does this:
//
//   - behind: an entry stands behind what it stands on, and no further on.
//   - ahead: the entry, and what is written by those who have heard of it, stands behind what is written by those who have not. Once all
//     have heard, the second time gives the order, by the clocks of the others. What its device goes on to write with a right clock stands
//     where it heard of the others last.
//   - ahead, of two devices and more: what is written by those who have heard of both stands in the order of logical time, while no clock
//     is further on.
//
// It was otherwise once: an entry whose clock showed that another device's was ahead moved back what that had written. Then the entry of
// somebody who may not even write moved what counts, any number of rows at once, and whose clock was wrong was a guess where there were two.

// maxClaims is the number of devices whose latest times are carried on. It decides about the order, so it is part of the format.
const maxClaims = 2

// When is a place in time: the latest time that the closure of an entry names, and the latest that it names by another device, in unix
// milliseconds; 0 where none did.
type When [maxClaims]int64

// WhenLen is the number of bytes of an encoded When.
const WhenLen = 8 * maxClaims

// Compare is the order in which entries of one kind are shown, but for those with the same When: see [CompareWhen].
func (w When) Compare(o When) int {
	for i := range w {
		if c := cmp.Compare(w[i], o[i]); c != 0 {
			return c
		}
	}
	return 0
}

// Append appends w to b, in WhenLen bytes that sort as [When.Compare] does.
func (w When) Append(b []byte) []byte {
	for _, t := range w {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	return b
}

// ParseWhen reads what [When.Append] wrote from the first WhenLen bytes of b.
func ParseWhen(b []byte) (w When) {
	for i := range w {
		w[i] = int64(binary.BigEndian.Uint64(b[8*i:]))
	}
	return w
}

// CompareWhen is the order in which entries of one kind are shown: by time, and causes before effects.
func CompareWhen(a, b Counted) int { return cmp.Or(a.When.Compare(b.When), compareCounted(a, b)) }

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

// setWhen gives an entry its place in time.
func (t *txn) setWhen(a *arrival, e *entryRow) error {
	if a.row.Kind == key.Control {
		return nil
	}
	e.claims = a.claims
	return t.claim(&e.claims, claim{a.pos.no, e.wall / 1e6})
}

// when is the place in time of an entry.
func (e *entryRow) when() (w When) {
	if e.claims.n == 0 { // a control entry, or one that was not processed
		return When{e.wall / 1e6}
	}
	for i, x := range e.claims.all() {
		w[i] = x.when
	}
	return w
}

// appendWhen writes claims, their times relative to the clock of the entry.
func (e *entryRow) appendWhen(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(e.claims.n))
	for _, x := range e.claims.all() {
		b = binary.AppendUvarint(b, uint64(x.no))
		b = binary.AppendVarint(b, x.when-e.wall/1e6)
	}
	return b
}

// parseWhen reads what appendWhen wrote.
func (e *entryRow) parseWhen(b []byte) ([]byte, error) {
	n, b, err := uvarint(b)
	if err != nil || n > maxClaims {
		return nil, fmt.Errorf("%w: place in time", ErrFormat)
	}
	e.claims.n = int(n)
	for i := range e.claims.all() {
		var no uint64
		var later int64
		if no, b, err = uvarint(b); err != nil {
			return nil, err
		}
		if later, b, err = varint(b); err != nil {
			return nil, err
		}
		e.claims.list[i] = claim{uint32(no), e.wall/1e6 + later}
	}
	return b, nil
}
