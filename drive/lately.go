package drive

import (
	"bytes"
	"context"
	"sync"

	"github.com/pearbox/pearbox/drive/key"
)

// Bytes that stand in payload blocks are few, and reading such a block is a transaction and a cipher each time: more than all else that
// opening a small file takes. What was written is often read soon after, by whoever builds, compares or checks it. So the last of them
// are kept in memory, by their hash.

const (
	latelyBytes = 4 << 20 // of memory that is kept
	latelyEach  = 160     // bytes of memory for each file beside its own
)

// lately is bytes of small files that were written or read not long ago; the oldest go first. The zero value is empty.
type lately struct {
	mu    sync.Mutex // guards the rest
	at    map[key.Hash][]byte
	order []key.Hash // the oldest first, from gone on
	gone  int
	size  int
}

// get returns the bytes with this hash, not to be changed; nil: they are not kept.
func (l *lately) get(hash key.Hash) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[hash]
}

// put keeps data, which has this hash and stays as it is.
func (l *lately) put(hash key.Hash, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hash.IsZero() || l.at[hash] != nil || len(data) == 0 {
		return
	}
	if l.at == nil {
		l.at = map[key.Hash][]byte{}
	}
	l.at[hash] = data
	l.order = append(l.order, hash)
	for l.size += len(data) + latelyEach; l.size > latelyBytes; l.gone++ {
		old := l.order[l.gone]
		l.size -= len(l.at[old]) + latelyEach
		delete(l.at, old)
	}
	if l.gone > len(l.order)/2 {
		l.order = append(l.order[:0], l.order[l.gone:]...)
		l.gone = 0
	}
}

// OpenLately is OpenContent that may take a small file's bytes from memory. So it does not say that they are on this device.
func (d *Drive) OpenLately(ctx context.Context, info Info) (*File, error) {
	c := info.Content
	if info.Kind != KindFile || c == nil || c.Payload == 0 {
		return d.OpenContent(ctx, info)
	}
	if data := d.lately.get(c.PayloadHash); data != nil && int64(len(data)) == c.Size {
		return &File{d: d, size: c.Size, data: data}, nil
	}
	f, err := d.OpenContent(ctx, info)
	if err == nil {
		d.lately.put(c.PayloadHash, f.data)
	}
	return f, err
}

// wrote keeps what an entry has just brought into the drive.
func (d *Drive) wrote(named []Staged) {
	for _, s := range named {
		if s.data != nil {
			d.lately.put(s.Content.PayloadHash, bytes.Clone(s.data))
		}
	}
}
