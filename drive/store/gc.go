package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Importing and dropping can meet: what Import gives back is named by an entry only later, and it may be a blob that was stored
// already and that nothing keeps any more. So every content that an import returns is held until Release; Drop spares what is held,
// and whoever reuses a blob holds it before looking whether it is there.

// hold keeps a blob from being dropped, once more for each call.
func (b *Blobs) hold(ref blob.Ref) {
	b.holdMu.Lock()
	defer b.holdMu.Unlock()
	b.held[ref.Name()]++
}

// Hold keeps the blobs of a content from Drop until Release, whether they are stored or yet to come.
func (b *Blobs) Hold(c blob.Content) {
	for _, p := range c.Parts {
		b.hold(p.Ref())
	}
}

// Release ends one hold on each blob of contents that an import returned or that were given to Hold: an entry names them now, or
// nobody is going to. Contents that are never released cannot be dropped before the room is opened again.
func (b *Blobs) Release(cs ...blob.Content) {
	b.holdMu.Lock()
	defer b.holdMu.Unlock()
	for _, c := range cs {
		for _, p := range c.Parts {
			name := p.Ref().Name()
			if b.held[name]--; b.held[name] <= 0 {
				delete(b.held, name)
			}
		}
	}
}

// Dropped says what Drop did.
type Dropped struct {
	Blobs int
	Bytes int64 // of the blobs' sizes; a pack gives them back when it is compacted
	Busy  int   // spared because somebody has them open or is about to name them
}

func (d *Dropped) add(o Dropped) {
	d.Blobs, d.Bytes, d.Busy = d.Blobs+o.Blobs, d.Bytes+o.Bytes, d.Busy+o.Busy
}

// dropBatch is how many small blobs are removed with one sync.
const dropBatch = 1000

// Drop removes blobs, with one sync for many small ones, but spares those that are open and those that are held. It is durable when
// it returns: what it removed does not come back by itself. When it fails or ctx ends, what was removed so far is in the result.
func (b *Blobs) Drop(ctx context.Context, refs []blob.Ref) (all Dropped, err error) {
	var small []blob.Ref
	dirs := map[string]struct{}{}
	for _, ref := range refs {
		if err = errors.Join(ctx.Err(), ref.Validate()); err != nil {
			break
		}
		if ref.Packed() {
			small = append(small, ref)
			continue
		}
		var d Dropped
		d, err = b.dropFile(ref)
		all.add(d)
		if err != nil {
			break
		}
		dirs[filepath.Dir(b.base(ref.Name()))] = struct{}{}
	}
	for dir := range dirs {
		if serr := b.disk.SyncDir(dir); serr != nil && !errors.Is(serr, fs.ErrNotExist) {
			err = errors.Join(err, serr)
		}
	}
	for part := range slices.Chunk(small, dropBatch) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			break
		}
		var d Dropped
		d, err = b.dropSmall(part)
		all.add(d)
	}
	if err != nil {
		err = fmt.Errorf("dropping blobs: %w", err)
	}
	return all, err
}

// dropFile removes the files of a large blob, the data first: a sidecar alone is nothing.
func (b *Blobs) dropFile(ref blob.Ref) (d Dropped, err error) {
	name := ref.Name()
	b.holdMu.Lock()
	defer b.holdMu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return d, ErrClosed
	case b.held[name] > 0, b.objects[name] != nil:
		d.Busy = 1
		return d, nil
	}
	_, ok, err := b.cat.get(ref)
	if err != nil || !ok {
		return d, err
	}
	base := b.base(name)
	for _, suffix := range []string{".part", "", ".bao.part", ".bao"} {
		if err := remove(base + suffix); err != nil {
			return d, err
		}
	}
	if err := b.cat.drop(ref); err != nil {
		return d, err
	}
	d.Blobs, d.Bytes = 1, ref.Size
	return d, nil
}

