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
	ma "github.com/multiformats/go-multiaddr"

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
	return listenOn(listen, opts)
}

// listenOn starts a host on listen. Addresses whose port is taken are replaced by the same with a port of the system's choice.
func listenOn(listen []string, opts []libp2p.Option) (host.Host, error) {
	addrs := make([]ma.Multiaddr, 0, len(listen))
	for _, text := range listen {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: %w", text, err)
		}
		addrs = append(addrs, a)
	}
	// A host without any listen address starts without fail; each address can then fail by itself.
	h, err := libp2p.New(append(opts, libp2p.ListenAddrs())...)
	if err != nil {
		return nil, err
	}
	var last error
	for _, a := range addrs {
		if err := h.Network().Listen(a); err == nil {
			continue
		}
		if last = h.Network().Listen(anyPort(a)); last != nil {
			continue
		}
	}
	if len(h.Network().ListenAddresses()) == 0 {
		_ = h.Close()
		return nil, fmt.Errorf("listening on %v: %w", listen, last)
	}
	return h, nil
}

// anyPort is a with the port 0.
func anyPort(a ma.Multiaddr) ma.Multiaddr {
	var out ma.Multiaddr
	for _, c := range a {
		if code := c.Protocol().Code; code == ma.P_TCP || code == ma.P_UDP {
			if z, err := ma.NewComponent(c.Protocol().Name, "0"); err == nil {
				c = *z
			}
		}
		out = append(out, c)
	}
	return out
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
