package drive

import (
	"context"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/store"
)

// Freed says what Forget did.
type Freed struct {
	store.Dropped       // Bytes: of what was here
	Packs         int64 // bytes that compacting packs gave back
}

// Forget drops the bytes of blobs from this device, whatever they are kept for: the files that have them are listed as before, and reading
// them fetches them again. That somebody else holds them is the caller's business. What is open or about to be written stays. When it
// fails or ctx ends, the result says what was done so far.
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
	before := d.held(refs)
	done, err := d.blobs.Drop(ctx, refs)
	done.Bytes = max(0, before-d.held(refs)) // somebody may read, and so fetch, meanwhile
	return done, err
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
