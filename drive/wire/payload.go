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

// FetchPayload brings the payload blocks of the entry at block seq of a core that are not here, because they were
// withheld or cleared. ErrNobody: no peer has them now.
func (p *Replica) FetchPayload(ctx context.Context, id key.CoreID, seq uint64) error {
	if !p.enter() {
		return ErrClosed
	}
	defer p.exit()
	deadline := time.Now().Add(p.hub.timing.Nobody)
	for {
		w, err := p.room.MissingPayloads(id, seq)
		if err != nil {
			return fmt.Errorf("fetching payload: %w", err)
		}
		if w.Count == 0 {
			return nil
		}
		if p.ctx.Err() != nil {
			return ErrClosed
		}
		var progress bool
		peers := p.payloadPeers(id, w)
		for i, s := range peers {
			limit := p.hub.timing.Stall
			if i+1 < len(peers) {
				limit = min(limit, p.hub.timing.Deliver)
			}
			n, err := p.payloadFrom(ctx, s, w, limit)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if n > 0 { // of a forked core they may be of another history, which is here already
				now, err := p.room.MissingPayloads(id, seq)
				if err != nil {
					return fmt.Errorf("fetching payload: %w", err)
				}
				if progress = now != w; progress {
					break
				}
			}
			if err != nil && !errors.Is(err, errGoneNow) && !errors.Is(err, errDenied) {
				s.link.log.Warn("fetching payload failed", "err", err)
			}
		}
		if progress {
			continue
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("fetching payload: %w", ErrNobody)
		}
		if err := sleep(ctx, p.hub.timing.Nobody/8); err != nil {
			return err
		}
	}
}

// payloadPeers returns whom to ask: first those who said that they hold the log that far, then the others. Of a forked core
// somebody may have the blocks of one history who shows the head of another.
func (p *Replica) payloadPeers(id key.CoreID, w room.Want) []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first, rest []*session
	for _, s := range p.readySessions() {
		if r := s.remote[id]; r != nil && r.held > w.First {
			first = append(first, s)
		} else {
			rest = append(rest, s)
		}
	}
	return append(first, rest...)
}

// payloadFrom asks one peer and stores what it has within the limit. It returns how many blocks came.
func (p *Replica) payloadFrom(ctx context.Context, s *session, w room.Want, limit time.Duration) (n int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errStalled)
	defer cancel()
	ask := askBlocks{Chan: s.ch, Core: w.Core}
	for i := range min(w.Count, maxBlockAsk) {
		ask.Blocks = append(ask.Blocks, w.First+uint64(i))
	}
	var parts []byte
	var got []core.BlockProof
	err = s.ask(ctx, &s.link.lanes[0], int64(len(ask.Blocks)+1)*(core.MaxTail+4096), func(id uint32) []byte {
		ask.ID = id
		return encode(frameAskBlocks, ask)
	}, func(t frameType, flags byte, body []byte) error {
		if t != frameBlocks {
			return fmt.Errorf("%w: frame type %d", errBad, t)
		}
		whole, err := assemble(&parts, flags, body)
		if whole == nil || err != nil || len(whole) == 0 && flags&flagLast != 0 {
			return err
		}
		if n+len(got) >= len(ask.Blocks)*maxProofs {
			return fmt.Errorf("%w: more blocks than were asked for", errBad)
		}
		b, err := core.ParseBlockProof(whole)
		if err != nil {
			return err
		}
		got = append(got, b)
		if len(got) < 16 && flags&flagLast == 0 {
			return nil
		}
		err = p.room.FillPayload(w.Core, got...)
		if err == nil {
			n += len(got)
		}
		got = nil
		return err
	})
	if (err == nil || errors.Is(err, errStalled)) && len(got) > 0 {
		if fill := p.room.FillPayload(w.Core, got...); fill != nil {
			err = fill
		} else {
			n += len(got)
		}
	}
	if err != nil && isPeersFault(err) {
		p.rejected.Add(1)
		s.link.log.Warn("peer sent blocks that do not verify", "err", err)
	}
	return n, err
}
