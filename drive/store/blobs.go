package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Blobs keeps the bytes of a room's files: plaintext, except of blobs whose
// key is zero. It is safe for concurrent use. Everything that a method
// promises is synced when it returns.
type Blobs struct {
	dir  string // of the room
	disk Disk
	log  *slog.Logger
	cat  *catalog

	// packMu is held while appending, and while packs come and go. Reading takes it shared.
	packMu sync.RWMutex
	packs  map[uint32]*pack
	active *pack // nil before the first append

	rots atomic.Bool // some bytes no longer matched their hash since the room was opened: what is served is checked

	removeMu sync.Mutex // held while small blobs are removed and packs compacted

	// appending is held shared from the write of records until they are in the catalog. Whoever holds it finds
	// nothing between the two.
	appending sync.RWMutex

	// holdMu guards held, and is held while blobs are dropped. It comes before mu and appending, behind removeMu.
	holdMu sync.Mutex
	held   map[[32]byte]int // see gc.go

	mu      sync.Mutex // guards what follows
	objects map[[32]byte]*object
	closed  bool
}

// Info describes one stored blob.
type Info struct {
	Ref      blob.Ref
	Complete bool
}

func openBlobs(dir string, keep bool, disk Disk, log *slog.Logger) (*Blobs, error) {
	b := &Blobs{dir: dir, disk: disk, log: log, packs: map[uint32]*pack{}, objects: map[[32]byte]*object{}, held: map[[32]byte]int{}}
	cat, fresh, err := openCatalog(dir, keep)
	if err != nil {
		return nil, err
	}
	b.cat = cat
	err = b.start(fresh)
	if errors.Is(err, ErrDamaged) && !fresh {
		log.Warn("blobs.db is damaged and is made anew", "err", err)
		err = b.rebuild()
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *Blobs) start(fresh bool) error {
	if err := os.RemoveAll(b.tmpDir()); err != nil {
		return err
	}
	if err := makeDir(b.disk, b.tmpDir()); err != nil {
		return err
	}
	if err := b.openPacks(); err != nil {
		return err
	}
	return b.findFiles(fresh)
}

// rebuild forgets where blobs are and looks at every file. Nobody may use the
// Blobs meanwhile.
func (b *Blobs) rebuild() error {
	b.packMu.Lock()
	for _, p := range b.packs {
		p.f.Close()
	}
	b.packs, b.active = map[uint32]*pack{}, nil
	b.packMu.Unlock()
	if err := b.cat.close(); err != nil {
		return err
	}
	cat, _, err := openCatalog(b.dir, false)
	if err != nil {
		return err
	}
	b.cat = cat
	if err := b.openPacks(); err != nil {
		return err
	}
	return b.findFiles(true)
}

// close saves what partial blobs hold and closes all files.
func (b *Blobs) close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	objects := b.objects
	b.objects = map[[32]byte]*object{}
	b.mu.Unlock()
	var errs []error
	for _, o := range objects {
		errs = append(errs, o.shut())
	}
	b.packMu.Lock()
	defer b.packMu.Unlock()
	errs = append(errs, b.savePacks())
	for _, p := range b.packs {
		errs = append(errs, p.f.Close())
	}
	if b.cat != nil {
		errs = append(errs, b.cat.sync(b.disk), b.cat.db.Close())
	}
	return errors.Join(errs...)
}

// tend does what can wait.
func (b *Blobs) tend() {
	b.packMu.Lock()
	err := b.savePacks()
	b.packMu.Unlock()
	if err == nil {
		err = b.cat.sync(b.disk)
	}
	if err != nil {
		b.log.Warn("tending the catalog of blobs", "err", err)
	}
}

// Staging returns a directory on the file system of the blobs: files made
// there can be imported by rename.
func (b *Blobs) Staging() string { return filepath.Join(b.dir, "staging") }

func (b *Blobs) tmpDir() string { return filepath.Join(b.dir, "blobs", "tmp") }

// base returns the path of a large blob; suffixes tell its files apart:
//
//	""  the whole plaintext, read-only        ".bao"       its sidecar
//	".part" some of it, in its place, sparse  ".bao.part"  its sidecar
func (b *Blobs) base(name [32]byte) string {
	h := hex.EncodeToString(name[:])
	return filepath.Join(b.dir, "blobs", h[:2], h)
}

// Complete reports whether all bytes of the blob are here.
func (b *Blobs) Complete(ref blob.Ref) bool {
	if ref.Validate() != nil {
		return false
	}
	if ref.Packed() {
		it, ok, err := b.cat.get(ref)
		return err == nil && ok && it.Ref.Size == ref.Size
	}
	fi, err := os.Stat(b.base(ref.Name()))
	return err == nil && fi.Size() == ref.Size
}

// Have returns the ranges of the blob that are here, ascending. What the
// catalog does not know is not looked for on the disk: rooms name many more
// blobs than a node holds.
func (b *Blobs) Have(ref blob.Ref) []blob.Range {
	if ref.Validate() != nil {
		return nil
	}
	if _, known, err := b.cat.get(ref); err == nil && !known {
		return nil
	}
	if b.Complete(ref) {
		return []blob.Range{{Len: ref.Size}}
	}
	if ref.Packed() {
		return nil
	}
	o, err := b.object(ref, false)
	if err != nil {
		return nil
	}
	defer o.release()
	return o.ranges(0, ref.Size, true)
}

// Known reports whether anything of a blob with this CID is here.
func (b *Blobs) Known(c cid.Cid) bool {
	items, err := b.cat.byCID(c)
	return err == nil && len(items) > 0
}

// byPlain returns content made of one whole large blob that this node has
// imported with this plaintext hash, so that equal bytes are stored once.
func (b *Blobs) byPlain(h key.Hash, size int64) (blob.Content, bool) {
	items, err := b.cat.byBytes(bucketPlains, h[:])
	if err != nil {
		return blob.Content{}, false
	}
	for _, it := range items {
		if it.Ref.Size == size && !it.Ref.Sealed() && b.Complete(it.Ref) {
			return blob.Whole(it.Ref, h), true
		}
	}
	return blob.Content{}, false
}

// All yields every blob of which anything is here, in no useful order. Blobs
// that come or go meanwhile may be missed.
func (b *Blobs) All() iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		var at []byte
		for {
			items, next, err := b.cat.after(at, 1000)
			if err != nil {
				yield(Info{}, err)
				return
			}
			for _, it := range items {
				if !yield(Info{Ref: it.Ref, Complete: it.Kind != kindPartial}, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			at = next
		}
	}
}

// Delete removes a blob, or what is here of it. An unknown one is fine. Open
// handles of a large blob stay readable.
func (b *Blobs) Delete(ref blob.Ref) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	if ref.Packed() {
		return b.removePacked(ref)
	}
	name := ref.Name()
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.objects[name]; o != nil {
		o.mu.Lock()
		o.gone = true
		o.mu.Unlock()
		delete(b.objects, name)
	}
	base := b.base(name)
	var errs []error
	for _, suffix := range []string{".part", ".bao.part", "", ".bao"} {
		errs = append(errs, remove(base+suffix))
	}
	errs = append(errs, b.cat.drop(ref))
	err := b.disk.SyncDir(filepath.Dir(base))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing a blob: %w", err)
	}
	return nil
}
