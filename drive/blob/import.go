package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pearbox/pearbox/drive/key"
)

// ErrChanged is wrapped when a file turned out shorter than it was when its
// import began.
var ErrChanged = errors.New("the file changed while it was read")

const (
	stripeGroups = 256 // 16 MiB: what one worker does at a time
	stripe       = stripeGroups * Group
	readSize     = 4 * Group
	workers      = 2
)

// Imported is the result of an Import.
type Imported struct {
	Ref   Ref
	Plain key.Hash
}

// Import reads size bytes of src once, under k, a fresh key: it computes the
// plaintext's hash, the ciphertext's root, and writes the outboard to
// outboard. With dst it also copies the plaintext there. It starts the
// writeback of dst, or without one of src if that is a file, which is then about
// to be synced; it does not sync. progress, when not nil, is told the bytes done
// so far, never concurrently.
//
// Whatever hashes, encrypts or writes does so from one buffer, so a source
// that changes meanwhile gives some mixture of its states but never a blob
// whose hash is wrong.
func Import(ctx context.Context, src io.ReaderAt, size int64, k key.Secret, dst *os.File, outboard io.WriterAt, progress func(int64)) (Imported, error) {
	if size < 0 || size > MaxSize {
		return Imported{}, fmt.Errorf("%w: a file of %d bytes", ErrContent, size)
	}
	m := &importer{src: src, size: size, cipher: NewCipher(k), dst: dst, outboard: outboard, progress: progress}
	if f, ok := src.(*os.File); ok && hasHoles(f) {
		m.sparse = f
	}
	stripes := max(1, (size+stripe-1)/stripe)
	m.plain, m.sealed = make([]Value, stripes), make([]Value, stripes)
	if dst != nil && size > 0 {
		if err := m.makeRoom(); err != nil {
			return Imported{}, fmt.Errorf("allocating %d bytes: %w", size, err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for range min(workers, stripes) {
		g.Go(func() error { return m.work(ctx) })
	}
	if err := g.Wait(); err != nil {
		return Imported{}, err
	}
	return m.finish(k)
}

type importer struct {
	src      io.ReaderAt
	sparse   *os.File // src, if it has holes
	size     int64
	cipher   *Cipher
	dst      *os.File
	outboard io.WriterAt
	progress func(int64)

	plain, sealed []Value // per stripe, written by whoever took the stripe

	mu   sync.Mutex // guards what follows
	next int64      // stripe to be taken
	done int64      // bytes
}

// makeRoom gives dst its size, with blocks for all of it unless there will be holes.
func (m *importer) makeRoom() error {
	if m.sparse != nil {
		return m.dst.Truncate(m.size)
	}
	return allocate(m.dst, m.size)
}

func (m *importer) take() (int64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.next
	m.next++
	return i, i < int64(len(m.plain))
}

func (m *importer) work(ctx context.Context) error {
	w := &stripeWorker{importer: m, buf: make([]byte, readSize), sealed: make([]byte, Group)}
	for {
		i, ok := m.take()
		if !ok {
			return nil
		}
		if err := w.stripe(ctx, i); err != nil {
			return err
		}
	}
}

type stripeWorker struct {
	*importer
	buf, sealed              []byte
	plainValues, sealedValue []Value
}

// stripe reads stripe i and leaves its two values and its part of the
// outboard.
func (w *stripeWorker) stripe(ctx context.Context, i int64) error {
	start, end := i*stripe, min((i+1)*stripe, w.size)
	w.plainValues, w.sealedValue = w.plainValues[:0], w.sealedValue[:0]
	alone := Groups(w.size) == 1
	for off := start; off < end || off == 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := w.read(off, end)
		if err != nil {
			return err
		}
		for at := 0; at < len(b) || at == 0; at += Group {
			p := b[at:min(at+Group, len(b))]
			index := off/Group + int64(at/Group)
			w.cipher.XOR(w.sealed, p, off+int64(at))
			w.plainValues = append(w.plainValues, GroupValue(p, index, alone))
			w.sealedValue = append(w.sealedValue, GroupValue(w.sealed[:len(p)], index, alone))
		}
		off += int64(len(b))
		w.report(int64(len(b)))
		if len(b) == 0 {
			break
		}
	}
	if f := w.kept(); f != nil {
		startWriteback(f, start, end-start)
	}
	return w.fold(i)
}

// read returns the next bytes of src, at most up to end, when they are in dst, too.
func (w *stripeWorker) read(off, end int64) ([]byte, error) {
	b := w.buf[:min(readSize, end-off)]
	if w.sparse != nil {
		n, hole, err := nextPiece(w.sparse, off, off+int64(len(b)))
		if err != nil {
			return nil, err
		}
		if hole {
			return zeros[:n], nil
		}
		b = b[:n]
	}
	if err := readFull(w.src, b, off); err != nil {
		return nil, err
	}
	if w.dst != nil {
		if _, err := w.dst.WriteAt(b, off); err != nil {
			return nil, fmt.Errorf("writing the copy: %w", err)
		}
	}
	return b, nil
}

// zeros are what is in a hole. Nobody writes to them.
var zeros [readSize]byte

// kept is the file that has the bytes in the end; nil when src is none.
func (m *importer) kept() *os.File {
	if m.dst != nil {
		return m.dst
	}
	f, _ := m.src.(*os.File)
	return f
}

// fold computes the stripe's values and writes its pairs.
func (w *stripeWorker) fold(i int64) error {
	n := int64(len(w.plainValues))
	whole := n == Groups(w.size)
	c := combiner{unit: 1}
	w.plain[i] = c.combine(0, n, 0, whole, func(k int64) Value { return w.plainValues[k] })
	pairs := make([]byte, pairSize*(n-1))
	c.out = func(p Pair) { p.AppendTo(pairs[p.At:p.At:len(pairs)]) }
	w.importer.sealed[i] = c.combine(0, n, 0, whole, func(k int64) Value { return w.sealedValue[k] })
	if len(pairs) == 0 {
		return nil
	}
	if _, err := w.outboard.WriteAt(pairs, unitOffset(Groups(w.size), i*stripeGroups, stripeGroups)); err != nil {
		return fmt.Errorf("writing the outboard: %w", err)
	}
	return nil
}

func (m *importer) report(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.progress != nil {
		m.progress(m.done)
	}
}

// finish joins the stripes.
func (m *importer) finish(k key.Secret) (Imported, error) {
	n := Groups(m.size)
	c := combiner{unit: stripeGroups}
	plain := c.combine(0, n, 0, true, func(lo int64) Value { return m.plain[lo/stripeGroups] })
	var err error
	c.out = func(p Pair) {
		if _, werr := m.outboard.WriteAt(p.AppendTo(nil), p.At); werr != nil && err == nil {
			err = fmt.Errorf("writing the outboard: %w", werr)
		}
	}
	root := c.combine(0, n, 0, true, func(lo int64) Value { return m.sealed[lo/stripeGroups] })
	if err != nil {
		return Imported{}, err
	}
	return Imported{Ref: Ref{CID: CIDOf(root), Key: k, Size: m.size}, Plain: key.Hash(plain)}, nil
}

// readFull fills b from off.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends at byte %d", ErrChanged, off+int64(n))
	}
	return fmt.Errorf("reading the file: %w", err)
}

// Seal encrypts the bytes of a small blob, at most MaxPacked, under k into
// dst, which has their length.
func Seal(dst, plain []byte, k key.Secret) Ref {
	NewCipher(k).XOR(dst, plain, 0)
	return Ref{CID: CIDOf(GroupValue(dst[:len(plain)], 0, true)), Key: k, Size: int64(len(plain))}
}
