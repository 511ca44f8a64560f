package room

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// clock is how many blocks of each core a closure reaches over, by the local
// number of the core. Numbers beyond its end are 0.
type clock []uint64

// at returns the length for a core.
func (c clock) at(no uint32) uint64 {
	if int(no) < len(c) {
		return c[no]
	}
	return 0
}

// includes reports whether the block seq of core no is part of the closure.
func (c clock) includes(no uint32, seq uint64) bool { return seq < c.at(no) }

// raise makes the closure reach over n blocks of core no at least.
func (c *clock) raise(no uint32, n uint64) {
	if int(no) >= len(*c) {
		*c = append(*c, make([]uint64, int(no)+1-len(*c))...)
	}
	(*c)[no] = max((*c)[no], n)
}

// merge raises every core to what o reaches.
func (c *clock) merge(o clock) {
	for no, n := range o {
		if n > 0 {
			c.raise(uint32(no), n)
		}
	}
}

func (c clock) clone() clock { return slices.Clone(c) }

// maxClockCores bounds what a damaged row may claim.
const maxClockCores = 1 << 22

// appendDelta writes what c has beyond base: pairs of core number and length.
func appendDelta(b []byte, base, c clock) []byte {
	n := 0
	for no := range c {
		if c[no] != base.at(uint32(no)) {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for no := range c {
		if c[no] != base.at(uint32(no)) {
			b = binary.AppendUvarint(b, uint64(no))
			b = binary.AppendUvarint(b, c[no])
		}
	}
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

// closure is the Clock of a version.
type closure struct {
	lengths map[key.CoreID]uint64
}

var _ Clock = closure{}

// Includes implements Clock.
func (c closure) Includes(core key.CoreID, seq uint64) bool { return seq < c.lengths[core] }
