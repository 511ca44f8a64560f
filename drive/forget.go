package drive

import (
	"context"
	"slices"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/store"
)

// Freed says what Forget did.
type Freed struct {
	store.Dropped       // Bytes: of what was here
	Packs         int64 // bytes that compacting packs gave back
}

// Forget drops the bytes of blobs from this device, whatever they are kept for: the files that have them are listed as before, and reading
// them fetches them again. That somebody else holds them is the caller's business. What is open or about to be written, or lies below a file
// that is being changed here, stays, and counts as busy. When it fails or ctx ends, the result says what was done so far. ErrGaps.
func (d *Drive) Forget(ctx context.Context, refs []blob.Ref, progress func(bytes int64)) (sum Freed, err error) {
	for len(refs) > 0 && err == nil {
		part := refs[:min(sweepChunk, len(refs))]
		refs = refs[len(part):]
		var done store.Dropped
		done, err = d.forget(ctx, part)
		sum.Blobs, sum.Bytes, sum.Busy = sum.Blobs+done.Blobs, sum.Bytes+done.Bytes, sum.Busy+done.Busy
		if progress != nil {
			progress(sum.Bytes)
		}
	}
	if err == nil {
		sum.Packs, err = d.blobs.Compact(ctx)
	}
	return sum, err
}

// forget drops a few blobs while nobody writes.
func (d *Drive) forget(ctx context.Context, refs []blob.Ref) (store.Dropped, error) {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	below := map[blobKey]bool{}
	err := d.eachBelow(ctx, func(c blob.Content) {
		for _, p := range c.Parts {
			below[keyOf(p.Ref())] = true
		}
	})
	if err != nil {
		return store.Dropped{}, err
	}
	goes := slices.DeleteFunc(slices.Clone(refs), func(r blob.Ref) bool { return below[keyOf(r)] })
	before := d.held(goes)
	done, err := d.blobs.Drop(ctx, goes)
	done.Bytes = max(0, before-d.held(goes)) // somebody may read, and so fetch, meanwhile
	done.Busy += len(refs) - len(goes)
	return done, err
}

// Wrote reports of each blob whether an entry of a device names it, in whichever version of whichever file. Perhaps nobody else ever held
// it, whoever is shown as the author of the files that have it now: he may have renamed or restored one. It reads what that device wrote.
// ErrGaps when some of that cannot be read.
func (d *Drive) Wrote(ctx context.Context, dev key.DeviceID, refs []blob.Ref) (wrote []bool, err error) {
	left := make(map[blobKey]int, len(refs))
	for i, r := range refs {
		left[keyOf(r)] = i
	}
	wrote = make([]bool, len(refs))
	for from := []byte(nil); len(left) > 0; {
		rows, next, err := d.logRows(from, logPageSize)
		if err == nil {
			err = ctxErr(ctx, "reading the history")
		}
		if err != nil {
			return nil, err
		}
		for _, l := range rows {
			if l.Author != dev {
				continue
			}
			ops, err := d.opsOf(l.ID)
			if err != nil {
				return nil, err
			}
			for _, op := range ops {
				if op.Content == nil {
					continue
				}
				for _, p := range op.Content.Parts {
					if i, ok := left[keyOf(p.Ref())]; ok {
						wrote[i] = true
						delete(left, keyOf(p.Ref()))
					}
				}
			}
		}
		if from = next; from == nil {
			break
		}
	}
	return wrote, nil
}

// held is how many bytes of blobs are here.
func (d *Drive) held(refs []blob.Ref) (n int64) {
	for _, ref := range refs {
		for _, r := range d.blobs.Have(ref) {
			n += r.Len
		}
	}
	return n
}
