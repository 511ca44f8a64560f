package wire

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// maxLength bounds the length of a core that anybody may announce.
const maxLength = 1 << 53

// Replica is one room of this node towards all its peers.
type Replica struct {
	hub      *Hub
	room     Room
	blobs    Blobs
	ctx      context.Context
	cancel   context.CancelFunc
	totals   counters
	kick     chan struct{} // holds a token when there is an event to look at
	work     sync.WaitGroup
	rejected atomic.Int64 // tails, blocks and batches that did not verify
	fetch    fetcher
	small    smallFetcher

	emu   sync.Mutex // guards event
	event *room.Event

	mu       sync.Mutex // guards what follows, and the sessions' share
	sessions map[*session]struct{}
	keys     []key.Secret // relay keys, newest first, as of the last event
	seq      uint64       // counts changes of local
	local    map[key.CoreID]localCore
	sorted   []key.CoreID            // of local; nil when there is a new one
	behind   map[key.CoreID]key.Kind // cores of which some peer has shown more
	queues   [3][]key.CoreID         // those that wait for a puller, by pullOrder; each at most once
	queued   map[key.CoreID]struct{}
	deferred []key.CoreID // those that failed, until the timer again
	pulls    map[key.CoreID]*pulling
	forks    map[key.CoreID]struct{}    // cores being looked at because two heads differ
	copied   map[key.DeviceID]time.Time // when members last said that another machine has this device's key
	held     chan struct{}              // closed and renewed when a peer holds more
	heldFrom time.Time                  // since when chat and drive give way to control entries without seeing any come; zero: they do not
	chatFrom time.Time                  // since when the drive gives way to messages; zero: it does not
	outside  bool                       // this device is no member (yet), so that it cannot tell who is
	again    *time.Timer                // schedules what has to wait
	telling  bool                       // peers will soon be told who is here
	withheld map[key.Hash]int           // blobs that peers are told nothing of: see Withhold
	users    int                        // calls and goroutines that use room or blobs
	unused   chan struct{}              // closed when the replica has stopped and users is 0
}

// localCore is a core as it is here.
type localCore struct {
	info room.CoreInfo
	seq  uint64 // value of Replica.seq when it last changed
}

func newReplica(h *Hub, r Room, b Blobs) *Replica {
	p := &Replica{
		hub: h, room: r, blobs: b,
		kick:     make(chan struct{}, 1),
		sessions: map[*session]struct{}{},
		local:    map[key.CoreID]localCore{},
		behind:   map[key.CoreID]key.Kind{},
		queued:   map[key.CoreID]struct{}{},
		pulls:    map[key.CoreID]*pulling{},
		forks:    map[key.CoreID]struct{}{},
		copied:   map[key.DeviceID]time.Time{},
		held:     make(chan struct{}),
		unused:   make(chan struct{}),
	}
	p.totals.next = &h.totals
	p.ctx, p.cancel = context.WithCancel(h.ctx)
	p.fetch.init(p)
	p.small.init(p)
	return p
}

// start reads the room's heads and follows its events.
func (p *Replica) start() {
	cancel := p.room.Watch(func(e room.Event) { p.notify(e) })
	p.readKeys()
	p.refresh()
	p.work.Go(func() {
		defer cancel()
		p.run()
	})
	p.work.Go(p.fetch.run)
	p.work.Go(p.small.run)
	p.work.Go(p.watchPresence)
}

// enter reports whether room and blobs may be used; exit has to follow then. After stop they are not touched any more.
func (p *Replica) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.users++
	return true
}

func (p *Replica) exit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users--; p.users == 0 && p.ctx.Err() != nil {
		p.closeUnused()
	}
}

// closeUnused tells stop that nobody is in any more. p.mu is held.
func (p *Replica) closeUnused() {
	select {
	case <-p.unused:
	default:
		close(p.unused)
	}
}

// stop ends everything and waits for it.
func (p *Replica) stop() {
	p.cancel()
	p.mu.Lock()
	if p.users == 0 {
		p.closeUnused()
	}
	if p.again != nil {
		p.again.Stop()
	}
	p.mu.Unlock()
	for _, l := range p.hub.currentLinks() {
		l.shutReplica(p)
	}
	p.work.Wait()
	<-p.unused
}

