package wire

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// session is one room shared over one connection.
type session struct {
	link     *link
	rep      *Replica
	ch       uint16
	since    time.Time
	counters counters

	complaints int // of the peer about bytes from here; of the control reader alone

	assessing sync.Mutex // held while reassess works, so that nothing older is applied after what was found later

	// Guarded by link.mu.
	live   bool         // both sides have proven a relay key
	asked  []key.Secret // second side: keys that a proof was offered for
	proven []key.Secret // keys that the peer has proven

	// Guarded by rep.mu.
	joined    bool
	ready     bool                    // the peer has spoken on the channel, so it takes requests
	access    room.Access             // what the peer is served
	reach     func(key.CoreID) uint64 // how far it may follow control cores; nil: to the end
	probed    bool                    // heads that change are announced
	remote    map[key.CoreID]*remoteCore
	queue     []key.CoreID // cores to announce
	queued    map[key.CoreID]struct{}
	acks      []ackItem          // short answers to announcements
	compared  bool               // second side: the probe has come
	inquiries map[string]inquiry // summaries that the peer has not answered, by prefix
	answers   []rangeAnswer      // to send
	level     level              // told to the peer
	theirs    level              // and by it
	linger    *time.Timer

	told         []byte                    // the presence that was sent last
	online       map[key.DeviceID]struct{} // whom the peer says it is connected with
	presences    int                       // that came since presenceFrom
	presenceFrom time.Time

	pulling int             // cores being pulled from the peer
	waits   [3][]key.CoreID // those that wait until it is asked for fewer, by pullOrder; each at most once
	waiting map[key.CoreID]struct{}

	flow   flow
	holds  map[key.Hash]*holding
	banned map[key.Hash]struct{} // blobs of which the peer sent bad bytes
	luck   luck
	small  int // batches of small blobs in flight

	smallLast time.Time // when one last came
	smallFrom time.Time // no batch is asked for before this, if there are others to ask

	strikes atomic.Int32 // bad entries and batches
	pause   atomic.Int64 // nothing is asked of the peer before this, unix nanoseconds
}

// rest stops asking the peer for a moment: its connection ends, or takes no more requests just now.
func (s *session) rest() { s.pause.Store(time.Now().Add(s.rep.hub.timing.Retry / 4).UnixNano()) }

func (s *session) resting(now time.Time) bool { return now.UnixNano() < s.pause.Load() }

// remoteCore is what a peer has shown of one core.
type remoteCore struct {
	info  room.CoreInfo // as announced; zero when only acknowledged
	held  uint64        // the peer has it up to here
	badTo uint64        // announcements up to this length are not pulled before retry
	retry time.Time
}

func newSession(l *link, p *Replica, ch uint16) *session {
	s := &session{
		link: l, rep: p, ch: ch, since: time.Now(),
		remote: map[key.CoreID]*remoteCore{},
		queued: map[key.CoreID]struct{}{},
		holds:  map[key.Hash]*holding{},
		banned: map[key.Hash]struct{}{},

		waiting: map[key.CoreID]struct{}{},
	}
	s.counters.next = &p.totals
	return s
}

// isOut reports whether a peer of this access is to be cut off.
func isOut(a room.Access) bool { return a == room.AccessNone || a == room.AccessRemoved }

// sees reports whether a peer of this access is shown a core.
func sees(a room.Access, k key.Kind) bool { return k == key.Control || a >= room.AccessSeeder }

// reacher is a room that limits how far peers whose membership ended may follow control cores.
type reacher interface {
	Reach(peer key.DeviceID) (end func(key.CoreID) uint64, limited bool)
	ReadTailTo(id key.CoreID, from, to uint64, maxBytes int) (core.Tail, error)
}

// endOf returns how far the peer is served a core. rep.mu is held.
func (s *session) endOf(id key.CoreID) uint64 {
	if s.reach == nil || !isOut(s.access) {
		return core.MaxLength
	}
	return s.reach(id)
}

