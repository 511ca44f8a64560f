package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/store"
)

// Fetcher brings bytes that are not held here; replication implements it. Every method returns once the bytes are held and
// verified, when ctx ends, or with an error that says why they cannot be had.
type Fetcher interface {
	Fetch(ctx context.Context, ref blob.Ref, off, n int64) error
	FetchSmall(ctx context.Context, refs []blob.Ref) error
	FetchPayload(ctx context.Context, core key.CoreID, seq uint64) error
}

// ErrNotHere says that bytes are not held by this node and that there is nobody to ask: the drive was opened without a Fetcher.
var ErrNotHere = errors.New("the bytes are not on this device")

// File reads the bytes of one file version. It never changes, whatever happens to the path it was opened by. A read of bytes that
// are not here fetches them; it returns all that was asked for or an error, never zeros in their place. Safe for concurrent use.
type File struct {
	d    *Drive
	size int64
	data []byte // the whole content, when it is a payload
	segs []segment

	ahead *lookahead // with segs
}

// segment is one part of a content and the blob that it is cut from.
type segment struct {
	part  blob.Part
	start int64 // of the part in the file

	mu     sync.RWMutex // guards local; held for reading while its bytes are read
	local  *store.Local // nil until bytes of the blob are here
	closed bool
}

// OpenContent opens the bytes that info describes. ctx bounds only the opening.
func (d *Drive) OpenContent(ctx context.Context, info Info) (*File, error) {
	if info.Kind != KindFile {
		return nil, pathErr("open", info.Path, ErrNotFile)
	}
	c := info.Content
	if c == nil {
		return &File{d: d, data: []byte{}}, nil
	}
	f := &File{d: d, size: c.Size}
	if c.Payload > 0 {
		data, err := d.payload(ctx, info)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", info.Path, err)
		}
		f.data = data
		return f, nil
	}
	f.segs = segmentsOf(c)
	f.ahead = newLookahead(ctx, f.size, indexAtEnd(info.Path))
	return f, nil
}

func segmentsOf(c *blob.Content) []segment {
	segs := make([]segment, len(c.Parts))
	start := int64(0)
	for i, p := range c.Parts {
		segs[i].part, segs[i].start = p, start
		start += p.Length
	}
	return segs
}

// payload returns the bytes of a small file, which stand in a block of their own beside the operation.
func (d *Drive) payload(ctx context.Context, info Info) ([]byte, error) {
	c := info.Content
	read := func() ([]byte, error) { return d.room.Payload(info.Core, info.Seq, c.Payload, c.PayloadHash) }
	data, err := read()
	if err != nil && isAbsent(err) && d.fetch != nil {
		if err := d.fetch.FetchPayload(ctx, info.Core, info.Seq); err != nil {
			return nil, err
		}
		data, err = read()
	}
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != c.Size {
		return nil, fmt.Errorf("the bytes have length %d and were announced as %d: %w", len(data), c.Size, ErrMismatch)
	}
	return data, nil
}

// Size is the length of the file in bytes.
func (f *File) Size() int64 { return f.size }

