package key

import (
	"crypto/hpke"
	"errors"
	"fmt"
)

// ErrBox is returned, wrapped, when a box does not open: it was sealed to
// another device, for another purpose, or is damaged.
var ErrBox = errors.New("the box does not open")

// BoxPublic is the public HPKE key of a device, 1216 bytes.
type BoxPublic []byte

// Sizes of boxes, in bytes.
const (
	BoxPublicSize = 1216
	BoxOverhead   = 1120 + 16 // a sealed box is this much longer than what it holds
)

var boxKEM = hpke.MLKEM768X25519()

// BoxPublic returns the key that others seal boxes to. The caller must not
// change it.
func (d *Device) BoxPublic() BoxPublic { return d.boxPub }

// Valid reports whether the key can be sealed to.
func (p BoxPublic) Valid() bool {
	_, err := p.key()
	return err == nil
}

func (p BoxPublic) key() (hpke.PublicKey, error) {
	if len(p) != BoxPublicSize {
		return nil, fmt.Errorf("box key: %d bytes instead of %d", len(p), BoxPublicSize)
	}
	k, err := boxKEM.NewPublicKey(p)
	if err != nil {
		return nil, fmt.Errorf("box key: %w", err)
	}
	return k, nil
}

// SealBox seals plain so that only the device with this key opens it, and
// only for the same info.
func SealBox(pub BoxPublic, info, plain []byte) ([]byte, error) {
	k, err := pub.key()
	if err != nil {
		return nil, err
	}
	sealed, err := hpke.Seal(k, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), signed(UseBox, info), plain)
	if err != nil {
		return nil, fmt.Errorf("sealing a box: %w", err)
	}
	return sealed, nil
}

// OpenBox opens what SealBox made for this device and info.
func (d *Device) OpenBox(info, sealed []byte) ([]byte, error) {
	if len(sealed) < BoxOverhead {
		return nil, fmt.Errorf("%w: too short", ErrBox)
	}
	plain, err := hpke.Open(d.box, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), signed(UseBox, info), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBox, err)
	}
	return plain, nil
}
