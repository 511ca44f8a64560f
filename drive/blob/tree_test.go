package blob

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"lukechampine.com/blake3"
	"lukechampine.com/blake3/bao"

	"github.com/pearbox/pearbox/drive/key"
)

// sizes covers no bytes, ends inside chunks, pieces and groups, powers of two
// of groups and their neighbours.
var sizes = []int{
	0, 1, 63, 64, 65, 1023, 1024, 1025, 4096, 5000, 16383, 16384, 16385, 32768, 40000, 49152, 49153,
	Group - 1, Group, Group + 1, 2*Group - 1, 2 * Group, 2*Group + 1, 3 * Group, 3*Group + 17, 4 * Group, 5*Group - 1,
	7 * Group, 8*Group + 1, 13*Group + 4321, 16 * Group, 31*Group + 1, 33 * Group,
}

// random returns reproducible bytes.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	r.Read(b)
	return b
}

func leaves(b []byte) []Value {
	n := Groups(int64(len(b)))
	out := make([]Value, n)
	for i := range out {
		out[i] = GroupValue(b[i*Group:min((i+1)*Group, len(b))], int64(i), n == 1)
	}
	return out
}

func TestOutboardIsBao(t *testing.T) {
	for _, n := range sizes {
		b := random(n, uint64(n))
		got, root := Outboard(leaves(b))
		want, wantRoot := bao.EncodeBuf(b, 6, true)
		if root != wantRoot || !bytes.Equal(got, want[8:]) {
			t.Errorf("%d bytes: outboard or root differ from bao's", n)
		}
		if OutboardSize(int64(n)) != int64(len(got)) {
			t.Errorf("%d bytes: OutboardSize = %d, is %d", n, OutboardSize(int64(n)), len(got))
		}
		if Sum(b) != key.Hash(blake3.Sum256(b)) {
			t.Errorf("%d bytes: Sum is not BLAKE3", n)
		}
	}
}

func TestHasherInPieces(t *testing.T) {
	b := random(9*Group+77, 1)
	for _, step := range []int{1000, Group - 1, Group, Group + 1, 3*Group + 5, len(b)} {
		h := NewHasher()
		for at := 0; at < len(b); at += step {
			h.Write(b[at:min(at+step, len(b))])
			if at < 3*step && h.Sum() != key.Hash(blake3.Sum256(b[:min(at+step, len(b))])) {
				t.Fatalf("step %d: wrong hash after %d bytes", step, at)
			}
		}
		if h.Sum() != key.Hash(blake3.Sum256(b)) || h.Size() != int64(len(b)) {
			t.Errorf("step %d: wrong hash", step)
		}
	}
	if h, n, err := PlainHash(bytes.NewReader(b)); h != Sum(b) || n != int64(len(b)) || err != nil {
		t.Errorf("PlainHash: %v %d %v", h, n, err)
	}
}

// frameOf cuts the groups [lo, hi) out of ciphertext.
func frameOf(t *testing.T, b, outboard []byte, lo, hi int) Frame {
	t.Helper()
	off, end := lo*Group, min(hi*Group, len(b))
	p, err := Proof(bytes.NewReader(outboard), int64(len(b)), int64(off), int64(end-off))
	if err != nil {
		t.Fatal(err)
	}
	return Frame{Off: int64(off), Proof: p, Data: bytes.Clone(b[off:end])}
}

func TestFramesOfEveryRange(t *testing.T) {
	for _, n := range sizes {
		if n > 14*Group {
			continue
		}
		b := random(n, uint64(n))
		outboard, root := Outboard(leaves(b))
		groups := int(Groups(int64(n)))
		for lo := 0; lo < groups; lo++ {
			for hi := lo + 1; hi <= groups; hi++ {
				f := frameOf(t, b, outboard, lo, hi)
				pairs, err := f.Check(CIDOf(root), int64(n), nil)
				if err != nil {
					t.Fatalf("%d bytes, groups %d-%d: %v", n, lo, hi, err)
				}
				last := int64(-1)
				for _, p := range pairs {
					if p.At <= last || !bytes.Equal(p.AppendTo(nil), outboard[p.At:p.At+pairSize]) {
						t.Fatalf("%d bytes, groups %d-%d: pair at %d is wrong", n, lo, hi, p.At)
					}
					last = p.At
				}
			}
		}
	}
}

