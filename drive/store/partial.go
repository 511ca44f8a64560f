package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
)

const (
	// saveGroups is how many groups arrive before the have-ranges are saved, if that was begun saveEvery ago or earlier; fullGroups
	// are saved at once, so that a crash costs at most twice as many. Each time is two syncs, which commit the file system's journal:
	// writes under way wait for that.
	saveGroups = (16 << 20) / blob.Group
	fullGroups = (64 << 20) / blob.Group
	saveEvery  = 250 * time.Millisecond
	// extent is what is allocated at once of a sparse file, as long as there is room for it.
	extent = 16 << 20
)

// Partial takes the frames of a blob as they arrive. It is safe for concurrent
// use. When the last group has been written the blob becomes complete by
// itself.
type Partial struct {
	o     *object
	once  sync.Once
	b     *Blobs
	small blob.Ref // of a blob that goes to a pack; then o is nil
}

// Begin opens a blob for writing what is missing of it; a complete one is
// fine, nothing is missing then.
func (b *Blobs) Begin(ref blob.Ref) (*Partial, error) {
	if err := ref.Validate(); err != nil {
		return nil, err
	}
	if ref.Packed() {
		return &Partial{b: b, small: ref}, nil
	}
	o, err := b.object(ref, true)
	if err != nil {
		return nil, err
	}
	return &Partial{o: o, b: b}, nil
}

// Write verifies a frame, decrypts it in place (f.Data holds plaintext
// afterwards), writes it and marks its groups as held. blob.ErrFrame means that
// whoever sent it is wrong; nothing has changed then.
func (p *Partial) Write(f blob.Frame) error {
	if p.o == nil {
		if f.Off != 0 || int64(len(f.Data)) != p.small.Size {
			return fmt.Errorf("%w: a part of a small blob", blob.ErrFrame)
		}
		return p.b.WriteSmall([]blob.Ref{p.small}, [][]byte{f.Data})
	}
	opened, err := f.Open(p.o.ref)
	if err != nil {
		return err
	}
	return p.o.write(opened, true)
}

// Store writes what was verified and decrypted and marks its groups as held.
// soon says that somebody is about to read it. What nobody reads soon goes past
// the page cache where it can: so it costs a tenth of the CPU time, and does
// not push out of the cache what is of use there.
func (p *Partial) Store(f blob.Opened, soon bool) error {
	if p.o == nil || f.Ref() != p.o.ref {
		return fmt.Errorf("storing a frame of blob %s as one of another: %w", f.Ref().CID, blob.ErrContent)
	}
	return p.o.write(f, soon)
}

// Missing returns what is not held of [off, off+n), in whole groups.
func (p *Partial) Missing(off, n int64) []blob.Range {
	if p.o == nil {
		if p.b.Complete(p.small) || off >= p.small.Size || n <= 0 {
			return nil
		}
		return []blob.Range{{Len: p.small.Size}}
	}
	return p.o.ranges(off, n, false)
}

// Complete reports whether nothing is missing.
func (p *Partial) Complete() bool { return len(p.Missing(0, blob.MaxSize)) == 0 }

// Close saves what is held. The blob stays, to be continued.
func (p *Partial) Close() (err error) {
	p.once.Do(func() {
		if p.o != nil {
			err = p.o.release()
		}
	})
	return err
}

func (o *object) write(f blob.Opened, soon bool) error {
	n := int64(len(f.Data()))
	lo := f.Off() / blob.Group
	hi := lo + max(1, (n+blob.Group-1)/blob.Group)
	if held, err := o.holds(lo, hi); err != nil || held {
		return err
	}
	if err := o.store(f, soon); err != nil {
		return fmt.Errorf("writing %d bytes of blob %s: %w", n, o.ref.CID, spaceError(err))
	}
	return o.mark(lo, hi)
}

// holds reports whether the groups are held already.
func (o *object) holds(lo, hi int64) (bool, error) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	switch {
	case o.gone:
		return false, fmt.Errorf("%w: blob %s was removed", ErrNotHeld, o.ref.CID)
	case o.data == nil:
		return false, ErrClosed
	case o.failed != nil:
		return false, o.failed
	case o.complete:
		return true, nil
	}
	first, last := o.have.run(lo, hi, true)
	return first == lo && last == hi, nil
}

