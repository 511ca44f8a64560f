package tree

import (
	"bytes"
	"encoding/binary"
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
	m.set(k, append(make([]byte, 0, len(v)), v...))
	return nil
}

// set is Put with a value that stays.
func (m *Mem) set(k, v []byte) {
	if i, j, ok := m.find(k); ok {
		m.chunks[i][j].v = v
	} else {
		m.insert(i, j, pair{bytes.Clone(k), v})
	}
}

// insert adds a row where find says that it would be.
func (m *Mem) insert(i, j int, p pair) {
	m.count++
	if len(m.chunks) == 0 {
		m.chunks = [][]pair{append(make([]pair, 0, chunkSize/8), p)}
		return
	}
	c := slices.Insert(m.chunks[i], j, p)
	m.chunks[i] = c
	if len(c) > chunkSize {
		half := len(c) / 2
		m.chunks = slices.Insert(m.chunks, i+1, append(make([]pair, 0, chunkSize+1), c[half:]...))
		clear(c[half:])
		m.chunks[i] = c[:half]
	}
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
	base  Rows
	top   Mem       // a nil value: the row is gone
	ops   *[]placed // what the rows of operations in top stand for: see putOp
	slab  []byte    // where the keys and values of top are
	noted notes
	found []pair // by short
	key   []byte // scratch
}

// notes are what the last short scans of a table gave. A command looks for one name or two, again and again, and so does the merging of
// what it does.
type notes struct {
	memos [4]memo
	next  int // the oldest
}

// memo is what one scan gave.
type memo struct {
	prefix []byte // empty: nothing is noted
	rows   []pair
}

// memoRows is how many rows are noted of one.
const memoRows = 4

func (t *notes) find(prefix []byte) *memo {
	for i := range t.memos {
		if m := &t.memos[i]; len(prefix) > 0 && bytes.Equal(m.prefix, prefix) {
			return m
		}
	}
	return nil
}

// begin forgets the oldest and begins to note a scan in its stead.
func (t *notes) begin() *memo {
	m := &t.memos[t.next]
	m.prefix, m.rows = m.prefix[:0], m.rows[:0]
	t.next = (t.next + 1) % len(t.memos)
	return m
}

func newOverlay(base Rows) *overlay { return &overlay{base: base} }

func (o *overlay) Get(k []byte) ([]byte, error) {
	if i, j, ok := o.top.find(k); ok {
		return o.value(o.top.chunks[i][j]), nil
	}
	return o.base.Get(k)
}

func (o *overlay) Put(k, v []byte) error {
	if v = o.keep(v); v == nil {
		v = []byte{}
	}
	o.set(k, v)
	return nil
}

func (o *overlay) Delete(k []byte) error {
	o.set(k, nil)
	return nil
}

func (o *overlay) set(k, v []byte) {
	if i, j, ok := o.top.find(k); ok {
		o.top.chunks[i][j].v = v
	} else {
		o.top.insert(i, j, pair{o.keep(k), v})
	}
}

// slabs grow from slabMin bytes to slabMax.
const (
	slabMin = 1 << 10
	slabMax = 64 << 10
)

// keep is a copy that stays.
func (o *overlay) keep(b []byte) []byte {
	if cap(o.slab)-len(o.slab) < len(b) {
		o.slab = make([]byte, 0, max(len(b), min(2*cap(o.slab), slabMax), slabMin))
	}
	n := len(o.slab)
	o.slab = append(o.slab, b...)
	return o.slab[n:len(o.slab):len(o.slab)]
}

// putOp puts the row of an operation that has no place yet: it will be another one when it has, and few look at it before. So the row
// is but its number in ops, and made when somebody reads it.
func (o *overlay) putOp(k []byte, index int) error { return o.Put(k, be32(uint32(index))) }

// value is the value of a row of top.
func (o *overlay) value(p pair) []byte {
	if len(p.v) == 4 && p.k[0] == rowOp {
		return (*o.ops)[binary.BigEndian.Uint32(p.v)].rec.encode()
	}
	return p.v
}

