package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

func someRecord(n int) record {
	data := random(n, 1)
	return record{Ref: blob.Seal(make([]byte, n), data, key.Secret{1}), Data: data}
}

// FuzzPack scans anything: it must not fail, and every record that it gives
// must be written again to the same bytes.
func FuzzPack(f *testing.F) {
	some, removed := someRecord(100), record{Removed: true, Ref: someRecord(5).Ref}
	good, _ := some.appendTo([]byte(packMagic))
	good, _ = removed.appendTo(good)
	f.Add(good)
	f.Add(append(good, recordMagic+"torn"...))
	f.Add(bytes.Replace(good, []byte(recordMagic), []byte(recordMagic+"xx"+recordMagic), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		last := int64(0)
		end, bad, err := scanPack(bytes.NewReader(b), 0, func(off int64, r record) error {
			again, err := r.appendTo(nil)
			if off < last || err != nil || !bytes.Equal(again, b[off:off+int64(len(again))]) {
				t.Errorf("record at %d: %v", off, err)
			}
			last = off + int64(len(again))
			return nil
		})
		if err != nil || end != last {
			t.Errorf("end %d after %d: %v", end, last, err)
		}
		for _, d := range bad {
			if d.From >= d.To || d.To > end {
				t.Errorf("damage %v before %d", d, end)
			}
		}
	})
}

func FuzzSidecar(f *testing.F) {
	b, _ := sidecar{Ref: someRecord(5).Ref, Plain: key.Hash{3}}.encode()
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeSidecar(b)
		if err != nil {
			return
		}
		again, err := c.encode()
		if err != nil || len(again) != sidecarHeader || !bytes.Equal(again[:112], b[:112]) {
			t.Errorf("%+v: %v", c, err)
		}
	})
}

// FuzzBoltFile walks anything.
func FuzzBoltFile(f *testing.F) {
	s := openRoom(f, f.TempDir())
	put(f, s, "x", "k", "v")
	s.Close()
	b, err := os.ReadFile(s.path("log.db"))
	if err != nil {
		f.Fatal(err)
	}
	b = bytes.TrimRight(b, "\x00")
	f.Add(b, 0, byte(0))
	f.Add(b, 4096*3+20, byte(0xff))
	f.Add([]byte{}, 0, byte(0))
	path := filepath.Join(f.TempDir(), "f")
	f.Fuzz(func(t *testing.T, b []byte, at int, x byte) {
		if at >= 0 && at < len(b) {
			b = bytes.Clone(b)
			b[at] ^= x
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		bf, err := openBoltFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bf.walk(func(string, []byte, []byte) {})
		bf.checkFreelist()
		bf.orphans(func(k, v []byte) {})
	})
}

// FuzzRow: no row of a damaged catalog or table of cores makes its reader fail, and what is read is written the same.
func FuzzRow(f *testing.F) {
	for _, it := range []item{{Kind: kindFile}, {Kind: kindPartial}, {Kind: kindPacked, Pack: 3, Off: 5, Sum: 7}} {
		it.Ref = blob.Ref{CID: blob.CIDOf([32]byte{1}), Key: key.Secret{2}, Size: 100}
		f.Add(bytes.Repeat([]byte{1}, itemKey), it.encode())
	}
	f.Add([]byte{}, make([]byte, coreRecordSize))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if it, err := decodeItem(k, v); err == nil && !bytes.Equal(it.encode(), v) {
			t.Fatalf("%x came back as %x", v, it.encode())
		}
		if c, err := decodeCoreRecord(v); err == nil {
			if again, err := c.encode(); err != nil || !bytes.Equal(again, v) {
				t.Fatalf("%x came back as %x, %v", v, again, err)
			}
		}
	})
}
