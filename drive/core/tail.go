package core

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/key"
)

// Block is one block of a tail.
type Block struct {
	Data []byte   // nil when only the hash travels
	Hash key.Hash // the leaf hash when Data is nil; not used otherwise
}

// Leaf returns the block's leaf hash.
func (b Block) Leaf() key.Hash {
	if b.Data == nil {
		return b.Hash
	}
	return Leaf(b.Data)
}

// Tail is a window of a core on its way to a peer: blocks From, From+1, ...,
// a signed head that lies at their end or beyond it, and the consistency proof
// from their end to the head.
type Tail struct {
	Core   key.CoreID
	From   uint64
	Blocks []Block
	Head   Head
	Proof  [][32]byte
}

// End returns the number of the block after the tail's last one.
func (t Tail) End() uint64 { return t.From + uint64(len(t.Blocks)) }

// ReadTail returns the blocks from `from` on that fit in maxBytes when
// encoded, at least one; up to MaxTail when maxBytes is 0 or more than that.
// Blocks that are not here travel as their hash. ErrRange means that the
// signed part ends at or before `from`; ErrDamaged that a stored block does
// not match its hash, so that serving it would brand this peer a liar. The
// tail is a copy and outlives the transaction.
func ReadTail(r Reader, from uint64, maxBytes int) (Tail, error) {
	return ReadTailTo(r, from, MaxLength, maxBytes)
}

// ReadTailTo is ReadTail for blocks before `to` only; ErrRange when there are
// none.
func ReadTailTo(r Reader, from, to uint64, maxBytes int) (Tail, error) {
	h, err := r.Head()
	if err != nil {
		return Tail{}, err
	}
	if from >= min(h.Length, to) {
		return Tail{}, fmt.Errorf("tail from %d of %d: %w", from, h.Length, ErrRange)
	}
	if maxBytes <= 0 || maxBytes > MaxTail {
		maxBytes = MaxTail
	}
	t := Tail{Core: h.Core, From: from, Head: h}
	if t.Blocks, err = readBlocks(r, from, min(h.Length, to), maxBytes-tailFrame); err != nil {
		return Tail{}, fmt.Errorf("reading tail: %w", err)
	}
	proof, err := tlog.ProveTree(int64(h.Length), int64(t.End()), r)
	if err != nil {
		return Tail{}, fmt.Errorf("proving tail: %w", err)
	}
	t.Proof = hashes(proof)
	return t, nil
}

func readBlocks(r Reader, from, to uint64, budget int) ([]Block, error) {
	var blocks []Block
	for i := from; i < to && len(blocks) < MaxBlocks; i++ {
		data, err := r.Block(i)
		cost := blockFrame + len(data)
		if errors.Is(err, ErrAbsent) {
			data, cost = nil, hashFrame
		} else if err != nil {
			return nil, fmt.Errorf("block %d: %w", i, err)
		}
		if budget -= cost; budget < 0 && len(blocks) > 0 {
			break
		}
		blocks = append(blocks, Block{Data: bytes.Clone(data)})
	}
	leaves, err := Leaves(r, from, from+uint64(len(blocks)))
	if err != nil {
		return nil, err
	}
	for i := range blocks {
		if b := &blocks[i]; b.Data == nil {
			b.Hash = leaves[i]
		} else if Leaf(b.Data) != leaves[i] {
			return nil, fmt.Errorf("block %d: %w", from+uint64(i), ErrDamaged)
		}
	}
	return blocks, nil
}

// Check reports whether the tail may be applied to what is here: nil, or
//
//   - ErrFormat, ErrLimit, ErrCore, ErrSignature: the tail is bad by itself;
//   - ErrGap: it begins beyond what is here;
//   - ErrProof: it begins at 0 and is still not what its head says;
//   - ErrJoin: with what is here before it, it is not what its head says.
//     Either it is bad, or the device forked before it: a Joint tells;
//   - *ForkError: the device has equivocated; it carries the proof.
//
// All are errors of the peer except those of the storage.
func (t Tail) Check(have Reader, dev key.DeviceID) error {
	_, err := t.check(have, dev)
	return err
}

// Apply checks the tail, then stores what of it is new. What is here already
// stays as it is: a cleared block does not come back this way (see
// FillBlock). Applying a tail twice is the same as once.
func (t Tail) Apply(w Writer, dev key.DeviceID) error {
	c, err := t.check(w, dev)
	if err != nil {
		return err
	}
	if t.End() > c.have {
		for i := c.have; i < t.End(); i++ {
			if b := t.Blocks[i-t.From]; b.Data != nil {
				if err := w.PutBlock(i, b.Data); err != nil {
					return fmt.Errorf("storing block %d: %w", i, err)
				}
			}
		}
		if err := c.growth.store(w, c.have); err != nil {
			return err
		}
	}
	return c.storeHead(w)
}

// checked is what Check learned and Apply needs.
type checked struct {
	tail   Tail
	growth *growth // what is here before the tail, then the tail
	have   uint64  // blocks that are here
	head   Head    // of what is here
	anchor *Joint  // of what is here; nil when the head reaches its end
}

