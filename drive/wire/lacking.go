package wire

import (
	"context"
	"fmt"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Lacking asks a connected member or seeder what it holds and returns those of refs that it does not hold whole, as it says. ErrNobody: it
// is not connected, or goes while it is asked.
func (p *Replica) Lacking(ctx context.Context, dev key.DeviceID, refs []blob.Ref) (out []blob.Ref, err error) {
	s := p.sessionOf(dev)
	if s == nil {
		return nil, ErrNobody
	}
	for len(refs) > 0 {
		part := refs[:min(len(refs), maxHaveBlobs)]
		refs = refs[len(part):]
		items, err := s.have(ctx, part)
		if err != nil {
			return nil, err
		}
		for i, it := range items {
			if !it.All {
				out = append(out, part[i])
			}
		}
	}
	return out, nil
}

// sessionOf returns a session with a member or seeder that takes requests, nil for none.
func (p *Replica) sessionOf(dev key.DeviceID) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.readySessions() {
		if s.link.peer == dev && s.access >= room.AccessSeeder {
			return s
		}
	}
	return nil
}

// have asks what the peer holds of at most maxHaveBlobs blobs.
func (s *session) have(ctx context.Context, refs []blob.Ref) ([]haveItem, error) {
	roots := make([]key.Hash, len(refs))
	for i, ref := range refs {
		root, err := blob.RootOf(ref.CID)
		if err != nil {
			return nil, fmt.Errorf("asking what a peer holds: %w", err)
		}
		roots[i] = root
	}
	answer, f := make(chan []haveItem, 1), &s.rep.fetch
	f.mu.Lock()
	f.lastID++
	id := f.lastID
	f.queries[id] = &query{s: s, roots: roots, answer: answer}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.queries, id)
		f.mu.Unlock()
	}()
	s.link.send(encode(frameHaveAsk, msgHaveAsk{Chan: s.ch, ID: id, Roots: roots}))
	select {
	case items := <-answer:
		return items, nil
	case <-s.link.ctx.Done():
		return nil, ErrNobody
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
