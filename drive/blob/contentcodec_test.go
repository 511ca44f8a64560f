package blob

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/key"
)

// The CBOR shapes, for a library to say what the codec has to.
type contentWire struct {
	Size        int64      `cbor:"1,keyasint,omitempty"`
	Plain       []byte     `cbor:"2,keyasint"`
	Parts       []partWire `cbor:"3,keyasint,omitempty"`
	Payload     uint32     `cbor:"4,keyasint,omitempty"`
	PayloadHash []byte     `cbor:"5,keyasint,omitempty"`
}

type partWire struct {
	_                    struct{} `cbor:",toarray"`
	CID                  []byte
	Key                  []byte
	Offset, Length, Size int64
}

func byLibrary(t testing.TB, c Content) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	w := contentWire{Size: c.Size, Plain: c.Plain[:], Payload: c.Payload}
	if c.Payload != 0 {
		w.PayloadHash = c.PayloadHash[:]
	}
	for _, p := range c.Parts {
		w.Parts = append(w.Parts, partWire{CID: p.CID.Bytes(), Key: p.Key[:], Offset: p.Offset, Length: p.Length, Size: p.Size})
	}
	b, err := mode.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fromLibrary is what a library reads, when that is a valid content whose canonical form these bytes are.
func fromLibrary(t testing.TB, b []byte) (c Content, ok bool) {
	t.Helper()
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxArrayElements: MaxParts, MaxMapPairs: 16, MaxNestedLevels: 4, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	var w contentWire
	if mode.Unmarshal(b, &w) != nil || len(w.Plain) != 32 || (w.Payload != 0) != (len(w.PayloadHash) == 32) || w.Payload == 0 && len(w.PayloadHash) != 0 {
		return c, false
	}
	c = Content{Size: w.Size, Plain: key.Hash(w.Plain), Payload: w.Payload}
	copy(c.PayloadHash[:], w.PayloadHash)
	for _, p := range w.Parts {
		id, err := ParseCID(p.CID)
		if err != nil || len(p.Key) != 32 {
			return c, false
		}
		c.Parts = append(c.Parts, Part{CID: id, Key: key.Secret(p.Key), Offset: p.Offset, Length: p.Length, Size: p.Size})
	}
	return c, c.Validate() == nil && bytes.Equal(byLibrary(t, c), b)
}

func equalContents(a, b Content) bool {
	same := a.Size == b.Size && a.Plain == b.Plain && a.Payload == b.Payload && a.PayloadHash == b.PayloadHash && len(a.Parts) == len(b.Parts)
	for i := range a.Parts {
		same = same && a.Parts[i] == b.Parts[i]
	}
	return same
}

// someContents have numbers about where the length of their form changes.
func someContents() (out []Content) {
	edges := []int64{1, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, MaxSize}
	hash := func(i int) (h [32]byte) { return [32]byte{byte(i + 1), byte(i >> 8)} }
	for i, n := range edges {
		out = append(out, Whole(Ref{CID: CIDOf(hash(i)), Key: key.Secret(hash(i)), Size: n}, hash(i)))
		parts := Content{Plain: hash(i)}
		for j, off := range edges {
			if off < n {
				parts.Parts = append(parts.Parts, Part{CID: CIDOf(hash(j)), Key: key.Secret(hash(j)), Offset: off, Length: n - off, Size: n})
				parts.Size += n - off
			}
		}
		out = append(out, parts)
		if n <= MaxInline {
			out = append(out, Content{Size: n, Plain: hash(i), Payload: uint32(n), PayloadHash: hash(i)}, Content{Size: 1, Plain: hash(i), Payload: 1<<32 - 1})
		}
	}
	many := Content{Plain: hash(7)}
	for i := range MaxParts {
		many.Parts = append(many.Parts, Part{CID: CIDOf(hash(i)), Key: key.Secret(hash(i)), Length: 1, Size: 1})
	}
	many.Size = MaxParts
	return append(out, Content{}, many)
}

// TestContentCodec: the codec writes and reads what a library does.
func TestContentCodec(t *testing.T) {
	for i, c := range someContents() {
		if err := c.Validate(); err != nil {
			continue // MaxSize is too much for several parts
		}
		b, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, byLibrary(t, c)) {
			t.Errorf("content %d has another form", i)
		}
		if got, err := DecodeContent(b); err != nil || !equalContents(got, c) {
			t.Errorf("content %d: %+v, %v", i, got, err)
		}
	}
}

// TestContentCodecRefuses: bytes changed, cut off or added anywhere are taken only if a library takes them for the same.
func TestContentCodecRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for _, c := range someContents() {
		b := byLibrary(t, c)
		if len(b) > 4<<10 {
			continue
		}
		for range 2000 {
			bad := bytes.Clone(b)
			switch at := rng.IntN(len(bad)); rng.IntN(4) {
			case 0:
				bad = bad[:at]
			case 1:
				bad = append(bad[:at], append([]byte{byte(rng.Uint32())}, bad[at:]...)...)
			case 2:
				bad = append(bad[:at], bad[at+1:]...)
			default:
				bad[at] = byte(rng.Uint32())
			}
			if compareToLibrary(t, bad) {
				taken++
			}
		}
	}
	if taken == 0 {
		t.Error("nothing was taken: the test compares refusals alone")
	}
}

func compareToLibrary(t testing.TB, b []byte) (taken bool) {
	t.Helper()
	want, ok := fromLibrary(t, b)
	got, err := DecodeContent(b)
	if (err == nil) != ok || ok && !equalContents(got, want) {
		t.Fatalf("%x: %+v, %v; by the library %+v, %v", b, got, err, want, ok)
	}
	if err != nil && !errors.Is(err, ErrContent) && !errors.Is(err, ErrCID) {
		t.Fatalf("%x: %v", b, err)
	}
	return ok
}

func FuzzContent(f *testing.F) {
	for _, c := range someContents() {
		if b := byLibrary(f, c); len(b) < 1<<10 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { compareToLibrary(t, b) })
}