// dropSmall appends the statements that small blobs are removed.
func (b *Blobs) dropSmall(refs []blob.Ref) (d Dropped, err error) {
	b.removeMu.Lock()
	defer b.removeMu.Unlock()
	b.holdMu.Lock() // until they are gone: whoever wants to reuse one waits, and does not find it then
	defer b.holdMu.Unlock()
	var records []record
	for _, ref := range refs {
		it, ok, err := b.cat.get(ref)
		switch {
		case err != nil:
			return d, err
		case !ok || it.Kind != kindPacked:
			continue
		case b.held[ref.Name()] > 0:
			d.Busy++
			continue
		}
		records = append(records, record{Removed: true, Ref: ref})
		d.Blobs, d.Bytes = d.Blobs+1, d.Bytes+ref.Size
	}
	err = b.appendRecords(records)
	if errors.Is(err, ErrNoSpace) {
		// Not even the statements fit. They only matter when the catalog is made anew: then the blobs come back.
		err = nil
		for _, r := range records {
			err = errors.Join(err, b.markDead(r.Ref))
		}
	}
	if err != nil {
		return Dropped{Busy: d.Busy}, err
	}
	return d, nil
}

// A pack is compacted when at least a quarter of it, and compactMin bytes, are nothing that lives.
const (
	compactMin   = 64 << 10
	compactShare = 4
)

// Compact rewrites packs of which a good part is no longer wanted, and returns the bytes that this gave back to the disk. What lives is
// appended elsewhere and synced before the old pack goes, so that a crash leaves it there twice at worst. A pack for whose living
// bytes the disk has no room is left as it is.
func (b *Blobs) Compact(ctx context.Context) (freed int64, err error) {
	b.removeMu.Lock()
	defer b.removeMu.Unlock()
	waste, err := b.waste()
	if err != nil {
		return 0, err
	}
	for _, id := range slices.Sorted(maps.Keys(waste)) {
		if err := ctx.Err(); err != nil {
			return freed, fmt.Errorf("compacting packs: %w", err)
		}
		b.packMu.RLock()
		p := b.packs[id]
		b.packMu.RUnlock()
		if p == nil || waste[id] < compactMin || waste[id]*compactShare < p.end.Load() {
			continue
		}
		n, err := b.compact(p)
		if errors.Is(err, ErrNoSpace) {
			b.log.Info("no room to compact a pack", "pack", p.path, "err", err)
			continue
		}
		if err != nil {
			return freed, err
		}
		freed += n
	}
	return freed, nil
}

// waste returns how much of each pack is taken by what does not live. Statements live, but in the oldest pack: there is nothing that
// they could be about.
func (b *Blobs) waste() (map[uint32]int64, error) {
	waste := map[uint32]int64{}
	b.packMu.RLock()
	for id, p := range b.packs {
		waste[id] = p.end.Load() - int64(len(packMagic))
	}
	var first uint32
	if len(waste) > 0 {
		first = b.oldest()
	}
	b.packMu.RUnlock()
	for id := range waste {
		if id == first {
			continue
		}
		st, err := b.cat.packState(id)
		if err != nil {
			return nil, err
		}
		waste[id] -= st.Said
	}
	for at := []byte(nil); ; {
		items, next, err := b.cat.after(at, 1000)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if _, ok := waste[it.Pack]; ok && it.Kind == kindPacked {
				waste[it.Pack] -= recordHeader + it.Ref.Size
			}
		}
		if next == nil {
			return waste, nil
		}
		at = next
	}
}

// Waste is how many bytes of packs are taken by what does not live any more.
func (b *Blobs) Waste() (n int64, err error) {
	waste, err := b.waste()
	for _, w := range waste {
		n += max(0, w)
	}
	return n, err
}

// holdFresh holds a blob that is about to be stored and returns the content that it is the whole of.
func (b *Blobs) holdFresh(ref blob.Ref, h key.Hash) blob.Content {
	b.hold(ref)
	return blob.Whole(ref, h)
}
