package blob

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/pearbox/pearbox/drive/key"
)

// Cipher encrypts and decrypts ranges of one blob. It is safe for concurrent
// use. The zero key gives a Cipher that changes nothing.
type Cipher struct {
	block cipher.Block
	wide  *schedule // of the same key; nil: the processor does not have what it needs
}

// NewCipher returns the cipher of a blob's key.
func NewCipher(k key.Secret) *Cipher {
	if k.IsZero() {
		return &Cipher{}
	}
	b, err := aes.NewCipher(k[:])
	if err != nil {
		panic("blob: a 32-byte AES key is refused: " + err.Error())
	}
	return &Cipher{block: b, wide: newSchedule(&k)}
}

// XOR encrypts or decrypts src, which starts at byte off of the blob, into
// dst, which may be src itself.
func (c *Cipher) XOR(dst, src []byte, off int64) {
	if c.block == nil {
		if len(src) > 0 && &dst[0] != &src[0] {
			copy(dst, src)
		}
		return
	}
	if off%aes.BlockSize == 0 {
		n := xorWide(c.wide, dst, src, uint64(off)/aes.BlockSize)
		if dst, src, off = dst[n:], src[n:], off+int64(n); len(src) == 0 {
			return
		}
	}
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(off)/aes.BlockSize)
	s := cipher.NewCTR(c.block, iv[:])
	if skip := off % aes.BlockSize; skip != 0 {
		var waste [aes.BlockSize]byte
		s.XORKeyStream(waste[:skip], waste[:skip])
	}
	s.XORKeyStream(dst[:len(src)], src)
}

// CipherXOR is NewCipher(k).XOR for a single range.
func CipherXOR(k key.Secret, off int64, dst, src []byte) { NewCipher(k).XOR(dst, src, off) }
