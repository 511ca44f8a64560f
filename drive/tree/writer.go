package tree

import (
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// EncodeOps gives the body of a drive entry. It refuses what DecodeOps would.
func EncodeOps(ops []Op) ([]byte, error) {
	if len(ops) > MaxOps {
		return nil, fmt.Errorf("%w: %d operations", ErrTooMany, len(ops))
	}
	w := opWriter{b: make([]byte, 0, 64*len(ops))}
	for i := range ops {
		if err := w.op(&ops[i]); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
	}
	if len(w.order) > MaxCores {
		return nil, fmt.Errorf("%w: of %d cores", ErrTooMany, len(w.order))
	}
	body := opWriter{b: make([]byte, 0, 16+34*len(w.order)+len(w.b))}
	body.head(cborArray, 3)
	body.head(cborUint, version)
	body.head(cborArray, uint64(len(w.order)))
	for _, id := range w.order {
		body.bytes(id[:])
	}
	body.head(cborArray, uint64(len(ops)))
	b := append(body.b, w.b...)
	if len(b) > MaxBody {
		return nil, fmt.Errorf("%w: %d bytes of operations", ErrTooMany, len(b))
	}
	return b, nil
}

// The major types of CBOR that bodies have.
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
)

// opWriter writes operations, in the one encoding that there is of each, and numbers their cores.
type opWriter struct {
	b      []byte
	fields int // of the operation so far
	cores  map[key.CoreID]uint64
	order  []key.CoreID
}

// head begins an item.
func (w *opWriter) head(major byte, v uint64) {
	major <<= 5
	switch {
	case v < 24:
		w.b = append(w.b, major|byte(v))
	case v < 1<<8:
		w.b = append(w.b, major|24, byte(v))
	case v < 1<<16:
		w.b = binary.BigEndian.AppendUint16(append(w.b, major|25), uint16(v))
	case v < 1<<32:
		w.b = binary.BigEndian.AppendUint32(append(w.b, major|26), uint32(v))
	default:
		w.b = binary.BigEndian.AppendUint64(append(w.b, major|27), v)
	}
}

func (w *opWriter) bytes(v []byte) {
	w.head(cborBytes, uint64(len(v)))
	w.b = append(w.b, v...)
}

// field begins a field. They come in the order of their numbers.
func (w *opWriter) field(number uint64) {
	w.fields++
	w.head(cborUint, number)
}

func (w *opWriter) core(id key.CoreID) uint64 {
	n, ok := w.cores[id]
	if !ok {
		if w.cores == nil {
			w.cores = map[key.CoreID]uint64{}
		}
		w.order = append(w.order, id)
		n = uint64(len(w.order))
		w.cores[id] = n
	}
	return n
}

func (w *opWriter) node(number uint64, n NodeID) {
	if n == Root {
		return
	}
	w.field(number)
	if k, ok := n.local(); ok {
		w.head(cborUint, uint64(k))
	} else {
		w.bytes(n[:])
	}
}

func (w *opWriter) text(number uint64, major byte, s string) {
	if s == "" {
		return
	}
	w.field(number)
	w.head(major, uint64(len(s)))
	w.b = append(w.b, s...)
}

// context writes ranges as numbers: 0, lo, hi for operations of this entry, or core, seq, index, seqs further, index.
func (w *opWriter) context(number uint64, c Context) {
	if len(c) == 0 {
		return
	}
	w.field(number)
	count := 0
	for _, r := range c {
		if count += 5; r.Core.IsZero() {
			count -= 2
		}
	}
	w.head(cborArray, uint64(count))
	for _, r := range c {
		if r.Core.IsZero() {
			w.numbers(0, uint64(r.Lo.Index), uint64(r.Hi.Index))
			continue
		}
		w.numbers(w.core(r.Core), r.Lo.Seq, uint64(r.Lo.Index), r.Hi.Seq-r.Lo.Seq, uint64(r.Hi.Index))
	}
}

func (w *opWriter) numbers(vs ...uint64) {
	for _, v := range vs {
		w.head(cborUint, v)
	}
}

func (w *opWriter) op(o *Op) error {
	if o.Raw != nil {
		w.b = append(w.b, o.Raw...)
		return nil
	}
	if err := o.check(); err != nil {
		return err
	}
	for _, c := range o.contexts() { // they number their cores before From does
		for _, r := range c {
			if !r.Core.IsZero() {
				w.core(r.Core)
			}
		}
	}
	w.head(cborArray, 2)
	w.head(cborUint, uint64(o.Type))
	begun := len(w.b)
	w.head(cborMap, 0) // there are fewer than 24 fields
	w.fields = 0
	if err := w.what(o); err != nil {
		return err
	}
	for i, c := range o.contexts() {
		w.context(10+uint64(i), c)
	}
	w.attrs(&o.Attrs)
	w.text(21, cborText, o.Label)
	w.b[begun] |= byte(w.fields)
	return nil
}

// what writes the fields before the contexts.
func (w *opWriter) what(o *Op) error {
	if o.Type == OpCreate {
		w.field(2)
		w.head(cborUint, uint64(o.Node.Kind()))
	} else {
		w.node(1, o.Node)
	}
	w.node(3, o.Parent)
	w.text(4, cborBytes, o.Name)
	if o.Content != nil {
		c, err := o.Content.MarshalCBOR()
		if err != nil {
			return err
		}
		w.field(5)
		w.b = append(w.b, c...)
	}
	w.text(6, cborBytes, o.Target)
	if o.From != nil {
		w.field(7)
		w.head(cborArray, 2)
		w.numbers(w.core(o.From.Core), o.From.Seq)
	}
	w.node(8, o.Prev)
	if !o.Line.IsZero() {
		w.field(9)
		w.bytes(o.Line[:])
	}
	return nil
}

func (w *opWriter) attrs(a *Attrs) {
	if a.Mode != nil {
		w.field(17)
		w.head(cborUint, uint64(*a.Mode))
	}
	if a.MTime != nil {
		w.field(18)
		if t := *a.MTime; t < 0 {
			w.head(cborNegative, uint64(-1-t))
		} else {
			w.head(cborUint, uint64(t))
		}
	}
	if len(a.Set) > 0 {
		w.field(19)
		w.head(cborArray, uint64(len(a.Set)))
		for _, k := range sortedKeys(a.Set) {
			w.head(cborArray, 2)
			w.bytes([]byte(k))
			w.bytes(a.Set[k])
		}
	}
	if len(a.Remove) > 0 {
		w.field(20)
		w.head(cborArray, uint64(len(a.Remove)))
		for _, k := range a.Remove {
			w.bytes([]byte(k))
		}
	}
}
