package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// A sidecar stands beside each large blob: header, outboard, and for a partial
// blob two slots that say which groups are held.
//
//	header   magic[8] size[8] root[32] key[32] plain[32] zero[12] crc32c[4]    128 bytes, little endian
//	outboard blob.OutboardSize(size) bytes
//	slot     seq[8] bitmap[(groups+7)/8] crc32c[4]                             twice
//
// plain is zero until this node has computed it. The slots are written in
// turn, and only after what they claim has been synced; of two good ones the
// higher seq counts.
const (
	sidecarMagic  = "pearbao\x01"
	sidecarHeader = 128
)

type sidecar struct {
	Ref   blob.Ref
	Plain key.Hash
}

func (c sidecar) encode() ([]byte, error) {
	root, err := blob.RootOf(c.Ref.CID)
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, sidecarHeader), sidecarMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.Ref.Size))
	b = append(append(append(b, root[:]...), c.Ref.Key[:]...), c.Plain[:]...)
	b = append(b, make([]byte, sidecarHeader-sumSize-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func decodeSidecar(b []byte) (c sidecar, err error) {
	const end = sidecarHeader - sumSize
	if len(b) < sidecarHeader || string(b[:8]) != sidecarMagic || binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return c, fmt.Errorf("%w: a sidecar's header", ErrRot)
	}
	size := binary.LittleEndian.Uint64(b[8:])
	if size > blob.MaxSize {
		return c, fmt.Errorf("%w: a sidecar of %d bytes", ErrRot, size)
	}
	c.Ref = blob.Ref{CID: blob.CIDOf([32]byte(b[16:48])), Key: key.Secret(b[48:80]), Size: int64(size)}
	c.Plain = key.Hash(b[80:112])
	return c, nil
}

func readSidecar(f io.ReaderAt) (sidecar, error) {
	var b [sidecarHeader]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return sidecar{}, err
	}
	return decodeSidecar(b[:])
}

// outboardAt is the outboard inside a sidecar file.
type outboardAt struct {
	d Disk
	f *os.File
}

func (o outboardAt) ReadAt(p []byte, off int64) (int, error) { return o.f.ReadAt(p, off+sidecarHeader) }
func (o outboardAt) WriteAt(p []byte, off int64) (int, error) {
	return o.d.WriteAt(o.f, p, off+sidecarHeader)
}

// bitmap says which groups are held.
type bitmap []byte

func newBitmap(groups int64) bitmap { return make(bitmap, (groups+7)/8) }
func (b bitmap) has(i int64) bool   { return b[i/8]&(1<<(i%8)) != 0 }
func (b bitmap) set(i int64)        { b[i/8] |= 1 << (i % 8) }
func (b bitmap) unset(i int64)      { b[i/8] &^= 1 << (i % 8) }

// run returns the first group at or behind i, below end, whose bit is want,
// and the first behind it whose bit is not.
func (b bitmap) run(i, end int64, want bool) (lo, hi int64) {
	lo = b.next(i, end, want)
	return lo, b.next(lo, end, !want)
}

// next returns the first group at or behind i whose bit is want, or end. The
// whole of a large blob is looked at for every frame that arrives: 64 groups
// at once.
func (b bitmap) next(i, end int64, want bool) int64 {
	var other uint64
	if !want {
		other = ^other
	}
	for i < end {
		switch {
		case i%64 == 0 && i+64 <= end && binary.LittleEndian.Uint64(b[i/8:]) == other:
			i += 64
		case b.has(i) == want:
			return i
		default:
			i++
		}
	}
	return end
}

// lacks returns how many of the groups from lo on, below hi, are not held.
func (b bitmap) lacks(lo, hi int64) (n int64) {
	for i := lo; i < hi; i++ {
		if !b.has(i) {
			n++
		}
	}
	return n
}

// slot returns where slot i begins and how large it is.
func slotAt(size int64, i uint64) (off, n int64) {
	n = 8 + (blob.Groups(size)+7)/8 + sumSize
	return sidecarHeader + blob.OutboardSize(size) + int64(i%2)*n, n
}

func encodeSlot(seq uint64, have bitmap) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 12+len(have)), seq)
	b = append(b, have...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readSlots returns the newest good slot; without one nothing is held.
func readSlots(f io.ReaderAt, size int64) (have bitmap, seq uint64) {
	have = newBitmap(blob.Groups(size))
	for i := range uint64(2) {
		off, n := slotAt(size, i)
		b := make([]byte, n)
		if _, err := f.ReadAt(b, off); err != nil {
			continue
		}
		end := n - sumSize
		s := binary.LittleEndian.Uint64(b)
		if s >= seq && s > 0 && binary.LittleEndian.Uint32(b[end:]) == crc32.Checksum(b[:end], castagnoli) {
			seq, have = s, b[8:end:end]
		}
	}
	return have, seq
}
