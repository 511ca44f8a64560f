#include "textflag.h"

// BLAKE3's initial value.
DATA iv<>+0(SB)/4, $0x6A09E667
DATA iv<>+4(SB)/4, $0xBB67AE85
DATA iv<>+8(SB)/4, $0x3C6EF372
DATA iv<>+12(SB)/4, $0xA54FF53A
DATA iv<>+16(SB)/4, $0x510E527F
DATA iv<>+20(SB)/4, $0x9B05688C
DATA iv<>+24(SB)/4, $0x1F83D9AB
DATA iv<>+28(SB)/4, $0x5BE0CD19
GLOBL iv<>(SB), RODATA|NOPTR, $32

// The number of each lane.
DATA lane<>+0(SB)/8, $0x0000000100000000
DATA lane<>+8(SB)/8, $0x0000000300000002
DATA lane<>+16(SB)/8, $0x0000000500000004
DATA lane<>+24(SB)/8, $0x0000000700000006
DATA lane<>+32(SB)/8, $0x0000000900000008
DATA lane<>+40(SB)/8, $0x0000000b0000000a
DATA lane<>+48(SB)/8, $0x0000000d0000000c
DATA lane<>+56(SB)/8, $0x0000000f0000000e
GLOBL lane<>(SB), RODATA|NOPTR, $64

// ROWS loads the 16 bytes at off of each of the 16 inputs: those of 0, 4, 8 and 12 into the four quarters of A, those
// of 1, 5, 9 and 13 into B, and so on; XA is the lowest quarter of A.
// The inputs lie R8 bytes apart, beginning with SI; R9 is 3*R8, R10, R11 and R12 are inputs 4, 8 and 12.
#define ROWS(off, XA, XB, XC, XD, A, B, C, D) \
	VMOVDQU32       off(SI), XA; \
	VMOVDQU32       off(SI)(R8*1), XB; \
	VMOVDQU32       off(SI)(R8*2), XC; \
	VMOVDQU32       off(SI)(R9*1), XD; \
	VBROADCASTI32X4 off(R10), K1, A; \
	VBROADCASTI32X4 off(R10)(R8*1), K1, B; \
	VBROADCASTI32X4 off(R10)(R8*2), K1, C; \
	VBROADCASTI32X4 off(R10)(R9*1), K1, D; \
	VBROADCASTI32X4 off(R11), K2, A; \
	VBROADCASTI32X4 off(R11)(R8*1), K2, B; \
	VBROADCASTI32X4 off(R11)(R8*2), K2, C; \
	VBROADCASTI32X4 off(R11)(R9*1), K2, D; \
	VBROADCASTI32X4 off(R12), K3, A; \
	VBROADCASTI32X4 off(R12)(R8*1), K3, B; \
	VBROADCASTI32X4 off(R12)(R8*2), K3, C; \
	VBROADCASTI32X4 off(R12)(R9*1), K3, D

// AHEAD has the cache fetch what is off bytes ahead in each of the 16 inputs: the processor does not see so many streams coming.
#define AHEAD(off) \
	PREFETCHT0 off(SI); \
	PREFETCHT0 off(SI)(R8*1); \
	PREFETCHT0 off(SI)(R8*2); \
	PREFETCHT0 off(SI)(R9*1); \
	PREFETCHT0 off(R10); \
	PREFETCHT0 off(R10)(R8*1); \
	PREFETCHT0 off(R10)(R8*2); \
	PREFETCHT0 off(R10)(R9*1); \
	PREFETCHT0 off(R11); \
	PREFETCHT0 off(R11)(R8*1); \
	PREFETCHT0 off(R11)(R8*2); \
	PREFETCHT0 off(R11)(R9*1); \
	PREFETCHT0 off(R12); \
	PREFETCHT0 off(R12)(R8*1); \
	PREFETCHT0 off(R12)(R8*2); \
	PREFETCHT0 off(R12)(R9*1)

// TURN transposes the four by four words in each quarter of A, B, C and D, by way of Z8 to Z11.
#define TURN(A, B, C, D) \
	VPUNPCKLDQ  B, A, Z8; \
	VPUNPCKHDQ  B, A, Z9; \
	VPUNPCKLDQ  D, C, Z10; \
	VPUNPCKHDQ  D, C, Z11; \
	VPUNPCKLQDQ Z10, Z8, A; \
	VPUNPCKHQDQ Z10, Z8, B; \
	VPUNPCKLQDQ Z11, Z9, C; \
	VPUNPCKHQDQ Z11, Z9, D

