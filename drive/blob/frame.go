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
	k := checker{f: f, size: size, pairs: pairs}
	err := k.check(c)
	return k.pairs, err
}

// Seal encrypts Data, which holds plaintext, in place and checks the outcome as
// Check does: what it returns no error for is fit to be sent. Each group is
// encrypted and hashed while it is in the processor's cache.
func (f Frame) Seal(ref Ref) error {
	k := checker{f: f, size: ref.Size, before: NewCipher(ref.Key)}
	return k.check(ref.CID)
}

// Opened is a frame of a blob that has been verified and decrypted.
type Opened struct {
	ref   Ref
	off   int64
	data  []byte
	pairs []Pair
}

// Open verifies that the frame is part of a blob and decrypts it in place, each
// group while it is in the processor's cache. After an error Data holds
// nothing of use.
func (f Frame) Open(ref Ref) (Opened, error) { return f.OpenFrom(ref, nil) }

// OpenFrom is Open for a frame whose Data is still to be filled: fill is called
// with one group after another, in order, so that each is verified and
// decrypted while the processor's cache has it. An error of fill, which ends
// it, is returned as it is. After any other error the rest of Data may not have
// been filled.
func (f Frame) OpenFrom(ref Ref, fill func(group []byte) error) (Opened, error) {
	k := checker{f: f, size: ref.Size, after: NewCipher(ref.Key), fill: fill, pairs: make([]Pair, 0, len(f.Data)/Group+len(f.Proof))}
	if err := k.check(ref.CID); err != nil {
		return Opened{}, err
	}
	return Opened{ref: ref, off: f.Off, data: f.Data, pairs: k.pairs}, nil
}

// Ref is the blob that the frame is part of.
func (o Opened) Ref() Ref { return o.ref }

// Off is where in the blob the frame begins, a multiple of Group.
func (o Opened) Off() int64 { return o.off }

// Data is the plaintext, in the memory of the frame.
func (o Opened) Data() []byte { return o.data }

// Pairs are the inner nodes that the frame proves, in ascending order of their
// place in the outboard.
func (o Opened) Pairs() []Pair { return o.pairs }

type checker struct {
	f      Frame
	size   int64
	before *Cipher // of plaintext, before it is hashed
	after  *Cipher // of ciphertext, after it was hashed
	fill   func(group []byte) error
	failed error // of fill
	lo, hi int64
	used   int
	short  bool
	pairs  []Pair
}

func (k *checker) check(c cid.Cid) error {
	root, err := RootOf(c)
	if err != nil {
		return err
	}
	f := k.f
	if len(f.Data) > MaxFrame || len(f.Proof) > maxProof {
		return fmt.Errorf("%w: %d bytes with %d proof values", ErrFrame, len(f.Data), len(f.Proof))
	}
	if k.lo, k.hi, err = span(k.size, f.Off, int64(len(f.Data))); err != nil {
		return err
	}
	got := k.value(0, Groups(k.size), 0, true)
	if k.failed != nil {
		return k.failed
	}
	if k.short || k.used != len(f.Proof) || got != root {
		return fmt.Errorf("%w: range %d+%d does not join the root", ErrFrame, f.Off, len(f.Data))
	}
	return nil
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
		return k.group(first, root)
	}
	mid := first + split(last-first)
	i := len(k.pairs)
	k.pairs = append(k.pairs, Pair{At: at})
	l := k.value(first, mid, at+pairSize, false)
	r := k.value(mid, last, at+pairSize*(mid-first), false)
	k.pairs[i].Left, k.pairs[i].Right = l, r
	return parent(&l, &r, root)
}

// group returns the value of one group of the frame.
func (k *checker) group(i int64, root bool) Value {
	at := i*Group - k.f.Off
	g := k.f.Data[at : at+int64(groupLength(k.size, i))]
	if k.fill != nil && k.failed == nil {
		k.failed = k.fill(g)
	}
	if k.failed != nil {
		return Value{}
	}
	if k.before != nil {
		k.before.XOR(g, g, i*Group)
	}
	v := GroupValue(g, i, root)
	if k.after != nil {
		k.after.XOR(g, g, i*Group)
	}
	return v
}
