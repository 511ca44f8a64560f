package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// ImportHow says what becomes of the file that is imported.
type ImportHow struct{ path string }

// ByRename takes the file at path over, which must be the one that is passed
// along and belong to nobody else: it is renamed into the store and becomes
// read-only, or removed when its bytes are stored already. On another file
// system it is copied and then removed. When the import fails the file stays.
func ByRename(path string) ImportHow { return ImportHow{path} }

// ByCopy leaves the file alone. Where the file system can share bytes it does. Holes of a large file stay holes.
func ByCopy() ImportHow { return ImportHow{} }

// Import stores the bytes of a file and returns the content that names them;
// it is durable then, and kept from Drop until Release. progress, when not nil, is told the bytes done so far.
func (b *Blobs) Import(ctx context.Context, f *os.File, how ImportHow, progress func(int64)) (blob.Content, error) {
	fi, err := f.Stat()
	if err != nil {
		return blob.Content{}, err
	}
	if !fi.Mode().IsRegular() {
		return blob.Content{}, fmt.Errorf("importing %s: not a regular file", f.Name())
	}
	var c blob.Content
	if fi.Size() <= blob.MaxPacked {
		c, err = b.importSmall(ctx, f, fi.Size(), how, progress)
	} else {
		c, err = b.importLarge(ctx, f, fi.Size(), how, progress)
	}
	if err != nil {
		b.Release(c) // it is stored, and the file could not be removed
		return blob.Content{}, fmt.Errorf("importing %s: %w", f.Name(), spaceError(err))
	}
	return c, nil
}

func (b *Blobs) importSmall(ctx context.Context, f *os.File, size int64, how ImportHow, progress func(int64)) (blob.Content, error) {
	data, err := readSmall(f, size)
	if err != nil {
		return blob.Content{}, err
	}
	cs, err := b.ImportBytes(ctx, data)
	if err != nil {
		return blob.Content{}, err
	}
	if progress != nil {
		progress(size)
	}
	return cs[0], how.done()
}

func readSmall(f *os.File, size int64) ([]byte, error) {
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); int64(n) != size {
		if err == nil || errors.Is(err, io.EOF) {
			err = blob.ErrChanged
		}
		return nil, err
	}
	return data, nil
}

// done removes a file that was to be taken over and is not needed.
func (h ImportHow) done() error {
	if h.path == "" {
		return nil
	}
	return remove(h.path)
}

// ImportBytes stores small files, each at most blob.MaxPacked bytes, with one
// sync for all. Equal ones, and such as are stored already, share their bytes.
// What it returns is held until Release; when it fails, nothing is.
func (b *Blobs) ImportBytes(ctx context.Context, data ...[]byte) ([]blob.Content, error) {
	out := make([]blob.Content, len(data))
	records, err := b.contentsOf(ctx, data, out)
	if err == nil {
		err = b.appendRecords(records)
	}
	if err != nil {
		b.Release(out...)
		return nil, fmt.Errorf("storing %d small files: %w", len(data), err)
	}
	return out, nil
}

// contentsOf sets out to what names each of data, held, and returns the records
// that are yet to be stored. After an error too out has all that is held.
func (b *Blobs) contentsOf(ctx context.Context, data [][]byte, out []blob.Content) (records []record, err error) {
	fresh := map[key.Hash]blob.Content{}
	scratch := make([]byte, blob.MaxPacked)
	for i, d := range data {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(d) > blob.MaxPacked {
			return nil, fmt.Errorf("%w: %d bytes as a small file", blob.ErrContent, len(d))
		}
		h := blob.Sum(d)
		if len(d) == 0 {
			out[i] = blob.Content{Plain: h}
			continue
		}
		if c, ok := fresh[h]; ok {
			b.Hold(c)
			out[i] = c
			continue
		}
		if c, ok := b.reuseBytes(h, d); ok {
			out[i] = c
			continue
		}
		r := record{Ref: blob.Seal(scratch[:len(d)], d, key.NewSecret()), Data: d}
		records = append(records, r)
		out[i] = b.holdFresh(r.Ref, h)
		fresh[h] = out[i]
	}
	return records, nil
}

// reuseBytes returns stored content with exactly these bytes, whose hash is h.
// They are compared: a checksum proves nothing, and a rotten copy must not
// replace a good one.
func (b *Blobs) reuseBytes(h key.Hash, d []byte) (blob.Content, bool) {
	items, err := b.cat.byBytes(bucketSums, sumPrefix(sumOf(d), int64(len(d))))
	if err != nil {
		return blob.Content{}, false
	}
	for _, it := range items {
		c := blob.Whole(it.Ref, h)
		b.Hold(c)
		if r, err := b.readPacked(it.Ref); err == nil && string(r.Data) == string(d) {
			return c, true
		}
		b.Release(c)
	}
	return blob.Content{}, false
}