// notify merges an event into what run has to look at. It never waits.
func (p *Replica) notify(e room.Event) {
	p.emu.Lock()
	if p.event == nil {
		p.event = &room.Event{}
	}
	p.event.Members = p.event.Members || e.Members
	p.event.Keys = p.event.Keys || e.Keys
	p.event.Status = p.event.Status || e.Status
	p.event.Removed = p.event.Removed || e.Removed
	p.emu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run follows the room: new heads are told, changed members and keys change what peers get, at once. Reading all heads
// of a large room takes a while, so that it is done at most a fifth of the time.
func (p *Replica) run() {
	for {
		select {
		case <-p.kick:
		case <-p.ctx.Done():
			return
		}
		p.emu.Lock()
		e := p.event
		p.event = nil
		p.emu.Unlock()
		if e == nil {
			continue
		}
		began := time.Now()
		p.refresh()
		took := time.Since(began)
		if e.Members || e.Keys || e.Removed || e.Status {
			p.readKeys()
			p.reassess()
		}
		if took > 2*time.Millisecond && sleep(p.ctx, 4*took) != nil {
			return
		}
	}
}

// readKeys looks at the room's relay keys, and at this device's place.
func (p *Replica) readKeys() {
	keys := p.room.RelayKeys()
	outside := p.room.Access(p.hub.self) < room.AccessSeeder
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.outside = keys[:min(len(keys), maxKeysPerRoom)], outside
}

// relayKeys returns the keys of the room that are offered and tried, newest first.
func (p *Replica) relayKeys() []key.Secret {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys
}

// reassess looks again at what every peer may have, and gives cores that were refused another chance.
func (p *Replica) reassess() {
	p.mu.Lock()
	for s := range p.sessions {
		for id, r := range s.remote {
			if r.badTo == 0 {
				continue
			}
			r.badTo = 0
			if r.info.Length > p.local[id].info.Length { // it may have come from another peer
				p.enqueue(id, r.info.Kind)
			}
		}
	}
	p.schedule()
	p.mu.Unlock()
	for _, l := range p.hub.currentLinks() {
		l.reconsider(p)
		l.offer(p)
	}
}

// refresh reads the room's heads, tells peers what is new, and schedules pulls.
func (p *Replica) refresh() {
	cores := p.room.Cores(room.AccessMember)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ci := range cores {
		p.learn(ci)
	}
	p.schedule()
}

// learn notes how far a core is here. It never goes back: what was read before something else was stored is old. p.mu
// is held.
func (p *Replica) learn(ci room.CoreInfo) {
	old := p.local[ci.ID]
	if ci.Length < old.info.Length || ci.Head.Length < old.info.Head.Length || ci.Length == old.info.Length && ci.Head == old.info.Head {
		return
	}
	if p.seq++; old.seq == 0 {
		p.sorted = nil
	}
	p.local[ci.ID] = localCore{info: ci, seq: p.seq}
	if !p.isBehind(ci.ID) {
		delete(p.behind, ci.ID)
	}
	if ci.Head.Length == old.info.Head.Length {
		return
	}
	for s := range p.sessions {
		if sees(s.access, ci.Kind) {
			s.announce(ci.ID)
		}
		if r := s.remote[ci.ID]; r != nil && r.info.Length == ci.Head.Length && r.info.Head.Root != ci.Head.Root {
			p.suspect(s, r.info)
		}
	}
}

// isBehind reports whether some peer has shown more of a core than is here. p.mu is held.
func (p *Replica) isBehind(id key.CoreID) bool {
	have := p.local[id].info.Length
	for s := range p.sessions {
		if r := s.remote[id]; r != nil && r.info.Length > have {
			return true
		}
	}
	return false
}

// join takes a session that has just been proven, unless the replica has stopped.
func (p *Replica) join(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	s.joined = true
	p.sessions[s] = struct{}{}
	s.link.log.Info("peer shares a room", "room", p.room.ID())
	return true
}

// becomeReady notes that the peer takes requests, and makes some.
func (p *Replica) becomeReady(s *session) {
	p.mu.Lock()
	first := s.joined && !s.ready
	if first {
		s.ready = true
		for id, r := range s.remote {
			if r.info.Length > p.local[id].info.Length {
				p.enqueue(id, r.info.Kind)
			}
		}
		p.schedule()
	}
	p.mu.Unlock()
	if first {
		p.fetch.sessionCame(s)
		p.small.poke()
	}
}

// leave forgets a session. What was asked of it is asked of others.
func (p *Replica) leave(s *session) {
	p.mu.Lock()
	was := s.joined
	s.joined, s.ready = false, false
	delete(p.sessions, s)
	if was {
		p.tellPresence()
	}
	if s.linger != nil {
		s.linger.Stop()
	}
	for id := range s.remote {
		if _, ok := p.behind[id]; ok && !p.isBehind(id) {
			delete(p.behind, id)
		}
	}
	for _, waits := range s.waits {
		for _, id := range waits {
			if k, ok := p.behind[id]; ok {
				p.enqueue(id, k)
			}
		}
	}
	p.schedule()
	p.mu.Unlock()
	for i := range s.link.lanes {
		s.link.lanes[i].abandon(s, errGone)
	}
	if was {
		p.fetch.sessionWent(s)
		p.small.poke()
	}
}

// ready returns the sessions that take requests. p.mu is held.
func (p *Replica) readySessions() []*session {
	out := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		if s.ready {
			out = append(out, s)
		}
	}
	return out
}

