package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// A pack is a file that blobs of up to blob.MaxPacked bytes are appended to:
//
//	pack    "pearpack" version[4]=2 zero[4], then records
//	record  magic[4] size[4] root[32] key[32] sum[4] crc32c[4] data[size]     little endian
//
// The magic is "PBr2" for a blob, whose data is its plaintext (ciphertext when
// the key is zero), and "PBx2" for the statement that the blob of that root
// and key was removed. sum is the CRC-32C of the data, the other one that of
// everything before it, so that the end of a pack that was torn by a crash is
// recognised, and that bytes which rot do not leave. By sum and size equal
// bytes are found; they are compared then.
const (
	packMagic    = "pearpack\x02\x00\x00\x00\x00\x00\x00\x00"
	recordMagic  = "PBr2"
	removeMagic  = "PBx2"
	recordHeader = 4 + 4 + 32 + 32 + sumSize + sumSize
	packMax      = 256 << 20 // size at which the next pack is begun
)

// record is one record of a pack.
type record struct {
	Removed bool
	Ref     blob.Ref
	Sum     uint32 // of Data; appendTo and parseRecord set it
	Data    []byte
}

func (r *record) appendTo(b []byte) ([]byte, error) {
	root, err := blob.RootOf(r.Ref.CID)
	if err != nil {
		return b, err
	}
	start, magic := len(b), recordMagic
	if r.Removed {
		magic = removeMagic
	}
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Data)))
	b = append(append(b, root[:]...), r.Ref.Key[:]...)
	r.Sum = sumOf(r.Data)
	b = binary.LittleEndian.AppendUint32(b, r.Sum)
	b = binary.LittleEndian.AppendUint32(b, sumOf(b[start:]))
	return append(b, r.Data...), nil
}

// checkMagic refuses a pack of another version of the format: what is in it would be taken for a torn end.
func checkMagic(f io.ReaderAt) error {
	var b [len(packMagic)]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return err
	}
	const at = len("pearpack")
	if version := string(b[at : at+4]); string(b[:at]) == packMagic[:at] && version != packMagic[at:at+4] {
		return fmt.Errorf("%w: version %d, this program reads %d", ErrVersion, binary.LittleEndian.Uint32(b[at:]), packMagic[at])
	}
	return nil
}

// sumOf is the CRC-32C of bytes.
func sumOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// parseHeader reads and checks a record's header; n is the size of its data.
func parseHeader(b []byte) (r record, n int, ok bool) {
	if len(b) < recordHeader {
		return r, 0, false
	}
	magic := string(b[:4])
	size := binary.LittleEndian.Uint32(b[4:])
	if magic != recordMagic && magic != removeMagic || size > blob.MaxPacked || magic == removeMagic && size != 0 {
		return r, 0, false
	}
	const at = recordHeader - sumSize
	if sumOf(b[:at]) != binary.LittleEndian.Uint32(b[at:]) {
		return r, 0, false
	}
	r.Removed = magic == removeMagic
	r.Ref = blob.Ref{CID: blob.CIDOf([32]byte(b[8:40])), Key: key.Secret(b[40:72]), Size: int64(size)}
	r.Sum = binary.LittleEndian.Uint32(b[72:])
	return r, int(size), true
}

// parseRecord reads and checks the record at the start of b; the record's data
// is part of b.
func parseRecord(b []byte) (r record, ok bool) {
	r, n, ok := parseHeader(b)
	if !ok || len(b) < recordHeader+n {
		return r, false
	}
	r.Data = b[recordHeader : recordHeader+n : recordHeader+n]
	return r, sumOf(r.Data) == r.Sum
}

// pack is an open pack file.
type pack struct {
	id   uint32
	f    *os.File
	path string
	end  atomic.Int64 // behind the last record; grows under Blobs.packMu

	syncMu sync.Mutex // held while syncing; guards synced and failed
	synced int64
	failed error
}

// sync returns once everything up to end is on the disk. Callers that wait
// for a running sync share the next one.
func (p *pack) sync(d Disk, end int64) error {
	p.syncMu.Lock()
	defer p.syncMu.Unlock()
	if p.failed != nil {
		return p.failed
	}
	if p.synced >= end {
		return nil
	}
	now := p.end.Load()
	if err := d.Sync(p.f); err != nil {
		p.failed = fmt.Errorf("%w: syncing %s: %w", ErrFailed, p.path, spaceError(err))
		return p.failed
	}
	p.synced = now
	return nil
}

// read returns the record at off.
func (p *pack) read(off int64, size int) (record, error) {
	b := make([]byte, recordHeader+size)
	if _, err := p.f.ReadAt(b, off); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: the pack ends", ErrRot)
		}
		return record{}, fmt.Errorf("reading %s at %d: %w", p.path, off, err)
	}
	r, ok := parseRecord(b)
	if !ok {
		return record{}, fmt.Errorf("%w: record at %d of %s", ErrRot, off, p.path)
	}
	return r, nil
}

// scanWindow is how much of a pack is read at once.
const scanWindow = 1 << 20

// damage is a stretch of a pack that is no record.
type damage struct{ From, To int64 }

// scanPack calls fn for every good record from off on. It returns the end of
// the last one, and the stretches before that which are no records; what lies
// behind the end is a torn tail. Behind a bad stretch only a blob that matches
// its hashes is taken for a record: what looks like one may be the content of
// a file that somebody made to look so.
func scanPack(f io.ReaderAt, off int64, fn func(off int64, r record) error) (end int64, bad []damage, err error) {
	buf := make([]byte, scanWindow+recordHeader+blob.MaxPacked)
	end = off
	broken := int64(-1) // where the current bad stretch began
	for {
		n, rerr := f.ReadAt(buf, off)
		if rerr != nil && !errors.Is(rerr, io.EOF) {
			return end, bad, rerr
		}
		last := n < len(buf)
		at := 0
		for at < n && (last || at < scanWindow) {
			r, ok := parseRecord(buf[at:n])
			if !ok || broken >= 0 && (r.Removed || !r.sound()) {
				if broken < 0 {
					broken = off + int64(at)
				}
				at = nextMagic(buf[:n], at+1)
				continue
			}
			if broken >= 0 {
				bad, broken = append(bad, damage{broken, off + int64(at)}), -1
			}
			if err := fn(off+int64(at), r); err != nil {
				return end, bad, err
			}
			at += recordHeader + len(r.Data)
			end = off + int64(at)
		}
		if last {
			return end, bad, nil
		}
		off += int64(at)
	}
}

// nextMagic returns where the next record may begin.
func nextMagic(b []byte, at int) int {
	for ; at+4 <= len(b); at++ {
		if b[at] == 'P' && (string(b[at:at+4]) == recordMagic || string(b[at:at+4]) == removeMagic) {
			return at
		}
	}
	return max(at, len(b)-3) // it may straddle the end
}
