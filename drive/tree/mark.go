package tree

import (
	"iter"
)

// Mark is a label for a version: that of the entry which the mark stands in.
type Mark struct {
	Label string
	By    Head // Node counts for nothing
}

func markKey(a at) []byte { return appendAt([]byte{rowMark}, a, true) }

func (m *merger) putMark(a at, p *Placed) error {
	var e enc
	e.hash(p.ID.Entry)
	e.int(p.Wall)
	e.string(p.Op.Label)
	return m.rows.Put(markKey(a), e.b)
}

// Marks yields the marks, newest first.
func (v *View) Marks() iter.Seq2[Mark, error] {
	return func(yield func(Mark, error) bool) {
		for k, b := range v.rows.Scan([]byte{rowMark}, nil) {
			a, ok := readAt(k[1:], true)
			d := dec{b: b}
			by := v.by(Root, stamp{a, d.hash(), d.int()})
			m := Mark{d.string(), by}
			if !ok || d.err != nil {
				yield(Mark{}, errCorrupt)
				return
			}
			if v.includes(a) && !yield(m, nil) {
				return
			}
		}
	}
}