func (o *overlay) Scan(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	return func(yield func(k, v []byte) bool) {
		top := o.top.cursor(from, prefix)
		// above yields what the top has before the key end; nil: all.
		above := func(end []byte) bool {
			for p := top.pair(); p != nil && (end == nil || bytes.Compare(p.k, end) < 0); p = top.next() {
				if p.v != nil && !yield(p.k, o.value(*p)) {
					return false
				}
			}
			return true
		}
		for k, v := range o.below(prefix, from) {
			if !above(k) {
				return
			}
			if p := top.pair(); (p == nil || !bytes.Equal(p.k, k)) && !yield(k, v) {
				return
			}
		}
		above(nil)
	}
}

// short is Scan of the keys with a prefix, which is not one of operations, as a slice, which is good until the next call. ok is false
// when the table below has more than a few of them.
func (o *overlay) short(prefix []byte) (rows []pair, ok bool) {
	m := o.noted.find(prefix)
	if m == nil {
		m = o.noted.begin()
		for k, v := range o.base.Scan(prefix, nil) {
			if len(m.rows) == memoRows {
				return nil, false
			}
			m.rows = append(m.rows, pair{k, v})
		}
		m.prefix = append(m.prefix, prefix...)
	}
	rows, below := o.found[:0], m.rows
	top := o.top.cursor(prefix, prefix)
	for p := top.pair(); p != nil || len(below) > 0; {
		order := -1
		if p == nil {
			order = 1
		} else if len(below) > 0 {
			order = bytes.Compare(p.k, below[0].k)
		}
		if order > 0 {
			rows, below = append(rows, below[0]), below[1:]
			continue
		}
		if order == 0 {
			below = below[1:]
		}
		if p.v != nil {
			rows = append(rows, *p)
		}
		p = top.next()
	}
	o.found = rows
	return rows, true
}

// named is short of the rows of the nodes that are called name in a directory.
func (o *overlay) named(row byte, dir uint32, name string) (rows []pair, ok bool) {
	o.key = appendName(o.key[:0], row, dir, name)
	return o.short(o.key)
}

// anyVisible reports whether there is a row of a visible node that is placed in a directory.
func anyVisible(rows Rows, dir uint32) bool {
	if o, ok := rows.(*overlay); ok {
		o.key = appendNum(o.key[:0], rowVisible, dir)
		if list, ok := o.short(o.key); ok {
			return len(list) > 0
		}
	}
	return anyRow(rows, numKey(rowVisible, dir))
}

func anyRow(rows Rows, prefix []byte) bool {
	for range rows.Scan(prefix, nil) {
		return true
	}
	return false
}

// below scans the table below.
func (o *overlay) below(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	if !bytes.Equal(prefix, from) {
		return o.base.Scan(prefix, from)
	}
	return func(yield func(k, v []byte) bool) {
		if m := o.noted.find(prefix); m != nil {
			var rows [memoRows]pair // a copy: what is looked for meanwhile may be noted in the memo's place
			for _, p := range rows[:copy(rows[:], m.rows)] {
				if !yield(p.k, p.v) {
					return
				}
			}
			return
		}
		var rows []pair
		for k, v := range o.base.Scan(prefix, from) {
			if len(rows) <= memoRows {
				rows = append(rows, pair{k, v})
			}
			if !yield(k, v) {
				return
			}
		}
		if len(rows) <= memoRows {
			m := o.noted.begin()
			m.prefix, m.rows = append(m.prefix, prefix...), append(m.rows, rows...)
		}
	}
}

// cursor is a place in a table, among the keys with a prefix.
type cursor struct {
	m      *Mem
	i, j   int
	prefix []byte
}

func (m *Mem) cursor(from, prefix []byte) cursor {
	c := cursor{m: m, prefix: prefix}
	if len(m.chunks) > 0 {
		c.i, c.j, _ = m.find(from)
		c.settle()
	}
	return c
}

// settle goes on to the next chunk when this one has ended.
func (c *cursor) settle() {
	if c.i < len(c.m.chunks) && c.j >= len(c.m.chunks[c.i]) {
		c.i, c.j = c.i+1, 0
	}
}

// pair is the row under the cursor, nil at the end.
func (c *cursor) pair() *pair {
	if c.i >= len(c.m.chunks) || !bytes.HasPrefix(c.m.chunks[c.i][c.j].k, c.prefix) {
		return nil
	}
	return &c.m.chunks[c.i][c.j]
}

func (c *cursor) next() *pair {
	c.j++
	c.settle()
	return c.pair()
}
