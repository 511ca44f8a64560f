package tree

import (
	"bytes"
	"iter"
	"slices"
	"sort"
)

// Mem is Rows in memory, for tests and for the changes that an [Edit] has not
// written anywhere. The zero value is an empty table.
type Mem struct {
	chunks [][]pair // none empty, ascending
	puts   int
	count  int
}

type pair struct{ k, v []byte }

// chunkSize is where a chunk is split.
const chunkSize = 128

var _ Rows = (*Mem)(nil)

// NewMem returns an empty table.
func NewMem() *Mem { return &Mem{} }

// find returns where k is or would be.
func (m *Mem) find(k []byte) (chunk, at int, found bool) {
	chunk = sort.Search(len(m.chunks), func(i int) bool { return bytes.Compare(m.chunks[i][0].k, k) > 0 }) - 1
	if chunk < 0 {
		return 0, 0, false
	}
	c := m.chunks[chunk]
	at = sort.Search(len(c), func(i int) bool { return bytes.Compare(c[i].k, k) >= 0 })
	return chunk, at, at < len(c) && bytes.Equal(c[at].k, k)
}

// Get returns the value of k, or nil.
func (m *Mem) Get(k []byte) ([]byte, error) {
	if i, j, ok := m.find(k); ok {
		return m.chunks[i][j].v, nil
	}
	return nil, nil
}

// Put sets the value of k.
func (m *Mem) Put(k, v []byte) error {
	m.puts++
	v = append(make([]byte, 0, len(v)), v...)
	i, j, ok := m.find(k)
	if ok {
		m.chunks[i][j].v = v
		return nil
	}
	m.count++
	p := pair{bytes.Clone(k), v}
	if len(m.chunks) == 0 {
		m.chunks = [][]pair{{p}}
		return nil
	}
	c := slices.Insert(m.chunks[i], j, p)
	m.chunks[i] = c
	if len(c) > chunkSize {
		half := len(c) / 2
		m.chunks = slices.Insert(m.chunks, i+1, append(make([]pair, 0, chunkSize+1), c[half:]...))
		clear(c[half:])
		m.chunks[i] = c[:half]
	}
	return nil
}

// Delete removes k.
func (m *Mem) Delete(k []byte) error {
	i, j, ok := m.find(k)
	if !ok {
		return nil
	}
	m.count--
	if m.chunks[i] = slices.Delete(m.chunks[i], j, j+1); len(m.chunks[i]) == 0 {
		m.chunks = slices.Delete(m.chunks, i, i+1)
	}
	return nil
}

// Scan yields the keys with the prefix, from the key from on.
func (m *Mem) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	return func(yield func(k, v []byte) bool) {
		if len(m.chunks) == 0 {
			return
		}
		for i, j, _ := m.find(from); i < len(m.chunks); i, j = i+1, 0 {
			for _, p := range m.chunks[i][j:] {
				if !bytes.HasPrefix(p.k, prefix) || !yield(p.k, p.v) {
					return
				}
			}
		}
	}
}

// Len is the number of keys.
func (m *Mem) Len() int { return m.count }

// Puts is the number of calls of Put so far.
func (m *Mem) Puts() int { return m.puts }

// Clone returns a copy that can be changed on its own.
func (m *Mem) Clone() *Mem {
	out := &Mem{count: m.count, chunks: make([][]pair, len(m.chunks))}
	for i, c := range m.chunks {
		out.chunks[i] = append(make([]pair, 0, len(c)+8), c...)
	}
	return out
}

// overlay is a table of changes above another table, which it leaves alone.
type overlay struct {
	base Rows
	top  Mem // the first byte of a value says whether there is one
}

func newOverlay(base Rows) *overlay { return &overlay{base: base} }

func (o *overlay) Get(k []byte) ([]byte, error) {
	v, err := o.top.Get(k)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return o.base.Get(k)
	}
	if v[0] == 0 {
		return nil, nil
	}
	return v[1:], nil
}

func (o *overlay) Put(k, v []byte) error {
	return o.top.Put(k, append(append(make([]byte, 0, len(v)+1), 1), v...))
}

func (o *overlay) Delete(k []byte) error { return o.top.Put(k, []byte{0}) }

func (o *overlay) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		var top []pair
		for k, v := range o.top.Scan(prefix, from) {
			top = append(top, pair{k, v})
		}
		emit := func() bool {
			p := top[0]
			top = top[1:]
			return p.v[0] == 0 || yield(p.k, p.v[1:])
		}
		for k, v := range o.base.Scan(prefix, from) {
			for len(top) > 0 && bytes.Compare(top[0].k, k) < 0 {
				if !emit() {
					return
				}
			}
			if len(top) > 0 && bytes.Equal(top[0].k, k) {
				if !emit() {
					return
				}
			} else if !yield(k, v) {
				return
			}
		}
		for len(top) > 0 {
			if !emit() {
				return
			}
		}
	}
}
