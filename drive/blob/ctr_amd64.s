#include "textflag.h"

// Bytes of two 64-bit words in the other order: the counter goes into a block with its highest byte first.
DATA swap<>+0(SB)/8, $0x0001020304050607
DATA swap<>+8(SB)/8, $0x08090a0b0c0d0e0f
GLOBL swap<>(SB), RODATA|NOPTR, $16

// What the four blocks of a register count from the first.
DATA nth<>+0(SB)/8, $0
DATA nth<>+8(SB)/8, $0
DATA nth<>+16(SB)/8, $0
DATA nth<>+24(SB)/8, $1
DATA nth<>+32(SB)/8, $0
DATA nth<>+40(SB)/8, $2
DATA nth<>+48(SB)/8, $0
DATA nth<>+56(SB)/8, $3
GLOBL nth<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $0
DATA four<>+8(SB)/8, $4
GLOBL four<>(SB), RODATA|NOPTR, $16

// MIX adds to the four words of A all words before each, and T.
#define MIX(A, T) \
	MOVO   A, X4; \
	PSLLDQ $4, X4; \
	PXOR   X4, A; \
	PSLLDQ $4, X4; \
	PXOR   X4, A; \
	PSLLDQ $4, X4; \
	PXOR   X4, A; \
	PXOR   T, A

// EVEN makes the next round key of an even number, ODD of an odd one, from the two before in X1 and X3.
#define EVEN(rcon, off) \
	AESKEYGENASSIST $rcon, X3, X2; \
	PSHUFD          $0xff, X2, X2; \
	MIX(X1, X2); \
	MOVOU           X1, off(DI)

#define ODD(off) \
	AESKEYGENASSIST $0, X1, X2; \
	PSHUFD          $0xaa, X2, X2; \
	MIX(X3, X2); \
	MOVOU           X3, off(DI)

// func expandKey(out *schedule, key *byte)
TEXT ·expandKey(SB), NOSPLIT, $0-16
	MOVQ  out+0(FP), DI
	MOVQ  key+8(FP), SI
	MOVOU 0(SI), X1
	MOVOU 16(SI), X3
	MOVOU X1, 0(DI)
	MOVOU X3, 16(DI)
	EVEN(0x01, 32)
	ODD(48)
	EVEN(0x02, 64)
	ODD(80)
	EVEN(0x04, 96)
	ODD(112)
	EVEN(0x08, 128)
	ODD(144)
	EVEN(0x10, 160)
	ODD(176)
	EVEN(0x20, 192)
	ODD(208)
	EVEN(0x40, 224)
	RET

// COUNT makes the next four counters.
#define COUNT(A) \
	VPSHUFB Z15, Z24, A; \
	VPADDQ  Z25, Z24, Z24; \
	VPXORD  Z0, A, A

// EIGHT is one round of all blocks.
#define EIGHT(K) \
	VAESENC K, Z16, Z16; \
	VAESENC K, Z17, Z17; \
	VAESENC K, Z18, Z18; \
	VAESENC K, Z19, Z19; \
	VAESENC K, Z20, Z20; \
	VAESENC K, Z21, Z21; \
	VAESENC K, Z22, Z22; \
	VAESENC K, Z23, Z23

// LAST is the last round of four blocks, and what they encrypt.
#define LAST(A, off) \
	VAESENCLAST Z14, A, A; \
	VPXORD      off(SI), A, A; \
	VMOVDQU32   A, off(DI)

// func ctrWide(dst, src *byte, n int, keys *schedule, counter uint64)
//
// Z0 to Z14 are the round keys, four times each, Z16 to Z23 the blocks, Z24 the counters that come next.
TEXT ·ctrWide(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ keys+24(FP), AX
	MOVQ counter+32(FP), BX

	VBROADCASTI32X4 0(AX), Z0
	VBROADCASTI32X4 16(AX), Z1
	VBROADCASTI32X4 32(AX), Z2
	VBROADCASTI32X4 48(AX), Z3
	VBROADCASTI32X4 64(AX), Z4
	VBROADCASTI32X4 80(AX), Z5
	VBROADCASTI32X4 96(AX), Z6
	VBROADCASTI32X4 112(AX), Z7
	VBROADCASTI32X4 128(AX), Z8
	VBROADCASTI32X4 144(AX), Z9
	VBROADCASTI32X4 160(AX), Z10
	VBROADCASTI32X4 176(AX), Z11
	VBROADCASTI32X4 192(AX), Z12
	VBROADCASTI32X4 208(AX), Z13
	VBROADCASTI32X4 224(AX), Z14
	VBROADCASTI32X4 swap<>(SB), Z15
	VBROADCASTI32X4 four<>(SB), Z25

	MOVQ           $0xaa, AX
	KMOVW          AX, K1
	VPBROADCASTQ.Z BX, K1, Z24
	VPADDQ         nth<>(SB), Z24, Z24

more:
	COUNT(Z16)
	COUNT(Z17)
	COUNT(Z18)
	COUNT(Z19)
	COUNT(Z20)
	COUNT(Z21)
	COUNT(Z22)
	COUNT(Z23)
	EIGHT(Z1)
	EIGHT(Z2)
	EIGHT(Z3)
	EIGHT(Z4)
	EIGHT(Z5)
	EIGHT(Z6)
	EIGHT(Z7)
	EIGHT(Z8)
	EIGHT(Z9)
	EIGHT(Z10)
	EIGHT(Z11)
	EIGHT(Z12)
	EIGHT(Z13)
	LAST(Z16, 0)
	LAST(Z17, 64)
	LAST(Z18, 128)
	LAST(Z19, 192)
	LAST(Z20, 256)
	LAST(Z21, 320)
	LAST(Z22, 384)
	LAST(Z23, 448)
	ADDQ $512, SI
	ADDQ $512, DI
	DECQ CX
	JNZ  more

	VPXORD Z0, Z0, Z0
	VZEROUPPER
	RET
