package core

import (
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// HeadSize is the length of an encoded head, in bytes.
const HeadSize = headSize

// Head is a device's statement that the first Length blocks of one of its
// cores have this root.
type Head struct {
	Core   key.CoreID
	Length uint64
	Root   key.Hash
	Sig    [sigLen]byte
}

// SignHead makes a head. Append does so for a core that is here; a caller who
// signs something else makes a fork.
func SignHead(d *key.Device, id key.CoreID, length uint64, root key.Hash) Head {
	h := Head{Core: id, Length: length, Root: root}
	h.Sig = d.Sign(key.UseHead, h.signed())
	return h
}

// IsZero reports whether this is no head at all.
func (h Head) IsZero() bool { return h == Head{} }

// signed is what the signature covers: the encoding up to the signature.
func (h Head) signed() []byte {
	b := make([]byte, 0, HeadSize)
	b = append(b, h.Core[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Length)
	return append(b, h.Root[:]...)
}

// Verify returns ErrSignature unless dev signed the head, and ErrLimit for a
// length that no core has.
func (h Head) Verify(dev key.DeviceID) error {
	if h.Length == 0 || h.Length > MaxLength {
		return fmt.Errorf("head of length %d: %w", h.Length, ErrLimit)
	}
	if !key.Verify(dev, key.UseHead, h.signed(), h.Sig[:]) {
		return ErrSignature
	}
	return nil
}

// MarshalBinary returns the encoding of HeadSize bytes.
func (h Head) MarshalBinary() ([]byte, error) { return append(h.signed(), h.Sig[:]...), nil }

// ParseHead reads the encoding. It does not verify the signature.
func ParseHead(b []byte) (Head, error) {
	if len(b) != HeadSize {
		return Head{}, fmt.Errorf("head of %d bytes instead of %d: %w", len(b), HeadSize, ErrFormat)
	}
	var h Head
	b = b[copy(h.Core[:], b):]
	h.Length = binary.BigEndian.Uint64(b)
	b = b[8:]
	b = b[copy(h.Root[:], b):]
	copy(h.Sig[:], b)
	return h, nil
}

// UnmarshalBinary is ParseHead.
func (h *Head) UnmarshalBinary(b []byte) (err error) {
	*h, err = ParseHead(b)
	return err
}
