package core

import (
	"bytes"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/key"
)

// BlockProof is a single block with its inclusion proof.
type BlockProof struct {
	Core   key.CoreID
	Index  uint64
	Length uint64 // of the tree that Proof is for
	Data   []byte
	Proof  [][32]byte // may be empty where the receiver has the block's hash
}

// ProveBlock returns block i with its proof in the newest signed head.
// ErrAbsent when the block is not here.
func ProveBlock(r Reader, i uint64) (BlockProof, error) {
	h, err := r.Head()
	if err != nil {
		return BlockProof{}, err
	}
	if i >= h.Length {
		return BlockProof{}, fmt.Errorf("block %d of %d: %w", i, h.Length, ErrRange)
	}
	data, err := r.Block(i)
	if err != nil {
		return BlockProof{}, fmt.Errorf("block %d: %w", i, err)
	}
	leaves, err := Leaves(r, i, i+1)
	if err != nil {
		return BlockProof{}, err
	}
	if Leaf(data) != leaves[0] {
		return BlockProof{}, fmt.Errorf("block %d: %w", i, ErrDamaged)
	}
	proof, err := tlog.ProveRecord(int64(h.Length), int64(i), r)
	if err != nil {
		return BlockProof{}, fmt.Errorf("proving block %d: %w", i, err)
	}
	return BlockProof{h.Core, i, h.Length, bytes.Clone(data), hashes(proof)}, nil
}

// Verify checks the block against a head signed by dev that the verifier
// trusts to be current enough.
func (p BlockProof) Verify(dev key.DeviceID, head Head) error {
	if err := p.shape(); err != nil {
		return fmt.Errorf("block proof: %w", err)
	}
	if p.Core != head.Core {
		return fmt.Errorf("block proof: %w", ErrCore)
	}
	if p.Length != head.Length {
		return fmt.Errorf("block proof for length %d instead of %d: %w", p.Length, head.Length, ErrProof)
	}
	if err := head.Verify(dev); err != nil {
		return fmt.Errorf("block proof: %w", err)
	}
	if tlog.CheckRecord(tlogHashes(p.Proof), int64(p.Length), tlog.Hash(head.Root), int64(p.Index), tlog.RecordHash(p.Data)) != nil {
		return fmt.Errorf("block proof: %w", ErrProof)
	}
	return nil
}

func (p BlockProof) shape() error {
	if p.Length > MaxLength || p.Index >= p.Length {
		return fmt.Errorf("block %d of %d: %w", p.Index, p.Length, ErrRange)
	}
	if len(p.Proof) > MaxProof {
		return fmt.Errorf("%d hashes: %w", len(p.Proof), ErrLimit)
	}
	return checkBlock(p.Data)
}

// FillBlock stores blocks whose hashes are here already: payloads that were
// withheld or cleared. The stored leaf hash is what they are checked against.
// It stores all or returns an error before storing any.
func FillBlock(w Writer, proofs ...BlockProof) error {
	n, err := w.Length()
	if err != nil {
		return err
	}
	for _, p := range proofs {
		if err := checkFill(w, n, p); err != nil {
			return fmt.Errorf("filling block %d: %w", p.Index, err)
		}
	}
	for _, p := range proofs {
		if err := w.PutBlock(p.Index, p.Data); err != nil {
			return fmt.Errorf("filling block %d: %w", p.Index, err)
		}
	}
	return nil
}

func checkFill(w Writer, n uint64, p BlockProof) error {
	if err := checkBlock(p.Data); err != nil {
		return err
	}
	if err := sameCore(w, p.Core); err != nil {
		return err
	}
	if p.Index >= n {
		return ErrRange
	}
	leaves, err := Leaves(w, p.Index, p.Index+1)
	if err != nil {
		return err
	}
	if Leaf(p.Data) != leaves[0] {
		return ErrProof
	}
	return nil
}

// checkTree is tlog.CheckTree with this package's types: the tree of length n
// and root h is a beginning of the one of length t and root th.
func checkTree(p [][32]byte, t uint64, th key.Hash, n uint64, h key.Hash) error {
	if len(p) > MaxProof || t > MaxLength || n > t {
		return ErrProof
	}
	if tlog.CheckTree(tlogHashes(p), int64(t), tlog.Hash(th), int64(n), tlog.Hash(h)) != nil {
		return ErrProof
	}
	return nil
}

func hashes(hs []tlog.Hash) [][32]byte {
	out := make([][32]byte, len(hs))
	for i, h := range hs {
		out[i] = h
	}
	return out
}

func tlogHashes(hs [][32]byte) []tlog.Hash {
	out := make([]tlog.Hash, len(hs))
	for i, h := range hs {
		out[i] = h
	}
	return out
}
