package swarm

import (
	"errors"
	"testing"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/pearbox/pearbox/drive/key"
)

const peerText = "12D3KooWFp5uZ9Wh5bUrcBUMJRqei8VgFcQUdErmk5x4QLKYvn2e"

func TestRank(t *testing.T) {
	var addrs []ma.Multiaddr
	for _, text := range []string{
		"/ip4/8.8.8.8/tcp/4001/p2p/" + peerText + "/p2p-circuit", "/ip4/8.8.4.4/udp/4001/quic-v1", "/ip4/10.0.0.1/udp/4001/quic-v1",
		"/ip4/8.8.4.4/tcp/4001", "/ip4/10.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001",
	} {
		addrs = append(addrs, ma.StringCast(text))
	}
	ranked := rank(addrs)
	if len(ranked) != len(addrs) {
		t.Fatalf("%d of %d addresses", len(ranked), len(addrs))
	}
	for i, r := range ranked {
		relayed, quic := isRelayed(r.Addr), has(r.Addr, ma.P_QUIC_V1)
		switch {
		case i < 3 && (relayed || quic), i >= 3 && i < 5 && !quic, i == 5 && !relayed:
			t.Errorf("place %d has %v", i, r.Addr)
		case quic && r.Delay < quicDelayPublic, relayed && r.Delay < relayDelay:
			t.Errorf("%v is dialled after %v", r.Addr, r.Delay)
		}
	}
	if !isRelayed(ranked[5].Addr) || ranked[0].Delay != 0 {
		t.Errorf("ranked %v", ranked)
	}
	if only := rank([]ma.Multiaddr{addrs[0]}); only[0].Delay != 0 {
		t.Errorf("a lone relayed address waits %v", only[0].Delay)
	}
}

func TestDescribe(t *testing.T) {
	for text, want := range map[string]string{
		"/ip4/192.0.2.1/tcp/4001":                                  "tcp 192.0.2.1:4001",
		"/ip6/2001:db8::1/udp/4001/quic-v1":                        "quic [2001:db8::1]:4001",
		"/ip4/192.0.2.1/tcp/4001/p2p/" + peerText + "/p2p-circuit": "relay " + peerText,
		"/memory/7": "memory/7",
	} {
		if got := describe(ma.StringCast(text)); got != want {
			t.Errorf("%s is described as %q", text, got)
		}
	}
	if got := describe(nil); got != "" {
		t.Errorf("nothing is described as %q", got)
	}
}

func TestPlaces(t *testing.T) {
	listen := []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/9"}
	earlier := []string{"/ip4/127.0.0.1/tcp/41", "/ip4/127.0.0.1/udp/42/quic-v1", "/ip4/0.0.0.0/udp/43/quic-v1", "bad"}
	earlier = append(earlier, "/ip4/0.0.0.0/tcp/10")
	places, err := placesOf(listen, earlier)
	if err != nil || len(places) != len(listen) {
		t.Fatalf("%v %v", places, err)
	}
	for i, want := range []string{"/ip4/127.0.0.1/tcp/41", "/ip4/127.0.0.1/udp/42/quic-v1", "/ip4/0.0.0.0/tcp/10", ""} {
		p := places[i]
		if p.addr.String() != listen[i] || p.movable != (i != 3) || (p.earlier == nil) != (want == "") || p.earlier != nil && p.earlier.String() != want {
			t.Errorf("%s became %+v, want %q", listen[i], p, want)
		}
	}
	if _, err := placesOf([]string{"nonsense"}, nil); !errors.Is(err, ErrListenAddress) {
		t.Errorf("nonsense: %v", err)
	}
}

func TestDevicesAndPeers(t *testing.T) {
	dev, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	p, err := peerOf(dev.ID())
	if err != nil {
		t.Fatal(err)
	}
	if back, err := deviceOf(p); err != nil || back != dev.ID() {
		t.Errorf("%v, %v", back, err)
	}
	// The peer id of an RSA key is the hash of the key: no device.
	if _, err := deviceOf("QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"); !errors.Is(err, errNotPearBox) {
		t.Errorf("got %v", err)
	}
}

// Addresses come out of links and of files: whatever they are, parsing them gives devices with addresses or ErrAddress.
func FuzzParseAddrs(f *testing.F) {
	for _, s := range []string{"", "/", "/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1/p2p/" + peerText, "/p2p/" + peerText, "nonsense",
		"/ip4/1.2.3.4/tcp/1/p2p/" + peerText + "/p2p-circuit/p2p/" + peerText, "/ip4/1.2.3.4/tcp/1/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseAddrs(key.DeviceID{}, []string{s})
		if err != nil {
			if !errors.Is(err, ErrAddress) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		for id, addrs := range got {
			if p, err := peerOf(id); err != nil || p == "" {
				t.Errorf("%q: device %v: %v", s, id, err)
			}
			for _, a := range addrs {
				if _, err := ma.NewMultiaddr(a); err != nil {
					t.Errorf("%q: address %q: %v", s, a, err)
				}
			}
		}
	})
}

// A flood of devices that were only found does not push out those that were given or remembered.
func TestFoundPeersMakePlaceFirst(t *testing.T) {
	d := &dialler{kick: make(chan struct{}, 1), targets: make(map[key.DeviceID]*target)}
	friend := key.DeviceID{1}
	d.add(friend, []string{"/ip4/192.0.2.1/tcp/4001"}, true).fails = 100 // away for long
	for i := range 2 * maxTargets {
		d.add(key.DeviceID{2, byte(i), byte(i >> 8)}, []string{"/ip4/192.0.2.2/tcp/4001"}, false)
	}
	if d.targets[friend] == nil || len(d.targets) > maxTargets {
		t.Errorf("the friend is known: %v; %d targets", d.targets[friend] != nil, len(d.targets))
	}
	for i := range 2 * maxTargets { // but of these there is an end, too
		d.add(key.DeviceID{3, byte(i), byte(i >> 8)}, []string{"/ip4/192.0.2.3/tcp/4001"}, true)
	}
	if len(d.targets) > maxTargets {
		t.Errorf("%d targets", len(d.targets))
	}
}
