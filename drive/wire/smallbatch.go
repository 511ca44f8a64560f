package wire

import (
	"fmt"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
)

// smallBatch is a batch under way.
type smallBatch struct {
	s    *session
	ln   *lane
	r    *request
	jobs []*smallJob
	came []bool
	data []blob.Opened // what has come, in the order in which it did
	buf  []byte        // its bytes
	kept *smallBytes   // that buf is a part of; nil: it is a small batch
	last time.Time     // when some has, or it was asked for; guarded by smallFetcher.mu
}

// smallBytes are the frames of a large batch.
type smallBytes [maxSmallBytes + (maxSmall+1)*smallHeader + smallSlack]byte

// smallPool spares most of the memory of each batch from being made, and touched, anew.
var smallPool = sync.Pool{New: func() any { return new(smallBytes) }}

const (
	smallSlack = 64 << 10  // bytes of an answer beyond what the blobs and their headers have
	smallAlone = 256 << 10 // a batch of fewer bytes takes nothing from the pool
)

// room makes place for n bytes of frames.
func (b *smallBatch) room(n int64) {
	if n <= smallAlone {
		b.buf = make([]byte, 0, n)
		return
	}
	b.kept = smallPool.Get().(*smallBytes)
	b.buf = b.kept[:0]
}

// free ends the use of what has come.
func (b *smallBatch) free() {
	b.data, b.buf = nil, nil
	if b.kept != nil {
		smallPool.Put(b.kept)
		b.kept = nil
	}
}

// open verifies and decrypts the blobs of one frame and keeps them.
func (b *smallBatch) open(body []byte) error {
	at := len(b.buf)
	b.buf = append(b.buf, body...)
	return eachSmall(b.buf[at:], b.take)
}

// take verifies and decrypts one blob of an answer in place, and keeps it.
func (b *smallBatch) take(i int, data []byte) error {
	if i >= len(b.jobs) || b.came[i] || int64(len(data)) != b.jobs[i].ref.Size {
		return fmt.Errorf("%w: a blob that was not asked for", errBad)
	}
	opened, err := blob.Frame{Data: data}.Open(b.jobs[i].ref)
	if err != nil {
		if j := b.jobs[i]; j.ref.Size > 0 {
			b.s.refuse(j.root, blob.Range{Len: j.ref.Size})
		}
		return fmt.Errorf("%w: a small blob does not match its address: %w", errBad, err)
	}
	b.came[i], b.data = true, append(b.data, opened)
	return nil
}
