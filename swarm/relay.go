package swarm

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"

	"github.com/pearbox/pearbox/drive/key"
)

// RelayOptions configure a relay of a private network: bootstrap node of its DHT, relay, and the one who tells others their address.
type RelayOptions struct {
	Device    *key.Device
	Listen    []string // multiaddrs, as in Options; empty: every interface, port 4001, or another one where that is taken
	Bootstrap []string // other relays of the same network
	// What one relayed connection may carry before it is cut, and how long. Zero: 1 GiB and 2 hours. A symmetric NAT cannot be punched,
	// so a relay must be able to carry data.
	MaxData     int64
	MaxDuration time.Duration
}

// Relay is a running relay.
type Relay struct {
	host host.Host
	dht  *dht.IpfsDHT
}

// NewRelay starts a relay. It sees ciphertext and peer ids only.
func NewRelay(ctx context.Context, o RelayOptions) (*Relay, error) {
	opts, err := common(o.Device, true)
	if err != nil {
		return nil, fmt.Errorf("swarm: relay: %w", err)
	}
	listen := o.Listen
	if len(listen) == 0 {
		listen = []string{"/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1", "/ip6/::/tcp/4001", "/ip6/::/udp/4001/quic-v1"}
	}
	places, err := placesOf(listen, nil)
	if err != nil {
		return nil, fmt.Errorf("swarm: relay: %w", err)
	}
	for i := range places {
		places[i].movable = places[i].movable || len(o.Listen) == 0
	}
	if o.MaxData == 0 {
		o.MaxData = 1 << 30
	}
	if o.MaxDuration == 0 {
		o.MaxDuration = 2 * time.Hour
	}
	boot, err := bootstrapPeers(Options{Network: Private, Bootstrap: o.Bootstrap})
	if err != nil {
		return nil, fmt.Errorf("swarm: relay: %w", err)
	}
	rc := relay.DefaultResources()
	rc.Limit = &relay.RelayLimit{Duration: o.MaxDuration, Data: o.MaxData}
	rc.MaxReservations, rc.MaxCircuits = 4096, 64
	rc.MaxReservationsPerIP, rc.MaxReservationsPerASN = 256, 4096
	rc.BufferSize = 64 << 10
	opts = append(opts, libp2p.ForceReachabilityPublic(), libp2p.EnableNATService(), libp2p.EnableAutoNATv2(),
		libp2p.EnableRelayService(relay.WithResources(rc)))
	h, err := listenOn(places, opts)
	if err != nil {
		return nil, fmt.Errorf("swarm: relay: %w", err)
	}
	d, err := dht.New(h, append(privateDHT(dht.ModeServer), dht.BootstrapPeers(boot...))...)
	if err != nil {
		_ = h.Close()
		return nil, fmt.Errorf("swarm: relay: starting the DHT: %w", err)
	}
	if err := d.Bootstrap(ctx); err != nil {
		_ = d.Close()
		_ = h.Close()
		return nil, fmt.Errorf("swarm: relay: %w", err)
	}
	return &Relay{host: h, dht: d}, nil
}

// Addrs lists the full addresses of the relay, to be given as Options.Bootstrap.
func (r *Relay) Addrs() []string {
	var out []string
	for _, a := range r.host.Addrs() {
		out = append(out, a.String()+"/p2p/"+r.host.ID().String())
	}
	return out
}

// Close stops the relay.
func (r *Relay) Close() error {
	_ = r.dht.Close()
	return r.host.Close()
}
