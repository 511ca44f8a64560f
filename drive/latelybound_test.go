package drive

import (
	"encoding/binary"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// What is kept of small files has a bound, and the last of them are there.
func TestLatelyHasABound(t *testing.T) {
	var l lately
	hash := func(i int) (h key.Hash) {
		binary.BigEndian.PutUint64(h[:], uint64(i)+1)
		return h
	}
	const each, many = 1000, 20_000
	fit := latelyBytes / (each + latelyEach)
	for i := range many {
		data := make([]byte, each)
		binary.BigEndian.PutUint64(data, uint64(i))
		l.put(hash(i), data)
		l.put(hash(i), data) // once more takes no more
		if l.size > latelyBytes || len(l.at) > fit || len(l.order)-l.gone != len(l.at) || len(l.order) > 2*fit+2 {
			t.Fatalf("after %d files: %d bytes, %d files, %d in order", i+1, l.size, len(l.at), len(l.order)-l.gone)
		}
	}
	for i := many - fit; i < many; i++ {
		if data := l.get(hash(i)); data == nil || binary.BigEndian.Uint64(data) != uint64(i) {
			t.Fatalf("file %d of %d: %v", i, many, data[:min(8, len(data))])
		}
	}
	if l.get(hash(many-fit-1)) != nil {
		t.Fatal("an older one is there, too")
	}
	if l.put(key.Hash{}, []byte{1}); l.get(key.Hash{}) != nil {
		t.Fatal("bytes without a hash are kept")
	}
}
