package wire

import (
	"context"
	"errors"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// controlFirst is how long chat and drive wait for control entries that are on their way.
const controlFirst = 2 * time.Second

// chatFirst is how long the drive waits for messages that are on their way: they are to be read before the whole of the drive is here.
const chatFirst = time.Second

// errOvertaken ends a pull so that another peer is asked.
var errOvertaken = errors.New("wire: the peer shows nothing of the core, others have it too")

// pulling is a core being pulled. Guarded by Replica.mu, but for ctx and cancel, and from by its own goroutine.
type pulling struct {
	from   *session  // nil: it ends
	shown  time.Time // when entries were stored last, or it was asked of from
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// enqueue notes that a core is behind, of which some peer has shown more than is here, and waits for a puller. p.mu is held.
func (p *Replica) enqueue(id key.CoreID, k key.Kind) {
	p.behind[id] = k
	if _, ok := p.queued[id]; ok {
		return
	}
	p.queued[id] = struct{}{}
	q := &p.queues[pullOrder(k)]
	*q = append(*q, id)
}

// schedule starts pulling cores that are behind: control, then chat, then drive, one puller a core. Peers share the pullers so that
// nobody keeps others from being heard, however slow what he has promised comes: see free. p.mu is held.
func (p *Replica) schedule() {
	p.startQueued()
	for p.wake() {
		p.startQueued()
	}
}

// startQueued empties the queues: each core is pulled, or waits elsewhere. p.mu is held.
func (p *Replica) startQueued() {
	for order := range p.queues {
		q := &p.queues[order]
		for len(*q) > 0 && p.ctx.Err() == nil {
			if order > pullOrder(key.Control) && p.controlUnderway() {
				p.scheduleIn(controlFirst / 4)
				return
			}
			if order > pullOrder(key.Chat) && p.chatUnderway(time.Now()) {
				p.scheduleIn(chatFirst / 4)
				return
			}
			id := pop(q)
			delete(p.queued, id)
			if _, ok := p.behind[id]; !ok {
				continue
			}
			if pl := p.pulls[id]; pl != nil { // it looks for more before it ends
				p.overtake(id, pl)
				continue
			}
			s, ci := p.pick(id)
			if s == nil {
				continue // pick has put it elsewhere, or it has to be shown again
			}
			pl := &pulling{}
			p.pulls[id] = pl
			p.assign(pl, s)
			p.deferCore(id) // to see how it goes
			p.work.Go(func() { p.pull(pl, ci) })
		}
	}
}

// wake queues a core that waited for a peer who may be asked again, if there is one: control first. p.mu is held.
func (p *Replica) wake() bool {
	for order := range p.queues {
		for s := range p.sessions {
			for len(s.waits[order]) > 0 && p.free(s, len(p.pulls)) {
				id := pop(&s.waits[order])
				delete(s.waiting, id)
				k, ok := p.behind[id]
				if _, queued := p.queued[id]; ok && !queued && p.pulls[id] == nil {
					p.enqueue(id, k)
					return true
				}
			}
		}
	}
	return false
}

// pop takes the first core of a queue.
func pop(q *[]key.CoreID) key.CoreID {
	id := (*q)[0]
	if *q = (*q)[1:]; len(*q) == 0 {
		*q = nil
	}
	return id
}

func pullOrder(k key.Kind) int {
	switch k {
	case key.Control:
		return 0
	case key.Chat:
		return 1
	}
	return 2
}

// controlUnderway reports whether chat and drive have to wait, because control entries are on their way from somebody who is no stranger.
// When none have come for controlFirst nobody waits for them any more until some have, of a member: or whoever promises many cores would
// be waited for again and again. p.mu is held.
func (p *Replica) controlUnderway() bool {
	for id, pl := range p.pulls {
		if p.behind[id] == key.Control && pl.from != nil && p.trusts(pl.from) {
			now := time.Now()
			if p.heldFrom.IsZero() {
				p.heldFrom = now
			}
			return now.Sub(p.heldFrom) < controlFirst
		}
	}
	return false
}

// chatUnderway reports whether the drive has to wait, because messages are on their way and have been for no long time. When they go on
// without a pause nobody waits for them any more. p.mu is held.
func (p *Replica) chatUnderway(now time.Time) bool {
	for id := range p.pulls {
		if p.behind[id] == key.Chat {
			if p.chatFrom.IsZero() {
				p.chatFrom = now
			}
			return now.Sub(p.chatFrom) < chatFirst
		}
	}
	p.chatFrom = time.Time{}
	return false
}

// scheduleIn runs schedule again after d at the latest, with the cores that were deferred. p.mu is held.
func (p *Replica) scheduleIn(d time.Duration) {
	if p.again != nil {
		return
	}
	p.again = time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.again = nil
		ids := p.deferred
		p.deferred = nil
		for _, id := range ids {
			if k, ok := p.behind[id]; ok {
				p.enqueue(id, k)
			}
		}
		p.schedule()
	})
}