// store writes plaintext and inner nodes.
func (o *object) store(f blob.Opened, soon bool) error {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.complete || o.data == nil {
		return nil
	}
	if err := o.claim(f.Off(), int64(len(f.Data()))); err != nil {
		return err
	}
	done := 0
	if !soon {
		var err error
		if done, err = o.writeDirect(f.Data(), f.Off()); err != nil {
			return err
		}
	}
	if rest := f.Data()[done:]; len(rest) > 0 {
		off := f.Off() + int64(done)
		if _, err := o.b.disk.WriteAt(o.data, rest, off); err != nil {
			return err
		}
		startWriteback(o.data, off, int64(len(rest)))
	}
	return o.storePairs(f.Pairs())
}

// writeDirect writes past the page cache as much of p as lies in whole pages of
// memory and file, if the file system can do that: 0 otherwise. off is a
// multiple of a page.
func (o *object) writeDirect(p []byte, off int64) (int, error) {
	p = p[:len(p)/directAlign*directAlign]
	if len(p) == 0 || !aligned(p) {
		return 0, nil
	}
	o.pairsMu.Lock()
	if !o.directTried {
		o.directTried = true
		if f, err := openDirect(o.data.Name()); err == nil {
			o.direct = f
		}
	}
	f := o.direct
	o.pairsMu.Unlock()
	if f == nil {
		return 0, nil
	}
	n, err := o.b.disk.WriteAt(f, p, off)
	if err == nil && n == len(p) {
		return n, nil
	}
	if refusesDirect(err) {
		return 0, nil // the ordinary way then
	}
	return 0, err
}

