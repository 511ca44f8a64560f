package wire

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// atOnce tells presence without much delay.
func atOnce() Timing {
	t := brisk
	t.Presence = 10 * time.Millisecond
	return t
}

// heard collects what members tell.
type heard struct {
	mu   sync.Mutex
	near map[key.DeviceID][]string
}

func (h *heard) met(_ key.RoomID, _ key.DeviceID, list []Neighbour) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.near == nil {
		h.near = map[key.DeviceID][]string{}
	}
	for _, n := range list {
		h.near[n.Device] = n.Addrs
	}
}

func (h *heard) of(d key.DeviceID) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.near[d]
}

// TestPresence: members hear through another member who is there and where others may be reached, and that somebody went;
// a stranger hears nothing.
func TestPresence(t *testing.T) {
	var atB, atStranger heard
	away, c := key.DeviceID{0xaa}, newNode(t, 3, Options{Timing: atOnce()})
	a := newNode(t, 1, Options{Timing: atOnce(), Neighbours: func(key.RoomID) []Neighbour {
		return []Neighbour{{Device: away, Addrs: []string{"where it was"}}, {Device: c.dev.ID(), Addrs: []string{"where c is"}}}
	}})
	b := newNode(t, 2, Options{Timing: atOnce(), Met: atB.met})
	s := newNode(t, 4, Options{Timing: atOnce(), Met: atStranger.met})
	members(a, b, c)
	s.room.set(a.dev.ID(), room.AccessMember)
	for _, n := range []*node{a, b, c} {
		n.room.set(away, room.AccessMember)
	}
	linkNodes(a, s)
	linkNodes(a, b)
	x, _ := linkNodes(a, c)
	sees := func(d key.DeviceID) func() bool { return func() bool { return slices.Contains(b.rep.Online(), d) } }
	eventually(t, "b sees c through a", sees(c.dev.ID()))
	eventually(t, "b sees a", sees(a.dev.ID()))
	eventually(t, "b learns where the others are", func() bool {
		return slices.Equal(atB.of(away), []string{"where it was"}) && slices.Equal(atB.of(c.dev.ID()), []string{"where c is"})
	})
	if got := b.rep.Online(); slices.Contains(got, away) || slices.Contains(got, s.dev.ID()) || slices.Contains(got, b.dev.ID()) {
		t.Errorf("online: %v", got)
	}
	x.Close()
	eventually(t, "b sees c go", func() bool { return !sees(c.dev.ID())() })
	if atStranger.of(c.dev.ID()) != nil || slices.Contains(s.rep.Online(), c.dev.ID()) {
		t.Error("a stranger is told of members")
	}
}

// TestLyingPresence: devices that are no members are left out, and who tells over and over is dropped.
func TestLyingPresence(t *testing.T) {
	var h heard
	n := newNode(t, 1, Options{Met: h.met})
	dev, member := deviceOn(t, sideFirst, n.dev.ID()), key.DeviceID{0xbb}
	n.room.set(dev.ID(), room.AccessMember)
	n.room.set(member, room.AccessMember)
	r := newRogue(t, n.hub, dev).join()
	tell := func(near ...nearItem) { r.send(framePresence, msgPresence{Chan: r.ch, Near: near}) }
	tell(nearItem{Device: key.DeviceID{0xcc}, Online: true, Addrs: []string{"anywhere"}},
		nearItem{Device: n.dev.ID(), Online: true, Addrs: []string{"itself"}},
		nearItem{Device: member, Online: true, Addrs: []string{"there"}})
	eventually(t, "the member is online", func() bool { return slices.Contains(n.rep.Online(), member) })
	if len(n.rep.Online()) != 2 || h.of(key.DeviceID{0xcc}) != nil || h.of(n.dev.ID()) != nil || !slices.Equal(h.of(member), []string{"there"}) {
		t.Errorf("online %v, met %v", n.rep.Online(), h.near)
	}
	for range 2 * maxPresences {
		tell()
	}
	r.gone()
	eventually(t, "nobody is online any more", func() bool { return len(n.rep.Online()) == 0 })
	stillWorks(t, n)
}

// TestManyNeighbours: who knows more devices and addresses than a frame holds tells of some of them, of those who are here first.
func TestManyNeighbours(t *testing.T) {
	var near []Neighbour
	for i := range 4 * maxNear {
		n := Neighbour{Device: key.DeviceID{0xaa, byte(i)}}
		for k := range 2 * maxNearAddrs {
			n.Addrs = append(n.Addrs, fmt.Sprintf("%0*d", maxAddrBytes, k))
		}
		near = append(near, n)
	}
	var h heard
	a := newNode(t, 1, Options{Timing: atOnce(), Neighbours: func(key.RoomID) []Neighbour { return near }})
	b, c := newNode(t, 2, Options{Timing: atOnce(), Met: h.met}), newNode(t, 3, Options{})
	members(a, b, c)
	for _, n := range near {
		b.room.set(n.Device, room.AccessMember)
	}
	linkNodes(a, c)
	linkNodes(a, b)
	eventually(t, "b hears of the one who is here", func() bool { return slices.Contains(b.rep.Online(), c.dev.ID()) })
	eventually(t, "b hears of others", func() bool { return len(h.of(near[0].Device)) == maxToldAddrs })
	if len(b.rep.Peers()) != 1 {
		t.Error("the connection is gone")
	}
}

// TestLongFrame: a frame that is too long is not sent. It would end the connection.
func TestLongFrame(t *testing.T) {
	a, b := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(a, b)
	linkNodes(a, b)
	eventually(t, "connected", func() bool { return len(a.rep.Peers()) == 1 })
	l := a.hub.currentLinks()[0]
	l.send(frameBytesOf(framePing, make([]byte, MaxControlFrame+1)))
	eventually(t, "it is logged", func() bool { return a.log.has("too long to be sent") })
	a.room.append(t, key.Chat, []byte("behind it"))
	eventually(t, "what follows comes", func() bool { return b.room.length(a.dev.ID(), key.Chat) == 1 })
}

// TestLongPresence: what does not fit the bounds ends the connection.
func TestLongPresence(t *testing.T) {
	for name, near := range map[string][]nearItem{
		"devices":   make([]nearItem, maxNear+1),
		"addresses": {{Addrs: make([]string, maxNearAddrs+1)}},
		"bytes":     {{Addrs: []string{string(make([]byte, maxAddrBytes+1))}}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 1, Options{})
			r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join()
			r.send(framePresence, msgPresence{Chan: r.ch, Near: near})
			r.gone()
		})
	}
}
