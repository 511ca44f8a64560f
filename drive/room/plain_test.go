package room

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// TestPlainHeaders: ordinary headers are read without the CBOR library, and whatever is read so is what the library reads.
func TestPlainHeaders(t *testing.T) {
	s := rand.New(rand.NewPCG(1, 2))
	hashes := func(n int) (out []key.Hash) {
		for i := range n {
			out = append(out, key.Derive(key.UseTest, []byte{byte(i), byte(i >> 8), byte(n)}))
		}
		sortHashes(out)
		return out
	}
	alike := func(b []byte) bool {
		var plain, full header
		if !plain.readPlain(b) {
			return false
		}
		if err := decode(b, &full); err != nil || !reflect.DeepEqual(plain, full) {
			t.Fatalf("%x is read as\n%+v\nand by the library as\n%+v, %v", b, plain, full, err)
		}
		return true
	}
	changed := 0
	for _, h := range []header{
		{Prev: key.Hash{1}, Lamport: 1, Wall: 0},
		{Prev: key.Hash{1}, Lamport: 23, Wall: 24, Deps: hashes(1)},
		{Lamport: 255, Wall: 256, Control: hashes(2)},
		{Prev: key.Hash{2}, Lamport: MaxLamport, Wall: maxWall, Deps: hashes(23), Control: hashes(24), Payloads: MaxPayloads},
		{Prev: key.Hash{3}, Lamport: 65535, Wall: 65536, Deps: hashes(256), Control: hashes(255), Payloads: 1},
		{Prev: key.Hash{4}, Lamport: 1 << 32, Wall: 1<<32 - 1, Payloads: 23},
	} {
		b, err := encode(h)
		if err != nil {
			t.Fatal(err)
		}
		if !alike(b) {
			t.Errorf("not read without the library: %+v", h)
		}
		for range 3000 {
			c := bytes.Clone(b)
			switch at := s.IntN(min(len(c), 60)); s.IntN(3) {
			case 0:
				c[at] = byte(s.IntN(256))
			case 1:
				c = slices.Delete(c, at, at+1)
			case 2:
				c = slices.Insert(c, at, byte(s.IntN(256)))
			}
			if alike(c) {
				changed++
			}
		}
	}
	if changed < 100 {
		t.Errorf("only %d changed headers were read", changed)
	}
}