// claim allocates the extents that a write touches, so that they lie together
// and a full disk is noticed early. Where there is no room for a whole one it
// allocates what the write itself needs.
func (o *object) claim(off, n int64) error {
	o.pairsMu.Lock()
	defer o.pairsMu.Unlock()
	for i := off / extent; i*extent < off+n; i++ {
		if o.claimed.has(i) {
			continue
		}
		from, to := i*extent, min((i+1)*extent, o.ref.Size)
		err := o.allocate(from, to)
		if err == nil {
			o.claimed.set(i)
			continue
		}
		if errors.Is(err, syscall.ENOSPC) {
			err = o.allocate(max(from, off), min(to, off+n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// allocate makes room for the bytes [from, to).
func (o *object) allocate(from, to int64) error {
	if err := o.b.spaceForBytes(to - from); err != nil {
		return err
	}
	if err := reserveRange(o.data, from, to-from); err != nil {
		return &os.PathError{Op: "allocate", Path: o.data.Name(), Err: err}
	}
	return nil
}

// storePairs writes inner nodes that this process has not written yet,
// neighbours together.
func (o *object) storePairs(pairs []blob.Pair) error {
	out := outboardAt{d: o.b.disk, f: o.side}
	var buf []byte
	var start int64
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		_, err := out.WriteAt(buf, start)
		buf = buf[:0]
		return err
	}
	o.pairsMu.Lock()
	fresh := pairs[:0]
	for _, p := range pairs {
		if !o.pairs.has(p.At / 64) {
			fresh = append(fresh, p)
		}
	}
	o.pairsMu.Unlock()
	for _, p := range fresh {
		if p.At != start+int64(len(buf)) {
			if err := flush(); err != nil {
				return err
			}
			start = p.At
		}
		buf = p.AppendTo(buf)
	}
	if err := flush(); err != nil {
		return err
	}
	o.pairsMu.Lock()
	defer o.pairsMu.Unlock()
	for _, p := range fresh {
		o.pairs.set(p.At / 64)
	}
	return nil
}

// mark notes that groups are held, saves that now and then, and completes the
// blob with the last: those count as held only once it is complete, so that
// whoever finds nothing missing finds a whole blob that is synced.
func (o *object) mark(lo, hi int64) error {
	o.mu.Lock()
	if o.complete || o.gone || o.data == nil || o.failed != nil {
		defer o.mu.Unlock()
		return o.failed
	}
	left := o.left - o.have.lacks(lo, hi)
	if left == 0 {
		o.mu.Unlock()
		return o.finish()
	}
	for i := lo; i < hi; i++ {
		o.have.set(i)
	}
	o.left = left
	unsaved := o.saved.Load() - left
	begin := o.beginSave(unsaved)
	o.mu.Unlock()
	switch {
	case unsaved >= 2*fullGroups: // the disk cannot follow: wait for it, so that a crash costs no more than this
		return o.save()
	case begin:
		go func() { // the network does not wait for the disk
			defer o.saving.Store(false)
			if err := o.save(); err != nil {
				o.b.log.Warn("saving what is held of a blob", "err", err)
			}
		}()
	}
	return nil
}

// beginSave reports whether a goroutine has to be started that saves; it sets
// saving then. The caller holds mu.
func (o *object) beginSave(unsaved int64) bool {
	if unsaved < saveGroups || unsaved >= 2*fullGroups {
		return false
	}
	now := time.Now()
	if unsaved < fullGroups && now.Sub(o.saveBegun) < saveEvery || !o.saving.CompareAndSwap(false, true) {
		return false
	}
	o.saveBegun = now
	return true
}

// save syncs what has been written and then notes that it is held. Writers go
// on meanwhile.
func (o *object) save() error {
	o.saveMu.Lock()
	defer o.saveMu.Unlock()
	o.mu.RLock()
	skip := o.complete || o.gone || o.data == nil || o.saved.Load() == o.left
	have, left := append(bitmap(nil), o.have...), o.left
	o.mu.RUnlock()
	if skip {
		return nil
	}
	if err := o.sync(); err != nil {
		return err
	}
	off, _ := slotAt(o.ref.Size, o.seq+1)
	if _, err := o.b.disk.WriteAt(o.side, encodeSlot(o.seq+1, have), off); err != nil {
		return fmt.Errorf("saving what is held of blob %s: %w", o.ref.CID, spaceError(err))
	}
	o.seq++
	o.saved.Store(left)
	return nil
}

// sync syncs both files. After a failure nobody knows what is on the disk, so
// nothing more is marked in this object's life: what was saved before counts.
func (o *object) sync() error {
	err := errors.Join(o.b.disk.Sync(o.data), o.b.disk.Sync(o.side))
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: syncing blob %s: %w", ErrFailed, o.ref.CID, spaceError(err))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = err
	return err
}

// finish makes a blob whose groups are all held complete: everything synced,
// then the sidecar renamed, then the data.
func (o *object) finish() error {
	o.saveMu.Lock()
	err := o.sync()
	o.saveMu.Unlock()
	if err != nil {
		return err
	}
	done, err := o.settle()
	if err == nil && done {
		err = o.b.disk.SyncDir(filepath.Dir(o.base))
	}
	if err != nil {
		return fmt.Errorf("completing blob %s: %w", o.ref.CID, spaceError(err))
	}
	return nil
}

func (o *object) settle() (done bool, err error) {
	o.b.mu.Lock() // against Delete
	defer o.b.mu.Unlock()
	o.saveMu.Lock()
	defer o.saveMu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone || o.complete || o.data == nil || o.failed != nil {
		return false, o.failed
	}
	if err := o.data.Chmod(0o444); err != nil {
		return false, err
	}
	if err := o.b.disk.Rename(o.base+".bao.part", o.base+".bao"); err != nil {
		return false, err
	}
	if err := o.b.disk.Rename(o.base+".part", o.base); err != nil {
		return false, err
	}
	o.complete, o.have, o.claimed, o.pairs = true, nil, nil, nil
	if o.direct != nil {
		o.direct.Close()
		o.direct = nil
	}
	end, _ := slotAt(o.ref.Size, 0)
	if err := o.side.Truncate(end); err != nil {
		return false, err
	}
	return true, o.b.cat.put(item{Kind: kindFile, Ref: o.ref})
}
