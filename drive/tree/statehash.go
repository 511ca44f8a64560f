package tree

import (
	"encoding/binary"

	"github.com/pearbox/pearbox/drive/key"
)

// StateHash is a hash of everything displayed now and of what later operations
// could bring back; equal sets of operations give equal hashes. It reads everything.
func StateHash(rows Rows) (key.Hash, error) {
	v := Now(rows)
	sum := key.Hash{}
	for k, b := range rows.Scan([]byte{rowNode}, nil) {
		if len(k) != 17 || len(b) != 4 {
			return sum, errCorrupt
		}
		n, err := v.node(binary.BigEndian.Uint32(b))
		if err != nil {
			return sum, err
		}
		if n.count == 0 && !n.visible() {
			continue
		}
		s, err := v.portable(n)
		if err != nil {
			return sum, err
		}
		sum = key.Derive(key.UseStateHash, sum[:], s)
	}
	for m, err := range v.Marks() {
		if err != nil {
			return sum, err
		}
		sum = key.Derive(key.UseStateHash, sum[:], m.By.ID.Entry[:], []byte(m.Label))
	}
	return sum, nil
}

// portable is a node's summary without local numbers.
func (v *View) portable(n *node) ([]byte, error) {
	var e enc
	at := func(a at) {
		if e.flags(!a.isZero()); a.isZero() {
			return
		}
		c := v.cores.get(a.core).id
		e.hash(c)
		e.uint(a.lamport)
		e.uint(a.seq)
		e.uint(uint64(a.index))
		e.raw(a.tie[:])
	}
	e.raw(n.id[:])
	e.flags(n.alive, n.visible(), n.place.ok, n.place.aside, n.attrs.mode != nil, n.attrs.mtime != nil)
	e.uint(uint64(n.count))
	at(n.last)
	at(n.created.at)
	at(n.died.at)
	if n.place.ok {
		id, err := v.id(n.place.dir)
		if err != nil {
			return nil, err
		}
		e.raw(id[:])
		e.string(n.place.name)
		at(n.place.stamp.at)
	}
	if n.attrs.mode != nil {
		e.uint(uint64(*n.attrs.mode))
	}
	if n.attrs.mtime != nil {
		e.int(*n.attrs.mtime)
	}
	for _, x := range n.attrs.xattrs {
		e.string(x.name)
		e.bytes(x.value)
	}
	for i := range n.heads {
		h := &n.heads[i]
		at(h.at)
		e.flags(h.beside, h.content != nil)
		e.raw(h.line[:])
		e.raw(h.origin.tag[:])
		e.hash(v.cores.get(h.origin.core).id)
		e.int(h.origin.wall)
		if h.content != nil {
			e.content(h.content)
		}
		e.string(h.target)
		for _, a := range h.asserts {
			at(a)
		}
	}
	return e.b, nil
}
