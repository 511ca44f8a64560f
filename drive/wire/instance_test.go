package wire

import (
	"slices"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// pinging pings over and over.
func pinging() Timing {
	t := brisk
	t.Ping = 20 * time.Millisecond
	return t
}

// A member that is connected with two machines with one key tells both, and others nothing.
func TestCopiedDevice(t *testing.T) {
	told := make(chan key.DeviceID, 2)
	o := Options{Timing: pinging(), Copied: func(_ key.RoomID, teller key.DeviceID) { told <- teller }}
	a, b, c := newNode(t, 1, Options{Timing: pinging()}), newNode(t, 2, o), newNode(t, 3, Options{Timing: pinging()})
	twin := newNode(t, 2, o)
	members(a, b, twin, c)
	linkNodes(a, b)
	linkNodes(a, c)
	linkNodes(a, twin)
	for range 2 {
		if d := <-told; d != a.dev.ID() {
			t.Errorf("told by %v", d)
		}
	}
	eventually(t, "who is connected with both says so", func() bool {
		_, others := a.rep.Copied()
		return len(others) == 1 && others[0] == b.dev.ID()
	})
	for _, n := range []*node{b, twin} {
		if by, others := n.rep.Copied(); len(by) != 1 || by[0] != a.dev.ID() || len(others) != 0 {
			t.Errorf("told by %v, sees %v", by, others)
		}
	}
	if by, others := c.rep.Copied(); len(by)+len(others) != 0 {
		t.Errorf("carol is told by %v, sees %v", by, others)
	}
}

// They are connected in turn, as package swarm does it, and answer no ping.
func TestCopiedDeviceInTurn(t *testing.T) {
	slow := brisk
	slow.Ping = time.Hour
	a, b, twin := newNode(t, 1, Options{Timing: slow}), newNode(t, 2, Options{Timing: slow}), newNode(t, 2, Options{Timing: slow})
	members(a, b, twin)
	turn := func(n *node, want int) {
		t.Helper()
		from := time.Now()
		x, _ := linkNodes(a, n)
		eventually(t, "it is seen", func() bool {
			a.hub.mu.Lock()
			defer a.hub.mu.Unlock()
			d := a.hub.devices[n.dev.ID()]
			return d != nil && slices.ContainsFunc(d.list, func(s sighting) bool { return s.id == n.hub.instance && s.to.After(from) })
		})
		if _, others := a.rep.Copied(); len(others) != want {
			t.Errorf("copied: %v", others)
		}
		x.Close()
		eventually(t, "it is gone", func() bool { return len(n.rep.Peers()) == 0 && len(a.rep.Peers()) == 0 })
	}
	turn(b, 0)
	turn(twin, 0)
	turn(b, 1)
}

// A device that is started again and again, the old connection still there, is one.
func TestRestartedDevice(t *testing.T) {
	a := newNode(t, 1, Options{Timing: pinging()})
	for range 5 {
		b := newNode(t, 2, Options{Timing: pinging()})
		members(a, b)
		linkNodes(a, b)
		linkNodes(a, b)
		eventually(t, "both connections are alive", func() bool {
			n := 0
			for _, p := range b.rep.Peers() {
				if p.RTT > 0 {
					n++
				}
			}
			return n == 2
		})
		b.hub.Close() // whose connections a notices later
	}
	if by, others := a.rep.Copied(); len(by)+len(others) != 0 {
		t.Errorf("told by %v, sees %v", by, others)
	}
}

// What a stranger says of this device is not believed, and an instance is told once.
func TestLyingAboutCopies(t *testing.T) {
	n := newNode(t, 1, Options{Copied: func(key.RoomID, key.DeviceID) { t.Error("believed") }})
	r := newRogue(t, n.hub, deviceOn(t, sideFirst, n.dev.ID())).join()
	r.send(frameCopied, msgChan{Chan: r.ch})
	r.send(frameInstance, msgInstance{ID: instance{1}})
	r.send(framePing, msgPing{})
	r.await(framePong)
	if by, _ := n.rep.Copied(); len(by) != 0 {
		t.Errorf("told by %v", by)
	}
	r.send(frameInstance, msgInstance{ID: instance{2}})
	r.gone()
	stillWorks(t, n)
}

// A member may be on many machines, or make that believe: what is kept of it is bounded.
func TestSightings(t *testing.T) {
	var d sightings
	at := time.Now()
	next := func() time.Time { at = at.Add(time.Second); return at }
	for i := range 10 * maxInstances {
		if from := next(); d.note(instance{byte(i), 1}, from, next()) {
			t.Fatalf("instance %d was there before", i)
		}
	}
	if len(d.list) != maxInstances || !d.copied.IsZero() {
		t.Errorf("%d sightings, copied %v", len(d.list), d.copied)
	}
	before, last := d.list[maxInstances-2], d.list[maxInstances-1]
	if d.note(before.id, last.from.Add(time.Millisecond), next()) {
		t.Error("it is not known that the one before was there after the last")
	}
	if from := next(); !d.note(before.id, from, next()) {
		t.Error("the one before was there after the last")
	}
}