// deferCore looks at a core again after a while. p.mu is held.
func (p *Replica) deferCore(id key.CoreID) {
	p.deferred = append(p.deferred, id)
	p.scheduleIn(p.hub.timing.Retry)
}

// trusts reports whether a peer is more than somebody with a link. As long as this device is no member it cannot tell. Others are
// not restricted in what they may bring: whoever was admitted while this device was away is a stranger to it, and may be the only one
// there who has the entries that say otherwise. p.mu is held.
func (p *Replica) trusts(s *session) bool { return p.outside || s.access >= room.AccessLate }

// free reports whether one more core may be pulled from a peer while n are being pulled: any number of a member as long as there are
// pullers, and then a few of each; of strangers a few in any case. p.mu is held.
func (p *Replica) free(s *session, n int) bool {
	if p.trusts(s) {
		return n < pullsPerRoom || s.pulling < ownPulls && n < maxPulls
	}
	strange := 0
	for _, pl := range p.pulls {
		if pl.from != nil && !p.trusts(pl.from) {
			strange++
		}
	}
	return n < pullsPerRoom && s.pulling < strangerPulls && strange < strangersPulls
}

// assign has a core pulled from a peer. p.mu is held.
func (p *Replica) assign(pl *pulling, s *session) {
	pl.from, pl.shown = s, time.Now()
	pl.ctx, pl.cancel = context.WithCancelCause(p.ctx)
	s.pulling++
}

// unassign is the end of assign. p.mu is held.
func (p *Replica) unassign(pl *pulling) {
	pl.from.pulling--
	pl.from = nil
}

// pick chooses the peer to pull a core from: somebody who is no stranger, the least busy one, then the nearest. When those who have it
// are asked for enough already, the core waits for the best of them. p.mu is held.
func (p *Replica) pick(id key.CoreID) (best *session, ci room.CoreInfo) {
	n := len(p.pulls)
	if p.pulls[id] != nil {
		n-- // it has a puller
	}
	var full *session
	wait := false
	now := time.Now()
	for s := range p.sessions {
		r, later := p.offers(s, id, now)
		switch {
		case r == nil:
			wait = wait || later
		case !p.free(s, n):
			if p.nearer(s, full) {
				full = s
			}
		case p.nearer(s, best):
			best, ci = s, r.info
		}
	}
	switch {
	case best != nil:
	case full != nil:
		if _, ok := full.waiting[id]; !ok {
			full.waiting[id] = struct{}{}
			w := &full.waits[pullOrder(p.behind[id])]
			*w = append(*w, id)
		}
	case wait:
		p.deferCore(id)
	}
	return best, ci
}

// offers returns what a peer has shown of a core when it is more than is here; later says that it may be asked for that after a
// while. p.mu is held.
func (p *Replica) offers(s *session, id key.CoreID, now time.Time) (r *remoteCore, later bool) {
	r = s.remote[id]
	if r == nil || r.info.Length <= p.local[id].info.Length || !s.ready {
		return nil, false
	}
	if r.info.Length <= r.badTo && now.Before(r.retry) {
		return nil, true
	}
	return r, false
}

// nearer reports whether a peer is to be asked rather than another. p.mu is held.
func (p *Replica) nearer(s, than *session) bool {
	if than == nil {
		return true
	}
	if a, b := p.trusts(s), p.trusts(than); a != b {
		return a
	}
	if s.pulling != than.pulling {
		return s.pulling < than.pulling
	}
	return s.link.rtt.Load() < than.link.rtt.Load()
}

// overtake ends a pull of which nothing comes when another peer has more of the core too. p.mu is held.
func (p *Replica) overtake(id key.CoreID, pl *pulling) {
	other := false
	now := time.Now()
	for s := range p.sessions {
		if r, _ := p.offers(s, id, now); r != nil && s != pl.from && p.free(s, len(p.pulls)-1) {
			other = true
			break
		}
	}
	if !other || pl.from == nil {
		return
	}
	deliver := p.hub.timing.Deliver
	if now.Sub(pl.shown) < deliver/4 || now.Sub(pl.shown) < 4*deliver && !pl.from.link.lanes[0].owed.over(deliver/4) {
		p.deferCore(id)
		return
	}
	pl.cancel(errOvertaken)
}
