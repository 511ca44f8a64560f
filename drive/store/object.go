package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
)

// object is a large blob that somebody has open. All handles on one blob share
// it, so that what one writes the others see.
type object struct {
	b    *Blobs
	ref  blob.Ref
	root [32]byte
	base string
	refs int // guarded by Blobs.mu

	mu        sync.RWMutex // guards what follows
	data      *os.File     // "" or ".part"
	side      *os.File     // ".bao" or ".bao.part"
	old       []*os.File   // earlier data files that somebody may still use
	complete  bool
	gone      bool      // deleted
	failed    error     // of a sync; see sync
	have      bitmap    // of a partial blob
	left      int64     // groups not held
	saveBegun time.Time // by a goroutine of its own
	claimed   bitmap    // extents of the sparse file that are allocated

	saving atomic.Bool  // a goroutine saves
	saved  atomic.Int64 // groups not held, as the newest slot says

	saveMu sync.Mutex // held while have-ranges are saved; guards seq
	seq    uint64     // of the newest slot

	pairsMu     sync.Mutex
	pairs       bitmap   // inner nodes, by number, that this process has written
	direct      *os.File // data once more, past the page cache; nil: not opened, or the file system cannot
	directTried bool
}

// object returns the shared object of a large blob. With begin a blob of which
// nothing is here is begun, otherwise that is ErrNotHeld.
func (b *Blobs) object(ref blob.Ref, begin bool) (*object, error) {
	root, err := blob.RootOf(ref.CID)
	if err != nil {
		return nil, err
	}
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	name := ref.Name()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, ErrClosed
	}
	if o := b.objects[name]; o != nil {
		if o.ref.Size != ref.Size {
			return nil, fmt.Errorf("%w: the blob has %d bytes here, not %d", blob.ErrContent, o.ref.Size, ref.Size)
		}
		o.refs++
		return o, nil
	}
	o := &object{b: b, ref: ref, root: root, base: b.base(name), refs: 1}
	if err := o.open(begin); err != nil {
		return nil, err
	}
	b.objects[name] = o
	return o, nil
}

// release gives back one reference.
func (o *object) release() error {
	err := o.save() // not under Blobs.mu: it syncs
	return errors.Join(err, o.drop())
}

func (o *object) drop() error {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	if o.refs--; o.refs > 0 {
		return nil
	}
	if name := o.ref.Name(); o.b.objects[name] == o {
		delete(o.b.objects, name)
	}
	return o.shut()
}

// shut saves and closes the files.
func (o *object) shut() error {
	err := o.save()
	o.saveMu.Lock()
	defer o.saveMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.data != nil {
		err = errors.Join(err, o.data.Close(), o.side.Close())
		if o.direct != nil {
			err = errors.Join(err, o.direct.Close())
		}
		o.data, o.side, o.direct = nil, nil, nil
	}
	for _, f := range o.old {
		err = errors.Join(err, f.Close())
	}
	o.old = nil
	return err
}

func (o *object) open(begin bool) error {
	err := o.completeRename()
	if err == nil {
		err = o.openWhole()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = o.openPart()
	}
	if errors.Is(err, fs.ErrNotExist) {
		if !begin {
			return fmt.Errorf("%w: blob %s", ErrNotHeld, o.ref.CID)
		}
		err = o.begin()
	}
	if err != nil {
		return fmt.Errorf("opening blob %s: %w", o.ref.CID, spaceError(err))
	}
	return nil
}

// completeRename ends what a crash interrupted between the two renames of a
// blob that had become complete. It is rare, so the bytes are looked at.
func (o *object) completeRename() error {
	if !exists(o.base+".part") || exists(o.base+".bao.part") || !exists(o.base+".bao") || exists(o.base) {
		return nil
	}
	data, err := os.Open(o.base + ".part")
	if err != nil {
		return err
	}
	defer data.Close()
	side, err := o.rebuildSidecar(data)
	if errors.Is(err, ErrRot) {
		return errors.Join(remove(o.base+".part"), remove(o.base+".bao"))
	}
	if err != nil {
		return err
	}
	side.Close()
	if err := errors.Join(o.b.disk.Sync(data), data.Chmod(0o444)); err != nil {
		return err
	}
	if err := o.b.disk.Rename(o.base+".part", o.base); err != nil {
		return err
	}
	return o.b.disk.SyncDir(filepath.Dir(o.base))
}

// rebuildSidecar makes the sidecar of a whole blob from its bytes; ErrRot when
// they are not the blob's.
func (o *object) rebuildSidecar(data *os.File) (*os.File, error) {
	fi, err := data.Stat()
	if err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(o.b.tmpDir(), "sidecar-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	got, err := blob.Import(context.Background(), data, fi.Size(), o.ref.Key, nil, outboardAt{d: o.b.disk, f: tmp}, nil)
	if err == nil && got.Ref != o.ref {
		err = fmt.Errorf("%w: blob %s", ErrRot, o.ref.CID)
	}
	if err == nil {
		err = o.b.placeSidecar(tmp, sidecar{Ref: got.Ref, Plain: got.Plain}, o.base+".bao")
	}
	if err != nil {
		tmp.Close()
		return nil, err
	}
	return tmp, nil
}

// openToWrite opens a file to be read and written. Where the disk takes no writes it can be read still.
func openToWrite(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, syscall.EROFS) {
		return os.Open(path)
	}
	return f, err
}