// reassess works out what the peer may have, after the room or the proven keys have changed, and acts on a change.
func (s *session) reassess() {
	s.assessing.Lock()
	defer s.assessing.Unlock()
	s.link.mu.Lock()
	live, proven := s.live, s.proven
	s.link.mu.Unlock()
	if !live {
		return
	}
	a := s.rep.accessOf(s.link.peer, proven)
	s.rep.setAccess(s, a)
	if l := s.link; a >= room.AccessSeeder && !l.member.Swap(true) {
		l.send(encode(frameInstance, msgInstance{ID: l.hub.instance}))
		l.hub.sighted(l, l.since)
	}
}

// accessOf is what a peer may have that has proven these keys: what the room says, but without the newest key control
// entries only, and with it, which a new link holds, somebody who was removed or has left may ask to come in again.
func (p *Replica) accessOf(peer key.DeviceID, proven []key.Secret) room.Access {
	a := p.room.Access(peer)
	newest := provesNewest(p.room.RelayKeys(), proven) // read afterwards, and from the room: a removal brings its own key
	switch {
	case a > room.AccessLate && !newest:
		return room.AccessLate
	case isOut(a) && newest:
		return room.AccessStranger
	}
	return a
}

func provesNewest(keys, proven []key.Secret) bool {
	for _, k := range proven {
		if len(keys) > 0 && keys[0].Equal(k) {
			return true
		}
	}
	return false
}