// HALF is half of the mixing function, on four columns or diagonals at once, with a word of the message for each.
#define HALF(M0, M1, M2, M3, A0, A1, A2, A3, B0, B1, B2, B3, C0, C1, C2, C3, D0, D1, D2, D3, r1, r2) \
	VPADDD M0, A0, A0; \
	VPADDD M1, A1, A1; \
	VPADDD M2, A2, A2; \
	VPADDD M3, A3, A3; \
	VPADDD B0, A0, A0; \
	VPADDD B1, A1, A1; \
	VPADDD B2, A2, A2; \
	VPADDD B3, A3, A3; \
	VPXORD A0, D0, D0; \
	VPXORD A1, D1, D1; \
	VPXORD A2, D2, D2; \
	VPXORD A3, D3, D3; \
	VPRORD r1, D0, D0; \
	VPRORD r1, D1, D1; \
	VPRORD r1, D2, D2; \
	VPRORD r1, D3, D3; \
	VPADDD D0, C0, C0; \
	VPADDD D1, C1, C1; \
	VPADDD D2, C2, C2; \
	VPADDD D3, C3, C3; \
	VPXORD C0, B0, B0; \
	VPXORD C1, B1, B1; \
	VPXORD C2, B2, B2; \
	VPXORD C3, B3, B3; \
	VPRORD r2, B0, B0; \
	VPRORD r2, B1, B1; \
	VPRORD r2, B2, B2; \
	VPRORD r2, B3, B3

#define COLUMNS(M0, M1, M2, M3, r1, r2) \
	HALF(M0, M1, M2, M3, Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15, r1, r2)

#define DIAGONALS(M0, M1, M2, M3, r1, r2) \
	HALF(M0, M1, M2, M3, Z0, Z1, Z2, Z3, Z5, Z6, Z7, Z4, Z10, Z11, Z8, Z9, Z15, Z12, Z13, Z14, r1, r2)

// ROUND takes the words of the message in the round's order.
#define ROUND(M0, M1, M2, M3, M4, M5, M6, M7, M8, M9, M10, M11, M12, M13, M14, M15) \
	COLUMNS(M0, M2, M4, M6, $16, $12); \
	COLUMNS(M1, M3, M5, M7, $8, $7); \
	DIAGONALS(M8, M10, M12, M14, $16, $12); \
	DIAGONALS(M9, M11, M13, M15, $8, $7)

// QUARTERS writes 16 bytes of each of the 16 outputs, as ROWS reads them.
#define QUARTERS(off, A, B, C, D, XA, XB, XC, XD) \
	VMOVDQU32     XA, off+0(DI); \
	VMOVDQU32     XB, off+32(DI); \
	VMOVDQU32     XC, off+64(DI); \
	VMOVDQU32     XD, off+96(DI); \
	VEXTRACTI32X4 $1, A, off+128(DI); \
	VEXTRACTI32X4 $1, B, off+160(DI); \
	VEXTRACTI32X4 $1, C, off+192(DI); \
	VEXTRACTI32X4 $1, D, off+224(DI); \
	VEXTRACTI32X4 $2, A, off+256(DI); \
	VEXTRACTI32X4 $2, B, off+288(DI); \
	VEXTRACTI32X4 $2, C, off+320(DI); \
	VEXTRACTI32X4 $2, D, off+352(DI); \
	VEXTRACTI32X4 $3, A, off+384(DI); \
	VEXTRACTI32X4 $3, B, off+416(DI); \
	VEXTRACTI32X4 $3, C, off+448(DI); \
	VEXTRACTI32X4 $3, D, off+480(DI)

