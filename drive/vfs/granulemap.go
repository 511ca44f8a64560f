package vfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A granule map stands beside a staging file that something lies below, and says which granules are the file's own. It is written
// in place and never grows, so that it needs no space of the disk later on.
//
//	head = "pbgran 1" inode[8] birth[8] clean[8]     of the staging file, which is another one if it was copied
//	map  = head half half                            what holds while the machine is up; what a power failure leaves
//	half = keep[8] word[8]…                          a bit for each granule that is own, the lowest first; all numbers little endian
//
// Bits of a half are only ever set, and keep only becomes less. The second half is written when the bytes that it tells of are on the
// disk. Of a file that was copied nothing is believed unless the file system was closed in order before (clean): a copy made while
// granules came may have the bit and not the bytes.
const (
	mapSuffix = ".map" // added to the staging file's name
	mapMagic  = "pbgran 1"
	mapHead   = 32
)

// errCopied is what openMap says of a map whose staging file may lack what the map says.
var errCopied = errors.New("the staging file was copied while it was in use")

type granuleMap struct {
	f *os.File
	n int // granules
}

func (m *granuleMap) half() int64 { return 8 + int64((m.n+63)/64)*8 }

// makeMap makes the map of a new staging file.
func makeMap(staging *os.File, keep int64) (*granuleMap, error) {
	head, err := mapHeadOf(staging)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(staging.Name()+mapSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a granule map: %w", err)
	}
	m := &granuleMap{f: f, n: granules(keep)}
	b := make([]byte, mapHead+2*m.half())
	copy(b, head)
	for _, at := range []int64{0, m.half()} {
		binary.LittleEndian.PutUint64(b[mapHead+at:], uint64(keep))
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		m.f.Close()
		os.Remove(f.Name())
		return nil, fmt.Errorf("making a granule map: %w", err)
	}
	return m, nil
}

// openMap reads the map of a staging file that an earlier process left, which began with keep bytes below it: what held when that
// process ended, or what a power failure left. From then on the map is in use.
func openMap(staging *os.File, keep int64, sameBoot bool) (m *granuleMap, now int64, own []uint64, err error) {
	head, err := mapHeadOf(staging)
	if err != nil {
		return nil, 0, nil, err
	}
	f, err := os.OpenFile(staging.Name()+mapSuffix, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("opening a granule map: %w", err)
	}
	m = &granuleMap{f: f, n: granules(keep)}
	b := make([]byte, mapHead+2*m.half())
	_, err = f.ReadAt(b, 0)
	clean := binary.LittleEndian.Uint64(b[24:]) != 0
	switch {
	case err != nil:
	case string(b[:8]) != mapMagic:
		err = errors.New("not a granule map")
	case string(b[:24]) != string(head[:24]) && !clean:
		err = errCopied
	default:
		_, err = f.WriteAt(head, 0)
	}
	if err != nil {
		f.Close()
		return nil, 0, nil, fmt.Errorf("reading a granule map: %w", err)
	}
	now, own = m.believed(b, sameBoot)
	return m, now, own, nil
}

// believed reads the half of a whole map that tells the truth: the second unless the machine has been up since it was written.
func (m *granuleMap) believed(b []byte, sameBoot bool) (keep int64, own []uint64) {
	b = b[mapHead:]
	if !sameBoot {
		b = b[m.half():]
	}
	own = make([]uint64, (m.n+63)/64)
	for i := range own {
		own[i] = binary.LittleEndian.Uint64(b[8+8*i:])
	}
	return int64(binary.LittleEndian.Uint64(b)), own
}

// mapHeadOf is the head of the map of a staging file, not clean.
func mapHeadOf(staging *os.File) ([]byte, error) {
	var s unix.Statx_t
	err := unix.Statx(int(staging.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &s)
	if err != nil {
		return nil, fmt.Errorf("looking at a staging file: %w", err)
	}
	b := make([]byte, mapHead)
	copy(b, mapMagic)
	binary.LittleEndian.PutUint64(b[8:], s.Ino)
	if s.Mask&unix.STATX_BTIME != 0 {
		binary.LittleEndian.PutUint64(b[16:], uint64(s.Btime.Sec)*1e9+uint64(s.Btime.Nsec))
	}
	return b, nil
}

// setWords writes words of the first half, from one on.
func (m *granuleMap) setWords(from int, words []uint64) error {
	b := make([]byte, 8*len(words))
	for i, w := range words {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	return m.write(b, mapHead+8+int64(from)*8)
}

// setKeep writes keep of the first half.
func (m *granuleMap) setKeep(keep int64) error {
	return m.write(binary.LittleEndian.AppendUint64(nil, uint64(keep)), mapHead)
}

// commit writes the second half, durably.
func (m *granuleMap) commit(keep int64, own []uint64) error {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, m.half()), uint64(keep))
	for _, w := range own {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	if err := m.write(b, mapHead+m.half()); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(m.f.Fd())); err != nil {
		return fmt.Errorf("syncing a granule map: %w", err)
	}
	return nil
}

// setClean says that the file system is closed in order; commit comes after it.
func (m *granuleMap) setClean() error { return m.write([]byte{1}, 24) }

func (m *granuleMap) write(b []byte, at int64) error {
	if _, err := m.f.WriteAt(b, at); err != nil {
		return fmt.Errorf("writing a granule map: %w", err)
	}
	return nil
}
