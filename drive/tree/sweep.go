package tree

import (
	"slices"
)

// A voidSet is the deletes that are void because the directory whose removal
// they were part of was moved by somebody who did not know of it.
type voidSet struct {
	cores  *cores
	ranges []voidRange
}

type voidRange struct {
	ranged
	by at // the directory's delete; only older deletes of its core are part of it
}

func (r voidRange) names(a at) bool {
	return r.core == a.core && r.lo.compare(a.spot()) <= 0 && a.spot().compare(r.hi) <= 0
}

func (s *voidSet) void(a at) bool {
	return s != nil && slices.ContainsFunc(s.ranges, func(r voidRange) bool { return r.names(a) && s.cores.less(a, r.by) })
}

func (s *voidSet) equal(t *voidSet) bool { return slices.Equal(s.ranges, t.ranges) }

// voids finds the void deletes among the operations that keep admits (nil: all). It
// reads one row for every removal that crossed a move, and those are rare.
func voids(rows Rows, c *cores, keep func(at) bool) (*voidSet, error) {
	s := &voidSet{cores: c}
	var work []at
	seen := map[at]bool{}
	for k, v := range rows.Scan([]byte{rowCrossed}, nil) {
		a, ok := readSeat(k)
		if !ok {
			return nil, errCorrupt
		}
		d := dec{b: v}
		crossed := false
		for range d.length(1) {
			m := d.at()
			crossed = crossed || keep == nil || keep(m)
		}
		if d.err != nil {
			return nil, d.err
		}
		if crossed && (keep == nil || keep(a)) {
			work, seen[a] = append(work, a), true
		}
	}
	for len(work) > 0 {
		by := work[0]
		work = work[1:]
		_, sweep, err := readSweep(rows, by)
		if err != nil {
			return nil, err
		}
		for _, r := range sweep {
			v := voidRange{r, by}
			s.ranges = append(s.ranges, v)
			for a := range v.seats(rows, rowSweep) {
				if !seen[a] && c.less(a, by) && (keep == nil || keep(a)) {
					work, seen[a] = append(work, a), true
				}
			}
		}
	}
	return s, nil
}

// seats yields the operations in the range that have a row of the given sort, and what it holds.
func (r voidRange) seats(rows Rows, row byte) func(yield func(at, []byte) bool) {
	return func(yield func(at, []byte) bool) {
		from := seatKey(row, at{core: r.core, seq: r.lo.Seq, index: r.lo.Index})
		for k, v := range rows.Scan(numKey(row, r.core), from[:5+8+2]) {
			a, ok := readSeat(k)
			if !ok || a.spot().compare(r.hi) > 0 || !yield(a, v) {
				return
			}
		}
	}
}

func readSweep(rows Rows, a at) (num uint32, sweep set, err error) {
	b, err := rows.Get(seatKey(rowSweep, a))
	if err != nil || b == nil {
		return 0, nil, err
	}
	d := dec{b: b}
	num, sweep = uint32(d.uint()), d.set()
	return num, sweep, d.err
}

func writeSweep(rows Rows, num uint32, r *record) error {
	var e enc
	e.uint(uint64(num))
	e.set(r.sweep)
	return rows.Put(seatKey(rowSweep, r.at), e.b)
}

// writeCrossed notes for each removal of a directory the moves that it crossed.
func writeCrossed(rows Rows, c *cores, recs []*record) error {
	for _, d := range recs {
		if d.typ != OpDelete || len(d.sweep) == 0 {
			continue
		}
		var crossed []at
		for _, m := range recs {
			if m.typ == OpMove && !c.acts(d.at, d.seen, m.at) && !c.acts(m.at, m.seen, d.at) {
				crossed = append(crossed, m.at)
			}
		}
		k := seatKey(rowCrossed, d.at)
		if len(crossed) == 0 {
			if err := rows.Delete(k); err != nil {
				return err
			}
			continue
		}
		var e enc
		e.uint(uint64(len(crossed)))
		for _, m := range crossed {
			e.at(m)
		}
		if err := rows.Put(k, e.b); err != nil {
			return err
		}
	}
	return nil
}
