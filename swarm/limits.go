package swarm

import (
	"math"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

const (
	maxPendingStreams = 64   // streams of a session that nobody accepted yet; more are reset
	maxTargets        = 1024 // peers that we try to reach; found ones that failed longest make place first
	maxAddrsPerPeer   = 16   // addresses kept of one peer
	maxHints          = 8    // addresses of one peer that others told and that are to be tried
	maxTried          = 64   // and that were, not to be tried again within hintWindow
	maxTellers        = 1024 // devices whose hints are counted
	maxToldHour       = 256  // addresses taken of one of them within hintWindow
	hintTries         = 2    // times that one is tried
	hintWindow        = time.Hour
	hintPause         = time.Minute      // between two tries of what was told of one peer
	maxDials          = 8                // dials at a time
	maxTopics         = 4096             // topics joined at a time
	kindTimeout       = 10 * time.Second // a stream's first byte
	dialTimeout       = 30 * time.Second
	provenAfter       = 15 * time.Second // a session that lasted this long clears the backoff
	displaceAfter     = 5 * time.Second  // a younger session is not displaced within its class

	yamuxInitialWindow = 1 << 20  // yamux accounts 256 KiB a stream whatever this is; 1 MiB saves two round trips of ramp-up
	yamuxMaxWindow     = 16 << 20 // 16 MiB: 160 MiB/s at 100 ms
)

// resources bounds what remote peers can make this process hold. libp2p's defaults allow 8 connections per address and one new connection
// in five seconds per subnet, which is less than an office behind one NAT: both are raised. Loopback stays unlimited.
func resources(relay bool) (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	conns := rcmgr.LimitVal(1024)
	if relay {
		conns = 8192
	}
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: conns, ConnsInbound: conns / 2, ConnsOutbound: conns, FD: conns,
			Streams: conns * 32, StreamsInbound: conns * 16, StreamsOutbound: conns * 32,
			Memory: 1 << 30,
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: 16, ConnsInbound: 8, ConnsOutbound: 16,
			Streams: 256, StreamsInbound: 128, StreamsOutbound: 256,
			Memory: 256 << 20,
		},
	}.Build(scaling.AutoScale())

	perSubnet4 := []rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: 256}}
	perSubnet6 := []rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: 256}, {PrefixLength: 48, ConnCount: 1024}}
	rates := &rate.Limiter{
		NetworkPrefixLimits: []rate.PrefixLimit{
			{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
			{Prefix: netip.MustParsePrefix("::1/128")},
		},
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: 16, Burst: 256}}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: rate.Limit{RPS: 16, Burst: 256}}},
			GracePeriod:      time.Minute,
		},
	}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithLimitPerSubnet(perSubnet4, perSubnet6),
		rcmgr.WithNetworkPrefixLimit(
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("127.0.0.0/8"), ConnCount: math.MaxInt}},
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("::1/128"), ConnCount: math.MaxInt}}),
		rcmgr.WithConnRateLimiters(rates),
		rcmgr.WithMetricsDisabled(),
	)
}
