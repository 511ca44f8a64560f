package core

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/key"
)

// formatVersion stands first in every array.
const formatVersion = 1

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxArrayElements: MaxBlocks,
		MaxMapPairs:      16,
		MaxNestedLevels:  8,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
	}.DecMode())
)

// must is for options that are constants of this file.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type tailWire struct {
	_      struct{} `cbor:",toarray"`
	V      uint8
	From   uint64
	Blocks [][]byte
	Leaves [][]byte
	Head   []byte
	Proof  [][]byte
}

type proofWire struct {
	_      struct{} `cbor:",toarray"`
	V      uint8
	Core   []byte
	Index  uint64
	Length uint64
	Data   []byte
	Proof  [][]byte
}

type stepWire struct {
	_      struct{} `cbor:",toarray"`
	Length uint64
	Root   []byte
	Proof  [][]byte
}

type jointWire struct {
	_     struct{} `cbor:",toarray"`
	V     uint8
	Head  []byte
	Steps []stepWire
}

type forkWire struct {
	_ struct{} `cbor:",toarray"`
	V uint8
	A jointWire
	B jointWire
}

// Encode returns the encoding of the tail. ErrLimit if it is over MaxTail:
// what ReadTail makes never is.
func (t Tail) Encode() ([]byte, error) {
	head, _ := t.Head.MarshalBinary()
	w := tailWire{V: formatVersion, From: t.From, Head: head, Proof: toWire(t.Proof)}
	w.Blocks = make([][]byte, len(t.Blocks))
	w.Leaves = [][]byte{}
	for i := range t.Blocks {
		if w.Blocks[i] = t.Blocks[i].Data; w.Blocks[i] == nil {
			w.Leaves = append(w.Leaves, t.Blocks[i].Hash[:])
		}
	}
	return encode(w, MaxTail)
}

// ParseTail reads the encoding. It checks its form and limits, nothing else.
func ParseTail(b []byte) (Tail, error) {
	var w tailWire
	if err := decode(b, &w, &w.V, MaxTail); err != nil {
		return Tail{}, fmt.Errorf("tail: %w", err)
	}
	head, err := ParseHead(w.Head)
	if err != nil {
		return Tail{}, fmt.Errorf("tail: %w", err)
	}
	t := Tail{Core: head.Core, From: w.From, Head: head, Blocks: make([]Block, len(w.Blocks))}
	leaves := w.Leaves
	for i, data := range w.Blocks {
		if data != nil {
			t.Blocks[i].Data = data
			continue
		}
		if len(leaves) == 0 || len(leaves[0]) != key32 {
			return Tail{}, fmt.Errorf("tail: leaf hashes: %w", ErrFormat)
		}
		t.Blocks[i].Hash, leaves = key.Hash(leaves[0]), leaves[1:]
	}
	if len(leaves) != 0 {
		return Tail{}, fmt.Errorf("tail: leaf hashes: %w", ErrFormat)
	}
	if t.Proof, err = fromWire(w.Proof); err != nil {
		return Tail{}, fmt.Errorf("tail: %w", err)
	}
	if err := t.shape(); err != nil {
		return Tail{}, fmt.Errorf("tail: %w", err)
	}
	return t, nil
}

// Encode returns the encoding of the block and its proof.
func (p BlockProof) Encode() ([]byte, error) {
	return encode(proofWire{V: formatVersion, Core: p.Core[:], Index: p.Index, Length: p.Length, Data: p.Data, Proof: toWire(p.Proof)}, MaxTail)
}

// ParseBlockProof reads the encoding. It checks its form and limits, nothing
// else.
func ParseBlockProof(b []byte) (p BlockProof, err error) {
	var w proofWire
	if err := decode(b, &w, &w.V, MaxTail); err != nil {
		return BlockProof{}, fmt.Errorf("block proof: %w", err)
	}
	if len(w.Core) != key32 {
		return BlockProof{}, fmt.Errorf("block proof: core id: %w", ErrFormat)
	}
	p = BlockProof{Core: key.CoreID(w.Core), Index: w.Index, Length: w.Length, Data: w.Data}
	if p.Proof, err = fromWire(w.Proof); err != nil {
		return BlockProof{}, fmt.Errorf("block proof: %w", err)
	}
	if err := p.shape(); err != nil {
		return BlockProof{}, fmt.Errorf("block proof: %w", err)
	}
	return p, nil
}

// Encode returns the encoding of the joint.
func (j Joint) Encode() ([]byte, error) { return encode(j.wire(), maxJoint) }

