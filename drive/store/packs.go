package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pearbox/pearbox/drive/blob"
)

func (b *Blobs) packPath(id uint32) string {
	return filepath.Join(b.dir, "packs", fmt.Sprintf("%08x.pack", id))
}

// openPacks opens every pack and brings the catalog up to date with what was
// appended after it was saved. The torn tail of the last pack is cut off.
func (b *Blobs) openPacks() error {
	names, err := filepath.Glob(filepath.Join(b.dir, "packs", "*.pack"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	b.packMu.Lock()
	defer b.packMu.Unlock()
	for i, path := range names {
		id, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".pack"), 16, 32)
		if err != nil {
			continue // not ours; fsck tells
		}
		p, err := b.openPack(uint32(id), path, i == len(names)-1)
		if err != nil {
			return fmt.Errorf("opening %s: %w", path, err)
		}
		b.packs[p.id] = p
		b.active = p
	}
	return nil
}

func (b *Blobs) openPack(id uint32, path string, last bool) (*pack, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	p := &pack{id: id, f: f, path: path}
	if err := b.scanNew(p, last); err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

// scanNew enters into the catalog what it has not seen of a pack.
func (b *Blobs) scanNew(p *pack, last bool) error {
	st, err := b.cat.packState(p.id)
	if err != nil {
		return err
	}
	fi, err := p.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() < int64(len(packMagic)) { // torn when it was made
		if err := p.f.Truncate(0); err != nil {
			return err
		}
		if _, err := b.disk.WriteAt(p.f, []byte(packMagic), 0); err != nil {
			return spaceError(err)
		}
	}
	if err := checkMagic(p.f); err != nil {
		return err
	}
	from := max(st.End, int64(len(packMagic)))
	if from > fi.Size() {
		from = int64(len(packMagic)) // the catalog knows bytes that are gone
	}
	if from == int64(len(packMagic)) {
		st.Said = 0
	}
	var add []item
	end, bad, err := scanPack(p.f, from, func(off int64, r record) error {
		if r.Removed {
			st.Said += recordHeader
			if err := b.cat.put(add...); err != nil {
				return err
			}
			add = add[:0]
			return b.cat.drop(r.Ref)
		}
		add = append(add, item{Kind: kindPacked, Ref: r.Ref, Pack: p.id, Off: off, Sum: r.Sum})
		if len(add) < 2000 {
			return nil
		}
		err := b.cat.put(add...)
		add = add[:0]
		return err
	})
	if err == nil && end > from {
		// Whoever wrote these may not have lived to sync them. From now on they count as durable.
		err = spaceError(b.disk.Sync(p.f))
	}
	if err == nil {
		err = b.cat.put(add...)
	}
	if err != nil {
		return err
	}
	for _, d := range bad {
		b.log.Warn("a pack is damaged", "pack", p.path, "from", d.From, "to", d.To)
	}
	if end < fi.Size() && last {
		b.log.Info("cutting off the torn end of a pack", "pack", p.path, "bytes", fi.Size()-end)
		if err := p.f.Truncate(end); err != nil {
			return err
		}
		if err := b.disk.Sync(p.f); err != nil {
			return err
		}
	}
	p.end.Store(end)
	st.End = end
	return b.cat.setPackState(p.id, st)
}

// savePacks notes how far the active pack is in the catalog. packMu is held.
func (b *Blobs) savePacks() error {
	if b.active == nil || b.cat == nil {
		return nil
	}
	st, err := b.cat.packState(b.active.id)
	if err != nil || st.End == b.active.end.Load() {
		return err
	}
	st.End = b.active.end.Load()
	return b.cat.setPackState(b.active.id, st)
}

// room returns the pack to append n bytes to. packMu is held.
func (b *Blobs) packFor(n int) (*pack, error) {
	if p := b.active; p != nil && p.end.Load()+int64(n) <= packMax {
		return p, nil
	}
	if err := b.savePacks(); err != nil {
		return nil, err
	}
	id := uint32(1)
	for used := range b.packs {
		id = max(id, used+1)
	}
	path := b.packPath(id)
	if err := writeNew(b.disk, path, []byte(packMagic)); err != nil {
		return nil, fmt.Errorf("making a pack: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	p := &pack{id: id, f: f, path: path, synced: int64(len(packMagic))}
	p.end.Store(int64(len(packMagic)))
	b.packs[id], b.active = p, p
	return p, nil
}

// appendChunk is how many bytes of records are written at once.
const appendChunk = 4 << 20

// chunkPool has the buffers in which records are put together.
var chunkPool = sync.Pool{New: func() any { return new([]byte) }}

// appendRecords writes records, syncs them, and enters them into the catalog.
// Nobody finds one before all are synced: whoever reuses it may name it at
// once.
func (b *Blobs) appendRecords(records []record) error {
	b.appending.RLock()
	defer b.appending.RUnlock()
	return b.appendHeld(records)
}

// appendHeld is appendRecords for whoever holds appending. Its chunks may lie
// in several packs: when one is full, and when somebody else's sync of it fails
// in between.
func (b *Blobs) appendHeld(records []record) error {
	var written []item
	var packs []*pack // that have some of it, each once
	for rest := records; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size < appendChunk) {
			size += recordHeader + len(rest[n].Data)
			n++
		}
		p, all, err := b.appendSome(rest[:n], size, written)
		if err != nil {
			return err
		}
		if !slices.Contains(packs, p) {
			packs = append(packs, p)
		}
		written, rest = all, rest[n:]
	}
	for _, p := range packs {
		if err := p.sync(b.disk, p.end.Load()); err != nil {
			b.abandon(p)
			return err
		}
	}
	return b.enter(records, written)
}

// appendSome writes records, without syncing them, and appends where each is
// to written.
func (b *Blobs) appendSome(records []record, size int, written []item) (*pack, []item, error) {
	if !records[0].Removed {
		if err := b.spaceForBytes(int64(size)); err != nil {
			return nil, nil, err
		}
	}
	kept := chunkPool.Get().(*[]byte)
	buf, first := slices.Grow((*kept)[:0], size), len(written)
	defer func() {
		if cap(buf) <= 2*appendChunk {
			*kept = buf
			chunkPool.Put(kept)
		}
	}()
	var err error
	for i := range records {
		r, off := &records[i], int64(len(buf))
		if buf, err = r.appendTo(buf); err != nil {
			return nil, nil, err
		}
		written = append(written, item{Kind: kindPacked, Ref: r.Ref, Off: off, Sum: r.Sum})
	}
	p, start, err := b.writeRecords(buf)
	if err != nil {
		return nil, nil, err
	}
	for i := first; i < len(written); i++ {
		written[i].Pack, written[i].Off = p.id, start+written[i].Off
	}
	startWriteback(p.f, start, int64(len(buf)))
	return p, written, nil
}

// abandon makes the next append begin another pack: nobody knows what a failed
// sync left of this one.
func (b *Blobs) abandon(p *pack) {
	b.packMu.Lock()
	defer b.packMu.Unlock()
	if b.active == p {
		b.active = nil
	}
}

// writeRecords appends bytes to a pack. What a failed write left behind is cut
// off again, or at least never looked at.
func (b *Blobs) writeRecords(buf []byte) (*pack, int64, error) {
	b.packMu.Lock()
	defer b.packMu.Unlock()
	p, err := b.packFor(len(buf))
	if err != nil {
		return nil, 0, err
	}
	start := p.end.Load()
	if n, err := b.disk.WriteAt(p.f, buf, start); err != nil || n != len(buf) {
		if terr := p.f.Truncate(start); terr != nil {
			b.active = nil // the next append begins another pack
			b.log.Warn("cutting off a failed append", "pack", p.path, "err", terr)
		}
		if err == nil {
			err = errors.New("short write")
		}
		return nil, 0, fmt.Errorf("appending to a pack: %w", spaceError(err))
	}
	p.end.Store(start + int64(len(buf)))
	return p, start, nil
}

// enter puts written and synced records into the catalog.
func (b *Blobs) enter(records []record, written []item) error {
	put, said := written[:0], map[uint32]int64{}
	for i, it := range written {
		if records[i].Removed {
			said[it.Pack] += recordHeader
			if err := b.markDead(it.Ref); err != nil {
				return err
			}
			continue
		}
		put = append(put, it)
	}
	for id, n := range said {
		st, err := b.cat.packState(id)
		if err != nil {
			return err
		}
		st.Said += n
		if err := b.cat.setPackState(id, st); err != nil {
			return err
		}
	}
	return b.cat.put(put...)
}

// markDead drops a packed blob from the catalog and counts its bytes.
func (b *Blobs) markDead(ref blob.Ref) error {
	it, ok, err := b.cat.get(ref)
	if err != nil || !ok || it.Kind != kindPacked {
		return err
	}
	if err := b.cat.drop(ref); err != nil {
		return err
	}
	st, err := b.cat.packState(it.Pack)
	if err != nil {
		return err
	}
	st.Dead += recordHeader + it.Ref.Size
	return b.cat.setPackState(it.Pack, st)
}

// readPacked returns the record of a small blob. A record that no longer
// matches is forgotten, so that the blob is fetched again.
func (b *Blobs) readPacked(ref blob.Ref) (record, error) {
	for attempt := 0; ; attempt++ {
		it, ok, err := b.cat.get(ref)
		if err != nil {
			return record{}, err
		}
		if !ok || it.Ref.Size != ref.Size {
			return record{}, fmt.Errorf("%w: blob %s", ErrNotHeld, ref.CID)
		}
		r, err := b.readItem(it)
		if err == nil && r.Ref == ref {
			return r, nil
		}
		if now, still, gerr := b.cat.get(ref); attempt == 0 && gerr == nil && still && now != it {
			continue // it was moved to another pack meanwhile
		}
		if err == nil {
			err = fmt.Errorf("%w: another blob stands in its place", ErrRot)
		}
		if errors.Is(err, ErrRot) {
			b.log.Warn("a small blob has rotted", "cid", ref.CID, "err", err)
			err = errors.Join(err, b.markDead(ref))
		}
		return record{}, err
	}
}

func (b *Blobs) readItem(it item) (record, error) {
	b.packMu.RLock()
	defer b.packMu.RUnlock()
	p := b.packs[it.Pack]
	if p == nil {
		return record{}, fmt.Errorf("%w: pack %08x is not here", ErrRot, it.Pack)
	}
	return p.read(it.Off, int(it.Ref.Size))
}

// removePacked appends the statement that a small blob is removed.
func (b *Blobs) removePacked(ref blob.Ref) error {
	b.removeMu.Lock()
	defer b.removeMu.Unlock()
	it, ok, err := b.cat.get(ref)
	if err != nil || !ok {
		return err
	}
	err = b.appendRecords([]record{{Removed: true, Ref: ref}})
	if errors.Is(err, ErrNoSpace) {
		// Not even a statement fits. It only matters when the catalog is made anew: then the blob comes back.
		err = b.markDead(ref)
	}
	if err != nil {
		return fmt.Errorf("removing a small blob: %w", err)
	}
	return b.compactIfDead(it.Pack)
}

// compactIfDead rewrites a pack that is mostly removed blobs. removeMu is held:
// a blob that is removed while it moves would come back.
func (b *Blobs) compactIfDead(id uint32) error {
	st, err := b.cat.packState(id)
	if err != nil {
		return err
	}
	b.packMu.RLock()
	p := b.packs[id]
	busy := p == nil || p == b.active && p.end.Load() < packMax/4
	b.packMu.RUnlock()
	if busy || st.Dead < 1<<20 || st.Dead*2 < p.end.Load() {
		return nil
	}
	_, err = b.compact(p)
	return err
}

// compact moves what lives in a pack to the active one and removes the file. It returns the bytes by which that made the packs
// smaller. removeMu is held.
func (b *Blobs) compact(p *pack) (freed int64, err error) {
	b.appending.Lock() // what was written to the pack is in the catalog from here on, and nothing more comes
	b.packMu.Lock()
	if b.active == p {
		b.active = nil
	}
	oldest := b.oldest() == p.id
	b.packMu.Unlock()
	b.appending.Unlock()
	freed = p.end.Load()
	var live, said []record
	size := 0
	_, _, err = scanPack(p.f, int64(len(packMagic)), func(off int64, r record) (err error) {
		it, ok, err := b.cat.get(r.Ref)
		switch {
		case err != nil:
			return err
		case r.Removed && (ok || oldest): // said of nothing that an older pack could bring back
			return nil
		case r.Removed:
			said = append(said, r)
			return nil
		case !(ok && it.Kind == kindPacked && it.Pack == p.id && it.Off == off):
			return nil
		}
		r.Data = slices.Clone(r.Data)
		live, freed = append(live, r), freed-recordHeader-int64(len(r.Data))
		if size += recordHeader + len(r.Data); size >= appendChunk {
			err, live, size = b.appendRecords(live), nil, 0
		}
		return err
	})
	if err == nil {
		err = b.appendRecords(live)
	}
	if err == nil {
		err = b.sayAgain(said)
		freed -= recordHeader * int64(len(said))
	}
	if err != nil {
		return 0, fmt.Errorf("compacting %s: %w", p.path, err)
	}
	b.packMu.Lock()
	defer b.packMu.Unlock()
	delete(b.packs, p.id)
	return freed, errors.Join(remove(p.path), p.f.Close(), b.cat.dropPack(p.id), b.disk.SyncDir(filepath.Dir(p.path)))
}

// sayAgain appends statements of a pack that goes, but of blobs that were stored again since: nobody stores one meanwhile.
func (b *Blobs) sayAgain(said []record) error {
	b.appending.Lock()
	defer b.appending.Unlock()
	still := said[:0]
	for _, r := range said {
		_, ok, err := b.cat.get(r.Ref)
		if err != nil {
			return err
		}
		if !ok {
			still = append(still, r)
		}
	}
	return b.appendHeld(still)
}

// oldest is the pack before all others; packMu is held, and there is one.
func (b *Blobs) oldest() uint32 { return slices.Min(slices.Collect(maps.Keys(b.packs))) }
