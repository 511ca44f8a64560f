package tree

import (
	"bytes"
	"testing"
)

// FuzzRows: no row of a damaged table makes its reader fail otherwise than by an error, and a record that is read is written the same.
func FuzzRows(f *testing.F) {
	w := newWorld(f, 2)
	for _, c := range []string{"mkdir d", "create d/f 1", "write d/f 2", "mv d e", "create a 3", "rm a", "mkdir x", "rm -r x"} {
		w.reps[0].run(c)
	}
	w.share()
	for k, v := range w.reps[1].rows.Scan(nil, nil) {
		f.Add(bytes.Clone(k), bytes.Clone(v))
	}
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if len(k) == 0 {
			return
		}
		_, _ = decodeNode(k, v)
		_, _ = decodeLogged(k, v)
		_, _ = readMark(k, v)
		_, _ = readSeat(k)
		r, err := decodeRecord(at{}, v)
		if err != nil {
			return
		}
		b := r.encode()
		again, err := decodeRecord(at{}, b)
		if err != nil || !bytes.Equal(again.encode(), b) {
			t.Fatalf("%x came back as %x, %v", b, again.encode(), err)
		}
	})
}
