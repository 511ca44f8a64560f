package blob

import (
	"slices"
	"testing"

	"lukechampine.com/blake3/guts"
)

func needWide(t *testing.T) {
	if !wide {
		t.Skip("this processor has no AVX-512")
	}
}

// A lane's counter carries into its high word on its own.
func TestHash16(t *testing.T) {
	needWide(t)
	data := random(16*guts.ChunkSize, 1)
	for _, counter := range []uint64{0, 1, 1<<32 - 5, 1<<32 - 1, 1 << 32, 1<<50 - 7} {
		var got [16]Value
		hash16(&got, &data[0], guts.ChunkSize, guts.ChunkSize/guts.BlockSize, counter, 1, guts.FlagChunkStart, guts.FlagChunkEnd)
		for i, v := range got {
			n := guts.CompressChunk(data[i*guts.ChunkSize:(i+1)*guts.ChunkSize], &guts.IV, counter+uint64(i), 0)
			if want := toBytes(guts.ChainingValue(n)); v != want {
				t.Errorf("chunk %d of counter %d: %x, not %x", i, counter, v, want)
			}
		}
	}
}

// Inner nodes have one block, and may be written over what they are made from.
func TestHash16InPlace(t *testing.T) {
	needWide(t)
	data := random(32*32, 2)
	var v [32]Value
	for i := range v {
		copy(v[i][:], data[32*i:])
	}
	was := v
	hash16((*[16]Value)(v[:]), &v[0][0], 64, 1, 0, 0, guts.FlagParent, 0)
	for i := range 16 {
		if want := parent(&was[2*i], &was[2*i+1], false); v[i] != want {
			t.Errorf("inner node %d: %x, not %x", i, v[i], want)
		}
	}
}

// Both ways to hash a group give the same.
func TestWideNode(t *testing.T) {
	needWide(t)
	t.Cleanup(func() { wide = true })
	data := random(Group, 3)
	all := slices.DeleteFunc(slices.Clone(sizes), func(n int) bool { return n > Group })
	for n := range Group / guts.ChunkSize {
		all = append(all, n*guts.ChunkSize+777)
	}
	for _, size := range all {
		for _, i := range []int64{0, 1, 1<<26 - 1, 1 << 26, MaxSize/Group - 1} {
			for _, alone := range []bool{false, i == 0} {
				wide = true
				got := GroupValue(data[:size], i, alone)
				wide = false
				if want := GroupValue(data[:size], i, alone); got != want {
					t.Errorf("%d bytes of group %d, alone %v: %x, not %x", size, i, alone, got, want)
				}
			}
		}
	}
}
