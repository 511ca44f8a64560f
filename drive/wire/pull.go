package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// pull brings one core up to what peers have shown, first from the peer that schedule chose. When one peer fails another continues.
func (p *Replica) pull(pl *pulling, ci room.CoreInfo) {
	for s := pl.from; s != nil; s = pl.from {
		p.mu.Lock()
		from := p.local[ci.ID].info.Length
		p.mu.Unlock()
		end, err := p.pullFrom(pl.ctx, s, ci, from)
		if cause := context.Cause(pl.ctx); err != nil && errors.Is(cause, errOvertaken) {
			err = cause
		}
		p.afterPull(s, ci, end, err)
		pl.cancel(nil)
		p.mu.Lock()
		p.unassign(pl)
		if p.ctx.Err() == nil {
			if next, ci2 := p.pick(ci.ID); next != nil {
				ci = ci2
				p.assign(pl, next)
			}
		}
		if pl.from == nil {
			delete(p.pulls, ci.ID)
		}
		p.schedule()
		p.mu.Unlock()
	}
}

// afterPull draws the consequences of one attempt.
func (p *Replica) afterPull(s *session, ci room.CoreInfo, end uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := s.remote[ci.ID]
	have := p.local[ci.ID].info.Length
	if err == nil && have >= min(end, ci.Length) {
		if ci.Kind == key.Control && p.trusts(s) {
			p.heldFrom = time.Time{}
		}
		return
	}
	if r == nil || p.ctx.Err() != nil {
		return
	}
	r.badTo, r.retry = r.info.Length, time.Now().Add(p.hub.timing.Retry)
	log := s.link.log.With("core", ci.Kind.String(), "device", ci.Device.Short(), "gen", ci.Gen, "from", have, "to", ci.Length, "err", err)
	switch {
	case errors.Is(err, core.ErrJoin):
		log.Warn("entries do not join what is here")
		r.retry = time.Now().Add(time.Hour)
		p.suspect(s, ci)
	case errors.Is(err, errGone): // the session is about to end
	case errors.Is(err, errOvertaken):
		r.retry = time.Now().Add(max(time.Minute, 10*p.hub.timing.Retry))
		log.Info("entries do not come, others are asked")
	case isPeersFault(err):
		p.rejected.Add(1)
		r.retry = time.Now().Add(time.Hour)
		log.Warn("peer sent entries that do not verify")
		if s.strikes.Add(1) >= maxStrikes {
			s.link.cancel(errBad)
		}
	case errors.Is(err, room.ErrDrop), errors.Is(err, room.ErrBroken):
		// Another chance comes with the next change of members, or of what the peer shows.
		r.retry = time.Now().Add(max(time.Minute, 10*p.hub.timing.Retry))
		log.Debug("entries not taken")
	case errors.Is(err, errDenied), errors.Is(err, errGoneNow), errors.Is(err, errBusy):
		log.Debug("entries not given")
	case err == nil:
		// The room took it without growing: nothing to gain from asking again.
		r.retry = time.Now().Add(max(time.Minute, 10*p.hub.timing.Retry))
		log.Debug("entries brought nothing new")
	default:
		log.Warn("pulling entries failed")
	}
}

