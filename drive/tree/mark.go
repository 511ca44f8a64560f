package tree

import (
	"iter"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// Mark is a label for a version: that of the entry which the mark stands in.
type Mark struct {
	Label string
	By    Head // Node counts for nothing
}

func markKey(a at) []byte { return appendAt([]byte{rowMark}, a, true) }

func (m *merger) putMark(a at, p *Placed) error {
	return m.rows.Put(markKey(a), markRow(p.ID.Entry, p.Wall, p.Op.Label))
}

func markRow(entry key.Hash, wall int64, label string) []byte {
	var e enc
	e.hash(entry)
	e.int(wall)
	e.string(label)
	return e.b
}

// Marks yields the marks, newest first.
func (v *View) Marks() iter.Seq2[Mark, error] {
	return func(yield func(Mark, error) bool) {
		var same []mark // of one lamport: the rows have them in the order of local numbers
		flush := func() bool {
			slices.SortFunc(same, func(a, b mark) int { return v.cores.compare(b.at, a.at) })
			for _, m := range same {
				if !yield(Mark{m.label, v.by(Root, m.stamp)}, nil) {
					return false
				}
			}
			same = same[:0]
			return true
		}
		for k, b := range v.rows.Scan([]byte{rowMark}, nil) {
			m, ok := readMark(k, b)
			if !ok {
				yield(Mark{}, errCorrupt)
				return
			}
			if !v.includes(m.at) {
				continue
			}
			if len(same) > 0 && same[0].at.lamport != m.at.lamport && !flush() {
				return
			}
			same = append(same, m)
		}
		flush()
	}
}

// mark is a Mark as its row keeps it.
type mark struct {
	stamp
	label string
}

func readMark(k, v []byte) (m mark, ok bool) {
	m.at, ok = readAt(k[1:], true)
	d := dec{b: v}
	m.entry, m.wall, m.label = d.hash(), d.int(), d.string()
	return m, ok && d.err == nil
}
