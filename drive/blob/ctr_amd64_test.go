package blob

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// TestWideCTR: the assembly gives what crypto/aes gives, at every length around its step, in place and not, wherever the counter carries.
func TestWideCTR(t *testing.T) {
	if !wideAES {
		t.Skip("the processor does not have what it needs")
	}
	src := random(5*wideStep, 1)
	for i := range 64 {
		k := key.NewSecret()
		if i == 0 {
			k = key.Secret{1}
		}
		b, err := aes.NewCipher(k[:])
		if err != nil {
			t.Fatal(err)
		}
		c := NewCipher(k)
		if c.wide == nil {
			t.Fatal("the assembly is not used")
		}
		for _, counter := range []uint64{0, 1, 1<<8 - 3, 1<<32 - 5, 1<<40 - 1, MaxSize/aes.BlockSize - 1<<10} {
			for _, n := range []int{0, 1, 15, 16, wideStep - 1, wideStep, wideStep + 1, 2*wideStep + 17, 5 * wideStep} {
				var iv [aes.BlockSize]byte
				binary.BigEndian.PutUint64(iv[8:], counter)
				want, got := make([]byte, n), make([]byte, n+1)
				cipher.NewCTR(b, iv[:]).XORKeyStream(want, src[:n])
				c.XOR(got, src[:n], int64(counter)*aes.BlockSize)
				if !bytes.Equal(got[:n], want) || got[n] != 0 {
					t.Fatalf("%d bytes from block %d", n, counter)
				}
				own := bytes.Clone(src[:n])
				c.XOR(own, own, int64(counter)*aes.BlockSize)
				if !bytes.Equal(own, want) {
					t.Fatalf("%d bytes from block %d, in place", n, counter)
				}
			}
		}
	}
}
