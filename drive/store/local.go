package store

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/pearbox/pearbox/drive/blob"
)

// Local reads the plaintext of a blob as far as it is here; of a sealed one,
// the ciphertext. It is safe for concurrent use and sees what arrives while it
// is open.
type Local struct {
	o    *object
	once sync.Once
	ref  blob.Ref
	data []byte // of a small blob, checked; then o is nil
}

// Open opens a blob for reading; ErrNotHeld when nothing of it is here.
func (b *Blobs) Open(ref blob.Ref) (*Local, error) {
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	if ref.Packed() {
		r, err := b.readPacked(ref)
		if err != nil {
			return nil, err
		}
		return &Local{ref: ref, data: r.Data}, nil
	}
	o, err := b.object(ref, false)
	if err != nil {
		return nil, err
	}
	return &Local{o: o, ref: ref}, nil
}

// Size returns the size of the whole blob.
func (l *Local) Size() int64 { return l.ref.Size }

// ReadAt reads held bytes. A range of which anything is missing gives
// ErrNotHeld and no bytes.
func (l *Local) ReadAt(p []byte, off int64) (int, error) {
	if l.o != nil {
		return l.o.readAt(p, off)
	}
	if off < 0 {
		return 0, fmt.Errorf("reading at %d: %w", off, fs.ErrInvalid)
	}
	if off >= int64(len(l.data)) {
		return 0, io.EOF
	}
	n := copy(p, l.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// File returns the file that holds the whole blob and nothing else, when there
// is one: large blobs that are complete. It is open until Close, read-only;
// its first byte is the blob's.
func (l *Local) File() (f *os.File, off int64, ok bool) {
	if l.o == nil {
		return nil, 0, false
	}
	l.o.mu.RLock()
	defer l.o.mu.RUnlock()
	if !l.o.complete || l.o.data == nil {
		return nil, 0, false
	}
	return l.o.data, 0, true
}

// Held returns the ranges that are here.
func (l *Local) Held() []blob.Range {
	if l.o == nil {
		return []blob.Range{{Len: l.ref.Size}}
	}
	return l.o.ranges(0, l.ref.Size, true)
}

// Close lets go of the blob.
func (l *Local) Close() (err error) {
	l.once.Do(func() {
		if l.o != nil {
			err = l.o.release()
		}
	})
	return err
}
