package blob

import (
	"golang.org/x/sys/cpu"

	"github.com/pearbox/pearbox/drive/key"
)

// wideAES says that the processor has what expandKey and ctrWide need.
var wideAES = cpu.X86.HasAES && cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VAES

// schedule are the round keys of AES-256.
type schedule [15][16]byte

// expandKey makes the round keys of a key of 32 bytes.
//
//go:noescape
func expandKey(out *schedule, key *byte)

// ctrWide encrypts n times wideStep bytes in counter mode; n is at least 1. A block's counter is its last eight bytes, highest first, the
// rest is zero; counter is the first block's. dst may be src.
//
// Package crypto/aes encrypts one block an instruction, this four: a group takes 5 µs and not 11. No instruction's time depends on keys or
// bytes.
//
//go:noescape
func ctrWide(dst, src *byte, n int, keys *schedule, counter uint64)

// wideStep is what ctrWide encrypts at a time.
const wideStep = 512

// newSchedule returns the round keys of k for xorWide, nil if the processor does not have what it needs.
func newSchedule(k *key.Secret) *schedule {
	if !wideAES {
		return nil
	}
	s := new(schedule)
	expandKey(s, &k[0])
	return s
}

// xorWide encrypts or decrypts as many bytes of src as it can, which begin with the block of the number counter, and returns how many.
func xorWide(s *schedule, dst, src []byte, counter uint64) int {
	n := len(src) / wideStep
	if s == nil || n == 0 {
		return 0
	}
	_ = dst[n*wideStep-1]
	ctrWide(&dst[0], &src[0], n, s, counter)
	return n * wideStep
}
