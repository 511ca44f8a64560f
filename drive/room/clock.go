package room

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// clock is how many blocks of each core a closure reaches over, by the local
// number of the core: pages of numbers. Pages are never changed once they are
// in a clock, so that the clocks of a thousand members, which differ in few
// places, share most of them. The zero value is empty.
type clock []*page

const pageSize = 64

type page [pageSize]uint64

// at returns the length for a core.
func (c clock) at(no uint32) uint64 {
	if i := int(no / pageSize); i < len(c) && c[i] != nil {
		return c[i][no%pageSize]
	}
	return 0
}

// includes reports whether the block seq of core no is part of the closure.
func (c clock) includes(no uint32, seq uint64) bool { return seq < c.at(no) }

// raise makes the closure reach over n blocks of core no at least.
func (c *clock) raise(no uint32, n uint64) {
	if n <= c.at(no) {
		return
	}
	i := int(no / pageSize)
	c.grow(i + 1)
	var p page
	if (*c)[i] != nil {
		p = *(*c)[i]
	}
	p[no%pageSize] = n
	(*c)[i] = &p
}

func (c *clock) grow(pages int) {
	if pages > len(*c) {
		*c = append(*c, make([]*page, pages-len(*c))...)
	}
}

// merge raises every core to what o reaches.
func (c *clock) merge(o clock) {
	c.grow(len(o))
	for i, p := range o {
		(*c)[i] = higher((*c)[i], p)
	}
}

// higher returns the page of the higher numbers: one of the two if it has them
// all.
func higher(a, b *page) *page {
	if a == b || b == nil {
		return a
	}
	if a == nil {
		return b
	}
	var p page
	isA, isB := true, true
	for i := range p {
		p[i] = max(a[i], b[i])
		isA = isA && p[i] == a[i]
		isB = isB && p[i] == b[i]
	}
	switch {
	case isA:
		return a
	case isB:
		return b
	}
	return &p
}

// clone returns a clock that may be changed.
func (c clock) clone() clock { return slices.Clone(c) }

// beyond calls yield for every core of which c reaches further than base.
func (c clock) beyond(base clock, yield func(no uint32, n uint64)) {
	for i, p := range c {
		var b *page
		if i < len(base) {
			b = base[i]
		}
		if p == nil || p == b {
			continue
		}
		for j, n := range p {
			if n > 0 && (b == nil || n > b[j]) {
				yield(uint32(i*pageSize+j), n)
			}
		}
	}
}

// maxClockCores bounds what a damaged row may claim.
const maxClockCores = 1 << 22

// appendDelta writes what c has beyond base: pairs of core number and length.
func appendDelta(b []byte, base, c clock) []byte {
	n := 0
	c.beyond(base, func(uint32, uint64) { n++ })
	b = binary.AppendUvarint(b, uint64(n))
	c.beyond(base, func(no uint32, n uint64) {
		b = binary.AppendUvarint(b, uint64(no))
		b = binary.AppendUvarint(b, n)
	})
	return b
}

// applyDelta raises c by what appendDelta wrote.
func applyDelta(c *clock, b []byte) error {
	n, b, err := uvarint(b)
	if err != nil {
		return err
	}
	for range n {
		var no, length uint64
		if no, b, err = uvarint(b); err != nil {
			return err
		}
		if length, b, err = uvarint(b); err != nil {
			return err
		}
		if no >= maxClockCores {
			return fmt.Errorf("%w: core number %d", ErrFormat, no)
		}
		c.raise(uint32(no), length)
	}
	if len(b) != 0 {
		return fmt.Errorf("%w: %d bytes after a clock", ErrFormat, len(b))
	}
	return nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: number", ErrFormat)
	}
	return v, b[n:], nil
}

func varint(b []byte) (int64, []byte, error) {
	v, n := binary.Varint(b)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: number", ErrFormat)
	}
	return v, b[n:], nil
}

// reach is the closure of an entry that a view is given. It looks cores up in the transaction that it was made in, so that an entry
// costs no more than its own clock, which is at hand.
type reach struct {
	t     *txn
	clock clock // without the entry itself
	at    pos
}

var _ Clock = (*reach)(nil)

// Length implements Clock. What goes wrong is the transaction's: see txn.apply.
func (r *reach) Length(id key.CoreID) uint64 {
	n, err := r.t.reaches(r, id)
	if err != nil && r.t.unreached == nil {
		r.t.unreached = fmt.Errorf("reading a closure: %w", err)
	}
	return n
}

func (t *txn) reaches(r *reach, id key.CoreID) (n uint64, err error) {
	c, err := t.coreByID(id)
	if err != nil || c == nil || c.isBranch() {
		return 0, err
	}
	of := func(no uint32) uint64 {
		if no == r.at.no {
			return max(r.clock.at(no), r.at.seq+1)
		}
		return r.clock.at(no)
	}
	if n = of(c.no); c.Parted == 0 {
		return n, nil
	}
	branches, err := t.branchesOf(c)
	for _, no := range branches {
		n = max(n, of(no))
	}
	return n, err
}

// branchesOf returns the numbers of the branches of a core.
func (t *txn) branchesOf(trunk *coreRow) ([]uint32, error) {
	if nos, ok := t.branches[trunk.no]; ok {
		return nos, nil
	}
	rows, err := t.histories(trunk)
	if err != nil {
		return nil, err
	}
	nos := make([]uint32, 0, len(rows))
	for _, c := range rows[1:] {
		nos = append(nos, c.no)
	}
	if t.branches == nil {
		t.branches = map[uint32][]uint32{}
	}
	t.branches[trunk.no] = nos
	return nos, nil
}

// closure is the Clock of a version.
type closure struct {
	lengths map[key.CoreID]uint64
}

var _ Clock = closure{}

// Length implements Clock.
func (c closure) Length(core key.CoreID) uint64 { return c.lengths[core] }
