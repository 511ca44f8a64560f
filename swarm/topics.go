package swarm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/multiformats/go-multihash"

	"github.com/pearbox/pearbox/drive/key"
)

// The clock of a topic. A provider record of the public DHT lives 48 hours, its addresses 24.
const (
	announceEvery = 8 * time.Hour
	lookupFirst   = 5 * time.Second
	lookupMax     = 10 * time.Minute
	announceRetry = 10 * time.Second
	roundTimeout  = 3 * time.Minute
	maxFound      = 64 // peers taken from one lookup
)

// lookup is the DHT and the loops of the topics.
type lookup struct {
	s   *Swarm
	dht *dht.IpfsDHT

	mu     sync.Mutex // guards topics
	topics map[key.Hash]*topic
}

type topic struct {
	cid    cid.Cid
	cancel context.CancelFunc
	kick   chan struct{} // announce and look up at once
}

func newLookup(s *Swarm, boot []addrInfo) (*lookup, error) {
	opts := []dht.Option{dht.BootstrapPeers(boot...)}
	if s.opts.Network == Private {
		opts = append(opts, privateDHT(dht.ModeAuto)...)
	} else {
		opts = append(opts, dht.Mode(dht.ModeAuto),
			dht.QueryFilter(dht.PublicQueryFilter), dht.RoutingTableFilter(dht.PublicRoutingTableFilter))
	}
	d, err := dht.New(s.host, opts...)
	if err != nil {
		return nil, fmt.Errorf("swarm: starting the DHT: %w", err)
	}
	l := &lookup{s: s, dht: d, topics: make(map[key.Hash]*topic)}
	sub, err := s.host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(256))
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("swarm: %w", err)
	}
	s.start(func(ctx context.Context) { l.watch(ctx, sub) })
	s.start(func(ctx context.Context) { _ = d.Bootstrap(ctx) })
	return l, nil
}

// privateDHT are the options of the own DHT: no values, so no validators are needed.
func privateDHT(mode dht.ModeOpt) []dht.Option {
	return []dht.Option{dht.ProtocolPrefix("/pearbox"), dht.DisableValues(), dht.Mode(mode)}
}

func topicCID(t key.Hash) (cid.Cid, error) {
	h, err := multihash.Encode(t[:], multihash.SHA2_256)
	if err != nil {
		return cid.Undef, err
	}
	return cid.NewCidV1(cid.Raw, h), nil
}

// watch kicks every topic when the routing table gets its first peer, and connects the bootstrap peers again while it is empty.
func (l *lookup) watch(ctx context.Context, sub event.Subscription) {
	defer sub.Close()
	empty := true
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	wait, next := 2*time.Second, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sub.Out():
		case <-tick.C:
		}
		if l.size() > 0 {
			if empty {
				l.changed()
			}
			empty, wait = false, 2*time.Second
			continue
		}
		empty = true
		if time.Now().After(next) {
			l.reachBootstrap()
			wait = min(2*wait, time.Minute)
			next = time.Now().Add(wait)
		}
	}
}

func (l *lookup) reachBootstrap() {
	for _, info := range l.s.bootstrap() {
		if l.s.host.Network().Connectedness(info.ID) == network.Connected {
			continue
		}
		l.s.start(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			if err := l.s.host.Connect(ctx, info); err != nil {
				l.s.opts.Log.Debug("bootstrap peer not reached", "peer", info.ID, "error", err)
			}
		})
	}
}

func (l *lookup) size() int { return l.dht.RoutingTable().Size() }

func (l *lookup) close() error { return l.dht.Close() }

// changed lets every topic start over.
func (l *lookup) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.topics {
		t.wake()
	}
}

func (t *topic) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

func (l *lookup) join(h key.Hash) {
	c, err := topicCID(h)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || l.topics[h] != nil || len(l.topics) >= maxTopics {
		return
	}
	t := &topic{cid: c, kick: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(l.s.ctx)
	t.cancel = cancel
	l.topics[h] = t
	l.s.start(func(context.Context) { l.loop(ctx, t) })
}

func (l *lookup) leave(h key.Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.topics[h]; t != nil {
		t.cancel()
		delete(l.topics, h)
	}
}

// loop announces and looks up until ctx ends. Announcing can take a minute in the public DHT, so the two go side by side.
func (l *lookup) loop(ctx context.Context, t *topic) {
	var announceAt, lookupAt time.Time // zero: at once
	announceWait, lookupWait := announceRetry, lookupFirst
	announced, looked := make(chan bool, 1), make(chan int, 1)
	announcing, looking := false, false
	for {
		now := time.Now()
		if !announcing && !now.Before(announceAt) && l.size() > 0 {
			announcing = true
			go func() { announced <- l.announce(ctx, t) }()
		}
		if !looking && !now.Before(lookupAt) && l.size() > 0 {
			looking = true
			go func() { looked <- l.find(ctx, t) }()
		}
		select {
		case <-ctx.Done():
			if announcing {
				<-announced
			}
			if looking {
				<-looked
			}
			return
		case ok := <-announced:
			announcing = false
			announceAt = time.Now().Add(jitter(announceEvery))
			if !ok {
				announceAt = time.Now().Add(jitter(announceWait))
				announceWait = min(2*announceWait, lookupMax)
			} else {
				announceWait = announceRetry
			}
		case <-looked:
			looking = false
			lookupAt = time.Now().Add(jitter(lookupWait))
			lookupWait = min(2*lookupWait, lookupMax)
		case <-t.kick:
			announceAt, lookupAt = time.Time{}, time.Time{}
			announceWait, lookupWait = announceRetry, lookupFirst
		case <-time.After(untilNext(announceAt, lookupAt, announcing, looking)):
		}
	}
}

// untilNext is the time until the loop has something to do; it looks every two seconds while it waits for a routing table.
func untilNext(announceAt, lookupAt time.Time, announcing, looking bool) time.Duration {
	wait := lookupMax
	if !announcing {
		wait = min(wait, time.Until(announceAt))
	}
	if !looking {
		wait = min(wait, time.Until(lookupAt))
	}
	return max(wait, 2*time.Second)
}

func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.85 + 0.3*rand.Float64()))
}

func (l *lookup) announce(ctx context.Context, t *topic) bool {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	if err := l.dht.Provide(ctx, t.cid, true); err != nil {
		l.s.opts.Log.Debug("announcing a topic", "error", err)
		return false
	}
	return true
}

// find looks the topic up once and makes everyone found a target.
func (l *lookup) find(ctx context.Context, t *topic) int {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	n := 0
	for info := range l.dht.FindProvidersAsync(ctx, t.cid, maxFound) {
		id, err := deviceOf(info.ID)
		if err != nil || info.ID == l.s.host.ID() {
			continue
		}
		n++
		addrs := info.Addrs
		if len(addrs) == 0 {
			if found, err := l.dht.FindPeer(ctx, info.ID); err == nil {
				addrs = found.Addrs
			}
		}
		l.s.dial.add(id, addrTexts(addrs), false)
		l.s.dial.wake()
	}
	return n
}
