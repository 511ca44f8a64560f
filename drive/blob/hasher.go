package blob

import (
	"io"
	"math/bits"

	"github.com/pearbox/pearbox/drive/key"
)

// Hasher computes BLAKE3 of bytes that come in order, in the caller's
// goroutine. It is not safe for concurrent use.
type Hasher struct {
	stack  [50]Value // values of complete subtrees, one per set bit of groups
	groups int64     // groups in the stack
	buf    []byte    // the open group
	size   int64
}

// NewHasher returns an empty Hasher.
func NewHasher() *Hasher { return &Hasher{} }

// Write never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	n := len(p)
	h.size += int64(n)
	for len(p) > 0 {
		if len(h.buf) == Group { // more follows, so this one is not the last
			h.push(GroupValue(h.buf, h.groups, false))
			h.buf = h.buf[:0]
		}
		if len(h.buf) == 0 && len(p) > Group {
			h.push(GroupValue(p[:Group], h.groups, false))
			p = p[Group:]
			continue
		}
		k := min(Group-len(h.buf), len(p))
		h.buf = append(h.buf, p[:k]...)
		p = p[k:]
	}
	return n, nil
}

func (h *Hasher) push(v Value) {
	i := 0
	for ; h.groups&(1<<i) != 0; i++ {
		v = parent(&h.stack[i], &v, false)
	}
	h.stack[i] = v
	h.groups++
}

// Size returns the number of bytes written so far.
func (h *Hasher) Size() int64 { return h.size }

// Sum returns the hash of what was written; more may follow.
func (h *Hasher) Sum() key.Hash {
	v := GroupValue(h.buf, h.groups, h.groups == 0)
	left := h.groups
	for left != 0 {
		i := bits.TrailingZeros64(uint64(left))
		left &= left - 1
		v = parent(&h.stack[i], &v, left == 0)
	}
	return key.Hash(v)
}

// PlainHash reads r to its end and returns hash and length.
func PlainHash(r io.Reader) (key.Hash, int64, error) {
	h := NewHasher()
	buf := make([]byte, 4*Group)
	for {
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return h.Sum(), h.size, nil
		}
		if err != nil {
			return key.Hash{}, h.size, err
		}
	}
}
