package room_test

import (
	"bytes"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

func FuzzHeader(f *testing.F) {
	f.Add(room.SampleHeader(), byte(key.Drive))
	f.Add([]byte{0xa0}, byte(key.Control))
	f.Fuzz(func(t *testing.T, b []byte, kind byte) {
		if again, err := room.CheckHeader(b, key.Kind(kind)); err == nil && !bytes.Equal(b, again) {
			t.Errorf("%x is also %x", b, again)
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add(room.SampleRecords())
	f.Add([]byte{0x81, 0x82, 0x02, 0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if again, err := room.CheckRecords(b); err == nil && !bytes.Equal(b, again) {
			t.Errorf("%x is also %x", b, again)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add(room.SampleEnvelope())
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) { room.CheckEnvelope(b) })
}

func FuzzEntryRow(f *testing.F) {
	f.Add(room.SampleEntryRow())
	f.Fuzz(func(t *testing.T, b []byte) { room.CheckEntryRow(b) })
}

func FuzzStatement(f *testing.F) {
	f.Add([]byte{0xa2, 0x01, 0x40, 0x02, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) { room.CheckStatement(b) })
}

func TestSealedBlocksOpenOnlyInTheirPlace(t *testing.T) {
	good := room.SampleEnvelope()
	if err := room.CheckEnvelope(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if room.CheckEnvelope(bad) == nil {
			t.Fatalf("opens with byte %d changed", i)
		}
		if room.CheckEnvelope(good[:i]) == nil {
			t.Fatalf("opens when cut to %d bytes", i)
		}
	}
}
