package tree

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// version of the body of a drive entry.
const version = 1

// critical is the bit of operation types that a program must know to go on.
const critical = 0x80

type wireBody struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Cores   [][]byte
	Ops     []cbor.RawMessage
}

type wireOp struct {
	_      struct{} `cbor:",toarray"`
	Type   uint8
	Fields cbor.RawMessage
}

type wireFields struct {
	Node    wireNode        `cbor:"1,keyasint,omitempty"`
	Kind    uint8           `cbor:"2,keyasint,omitempty"` // of the node that is created
	Parent  wireNode        `cbor:"3,keyasint,omitempty"`
	Name    []byte          `cbor:"4,keyasint,omitempty"`
	Content cbor.RawMessage `cbor:"5,keyasint,omitempty"`
	Target  []byte          `cbor:"6,keyasint,omitempty"`
	From    []uint64        `cbor:"7,keyasint,omitempty"`
	Prev    wireNode        `cbor:"8,keyasint,omitempty"`
	Line    []byte          `cbor:"9,keyasint,omitempty"`
	Covers  []uint64        `cbor:"10,keyasint,omitempty"`
	Carries []uint64        `cbor:"11,keyasint,omitempty"`
	Seen    []uint64        `cbor:"12,keyasint,omitempty"`
	Heads   []uint64        `cbor:"13,keyasint,omitempty"`
	Sweep   []uint64        `cbor:"14,keyasint,omitempty"`
	Beside  []uint64        `cbor:"15,keyasint,omitempty"`
	Places  []uint64        `cbor:"16,keyasint,omitempty"`
	Mode    *uint32         `cbor:"17,keyasint,omitempty"`
	MTime   *int64          `cbor:"18,keyasint,omitempty"`
	Set     [][2][]byte     `cbor:"19,keyasint,omitempty"`
	Remove  [][]byte        `cbor:"20,keyasint,omitempty"`
	Label   string          `cbor:"21,keyasint,omitempty"`
}

// wireNode is empty (the root, or none), 16 bytes, or a CBOR unsigned integer: the node that this operation
// of the same entry creates.
type wireNode = cbor.RawMessage

var (
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxArrayElements:  5*MaxRanges + 16,
		MaxMapPairs:       32,
		MaxNestedLevels:   8,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic("tree: constant CBOR options: " + err.Error())
	}
	return v
}

// DecodeOps reads the body of the entry with the given id. Local ids are
// resolved. Operations of unknown types come back with Raw and act on nothing;
// a critical one gives ErrUpdateNeeded, as does an unknown version. Anything else that is not as EncodeOps
// would have written it gives ErrBadOp: then the whole entry acts on nothing.
func DecodeOps(body []byte, entry key.Hash) ([]Op, error) {
	r := opReader{entry: entry}
	if err := r.read(body); err != nil {
		return nil, err
	}
	return r.ops, nil
}

type opReader struct {
	entry   key.Hash
	unnamed bool // there is no entry yet
	cores   []key.CoreID
	ops     []Op // before this one
	err     error
}

// read adds the operations of a body.
func (r *opReader) read(body []byte) error {
	if plain := *r; plain.readPlain(body) {
		*r = plain
		return nil
	}
	return r.readAny(body)
}

// readAny is read by the CBOR library.
func (r *opReader) readAny(body []byte) error {
	if len(body) > MaxBody {
		return fmt.Errorf("%w: %d bytes", ErrBadOp, len(body))
	}
	var w wireBody
	if err := decMode.Unmarshal(body, &w); err != nil {
		return fmt.Errorf("%w: %w", ErrBadOp, err)
	}
	if w.Version != version {
		return fmt.Errorf("%w: version %d of operations", ErrUpdateNeeded, w.Version)
	}
	if len(r.ops)+len(w.Ops) > MaxOps || len(w.Cores) > MaxCores {
		return fmt.Errorf("%w: %d operations on %d cores", ErrBadOp, len(w.Ops), len(w.Cores))
	}
	r.ops = slices.Grow(r.ops, len(w.Ops))
	for _, c := range w.Cores {
		if len(c) != len(key.CoreID{}) || key.CoreID(c).IsZero() {
			return fmt.Errorf("%w: a core id", ErrBadOp)
		}
		r.cores = append(r.cores, key.CoreID(c))
	}
	for i, raw := range w.Ops {
		o, err := r.op(raw)
		if err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
		r.ops = append(r.ops, o)
	}
	return nil
}

// made is the id of the node that the next operation creates.
func (r *opReader) made(k Kind) NodeID {
	if r.unnamed {
		return Local(uint32(len(r.ops)), k)
	}
	return NodeOf(OpID{r.entry, uint32(len(r.ops))}, k)
}

func (r *opReader) bad(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrBadOp, what)
	}
}

