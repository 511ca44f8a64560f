package wire

import (
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// offer brings the given rooms of both ends together. The first side shows tags of all relay keys it knows; the second
// side looks for its own among those it was shown. It runs whenever a room or a key came or went.
func (l *link) offer(reps ...*Replica) {
	l.mu.Lock()
	ready := l.greeted && l.ctx.Err() == nil
	l.mu.Unlock()
	if !ready {
		return
	}
	if l.side == sideFirst {
		l.showTags(reps)
	} else {
		l.matchTags(reps)
	}
	for _, s := range l.all() {
		if slices.Contains(reps, s.rep) {
			s.reassess()
		}
	}
}

// reconsider forgets that a room was refused, if its peer may have it by now.
func (l *link) reconsider(p *Replica) {
	if isOut(p.room.Access(l.peer)) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byRoom[p.room.ID()] != nil {
		return
	}
	if l.refused[p.room.ID()] > 0 {
		delete(l.refused, p.room.ID())
		for t, shown := range l.shown {
			if l.side == sideFirst && shown.rep == p {
				delete(l.shown, t)
			}
		}
	}
}

// all returns the sessions of the link.
func (l *link) all() []*session {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]*session, 0, len(l.sessions))
	for _, s := range l.sessions {
		out = append(out, s)
	}
	return out
}

// showTags sends the tags that have not been shown on this connection.
func (l *link) showTags(reps []*Replica) {
	var fresh []tag
	for _, p := range reps {
		keys := p.relayKeys()
		l.mu.Lock()
		for _, k := range keys {
			t := l.hs.tag(k)
			if l.shown[t].rep == p {
				continue
			}
			fresh = append(fresh, t)
			l.shown[t] = shownTag{p, k}
		}
		l.mu.Unlock()
	}
	if len(fresh) == 0 {
		return
	}
	fresh = padTags(fresh)
	for len(fresh) > 0 {
		n := min(len(fresh), maxTagsFrame)
		l.send(encode(frameTags, msgTags{Tags: fresh[:n]}))
		fresh = fresh[n:]
	}
}

// onTags remembers what the first side has shown and opens what is known here.
func (l *link) onTags(m msgTags) error {
	if l.side != sideSecond {
		return fmt.Errorf("%w: tags from the second side", ErrProtocol)
	}
	l.mu.Lock()
	for _, t := range m.Tags {
		l.shown[t] = shownTag{}
	}
	over := len(l.shown) > maxTags
	clear(l.refused) // the other side has something new to offer
	l.mu.Unlock()
	if over {
		return fmt.Errorf("%w: more than %d tags", ErrProtocol, maxTags)
	}
	l.matchTags(l.hub.replicas())
	return nil
}

// matchTags opens a channel for every room of which the first side has shown a tag, and proves the keys again when
// there are other common ones than before.
func (l *link) matchTags(reps []*Replica) {
	l.matching.Lock()
	defer l.matching.Unlock()
	for _, p := range reps {
		var items []proofItem
		var common []key.Secret
		keys := p.relayKeys()
		l.mu.Lock()
		for _, k := range keys {
			t := l.hs.tag(k)
			if _, ok := l.shown[t]; ok {
				items = append(items, proofItem{Tag: t, Proof: l.hs.prove(k, sideSecond, t)})
				common = append(common, k)
			}
		}
		s := l.byRoom[p.room.ID()]
		stale := s == nil && l.refused[p.room.ID()] == len(items)
		if p.ctx.Err() != nil || len(items) == 0 || stale || s != nil && (s.rep != p || sameKeys(s.asked, common)) || s == nil && len(l.sessions) >= maxChannels {
			l.mu.Unlock()
			continue
		}
		if s == nil {
			for l.nextChan++; l.nextChan == 0 || l.sessions[l.nextChan] != nil; l.nextChan++ {
			}
			s = newSession(l, p, l.nextChan)
			l.sessions[s.ch], l.byRoom[p.room.ID()] = s, s
		}
		s.asked = common
		ch := s.ch
		l.mu.Unlock()
		l.send(encode(frameOpen, msgOpen{Chan: ch, Items: items}))
	}
}

func sameKeys(a, b []key.Secret) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