func (t Tail) check(have Reader, dev key.DeviceID) (*checked, error) {
	if err := t.shape(); err != nil {
		return nil, fmt.Errorf("tail: %w", err)
	}
	c := &checked{tail: t}
	if err := c.load(have); err != nil {
		return nil, err
	}
	if t.From > c.have {
		return nil, fmt.Errorf("tail from %d, %d blocks are here: %w", t.From, c.have, ErrGap)
	}
	if !c.head.IsZero() && c.head.Core != t.Core {
		return nil, fmt.Errorf("tail: %w", ErrCore)
	}
	if err := t.Head.Verify(dev); err != nil {
		return nil, fmt.Errorf("tail: %w", err)
	}
	c.growth = newGrowth(have, t.From)
	for _, b := range t.Blocks {
		if err := c.growth.add(b.Leaf()); err != nil {
			return nil, err
		}
	}
	if err := c.join(); err != nil {
		return nil, err
	}
	return c, c.compare(have)
}

// shape checks everything that needs nothing else.
func (t Tail) shape() error {
	switch {
	case t.Core != t.Head.Core:
		return ErrCore
	case len(t.Blocks) == 0 || len(t.Blocks) > MaxBlocks:
		return fmt.Errorf("%d blocks: %w", len(t.Blocks), ErrLimit)
	case t.Head.Length > MaxLength || t.From >= t.Head.Length || t.End() > t.Head.Length:
		return fmt.Errorf("blocks %d to %d of %d: %w", t.From, t.End(), t.Head.Length, ErrRange)
	case len(t.Proof) > MaxProof:
		return fmt.Errorf("proof of %d hashes: %w", len(t.Proof), ErrLimit)
	}
	size := 0
	for _, b := range t.Blocks {
		if b.Data == nil {
			continue
		}
		if err := checkBlock(b.Data); err != nil {
			return err
		}
		if size += len(b.Data); size > MaxTail {
			return fmt.Errorf("more than %d bytes: %w", MaxTail, ErrLimit)
		}
	}
	return nil
}

// load reads the state of what is here.
func (c *checked) load(have Reader) (err error) {
	if c.have, err = have.Length(); err != nil {
		return err
	}
	if c.head, err = have.Head(); err != nil {
		return err
	}
	c.anchor, err = readAnchor(have)
	return err
}

// join checks that the tail leads to its head.
func (c *checked) join() error {
	t := c.tail
	root, err := rootOf(c.growth, t.End())
	if err != nil {
		return err
	}
	if checkTree(t.Proof, t.Head.Length, t.Head.Root, t.End(), root) == nil {
		return nil
	}
	if t.From == 0 {
		return fmt.Errorf("tail: %w", ErrProof)
	}
	return fmt.Errorf("tail from %d: %w", t.From, ErrJoin)
}

// compare looks for contradictions between the tail, which its device has
// signed, and what is here, which the device has signed as well.
func (c *checked) compare(have Reader) error {
	t := c.tail
	overlap := min(c.have, t.End())
	own, err := Leaves(have, min(t.From, overlap), overlap)
	if err != nil {
		return err
	}
	for i, leaf := range own {
		if t.Blocks[i].Leaf() != leaf {
			at := t.From + uint64(i) + 1
			theirs, err := c.joint(at)
			if err != nil {
				return err
			}
			return forkAgainst(have, theirs)
		}
	}
	if err := compareHead(have, t.Head); err != nil {
		return err
	}
	return c.compareAnchor()
}

// compareAnchor compares the head that was being fetched with the tail, if
// the tail reaches it.
func (c *checked) compareAnchor() error {
	if c.anchor == nil || c.anchor.Head.Length > c.tail.End() || c.anchor.Head.Length <= c.have {
		return nil
	}
	root, err := rootOf(c.growth, c.anchor.Head.Length)
	if err != nil || root == c.anchor.Head.Root {
		return err
	}
	theirs, err := c.joint(c.anchor.Head.Length)
	if err != nil {
		return err
	}
	return newForkError(Joint{Head: c.anchor.Head}, theirs)
}

// joint returns the proof that the tail's device signed a history whose first
// `at` blocks are those of growth; From <= at <= End.
func (c *checked) joint(at uint64) (Joint, error) {
	t := c.tail
	j, err := jointTo(c.growth, at, t.End())
	if err != nil {
		return Joint{}, err
	}
	if t.End() < t.Head.Length {
		root, err := rootOf(c.growth, t.End())
		if err != nil {
			return Joint{}, err
		}
		j = append(j, Step{t.End(), root, t.Proof})
	}
	return Joint{Head: t.Head, Steps: j}, nil
}

// storeHead stores the newest head that everything is here for, and the
// anchor if that is not yet the end.
func (c *checked) storeHead(w Writer) error {
	t, length := c.tail, max(c.have, c.tail.End())
	head := c.head
	for _, h := range c.candidates() {
		if h.Length <= length && h.Length > head.Length {
			head = h
		}
	}
	if head != c.head {
		if err := w.SetHead(head); err != nil {
			return fmt.Errorf("storing head: %w", err)
		}
	}
	switch {
	case head.Length == length:
		return setAnchor(w, nil, c.anchor != nil)
	case t.End() > c.have:
		a, err := c.joint(t.End())
		if err != nil {
			return err
		}
		return setAnchor(w, &a, true)
	}
	return nil
}

func (c *checked) candidates() []Head {
	if c.anchor == nil {
		return []Head{c.tail.Head}
	}
	return []Head{c.tail.Head, c.anchor.Head}
}
