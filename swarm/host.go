package swarm

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/pearbox/pearbox/drive/key"
)

type (
	peerID   = peer.ID
	addrInfo = peer.AddrInfo
)

// everywhere is what a node listens on when nobody says otherwise.
var everywhere = []string{
	"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1",
	"/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1",
}

// identity is the device key as libp2p wants it.
func identity(d *key.Device) (crypto.PrivKey, error) {
	priv, err := crypto.UnmarshalEd25519PrivateKey(d.Ed25519())
	if err != nil {
		return nil, fmt.Errorf("device key: %w", err)
	}
	return priv, nil
}

// common are the options that nodes and relays share.
func common(d *key.Device, relay bool) ([]libp2p.Option, error) {
	priv, err := identity(d)
	if err != nil {
		return nil, err
	}
	rm, err := resources(relay)
	if err != nil {
		return nil, fmt.Errorf("resource limits: %w", err)
	}
	low, high := 160, 320
	if relay {
		low, high = 2048, 4096
	}
	cm, err := connmgr.NewConnManager(low, high, connmgr.WithGracePeriod(time.Minute))
	if err != nil {
		return nil, fmt.Errorf("connection manager: %w", err)
	}
	return []libp2p.Option{
		libp2p.Identity(priv),
		libp2p.UserAgent("pearbox"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(quic.NewTransport),
		libp2p.Security(tls.ID, tls.New),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, muxer()),
		libp2p.ResourceManager(rm),
		libp2p.ConnectionManager(cm),
		libp2p.DialRanker(rank),
		libp2p.EnableRelay(),
		libp2p.DisableMetrics(),
	}, nil
}

// muxer is libp2p's yamux with a larger first window.
func muxer() *yamux.Transport {
	cfg := *yamux.DefaultTransport
	cfg.InitialStreamWindowSize = yamuxInitialWindow
	cfg.MaxStreamWindowSize = yamuxMaxWindow
	return &cfg
}

// newHost makes the libp2p host of a node. relays finds candidates for relays in the public network.
func newHost(o Options, boot []addrInfo, relays autorelay.PeerSource) (host.Host, error) {
	opts, err := common(o.Device, false)
	if err != nil {
		return nil, err
	}
	listen := o.Listen
	if len(listen) == 0 {
		listen = everywhere
	}
	places, err := placesOf(listen, o.Earlier)
	if err != nil {
		return nil, err
	}
	switch o.Network {
	case Public:
		opts = append(opts, libp2p.EnableHolePunching(), libp2p.EnableAutoNATv2(),
			libp2p.EnableAutoRelayWithPeerSource(relays, autorelay.WithBackoff(30*time.Second)))
	case Private:
		opts = append(opts, libp2p.EnableHolePunching(), libp2p.EnableAutoNATv2())
		if len(boot) > 0 {
			opts = append(opts, libp2p.EnableAutoRelayWithStaticRelays(boot, autorelay.WithBackoff(30*time.Second)))
		}
	}
	if (o.Network == Public || o.Network == Private) && anyBeyondLoopback(listen) {
		opts = append(opts, libp2p.NATPortMap())
	}
	return listenOn(places, opts)
}

// bootstrapPeers are the first peers of the DHT.
func bootstrapPeers(o Options) ([]addrInfo, error) {
	var out []addrInfo
	for _, text := range o.Bootstrap {
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			return nil, fmt.Errorf("bootstrap address %q: %w", text, ErrAddress)
		}
		out = append(out, *info)
	}
	out = merge(out)
	if o.Network == Public {
		out = append(out, dht.GetDefaultBootstrapPeerAddrInfos()...)
	}
	return out, nil
}

// merge joins the addresses of one peer.
func merge(in []addrInfo) []addrInfo {
	var out []addrInfo
	at := make(map[peerID]int)
	for _, info := range in {
		if i, ok := at[info.ID]; ok {
			out[i].Addrs = append(out[i].Addrs, info.Addrs...)
			continue
		}
		at[info.ID] = len(out)
		out = append(out, info)
	}
	return out
}

// relaySource offers peers of the public DHT as relays.
func (s *Swarm) relaySource(ctx context.Context, n int) <-chan addrInfo {
	out := make(chan addrInfo, n)
	defer close(out)
	select {
	case <-s.ready:
	default:
		return out
	}
	for _, p := range s.host.Network().Peers() {
		if n == 0 || ctx.Err() != nil {
			break
		}
		if addrs := s.host.Peerstore().Addrs(p); len(addrs) > 0 && !s.ss.speaks(p) {
			out <- addrInfo{ID: p, Addrs: addrs}
			n--
		}
	}
	return out
}
