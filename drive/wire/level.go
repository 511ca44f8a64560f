package wire

import (
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// level is how much of what a side shows the other has been shown: once the heads are compared and those that differ announced, it says
// so. Whoever has just come in thereby knows, without waiting for a silence, that there is nothing more to come for now.
type level uint8

const (
	levelNone    level = iota
	levelControl       // the heads of control cores
	levelAll           // all heads
)

// nextLevel makes the frame that tells the peer that it has been shown everything, when that is so and was not told. rep.mu is held.
func (s *session) nextLevel() []byte {
	now := levelControl
	if sees(s.access, key.Drive) {
		now = levelAll
	}
	done := s.probed && (s.link.side == sideFirst || s.compared) && len(s.inquiries)+len(s.answers)+len(s.queue)+len(s.acks) == 0
	if !done || now <= s.level {
		return nil
	}
	s.level = now
	return encode(frameLevel, msgLevel{Chan: s.ch, All: now == levelAll})
}

// onLevel notes that the peer has shown what it shows.
func (s *session) onLevel(m msgLevel) error {
	s.rep.mu.Lock()
	defer s.rep.mu.Unlock()
	s.theirs = max(s.theirs, levelControl)
	if m.All {
		s.theirs = levelAll
	}
	return nil
}

// Level reports whether the members and seeders that are connected, at least one, have shown all their heads, and nothing that a peer has
// shown is missing here. What they come to have afterwards may be missing nevertheless.
func (p *Replica) Level() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for s := range p.sessions {
		if s.access < room.AccessSeeder {
			continue
		}
		if s.theirs < levelAll {
			return false
		}
		n++
	}
	return n > 0 && len(p.behind)+len(p.pulls) == 0
}
