package tree

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// errCorrupt is what reading a damaged derived table gives; it can be made again.
var errCorrupt = errors.New("the index of the tree is damaged; it can be rebuilt")

// enc appends the parts of a row's value. Positions are written out once per row
// and referred to by number after that.
type enc struct {
	b       []byte
	ats     []at
	entries []key.Hash
}

// reset begins another row.
func (e *enc) reset() { e.b, e.ats, e.entries = e.b[:0], e.ats[:0], e.entries[:0] }

func (e *enc) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *enc) int(v int64)     { e.b = binary.AppendVarint(e.b, v) }
func (e *enc) raw(v []byte)    { e.b = append(e.b, v...) }
func (e *enc) bytes(v []byte)  { e.uint(uint64(len(v))); e.raw(v) }
func (e *enc) string(v string) { e.uint(uint64(len(v))); e.b = append(e.b, v...) }
func (e *enc) spot(s Spot)     { e.uint(s.Seq); e.uint(uint64(s.Index)) }
func (e *enc) hash(h [32]byte) { e.raw(h[:]) }
func (e *enc) flags(fs ...bool) {
	var v uint64
	for i, f := range fs {
		if f {
			v |= 1 << i
		}
	}
	e.uint(v)
}

func (e *enc) at(a at) {
	for i, b := range e.ats {
		if a == b {
			e.uint(uint64(i) + 1)
			return
		}
	}
	e.ats = append(e.ats, a)
	e.uint(0)
	e.uint(a.lamport)
	e.uint(uint64(a.core))
	e.uint(a.seq)
	e.uint(uint64(a.index))
	e.raw(a.tie[:])
}

// entry appends an entry's id, like at.
func (e *enc) entry(h key.Hash) {
	i := slices.Index(e.entries, h) + 1
	if e.uint(uint64(i)); i == 0 {
		e.entries = append(e.entries, h)
		e.hash(h)
	}
}

func (e *enc) set(s set) {
	e.uint(uint64(len(s)))
	for _, r := range s {
		e.uint(uint64(r.core))
		e.spot(r.lo)
		e.spot(r.hi)
	}
}

func (e *enc) content(c *blob.Content) {
	e.int(c.Size)
	e.hash(c.Plain)
	e.uint(uint64(c.Payload))
	if c.Payload != 0 {
		e.hash(c.PayloadHash)
		return
	}
	e.uint(uint64(len(c.Parts)))
	for _, p := range c.Parts {
		root, _ := blob.RootOf(p.CID)
		e.hash(root)
		e.hash(p.Key)
		e.int(p.Offset)
		e.int(p.Length)
		e.int(p.Size)
	}
}

// dec reads what enc wrote. After a failure it yields zeros and err is set.
type dec struct {
	b       []byte
	ats     []at
	entries []key.Hash
	err     error
}

func (d *dec) fail() { d.err, d.b = errCorrupt, nil }

func (d *dec) uint() uint64 {
	if len(d.b) > 0 && d.b[0] < 1<<7 { // as most are
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *dec) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *dec) raw(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *dec) bytes() []byte  { return d.raw(d.uint()) }
func (d *dec) string() string { return string(d.bytes()) }
func (d *dec) spot() Spot     { return Spot{d.uint(), uint32(d.uint())} }

func (d *dec) hash() (h [32]byte) {
	copy(h[:], d.raw(32))
	return h
}

func (d *dec) flags(fs ...*bool) {
	v := d.uint()
	for i, f := range fs {
		*f = v>>i&1 != 0
	}
}

// length reads the length of a list whose elements take at least size bytes each.
func (d *dec) length(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *dec) at() (a at) {
	if i := d.uint(); i > 0 {
		if i > uint64(len(d.ats)) {
			d.fail()
			return a
		}
		return d.ats[i-1]
	}
	a = at{lamport: d.uint(), core: uint32(d.uint()), seq: d.uint(), index: uint32(d.uint())}
	copy(a.tie[:], d.raw(8))
	d.ats = append(d.ats, a)
	return a
}

func (d *dec) entry() (h key.Hash) {
	if i := d.uint(); i > 0 {
		if i > uint64(len(d.entries)) {
			d.fail()
			return h
		}
		return d.entries[i-1]
	}
	h = d.hash()
	d.entries = append(d.entries, h)
	return h
}

func (d *dec) set() set {
	n := d.length(5)
	if n == 0 {
		return nil
	}
	s := make(set, n)
	for i := range s {
		s[i] = ranged{uint32(d.uint()), d.spot(), d.spot()}
	}
	return s
}

func (d *dec) content() *blob.Content {
	c := &blob.Content{Size: d.int(), Plain: d.hash(), Payload: uint32(d.uint())}
	if c.Payload != 0 {
		c.PayloadHash = d.hash()
		return c
	}
	n := d.length(67)
	if n > 0 {
		c.Parts = make([]blob.Part, n)
	}
	for i := range c.Parts {
		c.Parts[i] = blob.Part{CID: blob.CIDOf(d.hash()), Key: key.Secret(d.hash()), Offset: d.int(), Length: d.int(), Size: d.int()}
	}
	return c
}
