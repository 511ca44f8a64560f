package swarm_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm"
	"github.com/pearbox/pearbox/swarm/swarmtest"
)

const patience = 90 * time.Second

var loopback = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}

func device(t *testing.T) *key.Device {
	t.Helper()
	d, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func start(t *testing.T, o swarm.Options) *swarm.Swarm {
	t.Helper()
	if o.Device == nil {
		o.Device = device(t)
	}
	if o.Listen == nil {
		o.Listen = loopback
	}
	s, err := swarm.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestConformance(t *testing.T) {
	for name, listen := range map[string][]string{"tcp": loopback[:1], "quic": loopback[1:], "both": loopback} {
		t.Run(name, func(t *testing.T) {
			swarmtest.Test(t, func(t *testing.T, dev *key.Device, onConn func(swarmtest.Conn)) swarmtest.Host {
				return start(t, swarm.Options{Device: dev, Network: swarm.Direct, Listen: listen, OnConn: func(c *swarm.Conn) { onConn(c) }})
			})
		})
	}
}

// TCP wins the race on direct addresses: it moves bulk faster.
func TestPrefersTCP(t *testing.T) {
	a, b := start(t, swarm.Options{Network: swarm.Direct}), start(t, swarm.Options{Network: swarm.Direct})
	if err := a.Connect(context.Background(), b.Addrs()); err != nil {
		t.Fatal(err)
	}
	until(t, "a session", func() bool { return len(a.Conns()) == 1 })
	if p := a.Conns()[0].Path(); p[:4] != "tcp " {
		t.Errorf("path %q, want TCP", p)
	}
}

// Two nodes of a private network that know only the relay meet through the topic.
func TestPrivateTopic(t *testing.T) {
	r, err := swarm.NewRelay(context.Background(), swarm.RelayOptions{Device: device(t), Listen: loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	topic := key.Hash{1, 2, 3}
	node := func() *swarm.Swarm {
		s := start(t, swarm.Options{Network: swarm.Private, Bootstrap: r.Addrs()})
		s.Join(topic)
		return s
	}
	a, b := node(), node()
	until(t, "both met", func() bool { return len(a.Conns()) == 1 && len(b.Conns()) == 1 })
	if a.Conns()[0].Remote() != b.Device() {
		t.Error("met somebody else")
	}
	if st := a.Status(); st.DHTPeers < 1 || st.Sessions != 1 {
		t.Errorf("status %+v", st)
	}
}

// What Peers gave is enough to meet again after a restart, on the same port.
func TestRemember(t *testing.T) {
	dev := device(t)
	a := start(t, swarm.Options{Network: swarm.Direct, Device: dev})
	b := start(t, swarm.Options{Network: swarm.Direct})
	if err := a.Connect(context.Background(), b.Addrs()); err != nil {
		t.Fatal(err)
	}
	until(t, "a session", func() bool { return len(a.Conns()) == 1 && len(b.Conns()) == 1 })
	peers, listening := a.Peers(), a.Listening()
	if len(peers) != 1 || !peers[0].Connected || !peers[0].Keep || len(peers[0].Addrs) == 0 {
		t.Fatalf("peers %+v", peers)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = start(t, swarm.Options{Network: swarm.Direct, Device: dev, Earlier: listening})
	a.Remember(append(peers[0].Addrs, "nonsense")...)
	until(t, "a session again", func() bool { return len(a.Conns()) == 1 })
	if got := a.Listening(); len(got) != 2 || got[0] != listening[0] {
		t.Errorf("listens on %v, before on %v", got, listening)
	}
}

// Who closes a session that another connection has taken over does not end the one that goes on: so does everybody above who hears that it
// ended.
func TestClosingADisplacedSession(t *testing.T) {
	leader, follower := device(t), device(t)
	if l, f := leader.ID(), follower.ID(); bytes.Compare(l[:], f[:]) > 0 {
		leader, follower = follower, leader
	}
	conns := make(chan *swarm.Conn, 10)
	a := start(t, swarm.Options{Network: swarm.Direct, Device: leader})
	b := start(t, swarm.Options{Network: swarm.Direct, Device: follower, OnConn: func(c *swarm.Conn) { conns <- c }})
	if err := a.Connect(t.Context(), b.Addrs()); err != nil {
		t.Fatal(err)
	}
	first := <-conns
	// the same device from elsewhere, as a relayed connection that became direct would come
	twin := start(t, swarm.Options{Network: swarm.Direct, Device: leader})
	if err := twin.Connect(t.Context(), b.Addrs()); err != nil {
		t.Fatal(err)
	}
	second := <-conns
	<-first.Done()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := second.Open(t.Context())
	if err != nil {
		t.Fatalf("the session that goes on has ended: %v", err)
	}
	defer s.Close()
	taken, err := twin.Conns()[0].Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if _, err := io.ReadFull(taken, buf); err != nil || string(buf) != "still here" {
		t.Errorf("%q, %v", buf, err)
	}
}

// A port of an earlier run that is taken gives way to another one. One that was asked for does not.
func TestPortTaken(t *testing.T) {
	a := start(t, swarm.Options{Network: swarm.Direct})
	b := start(t, swarm.Options{Network: swarm.Direct, Earlier: a.Listening()})
	if got := b.Listening(); len(got) != 2 || slices.ContainsFunc(got, func(s string) bool { return slices.Contains(a.Listening(), s) }) {
		t.Errorf("listens on %v, and another on %v", got, a.Listening())
	}
	for _, taken := range a.Listening() {
		s, err := swarm.New(t.Context(), swarm.Options{Device: device(t), Network: swarm.Direct, Listen: []string{"/ip4/127.0.0.1/tcp/0", taken}})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, swarm.ErrPortTaken) || !strings.Contains(err.Error(), taken) {
			t.Errorf("listening on %s, which is taken: %v", taken, err)
		}
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]swarm.Network{"": swarm.Public, "lan": swarm.LAN, "direct": swarm.Direct} {
		if n, err := swarm.ParseNetwork(text); err != nil || n != want {
			t.Errorf("%q: %v, %v", text, n, err)
		}
	}
	if _, err := swarm.ParseNetwork("wan"); err == nil {
		t.Error("a network that does not exist")
	}
}
