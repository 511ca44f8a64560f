package store

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// coreRecord is what is stored of a core besides its blocks and hashes:
//
//	number[4] length[8] head[136] anchor[...]
//
// big endian; the head is all zeroes when there is none.
type coreRecord struct {
	number uint32
	length uint64
	head   core.Head
	anchor []byte
}

const (
	headSize       = 136
	coreRecordSize = 4 + 8 + headSize
)

func (c coreRecord) encode() ([]byte, error) {
	b := binary.BigEndian.AppendUint32(nil, c.number)
	b = binary.BigEndian.AppendUint64(b, c.length)
	head := make([]byte, headSize)
	if !c.head.IsZero() {
		var err error
		if head, err = c.head.MarshalBinary(); err != nil {
			return nil, err
		}
	}
	return append(append(b, head...), c.anchor...), nil
}

func decodeCoreRecord(b []byte) (c coreRecord, err error) {
	if len(b) < coreRecordSize {
		return c, fmt.Errorf("%w: a core record of %d bytes", ErrDamaged, len(b))
	}
	c.number = binary.BigEndian.Uint32(b)
	c.length = binary.BigEndian.Uint64(b[4:])
	if head := b[12:coreRecordSize]; !allZero(head) {
		if c.head, err = core.ParseHead(head); err != nil {
			return c, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if len(b) > coreRecordSize {
		c.anchor = append([]byte(nil), b[coreRecordSize:]...)
	}
	return c, nil
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// coreTx is one core inside a transaction.
type coreTx struct {
	t       *tx
	id      key.CoreID
	rec     coreRecord
	missing bool // nothing is stored yet: rec.number is not assigned
	blocks  rows
	hashes  rows
}

var _ core.Writer = (*coreTx)(nil)

func (t *tx) openCore(id key.CoreID) (*coreTx, error) {
	c := &coreTx{t: t, id: id}
	b, err := t.coreTable().Get(id[:])
	if err != nil {
		return nil, err
	}
	if b == nil {
		c.missing = true
		return c, nil
	}
	if c.rec, err = decodeCoreRecord(b); err != nil {
		return nil, t.fail(err)
	}
	c.setTables()
	return c, nil
}

func (c *coreTx) setTables() {
	number := binary.BigEndian.AppendUint32(nil, c.rec.number)
	c.blocks = rows{t: c.t, prefix: append([]byte{'b'}, number...), soft: true, name: "blocks"}
	c.hashes = rows{t: c.t, prefix: append([]byte{'h'}, number...), name: "hashes"}
}

// store writes the record, assigning a number to a new core.
func (c *coreTx) store() error {
	if c.t.done {
		return errTxDone
	}
	if c.missing {
		if err := c.assign(); err != nil {
			return err
		}
	}
	b, err := c.rec.encode()
	if err != nil {
		return err
	}
	return c.t.coreTable().Put(c.id[:], b)
}

// metaCores holds the number that the next new core gets.
const metaCores = "cores"

func (c *coreTx) assign() error {
	meta := c.t.meta()
	b, err := meta.Get([]byte(metaCores))
	if err != nil {
		return err
	}
	n := uint32(1)
	if len(b) == 4 {
		n = binary.BigEndian.Uint32(b)
	}
	if err := meta.Put([]byte(metaCores), binary.BigEndian.AppendUint32(nil, n+1)); err != nil {
		return err
	}
	c.rec.number, c.missing = n, false
	c.setTables()
	return nil
}

func place8(i uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), i) }

// ReadHashes implements core.Reader.
func (c *coreTx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if c.missing || x < 0 {
			return nil, fmt.Errorf("hash %d: %w", x, core.ErrRange)
		}
		v, err := c.hashes.Get(place8(uint64(x)))
		if err != nil {
			return nil, err
		}
		if v == nil {
			return nil, fmt.Errorf("hash %d: %w", x, core.ErrRange)
		}
		if copy(out[i][:], v) != len(out[i]) {
			return nil, c.t.fail(fmt.Errorf("%w: a hash of %d bytes", ErrDamaged, len(v)))
		}
	}
	return out, nil
}

// Length implements core.Reader.
func (c *coreTx) Length() (uint64, error) { return c.rec.length, c.t.err }

// Head implements core.Reader.
func (c *coreTx) Head() (core.Head, error) { return c.rec.head, c.t.err }

// Anchor implements core.Reader.
func (c *coreTx) Anchor() ([]byte, error) { return c.rec.anchor, c.t.err }

// Block implements core.Reader.
func (c *coreTx) Block(i uint64) ([]byte, error) {
	if c.missing {
		return nil, fmt.Errorf("block %d of an empty core: %w", i, core.ErrRange)
	}
	b, err := c.blocks.Get(place8(i))
	switch {
	case err != nil && c.t.err == nil && i < c.rec.length: // peers can bring it back
		c.t.s.log.Warn("a stored block fails its checksum", "core", c.id.Short(), "block", i)
		return nil, fmt.Errorf("block %d: %w: %w: %w", i, err, core.ErrDamaged, core.ErrAbsent)
	case err != nil:
		return nil, err
	case b != nil:
		return b, nil
	case i >= c.rec.length:
		return nil, fmt.Errorf("block %d of %d: %w", i, c.rec.length, core.ErrRange)
	}
	return nil, fmt.Errorf("block %d: %w", i, core.ErrAbsent)
}

// SetLength implements core.Writer.
func (c *coreTx) SetLength(n uint64) error {
	c.rec.length = n
	return c.store()
}

// SetHead implements core.Writer.
func (c *coreTx) SetHead(h core.Head) error {
	c.rec.head = h
	return c.store()
}

// SetAnchor implements core.Writer.
func (c *coreTx) SetAnchor(b []byte) error {
	c.rec.anchor = append([]byte(nil), b...)
	return c.store()
}

// number makes sure that the core has one.
func (c *coreTx) number() error {
	if c.missing {
		return c.store()
	}
	return nil
}

// PutBlock implements core.Writer.
func (c *coreTx) PutBlock(i uint64, b []byte) error {
	if err := c.number(); err != nil {
		return err
	}
	return c.blocks.Put(place8(i), b)
}

// ClearBlock implements core.Writer.
func (c *coreTx) ClearBlock(i uint64) error {
	if c.missing {
		return nil
	}
	return c.blocks.Delete(place8(i))
}

// PutHashes implements core.Writer.
func (c *coreTx) PutHashes(first int64, hs []tlog.Hash) error {
	if err := c.number(); err != nil {
		return err
	}
	for i, h := range hs {
		if err := c.hashes.Put(place8(uint64(first)+uint64(i)), h[:]); err != nil {
			return err
		}
	}
	return nil
}
