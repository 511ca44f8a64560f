package blob

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// TestOpenFrom: a frame that is filled while it is verified gives what one gives that is there from the beginning, and asks for nothing
// beyond its groups, in order.
func TestOpenFrom(t *testing.T) {
	const n = 4*Group + 100
	plain, k := random(n, 3), key.NewSecret()
	cipher := bytes.Clone(plain)
	CipherXOR(k, 0, cipher, cipher)
	outboard, root := Outboard(leaves(cipher))
	ref := Ref{CID: CIDOf(root), Key: k, Size: n}
	whole := frameOf(t, cipher, outboard, 1, 5)
	empty := func() Frame { return Frame{Off: whole.Off, Proof: whole.Proof, Data: make([]byte, len(whole.Data))} }

	src := bytes.NewReader(cipher[Group:])
	got, err := empty().OpenFrom(ref, func(g []byte) error { _, err := io.ReadFull(src, g); return err })
	if err != nil || src.Len() != 0 || !bytes.Equal(got.Data(), plain[Group:]) {
		t.Fatalf("%v, %d bytes left", err, src.Len())
	}
	want, err := whole.Open(ref)
	if err != nil || len(want.Pairs()) != len(got.Pairs()) {
		t.Fatal(err, len(want.Pairs()), len(got.Pairs()))
	}
	for i, p := range want.Pairs() {
		if got.Pairs()[i] != p {
			t.Errorf("pair %d differs", i)
		}
	}

	broken, asked := errors.New("the stream breaks"), 0
	_, err = empty().OpenFrom(ref, func(g []byte) error {
		if asked++; asked == 3 {
			return broken
		}
		copy(g, cipher[asked*Group:])
		return nil
	})
	if err != broken || asked != 3 {
		t.Errorf("%v after group %d", err, asked)
	}

	asked = 0
	_, err = empty().OpenFrom(ref, func(g []byte) error {
		asked++
		copy(g, cipher[asked*Group:])
		g[0] ^= 1
		return nil
	})
	if !errors.Is(err, ErrFrame) {
		t.Errorf("wrong bytes: %v", err)
	}
}
