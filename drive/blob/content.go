package blob

import (
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/key"
)

// Sizes and caps.
const (
	Group     = 64 << 10 // bytes of the smallest verified piece
	MaxInline = 2 << 10  // up to here a file's bytes are a payload block
	MaxPacked = Group    // up to here a blob has one group and lives in a pack
	MaxSize   = 1 << 50  // bytes of a file or blob
	MaxParts  = 4096     // parts of one content
	MaxFrame  = 4 << 20  // ciphertext bytes in one frame
	maxProof  = 2 * 40   // values in one proof: two per level
	cidLength = 4 + 32   // bytes of a blob's CID
	cidPrefix = "\x01\x55\x1e\x20"
)

var (
	// ErrContent is wrapped by every refusal of a Content or Ref.
	ErrContent = errors.New("not a valid description of file content")
	// ErrCID is wrapped when a CID is not version 1, raw, BLAKE3-256.
	ErrCID = errors.New("not the CID of a blob")
)

// Ref names one blob. The zero Key means: kept as ciphertext.
type Ref struct {
	CID  cid.Cid
	Key  key.Secret
	Size int64
}

// Range is a range of bytes of a blob.
type Range struct{ Off, Len int64 }

// End is the first offset behind the range.
func (r Range) End() int64 { return r.Off + r.Len }

// Part is a range of a blob's plaintext that makes up a part of a file.
type Part struct {
	CID    cid.Cid
	Key    key.Secret
	Offset int64 // of the part's first byte in the blob
	Length int64 // of the part
	Size   int64 // of the whole blob
}

// Ref returns the blob that the part is cut from.
func (p Part) Ref() Ref { return Ref{CID: p.CID, Key: p.Key, Size: p.Size} }

// Content describes the bytes of one file version: see the package comment.
type Content struct {
	Size        int64
	Plain       key.Hash
	Parts       []Part
	Payload     uint32 // 1-based payload block of the entry that holds the operation; then Parts is empty
	PayloadHash key.Hash
}

// CIDOf returns the CID of ciphertext whose BLAKE3 root is given.
func CIDOf(root [32]byte) cid.Cid {
	b := append([]byte(cidPrefix), root[:]...)
	c, err := cid.Cast(b)
	if err != nil {
		panic("blob: a constant CID prefix does not parse: " + err.Error())
	}
	return c
}

// RootOf returns the BLAKE3 root inside a blob's CID.
func RootOf(c cid.Cid) (root [32]byte, err error) {
	s := c.KeyString()
	if len(s) != cidLength || s[:len(cidPrefix)] != cidPrefix {
		return root, fmt.Errorf("%w: %s", ErrCID, c)
	}
	copy(root[:], s[len(cidPrefix):])
	return root, nil
}

// ParseCID reads the 36 bytes of a blob's CID.
func ParseCID(b []byte) (cid.Cid, error) {
	if len(b) != cidLength || string(b[:len(cidPrefix)]) != cidPrefix {
		return cid.Undef, fmt.Errorf("%w: %d bytes", ErrCID, len(b))
	}
	return CIDOf([32]byte(b[len(cidPrefix):])), nil
}

// Name is the name under which a store keeps the blob's plaintext.
func (r Ref) Name() [32]byte { return key.Derive(key.UseBlobName, r.CID.Bytes(), r.Key[:]) }

// Sealed reports whether the blob is kept as ciphertext.
func (r Ref) Sealed() bool { return r.Key.IsZero() }

// Packed reports whether the blob is small enough for a pack.
func (r Ref) Packed() bool { return r.Size <= MaxPacked }

// Validate checks the CID and the size.
func (r Ref) Validate() error {
	if _, err := RootOf(r.CID); err != nil {
		return err
	}
	if r.Size < 0 || r.Size > MaxSize {
		return fmt.Errorf("%w: a blob of %d bytes", ErrContent, r.Size)
	}
	return nil
}

// Whole is the content of a file that is exactly the bytes of one blob.
func Whole(ref Ref, plain key.Hash) Content {
	c := Content{Size: ref.Size, Plain: plain}
	if ref.Size > 0 {
		c.Parts = []Part{{CID: ref.CID, Key: ref.Key, Length: ref.Size, Size: ref.Size}}
	}
	return c
}

// Refs lists the blobs that the content is made of, each once, in order.
func (c Content) Refs() []Ref {
	var out []Ref
next:
	for _, p := range c.Parts {
		r := p.Ref()
		for _, have := range out {
			if have == r {
				continue next
			}
		}
		out = append(out, r)
	}
	return out
}

// Validate checks the rules of the package comment.
func (c Content) Validate() error {
	switch {
	case c.Size < 0 || c.Size > MaxSize:
		return fmt.Errorf("%w: size %d", ErrContent, c.Size)
	case len(c.Parts) > MaxParts:
		return fmt.Errorf("%w: %d parts, at most %d", ErrContent, len(c.Parts), MaxParts)
	case c.Payload != 0 && len(c.Parts) != 0:
		return fmt.Errorf("%w: both parts and a payload", ErrContent)
	case c.Payload != 0 && (c.Size == 0 || c.Size > MaxInline):
		return fmt.Errorf("%w: a payload of %d bytes", ErrContent, c.Size)
	case c.Payload == 0 && c.PayloadHash != key.Hash{}:
		return fmt.Errorf("%w: the hash of no payload", ErrContent)
	case c.Payload != 0:
		return nil
	}
	var sum int64
	for i, p := range c.Parts {
		if err := p.validate(); err != nil {
			return fmt.Errorf("part %d: %w", i, err)
		}
		sum += p.Length // at most MaxParts * MaxSize = 2^62
	}
	if sum != c.Size {
		return fmt.Errorf("%w: parts of %d bytes in a file of %d", ErrContent, sum, c.Size)
	}
	return nil
}

func (p Part) validate() error {
	if err := p.Ref().Validate(); err != nil {
		return err
	}
	if p.Key.IsZero() {
		return fmt.Errorf("%w: no key", ErrContent)
	}
	if p.Length <= 0 || p.Offset < 0 || p.Length > p.Size || p.Offset > p.Size-p.Length {
		return fmt.Errorf("%w: range %d+%d of a blob of %d", ErrContent, p.Offset, p.Length, p.Size)
	}
	return nil
}
