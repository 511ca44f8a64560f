package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"slices"

	"github.com/pearbox/pearbox/drive/room"
)

// essential.copy repeats the rows of the log tables without which a room cannot be opened at all, however much of its log others
// have: what this device is in it, and its keys. They change seldom; the file is written anew, durably, after the transaction that
// changed one, and again when the room is opened and finds another one. Only a salvage reads it.
//
//	magic[8] { keyLength[4] key valueLength[4] value }* crc32c[4]    little endian
//
// Keys and values are those of the bucket "rows", checksum and transaction number included: of a row that log.db still has, the
// newer one counts.
const (
	essentialName  = "essential.copy"
	essentialMagic = "pearess\x01"
	maxEssential   = 64 << 20 // bytes of the file
)

func isEssential(table string) bool { return slices.Contains(room.EssentialTables, table) }

// copyEssential writes the file when it is not what the log tables say.
func (s *Room) copyEssential() error {
	defer faults()()
	t, err := s.snapshot()
	if err != nil {
		return err
	}
	defer t.end()
	b := []byte(essentialMagic)
	for _, table := range room.EssentialTables {
		for k, v := range t.Log(table).(*rows).stored(nil, nil) {
			b = appendSized(appendSized(b, k), v)
		}
	}
	if t.err != nil {
		return fmt.Errorf("copying the room's essential rows: %w", t.err)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if old, err := os.ReadFile(s.path(essentialName)); err == nil && string(old) == string(b) {
		return nil
	}
	if err := writeNew(s.journal.disk, s.path(essentialName), b); err != nil {
		return fmt.Errorf("copying the room's essential rows: %w", err)
	}
	return nil
}

func appendSized(b, v []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
}

// takeEssential gives take each row of the file. A missing or damaged one has none.
func (s *Room) takeEssential(take func(k, v []byte)) {
	fi, err := os.Stat(s.path(essentialName))
	if err != nil || fi.Size() > maxEssential {
		return
	}
	b, err := os.ReadFile(s.path(essentialName))
	if err != nil {
		return
	}
	for _, r := range parseEssential(b) {
		take(r.key, r.value)
	}
}

func parseEssential(b []byte) (rows []element) {
	end := len(b) - sumSize
	if end < len(essentialMagic) || string(b[:len(essentialMagic)]) != essentialMagic || binary.LittleEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil
	}
	b = b[len(essentialMagic):end]
	sized := func() (v []byte, ok bool) {
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			return nil, false
		}
		n := binary.LittleEndian.Uint32(b)
		v, b = b[4:4+n], b[4+n:]
		return v, true
	}
	for len(b) > 0 {
		k, ok := sized()
		if !ok {
			return nil
		}
		v, ok := sized()
		if !ok || len(k) == 0 || k[0] != 't' {
			return nil
		}
		rows = append(rows, element{key: k, value: v})
	}
	return rows
}