// Close releases the file. Reads under way fail.
func (f *File) Close() error {
	if f.ahead != nil {
		f.ahead.close()
	}
	var first error
	for i := range f.segs {
		s := &f.segs[i]
		if err := s.close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// ReadAt is ReadAtContext without an end to the waiting.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext fills p from the offset off, as io.ReaderAt does, and waits for bytes that are not here for as long as ctx lasts.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	return f.readAt(p, off, func(s *segment, p []byte, off int64) error { return f.readPart(ctx, s, p, off) })
}

// ReadHere is ReadAt of bytes that are all here; when some are not it fails at once, without asking for them.
func (f *File) ReadHere(p []byte, off int64) (int, error) {
	return f.readAt(p, off, func(s *segment, p []byte, off int64) error { return s.read(f.d.blobs, p, off) })
}

func (f *File) readAt(p []byte, off int64, part func(s *segment, p []byte, off int64) error) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at offset %d: %w", off, os.ErrInvalid)
	}
	if off >= f.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > f.size-off
	if short {
		p = p[:f.size-off]
	}
	if f.data != nil {
		copy(p, f.data[off:])
	} else if n, err := f.readParts(p, off, part); err != nil {
		return n, err
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// readParts calls part for what p holds of each blob, with the offset in there.
func (f *File) readParts(p []byte, off int64, part func(s *segment, p []byte, off int64) error) (int, error) {
	done := 0
	for i := range f.segs {
		s := &f.segs[i]
		if done == len(p) {
			break
		}
		at := off + int64(done)
		if at >= s.start+s.part.Length {
			continue
		}
		in := at - s.start
		n := int(min(int64(len(p)-done), s.part.Length-in))
		if err := part(s, p[done:done+n], s.part.Offset+in); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// readPart reads inside one blob: from disk when the bytes are held, and after fetching them otherwise.
func (f *File) readPart(ctx context.Context, s *segment, p []byte, off int64) error {
	err := s.read(f.d.blobs, p, off)
	if !errors.Is(err, store.ErrNotHeld) && !errors.Is(err, store.ErrRot) { // what has rotted is not held any more
		return err
	}
	if f.d.fetch == nil {
		return ErrNotHere
	}
	n := int64(len(p))
	f.order(f.ahead.plan(s.start+off-s.part.Offset, n))
	if err := f.d.fetch.Fetch(ctx, s.part.Ref(), off, n); err != nil {
		return err
	}
	s.reopen()
	return s.read(f.d.blobs, p, off)
}

// read reads held bytes, or fails with store.ErrNotHeld.
func (s *segment) read(blobs *store.Blobs, p []byte, off int64) error {
	s.mu.RLock()
	for s.local == nil {
		s.mu.RUnlock()
		if err := s.open(blobs); err != nil {
			return err
		}
		s.mu.RLock()
	}
	defer s.mu.RUnlock()
	n, err := s.local.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (s *segment) open(blobs *store.Blobs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	if s.local != nil {
		return nil
	}
	l, err := blobs.Open(s.part.Ref())
	if err == nil {
		s.local = l
	}
	return err
}

func (s *segment) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.local == nil {
		return nil
	}
	defer func() { s.local = nil }()
	return s.local.Close()
}

// reopen drops the handle on a blob that was not complete, so that the next read sees what has arrived since.
func (s *segment) reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.local != nil {
		s.local.Close()
		s.local = nil
	}
}

// Local returns the local file that holds the whole content, and the offset at which it starts in there, when there is one such
// file. It stays open until Close; the caller must not write to it.
func (f *File) Local() (file *os.File, off int64, ok bool) {
	if len(f.segs) != 1 || f.segs[0].part.Length != f.size {
		return nil, 0, false
	}
	s := &f.segs[0]
	if err := s.open(f.d.blobs); err != nil {
		return nil, 0, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.local == nil {
		return nil, 0, false // closed meanwhile
	}
	file, off, ok = s.local.File()
	return file, off + s.part.Offset, ok
}

// Held returns how many bytes of the file are here.
func (f *File) Held() int64 {
	if f.data != nil {
		return f.size
	}
	return heldOf(f.d.blobs, f.segs)
}

func heldOf(blobs *store.Blobs, segs []segment) int64 {
	var sum int64
	for i := range segs {
		p := segs[i].part
		for _, r := range blobs.Have(p.Ref()) {
			lo, hi := max(r.Off, p.Offset), min(r.End(), p.Offset+p.Length)
			sum += max(0, hi-lo)
		}
	}
	return sum
}

// Reader returns a reader of the whole file whose reads wait for as long as ctx lasts.
func (f *File) Reader(ctx context.Context) io.ReadSeeker {
	if f.data != nil {
		return bytes.NewReader(f.data)
	}
	return io.NewSectionReader(readerAt{f, ctx}, 0, f.size)
}

type readerAt struct {
	f   *File
	ctx context.Context
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAtContext(r.ctx, p, off) }
