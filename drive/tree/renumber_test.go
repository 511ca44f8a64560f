package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Two tables that hold the same operations are the same, but for the local numbers of nodes and cores, which go by the order of arrival,
// and for which node was the last to leave a name, which is a hint.

// sameRows compares two tables.
func sameRows(got, want *Mem) error {
	if equalRows(got, want) {
		return nil
	}
	r, err := numbersOf(want, got)
	if err == nil {
		want, err = r.table(want)
	}
	if err != nil {
		return err
	}
	if equalRows(got, want) {
		return nil
	}
	return fmt.Errorf("there are the rows\n  %s\nand there should be\n  %s", strings.Join(without(got, want), "\n  "), strings.Join(without(want, got), "\n  "))
}

func equalRows(a, b *Mem) bool {
	x, y := a.cursor(nil, nil), b.cursor(nil, nil)
	next := func(c *cursor) *pair {
		p := c.pair()
		for p != nil && p.k[0] == rowLast {
			p = c.next()
		}
		return p
	}
	for {
		p, q := next(&x), next(&y)
		if p == nil || q == nil {
			return p == q
		}
		if !bytes.Equal(p.k, q.k) || !bytes.Equal(p.v, q.v) {
			return false
		}
		x.next()
		y.next()
	}
}

// without lists the rows of a table that another does not have.
func without(a, b *Mem) (out []string) {
	for k, v := range a.Scan(nil, nil) {
		if w, _ := b.Get(k); k[0] != rowLast && !bytes.Equal(v, w) {
			out = append(out, fmt.Sprintf("%c %x = %x", k[0], k[1:], v))
		}
	}
	return out
}

// renumber says which numbers to use instead of which.
type renumber struct {
	nodes, cores map[uint32]uint32
}

// numbersOf maps the numbers of one table to those of another one.
func numbersOf(from, to *Mem) (renumber, error) {
	r := renumber{map[uint32]uint32{0: 0, nowhere: nowhere}, map[uint32]uint32{}}
	for row, m := range map[byte]map[uint32]uint32{rowNode: r.nodes, rowCoreID: r.cores} {
		for k, v := range from.Scan([]byte{row}, nil) {
			w, err := to.Get(k)
			if err != nil || len(w) != 4 {
				return r, fmt.Errorf("only one table has the row %c %x: %w", k[0], k[1:], err)
			}
			m[binary.BigEndian.Uint32(v)] = binary.BigEndian.Uint32(w)
		}
	}
	return r, nil
}

// table is a table with other numbers.
func (r *renumber) table(m *Mem) (*Mem, error) {
	out := NewMem()
	for k, v := range m.Scan(nil, nil) {
		k, v, err := r.row(k, v)
		if err != nil {
			return nil, err
		}
		if err := out.Put(k, v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *renumber) num(b []byte) []byte { return be32(r.nodes[binary.BigEndian.Uint32(b)]) }

func (r *renumber) row(k, v []byte) ([]byte, []byte, error) {
	switch row := k[0]; row {
	case rowCore:
		return numKey(row, r.cores[binary.BigEndian.Uint32(k[1:])]), v, nil
	case rowCoreID:
		return k, be32(r.cores[binary.BigEndian.Uint32(v)]), nil
	case rowNode:
		return k, r.num(v), nil
	case rowHome:
		v = bytes.Clone(v)
		copy(v[17:], r.num(v[17:]))
		return append([]byte{row}, r.num(k[1:])...), v, nil
	case rowVisible, rowHidden:
		n, err := decodeNode(k, v)
		if err != nil {
			return nil, nil, err
		}
		r.node(n)
		return n.home.key(n.num), n.encode(), nil
	case rowEver:
		dir, name, num, ok := splitChild(k)
		if !ok {
			return nil, nil, errCorrupt
		}
		return childKey(row, r.nodes[dir], name, r.nodes[num]), v, nil
	case rowOp:
		a, ok := readAt(k[5:], true)
		rec, err := decodeRecord(a, v)
		if !ok || err != nil {
			return nil, nil, errCorrupt
		}
		r.record(rec)
		return opKey(r.nodes[binary.BigEndian.Uint32(k[1:])], rec.at), rec.encode(), nil
	case rowDirs:
		g, err := decodeLogged(k, v)
		if err != nil {
			return nil, nil, err
		}
		g.num = r.nodes[g.num]
		r.at(&g.at)
		r.place(&g.to)
		r.place(&g.prev)
		return logKey(g.at), g.encode(), nil
	case rowDelete, rowSweep, rowCrossed:
		return r.seat(k, v)
	case rowConflict, rowLast, rowOrphan:
		return append(append([]byte{row}, r.num(k[1:])...), k[5:]...), v, nil
	case rowTrash:
		return append(bytes.Clone(k[:9]), r.num(k[9:])...), v, nil
	case rowMark:
		m, ok := readMark(k, v)
		if !ok {
			return nil, nil, errCorrupt
		}
		r.at(&m.at)
		return markKey(m.at), v, nil
	}
	return k, v, nil
}

func (r *renumber) seat(k, v []byte) ([]byte, []byte, error) {
	a, ok := readSeat(k)
	if !ok {
		return nil, nil, errCorrupt
	}
	r.at(&a)
	d := dec{b: v}
	var e enc
	switch k[0] {
	case rowDelete:
		e.b = r.num(v)
	case rowSweep:
		e.uint(uint64(r.nodes[uint32(d.uint())]))
		s := d.set()
		r.sets(s)
		e.set(s)
	default:
		n := d.length(1)
		e.uint(uint64(n))
		for range n {
			m := d.at()
			r.at(&m)
			e.at(m)
		}
	}
	return seatKey(k[0], a), e.b, d.err
}

func (r *renumber) at(as ...*at) {
	for _, a := range as {
		if !a.isZero() {
			a.core = r.cores[a.core]
		}
	}
}

func (r *renumber) sets(ss ...set) {
	for _, s := range ss {
		for i := range s {
			s[i].core = r.cores[s[i].core]
		}
	}
}

func (r *renumber) place(p *placement) {
	if p.ok {
		p.dir = r.nodes[p.dir]
		r.at(&p.stamp.at)
	}
}

func (r *renumber) record(rec *record) {
	r.at(&rec.at)
	rec.parent = r.nodes[rec.parent]
	if rec.from != nil {
		rec.from.core = r.cores[rec.from.core]
	}
	r.sets(rec.covers, rec.carries, rec.seen, rec.heads, rec.sweep, rec.places)
}

func (r *renumber) node(n *node) {
	n.num, n.home.dir = r.nodes[n.num], r.nodes[n.home.dir]
	r.place(&n.place)
	r.at(&n.last, &n.created.at, &n.died.at, &n.attrs.modeAt, &n.attrs.timeAt)
	for i := range n.touched {
		n.touched[i].core = r.cores[n.touched[i].core]
	}
	for i := range n.heads {
		h := &n.heads[i]
		r.at(&h.at)
		h.origin.core = r.cores[h.origin.core]
		if h.from != nil {
			h.from.core = r.cores[h.from.core]
		}
		for j := range h.asserts {
			r.at(&h.asserts[j])
		}
	}
}
