package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumSize is the size of the checksum behind every value of log.db.
const sumSize = 4

// valueSum covers key and value, so that a value under a damaged key is
// noticed as well.
func valueSum(k, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(k, castagnoli), castagnoli, v)
}

// appendSealed appends v and its checksum to dst.
func appendSealed(dst, k, v []byte) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, v...), valueSum(k, v))
}

// unseal returns the value inside a stored one.
func unseal(k, stored []byte) ([]byte, error) {
	n := len(stored) - sumSize
	if n < 0 || binary.LittleEndian.Uint32(stored[n:]) != valueSum(k, stored[:n]) {
		return nil, fmt.Errorf("%w: a value of %d bytes fails its checksum", ErrDamaged, len(stored))
	}
	return stored[:n:n], nil
}

// A row of a log table also carries the number of the transaction that wrote
// it, behind the value: salvaging may meet older versions of it.
const seqSize = 8

// rowSeq reads it.
func rowSeq(v []byte) (uint64, bool) {
	if len(v) < seqSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(v[len(v)-seqSize:]), true
}