// notifyHeld wakes who waits for peers to hold something. p.mu is held.
func (p *Replica) notifyHeld() {
	close(p.held)
	p.held = make(chan struct{})
}

// holds notes that a peer holds a core up to a length. p.mu is held.
func (p *Replica) holds(r *remoteCore, length uint64) {
	if length > r.held {
		r.held = length
		p.notifyHeld()
	}
}

// HeldBy returns how many members and seeders say that they hold a core's first length blocks, durably. What others say
// counts for nothing: bytes are not safe with them. The channel is closed when the answer may have changed.
func (p *Replica) HeldBy(id key.CoreID, length uint64) (devices int, changed <-chan struct{}) {
	all, changed := p.Holders(id, length)
	return len(all), changed
}

// Holders returns whom HeldBy counts, in no order.
func (p *Replica) Holders(id key.CoreID, length uint64) (devices []key.DeviceID, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.sessions {
		if r := s.remote[id]; r != nil && r.held >= length && s.access >= room.AccessSeeder && !slices.Contains(devices, s.link.peer) {
			devices = append(devices, s.link.peer)
		}
	}
	return devices, p.held
}

// Peers lists the connections that share the room now.
func (p *Replica) Peers() []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Peer, 0, len(p.sessions))
	for s := range p.sessions {
		agent, _ := s.link.agent.Load().(string)
		pe := Peer{
			Device: s.link.peer, Path: s.link.conn.Path(), Agent: agent, Access: s.access.String(), Since: s.since,
			RTT: time.Duration(s.link.rtt.Load()), Rate: s.flow.rate(), Window: s.flow.window(s.link, p.hub.down), Traffic: s.counters.traffic(),
		}
		if c, ok := s.link.conn.(relayed); ok {
			pe.Relayed = c.Relayed()
		}
		for id, r := range s.remote {
			if r.info.Length > p.local[id].info.Length {
				pe.Behind++
			}
		}
		out = append(out, pe)
	}
	return out
}

// Stats sums up what the replica has done and is doing.
func (p *Replica) Stats() Stats {
	st := Stats{Traffic: p.totals.traffic()}
	p.fetch.stats(&st)
	st.Fetching += p.small.wanted()
	p.mu.Lock()
	defer p.mu.Unlock()
	st.Peers, st.Pulling, st.Behind = len(p.sessions), len(p.pulls), len(p.behind)
	st.Rejected += p.rejected.Load()
	return st
}