// isPeersFault reports whether an error says that what came was wrong by itself.
func isPeersFault(err error) bool {
	for _, e := range []error{errBad, core.ErrFormat, core.ErrLimit, core.ErrCore, core.ErrSignature, core.ErrProof, core.ErrRange, core.ErrGap, ErrFrame} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// pullFrom pulls one core from one peer until it is level. Asking and receiving overlap; end is how far the peer got.
func (p *Replica) pullFrom(ctx context.Context, s *session, ci room.CoreInfo, from uint64) (end uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tails := make(chan core.Tail, 2)
	asked := make(chan error, 1)
	go func() {
		defer close(tails)
		for next := from; next < ci.Length; {
			n, err := s.askTails(ctx, ci, next, tails)
			if err == nil && n <= next {
				err = fmt.Errorf("%w: no entries", errBad)
			}
			if err != nil {
				asked <- err
				return
			}
			next = n
		}
		asked <- nil
	}()
	end = from
	for limit := firstTail; ; limit = min(2*limit, maxTailsStored) { // the first entries are there soon, and what they name is asked for
		t, ok := <-tails
		if !ok {
			break
		}
		if err != nil {
			continue // drain until the other side has noticed
		}
		batch := gather(t, tails, limit)
		if err = p.room.Receive(ctx, s.link.peer, ci, batch...); err != nil {
			cancel()
			continue
		}
		end = p.received(ci, batch[len(batch)-1])
	}
	if e := <-asked; err == nil {
		err = e
	}
	return end, err
}

// received notes what the room has just stored of a core.
func (p *Replica) received(ci room.CoreInfo, last core.Tail) (end uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end = last.End()
	now := p.local[ci.ID].info
	now.ID, now.Device, now.Kind, now.Gen = ci.ID, ci.Device, ci.Kind, ci.Gen
	now.Length = max(now.Length, end)
	if pl := p.pulls[ci.ID]; pl != nil {
		pl.shown = time.Now()
	}
	if end == last.Head.Length && end > now.Head.Length {
		now.Head = last.Head
	}
	p.learn(now)
	return end
}

// gather takes what else has arrived, so that it goes into one transaction, until that has limit bytes.
func gather(first core.Tail, more <-chan core.Tail, limit int) []core.Tail {
	batch := []core.Tail{first}
	for size := sizeOf(first); size < limit; {
		select {
		case t, ok := <-more:
			if !ok {
				return batch
			}
			batch, size = append(batch, t), size+sizeOf(t)
		default:
			return batch
		}
	}
	return batch
}

// sizeOf is how many bytes the blocks of a tail have.
func sizeOf(t core.Tail) (n int) {
	for _, b := range t.Blocks {
		n += len(b.Data)
	}
	return n
}

// askTails asks for tails from a block on and hands them over as they come. It returns where the next ones begin.
func (s *session) askTails(ctx context.Context, ci room.CoreInfo, from uint64, out chan<- core.Tail) (uint64, error) {
	next := from
	var parts []byte
	err := s.ask(ctx, &s.link.lanes[0], 2*maxTailAsk, func(id uint32) []byte {
		return encode(frameAskTail, askTail{ID: id, Chan: s.ch, Core: ci.ID, From: from, To: ci.Length, Max: maxTailAsk})
	}, func(t frameType, flags byte, body []byte) error {
		if t != frameTail {
			return fmt.Errorf("%w: frame type %d", errBad, t)
		}
		whole, err := assemble(&parts, flags, body)
		if whole == nil || err != nil {
			return err
		}
		tail, err := core.ParseTail(whole)
		if err != nil {
			return err
		}
		if tail.Core != ci.ID || tail.From != next || len(tail.Blocks) == 0 {
			return fmt.Errorf("%w: a tail of something else", errBad)
		}
		next = tail.End()
		select {
		case out <- tail:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return next, err
}

// assemble joins the frames of one long answer. It returns nil until the answer is whole.
func assemble(parts *[]byte, flags byte, body []byte) ([]byte, error) {
	if flags&flagMore == 0 && len(*parts) == 0 {
		return body, nil
	}
	if len(*parts)+len(body) > maxTailBytes {
		return nil, fmt.Errorf("%w: an answer of more than %d bytes", errBad, maxTailBytes)
	}
	*parts = append(*parts, body...)
	if flags&flagMore != 0 {
		return nil, nil
	}
	whole := *parts
	*parts = nil
	return whole, nil
}

// ask makes a request and waits until it has ended; onFrame is not called after that. When ctx ends first the request is
// taken back.
func (s *session) ask(ctx context.Context, ln *lane, limit int64, frame func(uint32) []byte, onFrame func(frameType, byte, []byte) error) error {
	done := make(chan error, 1)
	r := &request{s: s, max: limit, onFrame: onFrame, onEnd: func(err error) { done <- err }}
	ln.ask(r, frame)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		ln.drop(r, context.Cause(ctx))
		return <-done
	}
}

// joiner is a room that can look into forks.
type joiner interface {
	ReadJoint(id key.CoreID, at uint64) (core.Joint, error)
	ReceiveJoint(ctx context.Context, from key.DeviceID, ci room.CoreInfo, j core.Joint) error
}

// suspect asks a peer for the proof that its version of a core and the one here are one history, or are not. p.mu is
// held.
func (p *Replica) suspect(s *session, ci room.CoreInfo) {
	j, ok := p.room.(joiner)
	if _, running := p.forks[ci.ID]; !ok || running || !s.ready || len(p.forks) >= pullsPerRoom || p.ctx.Err() != nil {
		return
	}
	if !p.trusts(s) && len(p.forks) >= strangersPulls {
		return
	}
	p.forks[ci.ID] = struct{}{}
	at := min(p.local[ci.ID].info.Length, ci.Length)
	p.work.Go(func() {
		defer func() {
			p.mu.Lock()
			delete(p.forks, ci.ID)
			p.mu.Unlock()
		}()
		joint, err := s.askJoint(p.ctx, ci, at)
		if err == nil {
			err = j.ReceiveJoint(p.ctx, s.link.peer, ci, joint)
		}
		if err != nil && p.ctx.Err() == nil {
			s.link.log.Warn("looking into two heads of one core", "core", ci.Kind.String(), "device", ci.Device.Short(), "err", err)
		}
	})
}

// askJoint asks for what joins the peer's head of a core to the length at.
func (s *session) askJoint(ctx context.Context, ci room.CoreInfo, at uint64) (j core.Joint, err error) {
	if at == 0 {
		return j, errGoneNow
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.rep.hub.timing.Stall, errStalled)
	defer cancel()
	var parts []byte
	err = s.ask(ctx, &s.link.lanes[0], maxTailBytes, func(id uint32) []byte {
		return encode(frameAskBlocks, askBlocks{ID: id, Chan: s.ch, Core: ci.ID, Joint: true, Blocks: []uint64{at}})
	}, func(t frameType, flags byte, body []byte) error {
		whole, err := assemble(&parts, flags, body)
		if whole == nil || err != nil {
			return err
		}
		j, err = core.ParseJoint(whole)
		return err
	})
	return j, err
}
