package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/swarm"
	"github.com/pearbox/pearbox/swarm/memnet"
)

// knowing is a network that knows peers and takes hints.
type knowing struct {
	Network
	mu    sync.Mutex // guards what follows
	peers []swarm.Peer
	hints []string
	from  key.DeviceID
}

func (k *knowing) Peers() []swarm.Peer {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.peers)
}

func (k *knowing) Listening() []string { return nil }

func (k *knowing) Suggest(teller key.DeviceID, addrs ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.from, k.hints = teller, append(k.hints, addrs...)
}

func startKnowing(t *testing.T) (*Node, *knowing) {
	t.Helper()
	net := &knowing{}
	o := options(t, memnet.New(1), t.TempDir())
	connect := o.Connect
	o.Connect = func(ctx context.Context, dev *key.Device, onConn func(wire.Conn)) (_ Network, err error) {
		net.Network, err = connect(ctx, dev, onConn)
		return net, err
	}
	n, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n, net
}

// TestPrivateNetworkOfNobody: who gave a private network no address is told; an address of the settings or of a link is enough.
func TestPrivateNetworkOfNobody(t *testing.T) {
	n, _ := startKnowing(t)
	told := func() bool {
		st, err := n.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(st.Notes, func(note string) bool { return strings.Contains(note, "pearbox relay") })
	}
	if told() {
		t.Error("told of another network")
	}
	n.opts.Config.Network = "private"
	if !told() {
		t.Error("not told")
	}
	n.opts.Config.Bootstrap = []string{"/ip4/192.0.2.1/tcp/4001"}
	if told() {
		t.Error("told in spite of an address of the settings")
	}
	n.opts.Config.Bootstrap = nil
	if err := n.dir.SaveRooms(config.Rooms{Rooms: []config.Room{{Alias: "r", Bootstrap: []string{"/ip4/192.0.2.1/tcp/4001"}}}}); err != nil {
		t.Fatal(err)
	}
	if told() {
		t.Error("told in spite of a link's address")
	}
}

// TestPeersSaved: peers.json is written anew for what is new, and not for times alone.
func TestPeersSaved(t *testing.T) {
	n, net := startKnowing(t)
	saved := func() string {
		t.Helper()
		n.savePeers()
		b, err := os.ReadFile(filepath.Join(n.dir.Path(), "peers.json"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	set := func(seen time.Time, addrs ...string) {
		net.mu.Lock()
		defer net.mu.Unlock()
		net.peers = []swarm.Peer{{Device: key.DeviceID{1}, Addrs: addrs, Seen: seen, Keep: true}}
	}
	now := time.Now()
	set(now, "here")
	first := saved()
	set(now.Add(time.Minute), "here")
	if saved() != first {
		t.Error("written although only a time has changed")
	}
	set(now.Add(2*time.Minute), "here", "there")
	second := saved()
	if second == first || len(n.dir.Network().Peers[0].Addrs) != 2 {
		t.Error("not written although there is another address")
	}
	set(now.Add(3*time.Minute), "here", "there")
	n.saving.Lock()
	n.peersAt = n.peersAt.Add(-savePeersAlways)
	n.saving.Unlock()
	if saved() == second {
		t.Error("times are never written")
	}
}

// TestMeet: what a member says goes to the network with who said it, but for addresses of somebody else.
func TestMeet(t *testing.T) {
	n, net := startKnowing(t)
	var addrs [2]string
	var devices [2]key.DeviceID
	for i := range addrs {
		dev, err := key.NewDevice()
		if err != nil {
			t.Fatal(err)
		}
		s, err := swarm.New(t.Context(), swarm.Options{Device: dev, Network: swarm.Direct, Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		addrs[i], devices[i] = s.Addrs()[0], dev.ID()
	}
	n.meet(key.RoomID{}, key.DeviceID{9}, []wire.Neighbour{{Device: devices[0], Addrs: addrs[:]}})
	if net.from != (key.DeviceID{9}) || !slices.Equal(net.hints, addrs[:1]) {
		t.Errorf("told by %v: %v", net.from, net.hints)
	}
}