const (
	batchFiles = 1000
	batchBytes = 16 << 20
)

// ImportMany imports n files; small ones share a sync per thousand. open is
// called in order, each file is closed again. progress, when not nil, is told
// the bytes done so far. What it returns is held until Release; when it fails,
// nothing is.
func (b *Blobs) ImportMany(ctx context.Context, n int, open func(i int) (*os.File, ImportHow, error), progress func(int64)) ([]blob.Content, error) {
	m := &importMany{b: b, out: make([]blob.Content, n), progress: progress}
	if err := m.all(ctx, open); err != nil {
		b.Release(m.out...)
		return nil, err
	}
	return m.out, nil
}

type importMany struct {
	b        *Blobs
	out      []blob.Content
	progress func(int64)
	done     int64

	index []int // in out, of what waits
	data  [][]byte
	hows  []ImportHow
	bytes int
}

func (m *importMany) all(ctx context.Context, open func(i int) (*os.File, ImportHow, error)) error {
	for i := range m.out {
		f, how, err := open(i)
		if err != nil {
			return err
		}
		err = m.add(ctx, i, f, how)
		f.Close()
		if err != nil {
			return err
		}
	}
	return m.flush(ctx)
}

func (m *importMany) add(ctx context.Context, i int, f *os.File, how ImportHow) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() > blob.MaxPacked || !fi.Mode().IsRegular() {
		report := func(n int64) { m.report(n) }
		if m.out[i], err = m.b.Import(ctx, f, how, report); err == nil {
			m.done += fi.Size()
		}
		return err
	}
	d, err := readSmall(f, fi.Size())
	if err != nil {
		return fmt.Errorf("importing %s: %w", f.Name(), err)
	}
	m.index, m.data, m.hows = append(m.index, i), append(m.data, d), append(m.hows, how)
	if m.bytes += len(d); m.bytes < batchBytes && len(m.data) < batchFiles {
		return nil
	}
	return m.flush(ctx)
}

func (m *importMany) flush(ctx context.Context) error {
	cs, err := m.b.ImportBytes(ctx, m.data...)
	if err != nil {
		return err
	}
	for k, i := range m.index {
		m.out[i] = cs[k]
	}
	for _, how := range m.hows {
		if err := how.done(); err != nil {
			return err
		}
	}
	m.done += int64(m.bytes)
	m.index, m.data, m.hows, m.bytes = nil, nil, nil, 0
	m.report(0)
	return nil
}

func (m *importMany) report(n int64) {
	if m.progress != nil {
		m.progress(m.done + n)
	}
}

// importLarge hashes a file into a sidecar and puts both into place.
func (b *Blobs) importLarge(ctx context.Context, f *os.File, size int64, how ImportHow, progress func(int64)) (blob.Content, error) {
	side, err := os.CreateTemp(b.tmpDir(), "sidecar-*")
	if err != nil {
		return blob.Content{}, err
	}
	defer side.Close()
	defer os.Remove(side.Name()) // renamed away when all went well
	src, dst, data := f, (*os.File)(nil), f
	if how.path == "" || !b.sameFS(f) {
		copied, err := os.CreateTemp(b.tmpDir(), "copy-*")
		if err != nil {
			return blob.Content{}, err
		}
		defer copied.Close()
		defer os.Remove(copied.Name())
		data = copied
		if clone(copied, f) == nil {
			src = copied
			if fi, err := copied.Stat(); err == nil {
				size = fi.Size()
			}
		} else {
			dst = copied
			if err := b.spaceForCopy(f, size); err != nil {
				return blob.Content{}, err
			}
		}
	}
	got, err := blob.Import(ctx, src, size, key.NewSecret(), dst, outboardAt{d: b.disk, f: side}, progress)
	if err != nil {
		return blob.Content{}, err
	}
	if c, ok := b.reuseFile(ctx, got, data); ok {
		return c, how.done()
	}
	path := how.path
	if data != f {
		path = data.Name()
	}
	c := b.holdFresh(got.Ref, got.Plain)
	if err := b.place(got, side, data, path); err != nil {
		b.Release(c)
		return blob.Content{}, err
	}
	if data != f {
		err = how.done()
	}
	return c, err
}

// spaceForCopy is spaceForBytes of a file of size bytes, whose holes take none.
func (b *Blobs) spaceForCopy(f *os.File, size int64) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	return b.spaceForBytes(min(size, onDisk(fi)))
}