// onOpen checks the second side's proofs and answers with this side's.
func (l *link) onOpen(m msgOpen) error {
	if l.side != sideFirst {
		return fmt.Errorf("%w: a channel opened by the first side", ErrProtocol)
	}
	var p *Replica
	var proven []key.Secret
	answer := msgOpen{Chan: m.Chan}
	l.mu.Lock()
	for _, it := range m.Items {
		shown, ok := l.shown[it.Tag]
		if !ok || p != nil && shown.rep != p || !l.hs.check(shown.relay, sideSecond, it.Tag, it.Proof) {
			l.mu.Unlock()
			return fmt.Errorf("%w: a proof that does not hold", ErrProtocol)
		}
		p = shown.rep
		proven = append(proven, shown.relay)
		answer.Items = append(answer.Items, proofItem{Tag: it.Tag, Proof: l.hs.prove(shown.relay, sideFirst, it.Tag)})
	}
	if p.ctx.Err() != nil || l.refused[p.room.ID()] > 0 && isOut(p.accessOf(l.peer, proven)) {
		l.mu.Unlock()
		l.send(encode(frameShut, msgShut{Chan: m.Chan}))
		return nil
	}
	s, old := l.sessions[m.Chan], l.byRoom[p.room.ID()]
	if s != nil && s.rep != p || s == nil && len(l.sessions) >= maxChannels {
		l.mu.Unlock()
		return fmt.Errorf("%w: channel %d", ErrProtocol, m.Chan)
	}
	if s == nil {
		s = newSession(l, p, m.Chan)
		l.sessions[s.ch], l.byRoom[p.room.ID()] = s, s
	}
	s.proven = proven
	l.mu.Unlock()
	if old != nil && old != s {
		l.shut(old, false) // the other side has given it up while it was being opened
	}
	l.send(encode(frameProof, answer))
	l.open(s)
	return nil
}

// onProof checks the first side's proofs; from here on the room is served to it.
func (l *link) onProof(m msgOpen) error {
	if l.side != sideSecond {
		return fmt.Errorf("%w: a proof from the second side", ErrProtocol)
	}
	l.mu.Lock()
	s := l.sessions[m.Chan]
	if s == nil { // shut in the meantime
		l.mu.Unlock()
		return nil
	}
	var proven []key.Secret
	for _, it := range m.Items {
		k, ok := l.keyOf(s, it.Tag)
		if !ok || !l.hs.check(k, sideFirst, it.Tag, it.Proof) {
			l.mu.Unlock()
			return fmt.Errorf("%w: a proof that does not hold", ErrProtocol)
		}
		proven = append(proven, k)
	}
	s.proven = proven
	l.mu.Unlock()
	l.open(s)
	return nil
}

// keyOf finds the key behind a tag among those that this side has asked a proof for. l.mu is held.
func (l *link) keyOf(s *session, t tag) (key.Secret, bool) {
	for _, k := range s.asked {
		if l.hs.tag(k) == t {
			return k, true
		}
	}
	return key.Secret{}, false
}

// open makes a session live, or notes that more keys have been proven on a live one.
func (l *link) open(s *session) {
	l.mu.Lock()
	if l.sessions[s.ch] != s { // shut meanwhile
		l.mu.Unlock()
		return
	}
	again := s.live
	s.live = true
	l.proven.Store(true)
	l.mu.Unlock()
	if !again && !s.rep.join(s) {
		l.shut(s, true)
		return
	}
	s.reassess()
}

// shut ends a session from this side. The room is not opened again on this connection until the keys change, or until
// it is added again.
func (l *link) shut(s *session, tell bool) {
	id := s.rep.room.ID()
	l.mu.Lock()
	if l.sessions[s.ch] != s {
		l.mu.Unlock()
		return
	}
	delete(l.sessions, s.ch)
	if l.byRoom[id] == s {
		delete(l.byRoom, id)
		l.refused[id] = max(len(s.asked), len(s.proven), 1)
	}
	s.live = false
	l.proven.Store(l.anyLive())
	l.mu.Unlock()
	if tell {
		l.send(encode(frameShut, msgShut{Chan: s.ch}))
	}
	s.rep.leave(s)
	if l.idle != nil {
		l.idle.Reset(l.hub.timing.Prove)
	}
	if p := l.hub.Replica(id); p != nil && p != s.rep { // added again before this was done
		l.reconsider(p)
		l.offer(p)
	}
}

// shutReplica ends the session of a replica that has stopped, proven or not.
func (l *link) shutReplica(p *Replica) {
	l.mu.Lock()
	s := l.byRoom[p.room.ID()]
	l.mu.Unlock()
	if s != nil && s.rep == p {
		l.shut(s, true)
	}
}

// anyLive reports whether a room is shared. l.mu is held.
func (l *link) anyLive() bool {
	for _, s := range l.sessions {
		if s.live {
			return true
		}
	}
	return false
}

func (l *link) onShut(m msgShut) error {
	l.mu.Lock()
	s := l.sessions[m.Chan]
	l.mu.Unlock()
	if s != nil {
		l.shut(s, false)
	}
	return nil
}

// dropSessions ends all sessions when the connection is over.
func (l *link) dropSessions() {
	for _, s := range l.all() {
		l.mu.Lock()
		s.live = false
		l.mu.Unlock()
		s.rep.leave(s)
	}
}