// func hash16(out *[16]Value, in *byte, stride, blocks int, counter uint64, step, first, last uint32)
//
// Z0 to Z15 are the state, Z16 to Z31 the message: word i of all 16 inputs in Z(16+i).
TEXT ·hash16(SB), NOSPLIT, $128-52
	MOVQ out+0(FP), DI
	MOVQ in+8(FP), SI
	MOVQ stride+16(FP), R8
	MOVQ blocks+24(FP), CX
	MOVL first+44(FP), AX
	LEAQ (R8)(R8*2), R9
	MOVQ $0x00f0, BX
	KMOVW BX, K1
	MOVQ $0x0f00, BX
	KMOVW BX, K2
	MOVQ $0xf000, BX
	KMOVW BX, K3

	// Each lane's counter, low and high words.
	MOVL         step+40(FP), BX
	VPBROADCASTD BX, Z0
	VPMULLD      lane<>(SB), Z0, Z0
	MOVQ         counter+32(FP), BX
	VPBROADCASTD BX, Z1
	VPADDD       Z0, Z1, Z0
	VPCMPUD      $1, Z1, Z0, K4
	SHRQ         $32, BX
	VPBROADCASTD BX, Z2
	MOVL         $1, BX
	VPBROADCASTD BX, Z3
	VPADDD       Z3, Z2, K4, Z2
	VMOVDQU32    Z0, lo-128(SP)
	VMOVDQU32    Z2, hi-64(SP)

	VPBROADCASTD iv<>+0(SB), Z0
	VPBROADCASTD iv<>+4(SB), Z1
	VPBROADCASTD iv<>+8(SB), Z2
	VPBROADCASTD iv<>+12(SB), Z3
	VPBROADCASTD iv<>+16(SB), Z4
	VPBROADCASTD iv<>+20(SB), Z5
	VPBROADCASTD iv<>+24(SB), Z6
	VPBROADCASTD iv<>+28(SB), Z7

block:
	LEAQ (SI)(R8*4), R10
	LEAQ (R10)(R8*4), R11
	LEAQ (R11)(R8*4), R12
	ROWS(0, X16, X17, X18, X19, Z16, Z17, Z18, Z19)
	ROWS(16, X20, X21, X22, X23, Z20, Z21, Z22, Z23)
	ROWS(32, X24, X25, X26, X27, Z24, Z25, Z26, Z27)
	ROWS(48, X28, X29, X30, X31, Z28, Z29, Z30, Z31)
	AHEAD(128)
	TURN(Z16, Z17, Z18, Z19)
	TURN(Z20, Z21, Z22, Z23)
	TURN(Z24, Z25, Z26, Z27)
	TURN(Z28, Z29, Z30, Z31)

	CMPQ CX, $1
	JNE  more
	ORL  last+48(FP), AX

more:
	VPBROADCASTD iv<>+0(SB), Z8
	VPBROADCASTD iv<>+4(SB), Z9
	VPBROADCASTD iv<>+8(SB), Z10
	VPBROADCASTD iv<>+12(SB), Z11
	VMOVDQU32    lo-128(SP), Z12
	VMOVDQU32    hi-64(SP), Z13
	MOVL         $64, BX
	VPBROADCASTD BX, Z14
	VPBROADCASTD AX, Z15

	ROUND(Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31)
	ROUND(Z18, Z22, Z19, Z26, Z23, Z16, Z20, Z29, Z17, Z27, Z28, Z21, Z25, Z30, Z31, Z24)
	ROUND(Z19, Z20, Z26, Z28, Z29, Z18, Z23, Z30, Z22, Z21, Z25, Z16, Z27, Z31, Z24, Z17)
	ROUND(Z26, Z23, Z28, Z25, Z30, Z19, Z29, Z31, Z20, Z16, Z27, Z18, Z21, Z24, Z17, Z22)
	ROUND(Z28, Z29, Z25, Z27, Z31, Z26, Z30, Z24, Z23, Z18, Z21, Z19, Z16, Z17, Z22, Z20)
	ROUND(Z25, Z30, Z27, Z21, Z24, Z28, Z31, Z17, Z29, Z19, Z16, Z26, Z18, Z22, Z20, Z23)
	ROUND(Z27, Z31, Z21, Z16, Z17, Z25, Z24, Z22, Z30, Z26, Z18, Z28, Z19, Z20, Z23, Z29)

	VPXORD Z8, Z0, Z0
	VPXORD Z9, Z1, Z1
	VPXORD Z10, Z2, Z2
	VPXORD Z11, Z3, Z3
	VPXORD Z12, Z4, Z4
	VPXORD Z13, Z5, Z5
	VPXORD Z14, Z6, Z6
	VPXORD Z15, Z7, Z7

	XORL AX, AX
	ADDQ $64, SI
	DECQ CX
	JNZ  block

	TURN(Z0, Z1, Z2, Z3)
	TURN(Z4, Z5, Z6, Z7)
	QUARTERS(0, Z0, Z1, Z2, Z3, X0, X1, X2, X3)
	QUARTERS(16, Z4, Z5, Z6, Z7, X4, X5, X6, X7)
	VZEROUPPER
	RET
