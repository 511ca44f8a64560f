package core

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/key"
)

// Limits. Whoever decodes or computes anything checks them first.
const (
	MaxLength  = 1 << 40              // blocks of a core
	MaxTail    = 1 << 20              // bytes of an encoded tail
	MaxBlock   = MaxTail - 16<<10     // bytes of a block: one always fits a tail
	MaxBlocks  = 1 << 14              // blocks of a tail
	MaxProof   = 64                   // hashes of a proof
	maxSteps   = 4                    // steps of a joint
	maxJoint   = 16 << 10             // bytes of an encoded joint
	maxFork    = 2*maxJoint + 64      // bytes of an encoded fork
	tailFrame  = 4 << 10              // bytes of a tail besides its blocks
	blockFrame = 5                    // bytes a block of a tail takes besides its data
	hashFrame  = 1 + 2 + key32        // bytes a block takes of which only the hash travels
	key32      = len(key.Hash{})      // bytes of a hash
	headSize   = 32 + 8 + 32 + sigLen // bytes of a head
	sigLen     = key.SignatureSize
)

// Decisions about what others sent and what is here.
var (
	ErrAbsent    = errors.New("the block is not here, only its hash")
	ErrRange     = errors.New("beyond the end of the core")
	ErrGap       = errors.New("blocks before these are missing")
	ErrCore      = errors.New("belongs to another core")
	ErrSignature = errors.New("the head is not signed by the device")
	ErrProof     = errors.New("the proof does not hold")
	ErrJoin      = errors.New("the tail does not join what is here")
	ErrFormat    = errors.New("malformed")
	ErrLimit     = errors.New("over a limit")
	ErrDamaged   = errors.New("what is stored does not match its hash")
	ErrBehind    = errors.New("the newest blocks of this device's own core are not here yet")
)

// Reader is one core inside one transaction. Slices that it returns are valid
// until the transaction ends and must not be changed.
type Reader interface {
	// ReadHashes returns stored hashes by the indexes of tlog.StoredHashIndex.
	tlog.HashReader
	// Length is the number of blocks whose hashes are here and verified. It is
	// at least Head().Length, and more while a longer head is being fetched.
	Length() (uint64, error)
	// Head is the newest signed head that all hashes are here for; the zero
	// Head when there is none.
	Head() (Head, error)
	// Anchor is what SetAnchor stored last, nil when nothing.
	Anchor() ([]byte, error)
	// Block returns a block, or ErrAbsent when only its hash is here.
	Block(i uint64) ([]byte, error)
}

// Writer changes one core inside one transaction. Only this package decides
// what to write; the storage does not check it. Slices handed in are not
// kept beyond the call unless they are copied.
type Writer interface {
	Reader
	SetLength(uint64) error
	SetHead(Head) error
	SetAnchor([]byte) error // at most 4 KiB; nil removes it
	PutBlock(i uint64, b []byte) error
	ClearBlock(i uint64) error
	// PutHashes stores hashes first, first+1, ... in the numbering of
	// tlog.StoredHashIndex.
	PutHashes(first int64, hs []tlog.Hash) error
}

// Leaf returns the leaf hash of a block, which is also its name.
func Leaf(block []byte) key.Hash { return key.Hash(tlog.RecordHash(block)) }

// Root returns the root hash over the first n blocks.
func Root(r Reader, n uint64) (key.Hash, error) {
	have, err := r.Length()
	if err != nil {
		return key.Hash{}, err
	}
	if n > have {
		return key.Hash{}, fmt.Errorf("root at %d of %d: %w", n, have, ErrRange)
	}
	return rootOf(r, n)
}

func rootOf(r tlog.HashReader, n uint64) (key.Hash, error) {
	h, err := tlog.TreeHash(int64(n), r)
	if err != nil {
		return key.Hash{}, fmt.Errorf("root at %d: %w", n, err)
	}
	return key.Hash(h), nil
}

// Leaves returns the leaf hashes of the blocks [from, to).
func Leaves(r Reader, from, to uint64) ([]key.Hash, error) {
	have, err := r.Length()
	if err != nil {
		return nil, err
	}
	if from > to || to > have {
		return nil, fmt.Errorf("hashes %d to %d of %d: %w", from, to, have, ErrRange)
	}
	idx := make([]int64, 0, to-from)
	for i := from; i < to; i++ {
		idx = append(idx, tlog.StoredHashIndex(0, int64(i)))
	}
	hs, err := r.ReadHashes(idx)
	if err != nil {
		return nil, fmt.Errorf("hashes %d to %d: %w", from, to, err)
	}
	out := make([]key.Hash, len(hs))
	for i, h := range hs {
		out[i] = key.Hash(h)
	}
	return out, nil
}

func checkBlock(b []byte) error {
	if len(b) == 0 || len(b) > MaxBlock {
		return fmt.Errorf("%d bytes, 1 to %d are allowed: %w", len(b), MaxBlock, ErrLimit)
	}
	return nil
}

// Clear removes blocks and keeps their hashes: the core still proves and
// replicates. Which blocks may go is for the caller to know. Blocks that are
// not here are no error.
func Clear(w Writer, blocks ...uint64) error {
	n, err := w.Length()
	if err != nil {
		return err
	}
	for _, i := range blocks {
		if i >= n {
			return fmt.Errorf("clearing block %d of %d: %w", i, n, ErrRange)
		}
		if err := w.ClearBlock(i); err != nil {
			return fmt.Errorf("clearing block %d: %w", i, err)
		}
	}
	return nil
}

// Has reports whether block i itself is here.
func Has(r Reader, i uint64) (bool, error) {
	_, err := r.Block(i)
	if errors.Is(err, ErrAbsent) {
		return false, nil
	}
	return err == nil, err
}

// Common returns the length up to which two cores have the same history.
func Common(a, b Reader) (uint64, error) {
	na, err := a.Length()
	if err != nil {
		return 0, err
	}
	nb, err := b.Length()
	if err != nil {
		return 0, err
	}
	lo, hi := uint64(0), min(na, nb)
	for lo < hi { // equal at lo; never equal again once different
		mid := lo + (hi-lo+1)/2
		ra, err := rootOf(a, mid)
		if err != nil {
			return 0, err
		}
		rb, err := rootOf(b, mid)
		if err != nil {
			return 0, err
		}
		if ra == rb {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo, nil
}

// Branch makes an empty w the beginning of another history of a core: it gets
// the hashes of the first n blocks of from, which has them, and none of the
// blocks. A Tail from n is to be applied in the same transaction; until then w
// has no head. A w that has something is left alone.
func Branch(w Writer, from Reader, n uint64) error {
	have, err := w.Length()
	if err != nil || have > 0 || n == 0 {
		return err
	}
	if here, err := from.Length(); err != nil {
		return err
	} else if n > here {
		return fmt.Errorf("a branch at %d of %d: %w", n, here, ErrRange)
	}
	end := tlog.StoredHashCount(int64(n))
	for first := int64(0); first < end; first += branchBatch {
		at := make([]int64, 0, branchBatch)
		for i := first; i < min(end, first+branchBatch); i++ {
			at = append(at, i)
		}
		hs, err := from.ReadHashes(at)
		if err != nil {
			return fmt.Errorf("reading hashes: %w", err)
		}
		if err := w.PutHashes(first, hs); err != nil {
			return fmt.Errorf("storing hashes: %w", err)
		}
	}
	if err := w.SetLength(n); err != nil {
		return fmt.Errorf("storing length: %w", err)
	}
	return nil
}

// branchBatch is how many hashes Branch reads at once.
const branchBatch = 4096
