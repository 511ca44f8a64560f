package wire

import (
	"context"
	"errors"
	"sync"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Confirm asks the connected members and seeders for what follows, of the given cores, what is here (Length), and hands
// it to the room. It returns those that were heard to the end: they have no more of any of these cores, as they say. A
// peer does not say so before it serves this node as a member. but are not asked; ctx bounds it.
//
// Announcements bring the same, sooner or later: this is for a node that must know before it writes.
func (p *Replica) Confirm(ctx context.Context, cores []room.CoreInfo, but func(key.DeviceID) bool) (heard []key.DeviceID) {
	if !p.enter() {
		return nil
	}
	defer p.exit()
	p.mu.Lock()
	var ask []*session
	for _, s := range p.readySessions() {
		if s.access >= room.AccessSeeder && !but(s.link.peer) {
			ask = append(ask, s)
		}
	}
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	var mu sync.Mutex // guards heard
	var all sync.WaitGroup
	for _, s := range ask {
		all.Go(func() {
			for _, ci := range cores {
				if err := p.exhaust(ctx, s, ci); err != nil {
					s.link.log.Debug("asking for this device's own entries", "core", ci.Kind.String(), "err", err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, s.link.peer)
		})
	}
	all.Wait()
	return heard
}

// exhaust pulls a core from one peer until it has no more.
func (p *Replica) exhaust(ctx context.Context, s *session, ci room.CoreInfo) error {
	p.mu.Lock()
	from := max(ci.Length, p.local[ci.ID].info.Length)
	p.mu.Unlock()
	ci.Length = core.MaxLength
	_, err := p.pullFrom(ctx, s, ci, from)
	switch {
	case errors.Is(err, errGoneNow), errors.Is(err, room.ErrBroken): // no more of it, or it is closed here
		return nil
	case errors.Is(err, core.ErrJoin):
		p.mu.Lock()
		defer p.mu.Unlock()
		if r := s.remote[ci.ID]; r != nil {
			p.suspect(s, r.info)
		}
	}
	return err
}
