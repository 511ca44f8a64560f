package drive

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
)

// Sum counts blobs that are on this device, whole or in part.
type Sum struct {
	Blobs int64
	Bytes int64 // of what is here, without sidecars and headers
}

// Census says what the blobs on this device are kept for.
type Census [reasons]Sum

// Reclaimable is what Collect would drop.
func (c Census) Reclaimable() Sum {
	return Sum{c[Dead].Blobs + c[Unnamed].Blobs, c[Dead].Bytes + c[Unnamed].Bytes}
}

// Collected says what Collect did.
type Collected struct {
	Census  Census        // as it was before
	Dropped store.Dropped // what was dropped
	Packs   int64         // bytes that compacting packs gave back
}

const (
	sweepChunk = 500 // blobs dropped while writers wait
	replans    = 3   // times that a plan which others' entries overtook is made again before writers have to wait for one
)

// plan is what a sweep goes by.
type plan struct {
	basis
	census Census
	drop   []blob.Ref
}

// basis is what decides about blobs, but for the time.
type basis struct {
	heads  []key.Hash // the drive as it was
	said   []key.Hash // the chat as it was: messages refer to versions
	rule   room.Retention
	whole  bool // see Drive.whole
	beside room.Outside
}

func (b basis) equal(o basis) bool {
	return b.rule == o.rule && b.whole == o.whole && b.beside == o.beside && slices.Equal(b.heads, o.heads) && slices.Equal(b.said, o.said)
}

// Census counts the blobs on this device by why they are kept, by the room's retention as of now. It reads the whole drive and its
// history. ErrGaps.
func (d *Drive) Census(ctx context.Context, now time.Time) (Census, error) {
	p, err := d.plan(ctx, now)
	return p.census, err
}

// Inline adds up the files listed now whose bytes stand in the log: no blob holds them, and Census does not count them.
func (d *Drive) Inline(ctx context.Context) (s Sum, err error) {
	for i, err := range d.Now().Walk("") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return s, err
		}
		if i.Content != nil && i.Content.Payload > 0 {
			s.Blobs, s.Bytes = s.Blobs+1, s.Bytes+i.Size
		}
	}
	return s, nil
}

// Collect drops the bytes that nothing keeps any more: of versions that are past the room's retention, neither listed nor listed at a
// mark nor referred to by a message nor below a file that is being changed here, and of imports that no entry names. It never drops anything else, whoever else has it or not, nor what Hold holds. What stands in the log itself,
// files of up to [blob.MaxInline] bytes, stays. While entries that are here were not all processed, or this device's own logs may lack their
// end ([room.Room.Restored]), nothing is dropped. Bytes that are open or about to be written stay until the next time. Reads and writes
// go on meanwhile. When it fails or ctx ends, the result says what was done so far. ErrGaps.
//
// A member far away may restore a version at the very moment at which it is dropped here; it comes back from whoever still has it.
func (d *Drive) Collect(ctx context.Context, now time.Time) (Collected, error) {
	return d.collect(ctx, now, func() {})
}

// collect is Collect; between runs before each sweep.
func (d *Drive) collect(ctx context.Context, now time.Time, between func()) (c Collected, err error) {
	p, err := d.plan(ctx, now)
	c.Census = p.census
	for tries := 0; err == nil && len(p.drop) > 0; {
		between()
		var fresh bool
		if fresh, err = d.sweep(ctx, &p, &c.Dropped, now, tries >= replans); err != nil || fresh {
			continue
		}
		tries++
		p, err = d.plan(ctx, now)
	}
	if err != nil {
		return c, err
	}
	c.Packs, err = d.blobs.Compact(ctx)
	return c, err
}

// sweep drops the next of a plan while nobody writes. It reports false when the drive is no longer as it was planned for; with wait
// it then makes the plan anew on the spot.
func (d *Drive) sweep(ctx context.Context, p *plan, sum *store.Dropped, now time.Time, wait bool) (fresh bool, err error) {
	d.sweeping.Lock()
	defer d.sweeping.Unlock()
	is, err := d.basis()
	if err != nil {
		return false, err
	}
	if !p.basis.equal(is) {
		if !wait {
			return false, nil
		}
		if *p, err = d.plan(ctx, now); err != nil {
			return false, err
		}
	}
	n := min(sweepChunk, len(p.drop))
	done, err := d.blobs.Drop(ctx, p.drop[:n])
	p.drop = p.drop[n:]
	sum.Blobs, sum.Bytes, sum.Busy = sum.Blobs+done.Blobs, sum.Bytes+done.Bytes, sum.Busy+done.Busy
	return true, err
}

func (d *Drive) basis() (b basis, err error) {
	b.heads = sorted(d.room.Heads(key.Drive))
	if b.rule, err = d.room.Retention(); err != nil {
		return b, err
	}
	b.said = sorted(d.room.Heads(key.Chat))
	if b.whole, err = d.whole(); err != nil {
		return b, err
	}
	b.beside, err = d.room.Outside()
	return b, err
}

func sorted(h []key.Hash) []key.Hash {
	slices.SortFunc(h, func(a, b key.Hash) int { return slices.Compare(a[:], b[:]) })
	return h
}

// plan looks at everything. The basis is read first: what comes later shows in it.
func (d *Drive) plan(ctx context.Context, now time.Time) (p plan, err error) {
	if p.basis, err = d.basis(); err != nil {
		return p, err
	}
	why, err := d.reasonsOf(ctx, p.rule, now)
	if err != nil {
		return p, err
	}
	n := 0
	for b, err := range d.blobs.All() {
		if err != nil {
			return p, fmt.Errorf("listing the blobs: %w", err)
		}
		if n++; n%1000 == 0 {
			if err := ctxErr(ctx, "listing the blobs"); err != nil {
				return p, err
			}
		}
		w := why[keyOf(b.Ref)]
		if w == Unnamed && !p.whole || w <= Dead && !p.beside.Settled {
			w = InDoubt
		}
		p.census[w].Blobs++
		p.census[w].Bytes += d.here(b)
		if w == Dead || w == Unnamed {
			p.drop = append(p.drop, b.Ref)
		}
	}
	return p, nil
}

// here is how much of a blob is on this device.
func (d *Drive) here(b store.Info) (n int64) {
	if b.Complete {
		return b.Ref.Size
	}
	for _, r := range d.blobs.Have(b.Ref) {
		n += r.Len
	}
	return n
}

// whole reports whether every drive entry that is here counts. Others, in the quarantine or waiting for what they depend on, may name
// blobs that no counting entry names.
func (d *Drive) whole() (bool, error) {
	beyond, err := d.room.Quarantine(1)
	if err != nil {
		return false, err
	}
	st := d.room.Status()
	return len(beyond) == 0 && st.Standing == room.Admitted && st.Waiting == 0 && len(st.Closed) == 0 && !st.UpdateNeeded, nil
}
