package node

import (
	"context"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/wire"
)

const (
	batchFiles = 4000     // files whose small blobs are asked for in one go
	batchBytes = 16 << 20 // and their bytes at most
	maxBatches = 4        // such batches under way: as many as a peer is asked for at once
	maxLarge   = 16       // larger files under way
	largeBytes = 64 << 20 // and their bytes, but for a single one
)

// round fetches what a keeper found missing: small files in batches, several larger ones at once, so that neither the way to a peer
// nor the sync of a file holds up the next. What is found meanwhile does not wait for what is under way. Only run uses it.
type round struct {
	k       *keeper
	small   []wanted // in the order in which they are to come
	large   []wanted
	known   map[string]struct{} // what is in the lists or under way
	done    chan load
	batches int
	files   int
	bytes   int64
	left    int  // files that could not be fetched
	stopped bool // it is pointless to go on now
}

// load is what one goroutine fetches.
type load struct {
	files []wanted
	refs  []blob.Ref // of small files; nil: it is one large file
	bytes int64
	err   error
}

// fetch brings what is missing, also what changes while it does, and tells how many files are still missing.
func (k *keeper) fetch(ctx context.Context) (left int) {
	ctx = wire.Background(ctx)
	c := &round{k: k, known: make(map[string]struct{}), done: make(chan load, maxBatches+maxLarge)}
	changed := c.look()
	for {
		c.begin(ctx)
		if c.batches+c.files == 0 {
			return c.through(changed)
		}
		var look <-chan time.Time
		switch {
		case changed:
			look = time.After(k.untilLook(c.waiting()))
		case c.waiting() < plenty && k.last != nil:
			look = time.After(max(k.untilLook(0), k.untilWalk()))
		}
		select {
		case l := <-c.done:
			c.end(l)
		case <-k.kick:
			changed = true
		case <-look:
			changed = c.look()
		}
	}
}

// through ends a round in which nothing is under way any more, and tells how many files are still missing.
func (c *round) through(changed bool) (left int) {
	if changed {
		c.k.wake() // that is looked at in the next round
	}
	if c.stopped {
		c.k.last = nil // what else a walk would find would fare no better
	}
	return c.left + c.waiting()
}

// waiting is how many files wait to be fetched.
func (c *round) waiting() int { return len(c.small) + len(c.large) }

// look takes what is missing. It reports whether there is more to look at.
func (c *round) look() (more bool) {
	list, more := c.k.missing(c.waiting())
	c.add(list)
	return more
}

// add takes what was found.
func (c *round) add(list []wanted) {
	var small, large []wanted
	for _, w := range list {
		name := w.name()
		if _, ok := c.known[name]; ok {
			continue
		}
		c.known[name] = struct{}{}
		if w.content.Payload == 0 && isSmall(w.content) {
			small = append(small, w)
		} else {
			large = append(large, w)
		}
	}
	c.small, c.large = append(small, c.small...), append(large, c.large...)
	slices.SortStableFunc(c.small, sooner)
	slices.SortStableFunc(c.large, sooner)
}

// begin starts what the limits allow.
func (c *round) begin(ctx context.Context) {
	for c.batches < maxBatches && len(c.small) > 0 && c.goesOn(ctx, c.small[0]) {
		c.batches++
		l := c.batch()
		go func() {
			l.err = c.k.r.replica.FetchSmall(ctx, l.refs)
			c.done <- l
		}()
	}
	for c.files < maxLarge && len(c.large) > 0 && c.goesOn(ctx, c.large[0]) {
		w := c.large[0]
		if c.files > 0 && c.bytes+w.content.Size > largeBytes {
			return
		}
		c.large = c.large[1:]
		c.files++
		c.bytes += w.content.Size
		go func() {
			l := load{files: []wanted{w}, bytes: w.content.Size}
			l.err = c.k.fetchOne(ctx, w)
			c.done <- l
		}()
	}
}

// goesOn reports whether w may be fetched now.
func (c *round) goesOn(ctx context.Context, w wanted) bool {
	c.stopped = c.stopped || ctx.Err() != nil || !c.k.space(w.pinned)
	return !c.stopped
}

// batch takes small files off the list.
func (c *round) batch() (l load) {
	for n, w := range c.small {
		if n == batchFiles || l.bytes >= batchBytes {
			break
		}
		for _, p := range w.content.Parts {
			l.refs = append(l.refs, p.Ref())
		}
		l.bytes += w.content.Size
		l.files = c.small[:n+1]
	}
	c.small = c.small[len(l.files):]
	return l
}

// end draws the consequences of a fetch that has ended.
func (c *round) end(l load) {
	if l.refs != nil {
		c.batches--
	} else {
		c.files--
		c.bytes -= l.bytes
	}
	for _, w := range l.files {
		delete(c.known, w.name())
	}
	if l.err == nil {
		c.left += c.k.notHeld(l.files)
		return
	}
	c.left += len(l.files)
	if c.k.complain(l.err) {
		c.stopped = true
	}
}

// name tells file versions apart.
func (w wanted) name() string {
	if w.content.Payload != 0 || len(w.content.Parts) == 0 {
		return string(w.content.PayloadHash[:])
	}
	return string(w.content.Parts[0].CID.Bytes()) + string(w.content.Plain[:])
}

// isSmall reports whether every part of c is a blob that travels in batches.
func isSmall(c *blob.Content) bool {
	return !slices.ContainsFunc(c.Parts, func(p blob.Part) bool { return p.Size > blob.MaxPacked })
}

func (k *keeper) fetchOne(ctx context.Context, w wanted) error {
	if w.content.Payload != 0 {
		return k.r.replica.FetchPayload(ctx, w.core, w.seq)
	}
	for _, p := range w.content.Parts {
		if err := k.r.replica.Fetch(ctx, p.Ref(), p.Offset, p.Length); err != nil {
			return err
		}
	}
	return nil
}

// notHeld counts what is not here although fetching it succeeded: damaged on this disk, say, and found so meanwhile.
func (k *keeper) notHeld(list []wanted) int {
	var refs []blob.Ref
	for _, w := range list {
		if w.content.Payload == 0 && len(w.content.Parts) == 1 {
			refs = append(refs, w.content.Parts[0].Ref())
		}
	}
	missing := k.r.store.Blobs().Missing(refs)
	for _, ref := range missing {
		k.log.Warn("fetched bytes are not here", "size", ref.Size, "held", k.r.store.Blobs().Have(ref))
	}
	return len(missing)
}