// setAccess applies what reassess found.
func (p *Replica) setAccess(s *session, a room.Access) {
	var reach func(key.CoreID) uint64
	if isOut(a) {
		p.refresh() // so that the entries that say so are announced, and waited for
		if r, ok := p.room.(reacher); ok {
			if end, limited := r.Reach(s.link.peer); limited {
				reach = end
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.joined {
		return
	}
	old := s.access
	s.access, s.reach = a, reach
	if !s.probed {
		s.probed = true
		if s.link.side == sideFirst {
			s.link.send(encode(frameProbe, msgProbe{Chan: s.ch, Sum: s.summarize([]byte{})}))
		}
	} else if a > old {
		for id, c := range p.local {
			if sees(a, c.info.Kind) && !sees(old, c.info.Kind) {
				s.announce(id)
			}
		}
	}
	if a == room.AccessStranger {
		p.limitStrangers()
	}
	if isOut(a) && s.linger == nil {
		s.link.log.Info("peer is no longer a member: it gets the control entries that say so", "room", p.room.ID())
		wait := p.hub.timing.Linger
		if old > a && p.knowsRemoval(s) { // the entries were there before the change was seen
			wait = 0
		}
		s.linger = time.AfterFunc(wait, s.cutOff)
	} else if !isOut(a) && s.linger != nil {
		s.linger.Stop()
		s.linger = nil
	}
	if a != old {
		p.schedule()
		p.notifyHeld()
		p.tellPresence()
		s.link.log.Debug("access", "room", p.room.ID(), "access", a.String())
	}
}

// limitStrangers shuts the room for the stranger that has been there longest when there are too many: anybody with a
// link can come under any number of names. p.mu is held.
func (p *Replica) limitStrangers() {
	var oldest *session
	n := 0
	for s := range p.sessions {
		if s.access != room.AccessStranger {
			continue
		}
		if n++; oldest == nil || s.link.serial < oldest.link.serial {
			oldest = s
		}
	}
	if n > maxStrangers {
		go oldest.link.shut(oldest, true)
	}
}

// cutOff shuts the room for a peer that was removed, if it still is.
func (s *session) cutOff() {
	s.rep.mu.Lock()
	out := s.joined && isOut(s.access)
	s.rep.mu.Unlock()
	if out {
		s.link.log.Info("cut off from the room", "room", s.rep.room.ID())
		s.link.shut(s, true)
	}
}

// announce queues a core's head to be told. What changes before the heads are compared is part of that. rep.mu is held.
func (s *session) announce(id key.CoreID) {
	if _, ok := s.queued[id]; ok || !s.probed {
		return
	}
	s.queued[id] = struct{}{}
	s.queue = append(s.queue, id)
	s.link.out.poke()
}

// nextFrame makes one frame of what is to be answered and announced, or nil.
func (s *session) nextFrame() []byte {
	s.rep.mu.Lock()
	defer s.rep.mu.Unlock()
	if f := s.nextAnswers(); f != nil {
		return f
	}
	if f := s.nextHeads(); f != nil {
		return f
	}
	return s.nextLevel()
}

// nextHeads makes one frame of what is to be announced. Who has told of a head gets a short answer. rep.mu is held.
func (s *session) nextHeads() []byte {
	p := s.rep
	var heads []headItem
	n := 0
	for ; n < len(s.queue) && len(heads) < maxHeadsFrame; n++ {
		id := s.queue[n]
		delete(s.queued, id)
		c, ok := p.local[id]
		if !ok || c.info.Head.Length == 0 || !sees(s.access, c.info.Kind) || s.endOf(id) == 0 {
			continue
		}
		r := s.remote[id]
		other := r != nil && r.info.Length == c.info.Head.Length && r.info.Head.Root != c.info.Head.Root
		if r != nil && r.held >= c.info.Head.Length && !other {
			s.acks = append(s.acks, ackItem{Core: id, Length: c.info.Head.Length})
		} else {
			heads = append(heads, headOf(c.info))
		}
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	if len(heads) > 0 {
		return encode(frameHeads, msgHeads{Chan: s.ch, Heads: heads})
	}
	if n := min(len(s.acks), maxHeadsFrame); n > 0 {
		f := encode(frameAcks, msgAcks{Chan: s.ch, Acks: s.acks[:n]})
		if s.acks = s.acks[n:]; len(s.acks) == 0 {
			s.acks = nil
		}
		return f
	}
	return nil
}

// remoteOf returns what is known of a core at the peer, or nil when the peer has spoken of too many. rep.mu is held.
func (s *session) remoteOf(id key.CoreID) *remoteCore {
	r := s.remote[id]
	if r == nil && len(s.remote) < maxRemoteHeads {
		r = &remoteCore{}
		s.remote[id] = r
	}
	return r
}

// onHeads takes announcements and sees to it that what is missing is pulled.
func (s *session) onHeads(m msgHeads) error {
	p := s.rep
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range m.Heads {
		ci := m.Heads[i].info(p.room.ID())
		r := s.remoteOf(ci.ID)
		if r == nil {
			return fmt.Errorf("%w: it speaks of more than %d cores", ErrProtocol, maxRemoteHeads)
		}
		p.holds(r, ci.Length)
		if ci.Length > r.info.Length {
			r.info = ci
		}
		mine := p.local[ci.ID]
		switch {
		case ci.Length > mine.info.Length:
			p.enqueue(ci.ID, ci.Kind)
		case ci.Length == mine.info.Head.Length && ci.Head.Root != mine.info.Head.Root:
			p.suspect(s, ci)
		}
	}
	p.schedule()
	return nil
}

// onAcks notes how far the peer holds cores that were announced to it.
func (s *session) onAcks(m msgAcks) error {
	p := s.rep
	p.mu.Lock()
	for _, a := range m.Acks {
		if mine, ok := p.local[a.Core]; ok && a.Length <= mine.info.Head.Length {
			if r := s.remoteOf(a.Core); r != nil {
				p.holds(r, a.Length)
			}
		}
	}
	done := s.linger != nil && p.knowsRemoval(s)
	p.mu.Unlock()
	if done {
		s.cutOff()
	}
	return nil
}

// knowsRemoval reports whether the peer holds all control entries that are here for it. p.mu is held.
func (p *Replica) knowsRemoval(s *session) bool {
	for id, c := range p.local {
		if c.info.Kind != key.Control || c.info.Head.Length == 0 {
			continue
		}
		end := min(c.info.Head.Length, s.endOf(id))
		if r := s.remote[id]; end > 0 && (r == nil || r.held < end) {
			return false
		}
	}
	return true
}