// sameFS reports whether a file can be renamed into the store.
func (b *Blobs) sameFS(f *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	d, err := os.Stat(b.tmpDir())
	return err == nil && device(a) == device(d)
}

// place makes imported bytes a stored blob: everything synced, the sidecar in
// place, then the data.
func (b *Blobs) place(got blob.Imported, side, data *os.File, path string) error {
	base := b.base(got.Ref.Name())
	if err := makeDir(b.disk, filepath.Dir(base)); err != nil {
		return err
	}
	if err := b.disk.Sync(data); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	if err := data.Chmod(0o444); err != nil {
		return err
	}
	if err := b.placeSidecar(side, sidecar{Ref: got.Ref, Plain: got.Plain}, base+".bao"); err != nil {
		return err
	}
	if err := b.disk.Rename(path, base); err != nil {
		return errors.Join(err, data.Chmod(0o600), remove(base+".bao"))
	}
	err := b.disk.SyncDir(filepath.Dir(base))
	if err == nil {
		err = b.cat.put(item{Kind: kindFile, Ref: got.Ref, Plain: got.Plain})
	}
	if err != nil { // it may be all that somebody has of these bytes: an import that fails leaves it
		err = errors.Join(err, os.Rename(base, path), data.Chmod(0o600), remove(base+".bao"))
	}
	return err
}

// placeSidecar completes a temporary sidecar and renames it.
func (b *Blobs) placeSidecar(f *os.File, c sidecar, path string) error {
	head, err := c.encode()
	if err != nil {
		return err
	}
	if _, err := b.disk.WriteAt(f, head, 0); err != nil {
		return err
	}
	if err := b.disk.Sync(f); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return b.disk.Rename(f.Name(), path)
}

// reuseFile returns stored content with exactly the bytes of f. They are
// compared: a rotten copy must not replace a good one.
func (b *Blobs) reuseFile(ctx context.Context, got blob.Imported, f *os.File) (c blob.Content, ok bool) {
	if c, ok = b.byPlain(got.Plain, got.Ref.Size); !ok {
		return c, false
	}
	b.Hold(c)
	if !b.sameBytes(ctx, c, f) {
		b.Release(c)
		return c, false
	}
	return c, true
}

// sameBytes reports whether the stored blob that c names has the bytes of f.
func (b *Blobs) sameBytes(ctx context.Context, c blob.Content, f *os.File) bool {
	l, err := b.Open(c.Parts[0].Ref())
	if err != nil {
		return false
	}
	defer l.Close()
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < c.Size; off += int64(len(x)) {
		n := int(min(int64(len(x)), c.Size-off))
		if ctx.Err() != nil {
			return false
		}
		if k, err := l.ReadAt(x[:n], off); k != n && err != nil {
			return false
		}
		if k, err := f.ReadAt(y[:n], off); k != n && err != nil || string(x[:n]) != string(y[:n]) {
			return false
		}
	}
	return true
}

// findFiles enters into the catalog the large blobs it does not know: all of
// them when it is new, and what a crash kept from it otherwise.
func (b *Blobs) findFiles(fresh bool) error {
	dirs, err := filepath.Glob(filepath.Join(b.dir, "blobs", "[0-9a-f][0-9a-f]"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		names, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		var add []item
		for _, e := range names {
			it, ok := b.itemOf(filepath.Join(dir, e.Name()))
			if !ok {
				continue
			}
			if old, known, err := b.cat.get(it.Ref); !fresh && (err != nil || known && old.Kind == it.Kind) {
				continue
			}
			add = append(add, it)
		}
		if err := b.cat.put(add...); err != nil {
			return err
		}
	}
	return nil
}

// itemOf reads what a sidecar says, when the file is one and its data is there.
func (b *Blobs) itemOf(path string) (it item, ok bool) {
	it.Kind = kindFile
	data, ok := strings.CutSuffix(path, ".bao")
	if !ok {
		it.Kind = kindPartial
		if data, ok = strings.CutSuffix(path, ".bao.part"); !ok {
			return it, false
		}
		data += ".part"
	}
	if !exists(data) {
		if it.Kind == kindPartial || !exists(data+".part") {
			return it, false
		}
		it.Kind = kindPartial // whole, and a crash came before its last rename: see object.completeRename
	}
	f, err := os.Open(path)
	if err != nil {
		return it, false
	}
	defer f.Close()
	c, err := readSidecar(f)
	if err != nil {
		b.log.Warn("a sidecar cannot be read", "path", path, "err", err)
		return it, false
	}
	it.Ref, it.Plain = c.Ref, c.Plain
	return it, true
}