// TestFramesRebuildTheOutboard: the pairs of frames that cover a blob, in any
// order, are its whole outboard.
func TestFramesRebuildTheOutboard(t *testing.T) {
	b := random(29*Group+5, 3)
	outboard, root := Outboard(leaves(b))
	got := make([]byte, len(outboard))
	for _, lo := range rand.New(rand.NewPCG(1, 2)).Perm(10) {
		f := frameOf(t, b, outboard, lo*3, min(lo*3+3, 30))
		pairs, err := f.Check(CIDOf(root), int64(len(b)), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pairs {
			p.AppendTo(got[p.At:p.At:len(got)])
		}
	}
	if !bytes.Equal(got, outboard) {
		t.Error("the outboard is not complete")
	}
}

func TestFrameRefusesEveryChange(t *testing.T) {
	const n = 11*Group + 100
	b := random(n, 5)
	outboard, root := Outboard(leaves(b))
	c := CIDOf(root)
	fresh := func() Frame { return frameOf(t, b, outboard, 2, 5) }
	refuse := func(what string, f Frame, size int64) {
		t.Helper()
		if _, err := f.Check(c, size, nil); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for i := range fresh().Proof {
		f := fresh()
		f.Proof[i][i%32] ^= 1
		refuse(fmt.Sprintf("proof value %d", i), f, n)
		f = fresh()
		f.Proof = append(f.Proof[:i], f.Proof[i+1:]...)
		refuse(fmt.Sprintf("without proof value %d", i), f, n)
	}
	for _, at := range []int{0, 1, Group - 1, Group, 3*Group - 1} {
		f := fresh()
		f.Data[at] ^= 0x80
		refuse(fmt.Sprintf("data byte %d", at), f, n)
	}
	f := fresh()
	f.Proof = append(f.Proof, Value{})
	refuse("one value too many", f, n)
	f = fresh()
	f.Proof = make([]Value, maxProof+1)
	refuse("a very long proof", f, n)
	for _, off := range []int64{-Group, -1, 0, 1, Group, 3 * Group, 1 << 62} {
		f = fresh()
		f.Off = off
		refuse(fmt.Sprintf("offset %d", off), f, n)
	}
	for _, size := range []int64{-1, 0, 5 * Group, 8 * Group, 40 * Group, MaxSize} {
		refuse(fmt.Sprintf("size %d", size), fresh(), size)
	}
	for _, size := range []int64{n - 1, n + 1, n + Group, 12 * Group} {
		refuse(fmt.Sprintf("size %d at the end", size), frameOf(t, b, outboard, 9, 12), size)
	}
	f = fresh()
	f.Data = f.Data[:len(f.Data)-1]
	refuse("a short group", f, n)
	f.Data = nil
	refuse("no data", f, n)
	if _, err := fresh().Check(CIDOf(Value{1}), n, nil); err == nil {
		t.Error("accepted for another blob")
	}
}

func FuzzFrame(f *testing.F) {
	b := random(5*Group+9, 8)
	outboard, root := Outboard(leaves(b))
	f.Add(int64(Group), int64(len(b)), Group, []byte("x"))
	f.Add(int64(0), int64(0), 0, []byte{})
	f.Fuzz(func(t *testing.T, off, size int64, n int, proof []byte) {
		fr := Frame{Off: off}
		if n >= 0 && n <= len(b) {
			fr.Data = b[:n]
		}
		for ; len(proof) >= 32; proof = proof[32:] {
			fr.Proof = append(fr.Proof, Value(proof[:32]))
		}
		if _, err := fr.Check(CIDOf(root), size, nil); err == nil {
			want := frameOf(t, b, outboard, int(off/Group), int((off+int64(n)+Group-1)/Group))
			if !bytes.Equal(want.Data, fr.Data) {
				t.Error("accepted what is not part of the blob")
			}
		}
	})
}

func BenchmarkGroupValue(b *testing.B) {
	for _, n := range []int{4 << 10, Group} {
		buf := random(n, 1)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				GroupValue(buf, 0, false)
			}
		})
	}
	b.Run("cipher", func(b *testing.B) {
		buf, c := random(Group, 1), NewCipher(key.NewSecret())
		b.SetBytes(Group)
		b.ReportAllocs()
		for b.Loop() {
			c.XOR(buf, buf, Group)
		}
	})
	b.Run("check 1 MiB", func(b *testing.B) {
		const n = 1 << 30
		data := random(1<<20, 1)
		proof := make([]Value, 10)
		b.SetBytes(1 << 20)
		b.ReportAllocs()
		var pairs []Pair
		for b.Loop() {
			k := checker{f: Frame{Off: 1 << 20, Proof: proof, Data: data}, size: n, lo: 16, hi: 32, pairs: pairs[:0]}
			k.value(0, Groups(n), 0, true)
			pairs = k.pairs
		}
	})
}
