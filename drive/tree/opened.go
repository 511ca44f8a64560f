package tree

import (
	"encoding"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// Opened is what somebody who opened a file saw: which node, which versions of it.
type Opened struct {
	Node  NodeID
	Tag   NodeID // of a conflict copy; zero: the file itself
	Heads []Head // only Node, Pos and ID count
}

var (
	_ encoding.BinaryMarshaler   = Opened{}
	_ encoding.BinaryUnmarshaler = (*Opened)(nil)
)

// Opened is what opening the entry opens.
func (e Entry) Opened() Opened {
	o := Opened{Node: e.Node, Heads: e.Heads}
	if e.ID != e.Node {
		o.Tag = e.ID
	}
	return o
}

// MarshalBinary gives a form that can be kept in a file: a version byte, then
// the node, the tag and the heads.
func (o Opened) MarshalBinary() ([]byte, error) {
	e := enc{b: []byte{1}}
	e.raw(o.Node[:])
	e.raw(o.Tag[:])
	e.uint(uint64(len(o.Heads)))
	for _, h := range o.Heads {
		e.raw(h.Node[:])
		e.hash(h.Pos.Core)
		e.uint(h.Pos.Lamport)
		e.uint(h.Pos.Seq)
		e.uint(uint64(h.Pos.Index))
		e.hash(h.ID.Entry)
	}
	return e.b, nil
}

// UnmarshalBinary reads it.
func (o *Opened) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != 1 {
		return fmt.Errorf("%w: what was opened", ErrBadOp)
	}
	d := dec{b: b[1:]}
	var out Opened
	copy(out.Node[:], d.raw(16))
	copy(out.Tag[:], d.raw(16))
	for range d.length(16 + 32 + 3 + 32) {
		h := Head{}
		copy(h.Node[:], d.raw(16))
		h.Pos.Core = key.CoreID(d.hash())
		h.Pos.Lamport, h.Pos.Seq, h.Pos.Index = d.uint(), d.uint(), uint32(d.uint())
		h.ID = OpID{d.hash(), h.Pos.Index}
		out.Heads = append(out.Heads, h)
	}
	if d.err != nil || len(d.b) > 0 {
		return fmt.Errorf("%w: what was opened", ErrBadOp)
	}
	*o = out
	return nil
}
