package blob

import (
	"golang.org/x/sys/cpu"
	"lukechampine.com/blake3/guts"
)

// wide says that the processor has what hash16 needs.
var wide = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL

// hash16 hashes 16 inputs of equal length, of whole blocks of 64 bytes, side by side: the first begins at in, each is
// stride bytes behind the one before. The counter of input i is counter + i*step; first and last are flags of the
// first and of the last block. out may be where the inputs are, if they have one block each.
//
//go:noescape
func hash16(out *[16]Value, in *byte, stride, blocks int, counter uint64, step, first, last uint32)

// wideNode is groupNode with hash16: inner nodes, too, are computed 16 at a time.
//
// Package guts gathers the words of the message one by one, which takes processors of AMD about as long as all the
// rest; here rows are loaded and transposed.
func wideNode(data []byte, chunk uint64) guts.Node {
	if len(data) <= guts.ChunkSize {
		return guts.CompressChunk(data, &guts.IV, chunk, 0)
	}
	var v [Group / guts.ChunkSize]Value
	n := wideChunks(&v, data, chunk)
	for ; n > 2; n = (n + 1) / 2 {
		last := v[n-1]
		for i := 0; i < n/2; i += 16 {
			hash16((*[16]Value)(v[i:]), &v[2*i][0], 2*len(v[0]), 1, 0, 0, guts.FlagParent, 0)
		}
		if n%2 != 0 {
			v[n/2] = last
		}
	}
	return guts.ParentNode(fromBytes(&v[0]), fromBytes(&v[1]), &guts.IV, 0)
}

// wideChunks sets v to the values of the chunks of data and returns how many there are.
func wideChunks(v *[Group / guts.ChunkSize]Value, data []byte, chunk uint64) int {
	full := func(at int, p []byte) {
		hash16((*[16]Value)(v[at:]), &p[0], guts.ChunkSize, guts.ChunkSize/guts.BlockSize,
			chunk+uint64(at), 1, guts.FlagChunkStart, guts.FlagChunkEnd)
	}
	n := 0
	for ; len(data) >= piece; data = data[piece:] {
		full(n, data)
		n += piece / guts.ChunkSize
	}
	if len(data) >= guts.ChunkSize {
		var buf [piece]byte // hash16 reads all of it
		copy(buf[:], data)
		full(n, buf[:])
		n += len(data) / guts.ChunkSize
	}
	if rest := data[len(data)/guts.ChunkSize*guts.ChunkSize:]; len(rest) > 0 {
		v[n] = toBytes(guts.ChainingValue(guts.CompressChunk(rest, &guts.IV, chunk+uint64(n), 0)))
		n++
	}
	return n
}
