package blob

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"lukechampine.com/blake3/guts"

	"github.com/pearbox/pearbox/drive/key"
)

// Value is the chaining value of a subtree, at the root the hash.
type Value = [32]byte

// pairSize is the size of an inner node in the outboard.
const pairSize = 64

// Groups returns the number of groups of a blob: at least one.
func Groups(size int64) int64 { return max(1, (size+Group-1)/Group) }

// OutboardSize returns the size of a blob's outboard.
func OutboardSize(size int64) int64 { return pairSize * (Groups(size) - 1) }

// split returns how many of n groups, at least two, are under the left child.
func split(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }

// groupLength returns the bytes of group i of a blob.
func groupLength(size, i int64) int { return int(min(Group, size-i*Group)) }

// piece is what is hashed at once.
const piece = guts.MaxSIMD * guts.ChunkSize

// GroupValue returns the value of group i, whose bytes are data; alone says
// that the blob has no other group.
func GroupValue(data []byte, i int64, alone bool) Value {
	n := groupNode(data, uint64(i)*(Group/guts.ChunkSize))
	if alone {
		n.Flags |= guts.FlagRoot
	}
	return toBytes(guts.ChainingValue(n))
}

// groupNode hashes at most Group bytes without copying its full pieces.
func groupNode(data []byte, chunk uint64) guts.Node {
	if wide {
		return wideNode(data, chunk)
	}
	if len(data) <= piece {
		return pieceNode(data, chunk)
	}
	half := piece
	if len(data) > 2*piece {
		half = 2 * piece
	}
	l := guts.ChainingValue(groupNode(data[:half], chunk))
	r := guts.ChainingValue(groupNode(data[half:], chunk+uint64(half/guts.ChunkSize)))
	return guts.ParentNode(l, r, &guts.IV, 0)
}

func pieceNode(data []byte, chunk uint64) guts.Node {
	switch {
	case len(data) <= guts.ChunkSize:
		return guts.CompressChunk(data, &guts.IV, chunk, 0)
	case len(data) == piece:
		return guts.CompressBuffer((*[piece]byte)(data), piece, &guts.IV, chunk, 0)
	}
	var buf [piece]byte // guts reads all of it
	copy(buf[:], data)
	return guts.CompressBuffer(&buf, len(data), &guts.IV, chunk, 0)
}

// parent returns the value of an inner node; root says that it is the root.
func parent(l, r *Value, root bool) Value {
	n := guts.ParentNode(fromBytes(l), fromBytes(r), &guts.IV, 0)
	if root {
		n.Flags |= guts.FlagRoot
	}
	return toBytes(guts.ChainingValue(n))
}

func fromBytes(v *Value) (w [8]uint32) {
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(v[4*i:])
	}
	return w
}

func toBytes(w [8]uint32) (v Value) {
	for i := range w {
		binary.LittleEndian.PutUint32(v[4*i:], w[i])
	}
	return v
}

// Pair is an inner node: the values of its children and its place in the
// outboard.
type Pair struct {
	At          int64
	Left, Right Value
}

// AppendTo appends the 64 bytes that stand in the outboard.
func (p Pair) AppendTo(b []byte) []byte { return append(append(b, p.Left[:]...), p.Right[:]...) }

// combine computes a subtree from the values of its leaves, which are groups
// or larger subtrees of unit groups each, writing pairs to out: the pair of
// the subtree goes to at.
type combiner struct {
	unit  int64 // groups under each leaf but the last
	total int64 // groups of the subtree
	out   func(Pair)
}

// combine returns the value of the groups [lo, hi). leaf returns the value of
// the unit that starts at a group.
func (c *combiner) combine(lo, hi, at int64, root bool, leaf func(lo int64) Value) Value {
	if hi-lo <= c.unit {
		return leaf(lo)
	}
	mid := lo + split(hi-lo)
	l := c.combine(lo, mid, at+pairSize, false, leaf)
	r := c.combine(mid, hi, at+pairSize*(mid-lo), false, leaf)
	if c.out != nil {
		c.out(Pair{At: at, Left: l, Right: r})
	}
	return parent(&l, &r, root)
}

// Outboard computes the whole outboard and the root of a blob from the values
// of its groups, which must be made with GroupValue.
func Outboard(leaves []Value) (outboard []byte, root Value) {
	n := int64(len(leaves))
	outboard = make([]byte, pairSize*(n-1))
	c := combiner{unit: 1, out: func(p Pair) { p.AppendTo(outboard[p.At:p.At:len(outboard)]) }}
	root = c.combine(0, n, 0, true, func(i int64) Value { return leaves[i] })
	return outboard, root
}

// unitOffset returns where in the outboard of n groups the pairs of the
// subtree that starts at group lo and has at most unit groups begin.
func unitOffset(n, lo, unit int64) int64 {
	first, last, at := int64(0), n, int64(0)
	for last-first > unit {
		mid := first + split(last-first)
		if lo < mid {
			last, at = mid, at+pairSize
		} else {
			first, at = mid, at+pairSize*(mid-first)
		}
	}
	return at
}

// Proof reads from a blob's outboard what joins the groups of [off, off+n) to
// the root. Both ends are group aligned or the end of the blob.
func Proof(outboard io.ReaderAt, size, off, n int64) ([][32]byte, error) {
	lo, hi, err := span(size, off, n)
	if err != nil {
		return nil, err
	}
	var proof []Value
	var buf [pairSize]byte
	var walk func(first, last, at int64) error
	walk = func(first, last, at int64) error {
		if lo <= first && last <= hi {
			return nil
		}
		if _, err := outboard.ReadAt(buf[:], at); err != nil {
			return fmt.Errorf("reading the outboard: %w", err)
		}
		l, r := Value(buf[:32]), Value(buf[32:])
		mid := first + split(last-first)
		if lo < mid {
			if err := walk(first, mid, at+pairSize); err != nil {
				return err
			}
		} else {
			proof = append(proof, l)
		}
		if hi > mid {
			return walk(mid, last, at+pairSize*(mid-first))
		}
		proof = append(proof, r)
		return nil
	}
	err = walk(0, Groups(size), 0)
	return proof, err
}

// span turns an aligned range of bytes into one of groups.
func span(size, off, n int64) (lo, hi int64, err error) {
	end := off + n
	if off < 0 || n < 0 || end < off || end > size || off%Group != 0 || end%Group != 0 && end != size || n == 0 && size != 0 {
		return 0, 0, fmt.Errorf("%w: range %d+%d of %d bytes", ErrFrame, off, n, size)
	}
	return off / Group, max(off/Group+1, (end+Group-1)/Group), nil
}

// Sum returns the BLAKE3 hash of b by way of the group tree, which is faster
// than package blake3 for anything over a few chunks.
func Sum(b []byte) key.Hash {
	if len(b) <= Group {
		return key.Hash(GroupValue(b, 0, true))
	}
	h := NewHasher()
	h.Write(b)
	return h.Sum()
}