func (r *opReader) node(w wireNode) (n NodeID) {
	if len(w) == 0 {
		return Root
	}
	if w[0] == 0x50 && len(w) == 17 { // a string of 16 bytes
		copy(n[:], w[1:])
		if _, local := n.local(); local || n == Root {
			r.bad("a node id")
		}
		return n
	}
	p, k, err := plainReader{b: w}, uint32(0), error(nil)
	if v := p.small(MaxOps); !p.off && len(p.b) == 0 {
		k = uint32(v)
	} else {
		err = decMode.Unmarshal(w, &k)
	}
	if err != nil || k >= uint32(len(r.ops)) || r.ops[k].Type != OpCreate || r.ops[k].Raw != nil {
		r.bad("a node that is not created before")
		return n
	}
	return r.ops[k].Node
}

func (r *opReader) core(n uint64) (id key.CoreID) {
	if n == 0 || n > uint64(len(r.cores)) {
		r.bad("a core that is not in the table")
		return id
	}
	return r.cores[n-1]
}

func (r *opReader) context(w []uint64) (c Context) {
	index := func(v uint64) uint32 {
		if v >= MaxOps {
			r.bad("an index")
		}
		return uint32(v)
	}
	for len(w) > 0 {
		if w[0] == 0 && len(w) >= 3 {
			c = append(c, Range{Lo: Spot{0, index(w[1])}, Hi: Spot{0, index(w[2])}})
			w = w[3:]
			continue
		}
		if len(w) < 5 || w[1]+w[3] < w[1] {
			r.bad("a context")
			return nil
		}
		c = append(c, Range{Core: r.core(w[0]), Lo: Spot{w[1], index(w[2])}, Hi: Spot{w[1] + w[3], index(w[4])}})
		w = w[5:]
	}
	return c
}

func (r *opReader) op(raw cbor.RawMessage) (Op, error) {
	var w wireOp
	if err := decMode.Unmarshal(raw, &w); err != nil {
		return Op{}, fmt.Errorf("%w: %w", ErrBadOp, err)
	}
	if _, known := allowed[Type(w.Type)]; !known {
		if w.Type&critical != 0 {
			return Op{}, fmt.Errorf("%w: operation type %d", ErrUpdateNeeded, w.Type)
		}
		return Op{Type: Type(w.Type), Raw: bytes.Clone(raw)}, nil
	}
	var f wireFields
	if err := decMode.Unmarshal(w.Fields, &f); err != nil {
		return Op{}, fmt.Errorf("%w: %w", ErrBadOp, err)
	}
	return r.known(Type(w.Type), &f)
}

// known makes an operation of a type that is known.
func (r *opReader) known(typ Type, f *wireFields) (Op, error) {
	o := Op{Type: typ, Node: r.node(f.Node), Parent: r.node(f.Parent), Name: string(f.Name), Target: string(f.Target),
		Prev: r.node(f.Prev), Covers: r.context(f.Covers), Carries: r.context(f.Carries), Seen: r.context(f.Seen),
		Heads: r.context(f.Heads), Sweep: r.context(f.Sweep), Beside: r.context(f.Beside), Places: r.context(f.Places),
		Attrs: Attrs{Mode: f.Mode, MTime: f.MTime}, Label: f.Label}
	r.rest(&o, f)
	if r.err != nil {
		return o, r.err
	}
	return o, o.check()
}

// rest reads the fields that need more than a conversion.
func (r *opReader) rest(o *Op, f *wireFields) {
	switch {
	case o.Type == OpCreate:
		if k := Kind(f.Kind); k < Dir || k > Symlink || len(f.Node) > 0 {
			r.bad("the kind of a node")
		} else {
			o.Node = r.made(k)
		}
	case f.Kind != 0:
		r.bad("a kind")
	}
	switch len(f.From) {
	case 0:
	case 2:
		o.From = &Source{r.core(f.From[0]), f.From[1]}
	default:
		r.bad("the place of a payload")
	}
	switch len(f.Line) {
	case 0:
	case len(o.Line):
		o.Line = NodeID(f.Line)
	default:
		r.bad("a line")
	}
	if len(f.Content) > 0 {
		c, err := blob.DecodeContent(f.Content)
		if err != nil {
			r.bad(err.Error())
		}
		o.Content = &c
	}
	for i, kv := range f.Set {
		if i > 0 && bytes.Compare(f.Set[i-1][0], kv[0]) >= 0 {
			r.bad("extended attributes out of order")
		}
		if o.Attrs.Set == nil {
			o.Attrs.Set = make(map[string][]byte, len(f.Set))
		}
		o.Attrs.Set[string(kv[0])] = slices.Clip(kv[1])
	}
	for _, k := range f.Remove {
		o.Attrs.Remove = append(o.Attrs.Remove, string(k))
	}
}
