package wire

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Presence: who of a room is connected to whom, and where others may be reached. It is told to members only, is true for
// as long as the connection lasts, and is stored nowhere by this package.

// Neighbour is a member of a room that this node is connected with, or knows how to reach.
type Neighbour struct {
	Device key.DeviceID
	Addrs  []string // as Options.Neighbours gives them, the best first
}

// nearItem tells of one neighbour.
type nearItem struct {
	_      struct{} `cbor:",toarray"`
	Device key.DeviceID
	Online bool // the sender is connected with it
	Addrs  []string
}

// msgPresence replaces what its sender told of the room before.
type msgPresence struct {
	_    struct{} `cbor:",toarray"`
	Chan uint16
	Near []nearItem
}

func (m *msgPresence) check() error {
	for i := range m.Near {
		if err := atMost("addresses of a device", len(m.Near[i].Addrs), maxNearAddrs); err != nil {
			return err
		}
		for _, a := range m.Near[i].Addrs {
			if err := atMost("bytes of an address", len(a), maxAddrBytes); err != nil {
				return err
			}
		}
	}
	return atMost("devices", len(m.Near), maxNear)
}

// tellPresence has peers told soon who is here. p.mu is held.
func (p *Replica) tellPresence() {
	if p.telling || p.ctx.Err() != nil {
		return
	}
	p.telling = true
	p.work.Go(func() {
		if sleep(p.ctx, p.hub.timing.Presence) != nil {
			return
		}
		p.mu.Lock()
		p.telling = false
		p.mu.Unlock()
		p.sendPresence()
	})
}

// watchPresence tells what has changed without any event: addresses.
func (p *Replica) watchPresence() {
	for sleep(p.ctx, 20*p.hub.timing.Presence) == nil {
		p.sendPresence()
	}
}

// sendPresence tells each member who the others are, unless it has been told the same.
func (p *Replica) sendPresence() {
	var known []Neighbour
	if f := p.hub.neighbours; f != nil && p.enter() {
		known = f(p.room.ID())
		p.exit()
	}
	addrs := make(map[key.DeviceID][]string, len(known))
	for _, n := range known {
		addrs[n.Device] = shortAddrs(n.Addrs)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	online := map[key.DeviceID]bool{}
	for s := range p.sessions {
		if s.access >= room.AccessSeeder {
			online[s.link.peer] = true
			if addrs[s.link.peer] == nil {
				addrs[s.link.peer] = []string{}
			}
		}
	}
	near := make([]nearItem, 0, len(addrs))
	for d, a := range addrs {
		near = append(near, nearItem{Device: d, Online: online[d], Addrs: a})
	}
	slices.SortFunc(near, func(a, b nearItem) int { // those who are here first
		if a.Online != b.Online {
			if a.Online {
				return -1
			}
			return 1
		}
		return bytes.Compare(a.Device[:], b.Device[:])
	})
	for s := range p.sessions {
		if s.access < room.AccessMember {
			continue
		}
		m := msgPresence{Chan: s.ch, Near: []nearItem{}}
		size := 0
		for _, n := range near {
			if n.Device == s.link.peer {
				continue
			}
			if size += n.size(); len(m.Near) >= maxNear || size > maxToldBytes {
				break
			}
			m.Near = append(m.Near, n)
		}
		if f := encode(framePresence, m); !bytes.Equal(f, s.told) && (len(m.Near) > 0 || s.told != nil) {
			s.told = f
			s.link.send(f)
		}
	}
}

// size is how long the item is in a frame, at most.
func (n *nearItem) size() int {
	size := 8 + len(n.Device)
	for _, a := range n.Addrs {
		size += 3 + len(a)
	}
	return size
}

// shortAddrs are the addresses of one device that are told.
func shortAddrs(addrs []string) []string {
	out := []string{}
	for _, a := range addrs {
		if len(a) <= maxAddrBytes && len(out) < maxToldAddrs {
			out = append(out, a)
		}
	}
	return out
}

// onPresence takes what a member says of other members; what others say is not listened to.
func (s *session) onPresence(m msgPresence) error {
	p := s.rep
	if !p.enter() {
		return nil
	}
	defer p.exit()
	var met []Neighbour
	online := map[key.DeviceID]struct{}{}
	for _, n := range m.Near {
		if n.Device == p.hub.self || p.room.Access(n.Device) < room.AccessSeeder {
			continue
		}
		if n.Online {
			online[n.Device] = struct{}{}
		}
		if len(n.Addrs) > 0 {
			met = append(met, Neighbour{Device: n.Device, Addrs: n.Addrs})
		}
	}
	p.mu.Lock()
	if s.access < room.AccessMember {
		p.mu.Unlock()
		return nil
	}
	now := time.Now()
	if s.presences++; now.Sub(s.presenceFrom) > time.Minute {
		s.presences, s.presenceFrom = 1, now
	}
	if s.presences > maxPresences {
		p.mu.Unlock()
		return fmt.Errorf("%w: it tells over and over who is here", ErrProtocol)
	}
	s.online = online
	p.mu.Unlock()
	if f := p.hub.met; f != nil && len(met) > 0 {
		f(p.room.ID(), s.link.peer, met)
	}
	return nil
}

// Online lists the devices that are connected now, to this node or to a member that is connected to this node and says
// so, sorted; this node itself is not among them.
func (p *Replica) Online() []key.DeviceID {
	all := map[key.DeviceID]struct{}{}
	p.mu.Lock()
	for s := range p.sessions {
		if s.access >= room.AccessSeeder {
			all[s.link.peer] = struct{}{}
		}
		maps.Copy(all, s.online)
	}
	p.mu.Unlock()
	return slices.SortedFunc(maps.Keys(all), func(a, b key.DeviceID) int { return bytes.Compare(a[:], b[:]) })
}
