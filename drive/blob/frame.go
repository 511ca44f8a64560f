package blob

import (
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
)

// ErrFrame is wrapped when a frame is malformed or does not belong to its
// blob.
var ErrFrame = errors.New("bytes that do not belong to the blob")

// Frame is a piece of a blob on its way: Off is a multiple of Group, Data is
// the ciphertext of whole groups (only the blob's last may be short), Proof
// joins them to the root as the package comment says.
type Frame struct {
	Off   int64
	Proof [][32]byte
	Data  []byte
}

// Check verifies that the frame is part of the blob with the given CID and
// size. It appends to pairs the inner nodes that are proven by it, in
// ascending order of their place in the outboard, and returns them. The size
// itself is proven only by a frame that holds the last group.
func (f Frame) Check(c cid.Cid, size int64, pairs []Pair) ([]Pair, error) {
	root, err := RootOf(c)
	if err != nil {
		return nil, err
	}
	if len(f.Data) > MaxFrame || len(f.Proof) > maxProof {
		return nil, fmt.Errorf("%w: %d bytes with %d proof values", ErrFrame, len(f.Data), len(f.Proof))
	}
	lo, hi, err := span(size, f.Off, int64(len(f.Data)))
	if err != nil {
		return nil, err
	}
	k := checker{f: f, size: size, lo: lo, hi: hi, pairs: pairs}
	got := k.value(0, Groups(size), 0, true)
	if k.short || k.used != len(f.Proof) || got != root {
		return nil, fmt.Errorf("%w: range %d+%d does not join the root", ErrFrame, f.Off, len(f.Data))
	}
	return k.pairs, nil
}

type checker struct {
	f      Frame
	size   int64
	lo, hi int64
	used   int
	short  bool
	pairs  []Pair
}

func (k *checker) value(first, last, at int64, root bool) Value {
	if last <= k.lo || first >= k.hi {
		if k.used == len(k.f.Proof) {
			k.short = true
			return Value{}
		}
		k.used++
		return k.f.Proof[k.used-1]
	}
	if last-first == 1 {
		at := first*Group - k.f.Off
		return GroupValue(k.f.Data[at:at+int64(groupLength(k.size, first))], first, root)
	}
	mid := first + split(last-first)
	i := len(k.pairs)
	k.pairs = append(k.pairs, Pair{At: at})
	l := k.value(first, mid, at+pairSize, false)
	r := k.value(mid, last, at+pairSize*(mid-first), false)
	k.pairs[i].Left, k.pairs[i].Right = l, r
	return parent(&l, &r, root)
}
