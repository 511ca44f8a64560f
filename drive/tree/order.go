package tree

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"github.com/pearbox/pearbox/drive/key"
)

// at is a Pos with the core as a local number, and with the first bytes of
// the entry's id, which tell the branches of a forked core apart.
type at struct {
	lamport uint64
	core    uint32
	seq     uint64
	index   uint32
	tie     [8]byte
}

func (a at) spot() Spot   { return Spot{a.seq, a.index} }
func (a at) isZero() bool { return a == at{} }

func (s Spot) compare(t Spot) int {
	return cmp.Or(cmp.Compare(s.Seq, t.Seq), cmp.Compare(s.Index, t.Index))
}

// atSize is the length of a position in a row's key.
const atSize = 8 + 4 + 8 + 2 + 8

// appendAt appends a position so that keys sort by lamport, newest first if so wanted.
func appendAt(b []byte, a at, newest bool) []byte {
	l := a.lamport
	if newest {
		l = ^l
	}
	b = binary.BigEndian.AppendUint64(b, l)
	b = binary.BigEndian.AppendUint32(b, a.core)
	b = binary.BigEndian.AppendUint64(b, a.seq)
	b = binary.BigEndian.AppendUint16(b, uint16(a.index))
	return append(b, a.tie[:]...)
}

func readAt(b []byte, newest bool) (a at, ok bool) {
	if len(b) != atSize {
		return a, false
	}
	a.lamport = binary.BigEndian.Uint64(b)
	if newest {
		a.lamport = ^a.lamport
	}
	a.core = binary.BigEndian.Uint32(b[8:])
	a.seq = binary.BigEndian.Uint64(b[12:])
	a.index = uint32(binary.BigEndian.Uint16(b[20:]))
	copy(a.tie[:], b[22:])
	return a, true
}

// set is a Context with cores as local numbers and without references to "this entry".
type set []ranged

type ranged struct {
	core   uint32
	lo, hi Spot
}

// names reports whether the set names the operation.
func (s set) names(a at) bool {
	for _, r := range s {
		if r.core == a.core && r.lo.compare(a.spot()) <= 0 && a.spot().compare(r.hi) <= 0 {
			return true
		}
	}
	return false
}

// cores numbers the cores that operations came from.
type cores struct {
	rows  Rows
	ids   map[uint32]coreRow
	nums  map[key.CoreID]uint32
	added uint32 // how many there are; written by whoever writes

	last     coreRow // that was asked for, which most who ask want again
	lastNext uint64  // its number and one; 0: none
}

type coreRow struct {
	id     key.CoreID
	author key.DeviceID
}

func newCores(rows Rows) *cores {
	return &cores{rows: rows, ids: map[uint32]coreRow{}, nums: map[key.CoreID]uint32{}}
}

// get returns the core with the number. Unknown ones have a zero id.
func (c *cores) get(n uint32) coreRow {
	if n == pendingCore {
		return coreRow{}
	}
	if uint64(n)+1 == c.lastNext {
		return c.last
	}
	if r, ok := c.ids[n]; ok {
		c.last, c.lastNext = r, uint64(n)+1
		return r
	}
	var r coreRow
	if b, err := c.rows.Get(numKey(rowCore, n)); err == nil && len(b) == 64 {
		copy(r.id[:], b)
		copy(r.author[:], b[32:])
	}
	c.ids[n] = r
	return r
}

// set says which core has the number from now on.
func (c *cores) set(n uint32, r coreRow) {
	c.ids[n] = r
	c.lastNext = 0
}

// num returns the number of a core, if it has one.
func (c *cores) num(id key.CoreID) (uint32, bool, error) {
	if id.IsZero() {
		return pendingCore, true, nil
	}
	if n, ok := c.nums[id]; ok {
		return n, true, nil
	}
	b, err := c.rows.Get(append([]byte{rowCoreID}, id[:]...))
	if err != nil || len(b) != 4 {
		return 0, false, err
	}
	n := binary.BigEndian.Uint32(b)
	c.nums[id] = n
	return n, true, nil
}

// compare is the order of all operations.
func (c *cores) compare(a, b at) int {
	if a.lamport != b.lamport {
		return cmp.Compare(a.lamport, b.lamport)
	}
	if a.core != b.core {
		x, y := c.get(a.core).id, c.get(b.core).id
		return bytes.Compare(x[:], y[:])
	}
	return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.index, b.index), bytes.Compare(a.tie[:], b.tie[:]))
}

func (c *cores) less(a, b at) bool { return c.compare(a, b) < 0 }

// acts reports whether the operation by, whose context s is, acts on a: s names it and it is older.
func (c *cores) acts(by at, s set, a at) bool { return len(s) > 0 && s.names(a) && c.less(a, by) }

func (c *cores) pos(a at) Pos {
	return Pos{Lamport: a.lamport, Core: c.get(a.core).id, Seq: a.seq, Index: a.index}
}
