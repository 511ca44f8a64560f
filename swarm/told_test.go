package swarm

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/pearbox/pearbox/drive/key"
)

func startHere(t *testing.T, listen ...string) *Swarm {
	t.Helper()
	dev, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(context.Background(), Options{Device: dev, Network: Direct, Listen: append(listen, "/ip4/127.0.0.1/tcp/0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestToldAddresses: what others told is tried; a true address leads to a session and is kept, a wrong one is neither listed nor told on.
func TestToldAddresses(t *testing.T) {
	a, b := startHere(t), startHere(t)
	id := "/p2p/" + b.host.ID().String()
	a.Suggest(key.DeviceID{1}, "nonsense", "/ip4/127.0.0.1/tcp/1"+id)
	if peers := a.Peers(); len(peers) != 0 {
		t.Errorf("listed before anything came of it: %+v", peers)
	}
	a.Suggest(key.DeviceID{1}, b.Addrs()...)
	// The first try may have begun without the second address; the next one is a minute later.
	a.dial.mu.Lock()
	if x := a.dial.targets[b.Device()]; x != nil {
		x.told.next = time.Time{}
	}
	a.dial.mu.Unlock()
	a.dial.wake()
	until(t, "a session", func() bool { return len(a.Conns()) == 1 && len(b.Conns()) == 1 })
	until(t, "it is kept", func() bool { return len(a.Peers()) == 1 && slices.Equal(a.Peers()[0].Addrs, b.Addrs()) })
}

// TestToldBounds: a teller is believed nothing, and only so much of it is tried.
func TestToldBounds(t *testing.T) {
	d := startHere(t).dial
	addr := func(i int) string { return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", 1+i) }
	hints := func() (n int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, t := range d.targets {
			n += len(t.told.hints)
		}
		return n
	}
	for i := range 4 * maxToldHour {
		d.suggest(key.DeviceID{1}, key.DeviceID{2, byte(i), byte(i >> 8)}, []string{addr(i)})
	}
	if n := hints(); n != maxToldHour {
		t.Errorf("%d addresses of one teller are taken", n)
	}
	for i := range 4 * maxHints {
		d.suggest(key.DeviceID{3}, key.DeviceID{4}, []string{addr(i), addr(i)})
	}
	if n := hints(); n != maxToldHour+maxHints {
		t.Errorf("%d addresses of one device are taken", n-maxToldHour)
	}
	for i := range maxTargets {
		d.suggest(key.DeviceID{5, byte(i), byte(i >> 8)}, key.DeviceID{6, byte(i), byte(i >> 8)}, []string{addr(i)})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.targets) > maxTargets/2 {
		t.Errorf("%d devices are remembered", len(d.targets))
	}
	now := time.Now()
	for i := range 2 * maxTellers {
		d.allow(key.DeviceID{7, byte(i), byte(i >> 8)}, now)
	}
	if len(d.tellers) != maxTellers {
		t.Errorf("%d tellers are remembered", len(d.tellers))
	}
	if d.allow(key.DeviceID{8}, now) || d.allow(key.DeviceID{1}, now) || !d.allow(key.DeviceID{8}, now.Add(2*hintWindow)) {
		t.Error("the counts do not begin anew, or always do")
	}
}

// TestToldChangesNothing: the own addresses of a device are dialled when they would have been, and each told one is tried hintTries times.
func TestToldChangesNothing(t *testing.T) {
	d := startHere(t).dial
	id, now := key.DeviceID{2}, time.Now()
	later := now.Add(time.Hour)
	x := d.add(id, []string{"/ip4/127.0.0.1/tcp/1"}, true)
	d.mu.Lock()
	x.next, x.fails = later, 5
	d.mu.Unlock()
	told := "/ip4/127.0.0.1/tcp/2"
	d.suggest(key.DeviceID{1}, id, []string{told})
	d.mu.Lock()
	defer d.mu.Unlock()
	for range hintTries {
		if next, ok := x.nextDial(); !ok || !next.Before(later) {
			t.Fatal("what was told is not tried")
		}
		now = now.Add(hintPause)
		if got := x.told.take(now); !slices.Equal(got, []string{told}) || x.told.take(now) != nil {
			t.Errorf("tried %v, and then at once again", got)
		}
	}
	if next, _ := x.nextDial(); !next.Equal(later) || x.fails != 5 || !slices.Equal(x.addrs, []string{"/ip4/127.0.0.1/tcp/1"}) {
		t.Errorf("it changed the target: next %v, fails %d, %v", next, x.fails, x.addrs)
	}
	if x.told.news(told, now) || !x.told.news(told, now.Add(hintWindow)) {
		t.Error("it is not remembered as tried, or for ever")
	}
}

// TestToldKinds: which addresses are tried in which network.
func TestToldKinds(t *testing.T) {
	loop, wide := startHere(t).dial, startHere(t, "/ip4/0.0.0.0/tcp/0").dial
	for _, c := range []struct {
		addr                string
		lan, direct, onLoop bool
	}{
		{"/ip4/192.168.1.2/tcp/1", true, true, true},
		{"/ip6/fd00::1/tcp/1", true, true, true},
		{"/ip4/8.8.8.8/tcp/1", false, true, true},
		{"/dns4/example.com/tcp/1", false, true, true},
		{"/ip4/127.0.0.1/tcp/1", false, false, true},
		{"/ip4/0.0.0.0/tcp/1", false, false, false},
		{"nonsense", false, false, false},
	} {
		wide.net = LAN
		lan := wide.tries(c.addr)
		wide.net = Direct
		if direct, onLoop := wide.tries(c.addr), loop.tries(c.addr); lan != c.lan || direct != c.direct || onLoop != c.onLoop {
			t.Errorf("%s: %v in lan, %v in direct, %v on loopback", c.addr, lan, direct, onLoop)
		}
	}
}

// TestPeersOrder: a peer's addresses always come in the same order, or what is made of them seems new each time.
func TestPeersOrder(t *testing.T) {
	listen := []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.2/tcp/0", "/ip4/127.0.0.3/tcp/0"}
	a, b := startHere(t, listen...), startHere(t, listen...)
	if err := a.Connect(context.Background(), b.Addrs()); err != nil {
		t.Fatal(err)
	}
	for s, other := range map[*Swarm]host.Host{a: b.host, b: a.host} {
		addrs := func() []string {
			if peers := s.Peers(); len(peers) == 1 && len(s.ss.listens(other.ID())) == 4 {
				return peers[0].Addrs
			}
			return nil
		}
		until(t, "a session, and all addresses", func() bool { return len(s.Conns()) == 1 && len(addrs()) == 4 })
		first := addrs()
		for range 50 {
			if got := addrs(); !slices.Equal(got, first) {
				t.Fatalf("%v, and then %v", first, got)
			}
		}
	}
}

// TestSparedIsNotChosen: a connection that is about to be closed because it was not chosen is not chosen in the last moment.
func TestSparedIsNotChosen(t *testing.T) {
	a, b := startHere(t), startHere(t)
	if err := a.Connect(context.Background(), b.Addrs()); err != nil {
		t.Fatal(err)
	}
	until(t, "a session", func() bool { return len(a.Conns()) == 1 })
	st := &peerState{id: b.Device()}
	l := &link{under: a.Conns()[0].under, speaks: true}
	st.conns = []*link{l}
	a.ss.spare(st, l)
	if !l.retired || !l.under.IsClosed() {
		t.Error("it may still be chosen, or is open")
	}
}