// ParseJoint reads the encoding. It checks its form and limits, nothing else.
func ParseJoint(b []byte) (Joint, error) {
	var w jointWire
	if err := decode(b, &w, &w.V, maxJoint); err != nil {
		return Joint{}, fmt.Errorf("joint: %w", err)
	}
	return w.joint()
}

// Encode returns the encoding of the fork.
func (f Fork) Encode() ([]byte, error) {
	return encode(forkWire{V: formatVersion, A: f.A.wire(), B: f.B.wire()}, maxFork)
}

// ParseFork reads the encoding. It checks its form and limits, nothing else.
func ParseFork(b []byte) (f Fork, err error) {
	var w forkWire
	if err := decode(b, &w, &w.V, maxFork); err != nil {
		return Fork{}, fmt.Errorf("fork: %w", err)
	}
	if f.A, err = w.A.joint(); err != nil {
		return Fork{}, fmt.Errorf("fork: %w", err)
	}
	if f.B, err = w.B.joint(); err != nil {
		return Fork{}, fmt.Errorf("fork: %w", err)
	}
	return f, nil
}

func (j Joint) wire() jointWire {
	head, _ := j.Head.MarshalBinary()
	w := jointWire{V: formatVersion, Head: head, Steps: make([]stepWire, len(j.Steps))}
	for i, s := range j.Steps {
		w.Steps[i] = stepWire{Length: s.Length, Root: s.Root[:], Proof: toWire(s.Proof)}
	}
	return w
}

func (w jointWire) joint() (j Joint, err error) {
	if w.V != formatVersion {
		return Joint{}, fmt.Errorf("joint: version %d: %w", w.V, ErrFormat)
	}
	if j.Head, err = ParseHead(w.Head); err != nil {
		return Joint{}, fmt.Errorf("joint: %w", err)
	}
	for _, s := range w.Steps {
		if len(s.Root) != key32 {
			return Joint{}, fmt.Errorf("joint: root: %w", ErrFormat)
		}
		proof, err := fromWire(s.Proof)
		if err != nil {
			return Joint{}, fmt.Errorf("joint: %w", err)
		}
		j.Steps = append(j.Steps, Step{s.Length, key.Hash(s.Root), proof})
	}
	if err := j.shape(); err != nil {
		return Joint{}, fmt.Errorf("joint: %w", err)
	}
	return j, nil
}

// The CBOR methods let the types stand in the structures of others.
var (
	_ cbor.Marshaler   = Tail{}
	_ cbor.Unmarshaler = (*Tail)(nil)
)

func (t Tail) MarshalCBOR() ([]byte, error)       { return t.Encode() }
func (p BlockProof) MarshalCBOR() ([]byte, error) { return p.Encode() }
func (j Joint) MarshalCBOR() ([]byte, error)      { return j.Encode() }
func (f Fork) MarshalCBOR() ([]byte, error)       { return f.Encode() }

func (t *Tail) UnmarshalCBOR(b []byte) (err error)       { *t, err = ParseTail(b); return err }
func (p *BlockProof) UnmarshalCBOR(b []byte) (err error) { *p, err = ParseBlockProof(b); return err }
func (j *Joint) UnmarshalCBOR(b []byte) (err error)      { *j, err = ParseJoint(b); return err }
func (f *Fork) UnmarshalCBOR(b []byte) (err error)       { *f, err = ParseFork(b); return err }

func encode(v any, limit int) ([]byte, error) {
	b, err := encMode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%d bytes encoded, %d are allowed: %w", len(b), limit, ErrLimit)
	}
	return b, nil
}

// decode reads b into v, whose version is at *version.
func decode(b []byte, v any, version *uint8, limit int) error {
	if len(b) > limit {
		return fmt.Errorf("%d bytes, %d are allowed: %w", len(b), limit, ErrLimit)
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if *version != formatVersion {
		return fmt.Errorf("version %d: %w", *version, ErrFormat)
	}
	return nil
}

func toWire(hs [][32]byte) [][]byte {
	out := make([][]byte, len(hs))
	for i := range hs {
		out[i] = hs[i][:]
	}
	return out
}

func fromWire(hs [][]byte) ([][32]byte, error) {
	if len(hs) > MaxProof {
		return nil, fmt.Errorf("proof of %d hashes: %w", len(hs), ErrLimit)
	}
	out := make([][32]byte, len(hs))
	for i, h := range hs {
		if len(h) != key32 {
			return nil, fmt.Errorf("hash of %d bytes: %w", len(h), ErrFormat)
		}
		out[i] = [32]byte(h)
	}
	return out, nil
}
