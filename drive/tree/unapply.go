package tree

import (
	"encoding/binary"
	"maps"
	"slices"
)

func (m *merger) remove(p *Placed) error {
	if p.Op.Raw != nil {
		return nil
	}
	a, err := m.at(p)
	if err != nil {
		return err
	}
	if p.Op.Type == OpMark {
		return m.rows.Delete(markKey(a))
	}
	num, ok, err := nodeNum(m.rows, p.Op.Node)
	if err != nil || !ok {
		return err
	}
	n, err := m.node(num)
	if err != nil {
		return err
	}
	r, err := readRecord(m.rows, num, a)
	if err != nil || r == nil {
		return err
	}
	if err := m.rows.Delete(opKey(num, a)); err != nil {
		return err
	}
	if r.typ == OpDelete {
		if err := m.rows.Delete(seatKey(rowDelete, a)); err != nil {
			return err
		}
	}
	if len(r.sweep) > 0 {
		m.sweepsIn = true
		for _, row := range []byte{rowSweep, rowCrossed} {
			if err := m.rows.Delete(seatKey(row, a)); err != nil {
				return err
			}
		}
	}
	if n.kind() == Dir {
		if r.typ == OpMove && n.sweeps {
			m.recross[num] = true
		}
		if r.isPlace() {
			if err := m.log.remove(n, r); err != nil {
				return err
			}
		}
	}
	m.mark(n)
	n.refold, n.dirty, n.changed = true, true, true
	n.count = max(n.count, 1)
	return nil
}

// sweep finds the deletes that became void or ceased to be.
func (m *merger) sweep(before *voidSet) error {
	if len(m.recross) == 0 && !m.sweepsIn && len(before.ranges) == 0 {
		return nil
	}
	for _, num := range slices.Sorted(maps.Keys(m.recross)) {
		recs, err := records(m.rows, m.cores, num, nil)
		if err != nil {
			return err
		}
		if err := writeCrossed(m.rows, m.cores, recs); err != nil {
			return err
		}
	}
	after, err := voids(m.rows, m.cores, nil)
	if err != nil {
		return err
	}
	m.voids = after
	if before.equal(after) {
		return nil
	}
	for _, v := range slices.Concat(before.ranges, after.ranges) {
		for a, b := range v.seats(m.rows, rowDelete) {
			if before.void(a) == after.void(a) {
				continue
			}
			n, err := m.node(binary.BigEndian.Uint32(b))
			if err != nil {
				return err
			}
			m.mark(n)
			n.refold, n.dirty = true, true
		}
	}
	return nil
}
