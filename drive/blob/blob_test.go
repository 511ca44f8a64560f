package blob

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"lukechampine.com/blake3"
	"lukechampine.com/blake3/bao"

	"github.com/pearbox/pearbox/drive/key"
)

func TestCipherSeeks(t *testing.T) {
	k := key.Secret{1, 2, 3}
	plain := random(3*Group+11, 1)
	block, err := aes.NewCipher(k[:])
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, len(plain))
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(want, plain)
	c := NewCipher(k)
	for _, r := range []Range{{0, 10}, {0, int64(len(plain))}, {Group, Group}, {2 * Group, Group + 11}, {5, 100}, {17, 3}, {4096, 1}} {
		got := make([]byte, r.Len)
		c.XOR(got, plain[r.Off:r.End()], r.Off)
		if !bytes.Equal(got, want[r.Off:r.End()]) {
			t.Errorf("range %v differs from one long stream", r)
		}
		CipherXOR(k, r.Off, got, got)
		if !bytes.Equal(got, plain[r.Off:r.End()]) {
			t.Errorf("range %v does not come back", r)
		}
	}
	got := bytes.Clone(plain)
	NewCipher(key.Secret{}).XOR(got, plain, 0)
	if !bytes.Equal(got, plain) {
		t.Error("the zero key changes something")
	}
}

// memAt collects an outboard.
type memAt struct{ b []byte }

func (m *memAt) WriteAt(p []byte, off int64) (int, error) {
	return copy(m.b[off:], p), nil
}

func TestImport(t *testing.T) {
	all := append([]int{stripe - 1, stripe, stripe + 1, 2*stripe + Group, 3*stripe + 12345}, sizes...)
	for _, n := range all {
		plain := random(n, uint64(n))
		k := key.NewSecret()
		sealed := make([]byte, n)
		CipherXOR(k, 0, sealed, plain)
		want, root := bao.EncodeBuf(sealed, 6, true)
		dst, err := os.Create(filepath.Join(t.TempDir(), "copy"))
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		out := &memAt{make([]byte, OutboardSize(int64(n)))}
		var done int64
		got, err := Import(context.Background(), bytes.NewReader(plain), int64(n), k, dst, out, func(d int64) { done = d })
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got.Ref != (Ref{CID: CIDOf(root), Key: k, Size: int64(n)}) || got.Plain != key.Hash(blake3.Sum256(plain)) || done != int64(n) {
			t.Errorf("%d bytes: wrong hashes", n)
		}
		if !bytes.Equal(out.b, want[8:]) {
			t.Errorf("%d bytes: wrong outboard", n)
		}
		if b, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(b, plain) {
			t.Errorf("%d bytes: the copy differs (%v)", n, err)
		}
		if n <= MaxPacked {
			if r := Seal(make([]byte, n), plain, k); r != got.Ref {
				t.Errorf("%d bytes: Seal and Import differ", n)
			}
		}
	}
}

func TestImportNoticesTrouble(t *testing.T) {
	plain := random(2*Group, 1)
	out := &memAt{make([]byte, OutboardSize(3*Group))}
	if _, err := Import(context.Background(), bytes.NewReader(plain), 3*Group, key.NewSecret(), nil, out, nil); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that shrank: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Import(ctx, bytes.NewReader(plain), 2*Group, key.NewSecret(), nil, out, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := Import(context.Background(), bytes.NewReader(nil), MaxSize+1, key.NewSecret(), nil, out, nil); !errors.Is(err, ErrContent) {
		t.Errorf("an enormous file: %v", err)
	}
}

func somePart(size int64) Part {
	return Part{CID: CIDOf(key.Sum([]byte{byte(size)})), Key: key.Secret{9}, Length: size, Size: size}
}

func TestContentRoundTrip(t *testing.T) {
	cut := somePart(1000)
	cut.Offset, cut.Length = 10, 500
	for _, c := range []Content{
		{Plain: Sum(nil)},
		{Size: 100, Plain: key.Hash{1}, Payload: 3, PayloadHash: key.Hash{2}},
		Whole(somePart(70000).Ref(), key.Hash{4}),
		{Size: 70500, Plain: key.Hash{1}, Parts: []Part{somePart(70000), cut}},
	} {
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeContent(b)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
		for i := range b {
			if _, err := DecodeContent(b[:i]); err == nil {
				t.Errorf("accepted the first %d of %d bytes", i, len(b))
			}
		}
		if _, err := DecodeContent(append(b, 0)); err == nil {
			t.Error("accepted a byte too many")
		}
	}
	if refs := (Content{Parts: []Part{cut, somePart(70000), cut}}).Refs(); len(refs) != 2 {
		t.Errorf("Refs gave %d blobs", len(refs))
	}
}

func TestContentRules(t *testing.T) {
	part := func(change func(*Part)) Content {
		p := somePart(1000)
		change(&p)
		return Content{Size: 1000, Parts: []Part{p}}
	}
	for what, c := range map[string]Content{
		"negative size":        {Size: -1},
		"enormous":             {Size: MaxSize + 1, Parts: []Part{somePart(1)}},
		"parts do not add up":  {Size: 10, Parts: []Part{somePart(9)}},
		"no parts":             {Size: 10},
		"parts of nothing":     {Size: 0, Parts: []Part{somePart(9)}},
		"payload and parts":    {Size: 10, Payload: 1, Parts: []Part{somePart(10)}},
		"payload too large":    {Size: MaxInline + 1, Payload: 1},
		"empty payload":        {Payload: 1},
		"hash without payload": {PayloadHash: key.Hash{1}},
		"too many parts":       {Size: MaxParts + 1, Parts: make([]Part, MaxParts+1)},
		"no key":               part(func(p *Part) { p.Key = key.Secret{} }),
		"no CID":               part(func(p *Part) { p.CID = Ref{}.CID }),
		"range behind the end": part(func(p *Part) { p.Offset = 1 }),
		"negative offset":      part(func(p *Part) { p.Offset = -1 }),
		"overflow":             part(func(p *Part) { p.Offset = 1<<63 - 1 }),
		"blob too large":       part(func(p *Part) { p.Size = MaxSize + 1 }),
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("%s: valid", what)
		}
		if _, err := c.Encode(); err == nil {
			t.Errorf("%s: encoded", what)
		}
	}
}

func TestCID(t *testing.T) {
	c := CIDOf(Value{7})
	if r, err := RootOf(c); err != nil || r != (Value{7}) {
		t.Errorf("RootOf: %v %v", r, err)
	}
	if c.Prefix().Codec != 0x55 || c.Prefix().MhType != 0x1e || c.Version() != 1 {
		t.Errorf("wrong prefix %+v", c.Prefix())
	}
	if got, err := ParseCID(c.Bytes()); err != nil || got != c {
		t.Errorf("ParseCID: %v %v", got, err)
	}
	for _, b := range [][]byte{nil, c.Bytes()[:35], append(c.Bytes(), 0), make([]byte, 36)} {
		if _, err := ParseCID(b); !errors.Is(err, ErrCID) {
			t.Errorf("ParseCID of %d bytes: %v", len(b), err)
		}
	}
	a, b := Ref{CID: c, Key: key.Secret{1}}, Ref{CID: c, Key: key.Secret{2}}
	if a.Name() == b.Name() || a.Sealed() || !(Ref{CID: c}).Sealed() {
		t.Error("names or sealing are wrong")
	}
}
