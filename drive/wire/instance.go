package wire

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Two machines that run with one key, since a data directory was copied, do not meet: a node has no connection with itself. Whoever is
// connected with both finds it out. Every hub tells its peers a random number, its instance. A device that is started again comes with
// another one, and never with an earlier one again: one that was there before another instance was, and is there after it, runs beside it.
//
// That an instance is there is known from a proof, which comes before it is told, or from a pong: it was sent between the nonce or the ping
// that it answers, and now. All that is compared is moments of one clock, of who finds it out. He tells both, as often as he sees it.
// Instances are told to members, and of members alone they are remembered.

// instance is the number of a hub.
type instance [16]byte

func newInstance() (i instance) {
	rand.Read(i[:])
	return i
}

// sighting is when an instance of a device was there.
type sighting struct {
	id       instance
	first    time.Time // it was known to be there
	from, to time.Time // between these it was there again, last
}

// sightings are those of one device.
type sightings struct {
	list   []sighting // in the order in which they were first there
	copied time.Time  // when two of them were last known to run beside each other
}

// note takes that an instance was there between from and now. It reports whether another one runs beside it.
func (d *sightings) note(id instance, from, now time.Time) (copied bool) {
	i := slices.IndexFunc(d.list, func(s sighting) bool { return s.id == id })
	if i < 0 {
		if len(d.list) == maxInstances {
			d.list = slices.Delete(d.list, 0, 1)
		}
		d.list = append(d.list, sighting{id: id, first: now, from: from, to: now})
		return false
	}
	for _, o := range d.list {
		copied = copied || o.id != id && d.list[i].first.Before(o.from) && o.to.Before(from)
	}
	if d.list[i].from.Before(from) {
		d.list[i].from, d.list[i].to = from, now
	}
	if copied {
		d.copied = now
	}
	return copied
}

// sighted notes that the other end of a link, a member's, was there after from, if it has told its instance.
func (h *Hub) sighted(l *link, from time.Time) {
	id, ok := l.instance.Load().(instance)
	if !ok {
		return
	}
	h.mu.Lock()
	d := h.devices[l.peer]
	if d == nil && len(h.devices) < maxDevices {
		d = &sightings{}
		h.devices[l.peer] = d
	}
	copied := d != nil && d.note(id, from, time.Now())
	var tell []*link
	for o := range h.links {
		if copied && o.peer == l.peer {
			tell = append(tell, o)
		}
	}
	h.mu.Unlock()
	for _, o := range tell {
		o.tellCopied()
	}
}

// tellCopied tells a device, in the rooms in which it is a member, that another machine has its key.
func (l *link) tellCopied() {
	for _, s := range l.all() {
		s.rep.mu.Lock()
		member := s.joined && s.access >= room.AccessSeeder
		s.rep.mu.Unlock()
		if member {
			l.send(encode(frameCopied, msgChan{Chan: s.ch}))
		}
	}
}

func (l *link) onInstance(m msgInstance) error {
	if !l.instance.CompareAndSwap(nil, m.ID) {
		return fmt.Errorf("%w: a second instance", ErrProtocol)
	}
	if l.member.Load() {
		l.hub.sighted(l, l.since)
	}
	return nil
}

// onCopied takes what a member says about this device. Others are not believed.
func (s *session) onCopied(msgChan) error {
	p, now := s.rep, time.Now()
	p.mu.Lock()
	if s.access < room.AccessMember {
		p.mu.Unlock()
		return nil
	}
	last, ok := p.copied[s.link.peer]
	p.copied[s.link.peer] = now
	p.mu.Unlock()
	if ok && now.Sub(last) < copiedLasts {
		return nil
	}
	s.link.log.Warn("a member is connected with another machine that uses this device's key, too", "room", p.room.ID())
	if f := p.hub.copied; f != nil {
		f(p.room.ID(), s.link.peer)
	}
	return nil
}

// Copied lists the devices of the room that are known to run on several machines at once: by is which members have said so of this device
// in the last ten minutes, others are those that this node was connected with in that time. Sorted.
func (p *Replica) Copied() (by, others []key.DeviceID) {
	now := time.Now()
	h := p.hub
	h.mu.Lock()
	for d, s := range h.devices {
		if !s.copied.IsZero() && now.Sub(s.copied) < copiedLasts {
			others = append(others, d)
		}
	}
	h.mu.Unlock()
	others = slices.DeleteFunc(others, func(d key.DeviceID) bool { return p.room.Access(d) < room.AccessSeeder })
	p.mu.Lock()
	maps.DeleteFunc(p.copied, func(_ key.DeviceID, at time.Time) bool { return now.Sub(at) >= copiedLasts })
	by = slices.Collect(maps.Keys(p.copied))
	p.mu.Unlock()
	order := func(a, b key.DeviceID) int { return bytes.Compare(a[:], b[:]) }
	slices.SortFunc(by, order)
	slices.SortFunc(others, order)
	return by, others
}