// openWhole opens the files of a complete blob. What is not whole any more
// becomes a partial blob of what can still be proven.
func (o *object) openWhole() error {
	data, err := os.Open(o.base)
	if err != nil {
		return err
	}
	fi, err := data.Stat()
	if err != nil {
		data.Close()
		return err
	}
	side, err := openToWrite(o.base + ".bao")
	if errors.Is(err, fs.ErrNotExist) {
		if side, err = o.rebuildSidecar(data); errors.Is(err, ErrRot) {
			// Nothing says which of these bytes are right.
			o.b.log.Warn("a blob has rotted and has no sidecar: it is dropped", "cid", o.ref.CID)
			data.Close()
			if err := remove(o.base); err != nil {
				return err
			}
			return fs.ErrNotExist
		}
	}
	if err != nil {
		data.Close()
		return err
	}
	o.data, o.side, o.complete = data, side, true
	if fi.Size() == o.ref.Size {
		return nil
	}
	if head, err := readSidecar(side); err == nil && head.Ref != o.ref { // it is the entry that is wrong
		o.data, o.side, o.complete = nil, nil, false
		return errors.Join(fmt.Errorf("%w: the blob has %d bytes here, not %d", blob.ErrContent, head.Ref.Size, o.ref.Size), data.Close(), side.Close())
	}
	o.b.log.Warn("a blob has another size than it should", "cid", o.ref.CID, "bytes", fi.Size())
	if err := o.heal(context.Background()); err != nil {
		for _, f := range append(o.old, o.data, o.side) {
			err = errors.Join(err, f.Close())
		}
		o.data, o.side, o.old, o.complete = nil, nil, nil, false
		return err
	}
	return nil
}

// openPart opens the files of a partial blob. One that was begun with another
// size, or whose sidecar is unreadable, starts anew.
func (o *object) openPart() error {
	side, err := openToWrite(o.base + ".bao.part")
	if err != nil {
		return err
	}
	data, err := openToWrite(o.base + ".part")
	if err != nil {
		side.Close()
		return err
	}
	head, err := readSidecar(side)
	if err != nil || head.Ref != o.ref {
		have, _ := readSlots(side, head.Ref.Size)
		last := blob.Groups(head.Ref.Size) - 1
		side.Close()
		data.Close()
		if err == nil && head.Ref.CID == o.ref.CID && have.has(last) {
			return fmt.Errorf("%w: the blob has %d bytes, not %d", blob.ErrContent, head.Ref.Size, o.ref.Size)
		}
		if err := errors.Join(remove(o.base+".part"), remove(o.base+".bao.part")); err != nil {
			return err
		}
		return fs.ErrNotExist
	}
	o.data, o.side = data, side
	o.have, o.seq = readSlots(side, o.ref.Size)
	groups := blob.Groups(o.ref.Size)
	if o.left = o.have.lacks(0, groups); o.left == 0 { // it was not completed: the last group that comes does that
		o.have.unset(groups - 1)
		o.left = 1
	}
	o.saved.Store(o.left)
	o.initPart()
	return nil
}

// begin makes the files of a blob of which nothing is here.
func (o *object) begin() error {
	if err := makeDir(o.b.disk, filepath.Dir(o.base)); err != nil {
		return err
	}
	head, err := sidecar{Ref: o.ref}.encode()
	if err != nil {
		return err
	}
	off, n := slotAt(o.ref.Size, 1)
	side, err := os.OpenFile(o.base+".bao.part", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	data, err := os.OpenFile(o.base+".part", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		side.Close()
		return err
	}
	_, err = o.b.disk.WriteAt(side, head, 0)
	if err == nil {
		err = errors.Join(side.Truncate(off+n), data.Truncate(o.ref.Size))
	}
	if err == nil {
		err = o.b.cat.put(item{Kind: kindPartial, Ref: o.ref})
	}
	if err != nil {
		side.Close()
		data.Close()
		return errors.Join(err, remove(o.base+".part"), remove(o.base+".bao.part"))
	}
	o.data, o.side = data, side
	groups := blob.Groups(o.ref.Size)
	o.have, o.left = newBitmap(groups), groups
	o.saved.Store(groups)
	o.initPart()
	return nil
}

func (o *object) initPart() {
	groups := blob.Groups(o.ref.Size)
	o.directTried = false
	o.pairs = newBitmap(groups)
	o.claimed = newBitmap((o.ref.Size + extent - 1) / extent)
}

// ranges returns what is held (or, with held false, what is missing) of
// [off, off+n), in whole groups but for the end of the blob.
func (o *object) ranges(off, n int64, held bool) []blob.Range {
	off = max(0, off)
	end := min(off+n, o.ref.Size)
	if end <= off {
		return nil
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.complete {
		if !held {
			return nil
		}
		return []blob.Range{{Off: off / blob.Group * blob.Group, Len: end - off/blob.Group*blob.Group}}
	}
	var out []blob.Range
	last := (end + blob.Group - 1) / blob.Group
	for i := off / blob.Group; i < last; {
		lo, hi := o.have.run(i, last, held)
		if lo < hi {
			from, to := lo*blob.Group, min(hi*blob.Group, o.ref.Size)
			out = append(out, blob.Range{Off: from, Len: to - from})
		}
		i = hi
	}
	return out
}

// readAt reads held plaintext (ciphertext of a sealed blob).
func (o *object) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at %d: %w", off, fs.ErrInvalid)
	}
	if off >= o.ref.Size {
		return 0, io.EOF
	}
	want := min(int64(len(p)), o.ref.Size-off)
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.data == nil {
		return 0, ErrClosed
	}
	if !o.complete && want > 0 {
		first, last := off/blob.Group, (off+want+blob.Group-1)/blob.Group
		if lo, hi := o.have.run(first, last, true); lo != first || hi != last {
			return 0, fmt.Errorf("%w: range %d+%d of blob %s", ErrNotHeld, off, want, o.ref.CID)
		}
	}
	n, err := o.data.ReadAt(p[:want], off)
	if err == nil && want < int64(len(p)) {
		err = io.EOF
	}
	return n, err
}
