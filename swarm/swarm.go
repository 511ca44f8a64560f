package swarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pearbox/pearbox/drive/key"
)

// Network says how peers are found. The package comment tells what each does.
type Network string

// The networks.
const (
	Public  Network = "public"
	Private Network = "private"
	LAN     Network = "lan"
	Direct  Network = "direct"
)

// ParseNetwork reads the name of a network; "" is Public.
func ParseNetwork(text string) (Network, error) {
	switch n := Network(text); n {
	case "":
		return Public, nil
	case Public, Private, LAN, Direct:
		return n, nil
	}
	return "", fmt.Errorf("network %q: one of public, private, lan, direct is needed", text)
}

// Options configure a Swarm.
type Options struct {
	Device  *key.Device
	Network Network // zero: Public
	// Listen are multiaddrs to listen on. Empty: every interface, TCP and QUIC, port 0. Where a port is given, it is that one or an error,
	// ErrPortTaken for one. Port 0 is the one that Earlier has for the same address, else, and when that is taken, one of the system's choice.
	Listen    []string
	Earlier   []string     // what Listening returned in an earlier run
	Bootstrap []string     // full addresses of bootstrap nodes and relays of a private network; added to the own ones of the public one
	Log       *slog.Logger // nil: nothing is logged
	OnConn    func(*Conn)  // called in its own goroutine once for each session
}

// Peer is what is known about a device, for the caller to keep and to give back to Remember.
type Peer struct {
	Device    key.DeviceID
	Addrs     []string // full multiaddrs, best first
	Seen      time.Time
	Connected bool
	Keep      bool // was given or remembered, or had a session that lasted; others were only found
}

// Swarm is a running node of the network. All methods are safe for concurrent use.
type Swarm struct {
	opts Options
	host host.Host
	ss   *sessions
	dial *dialler
	dht  *lookup // nil in the networks without a DHT
	lan  mdns.Service

	ready  chan struct{} // closed once the fields above, but dht and lan, are set: libp2p asks for relays earlier
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex // guards closed, the start of goroutines, and boot
	closed bool
	wg     sync.WaitGroup
	boot   []addrInfo
}

// New starts a node. It runs until Close; ctx covers the start only.
func New(ctx context.Context, o Options) (*Swarm, error) {
	if o.Network == "" {
		o.Network = Public
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnConn == nil {
		o.OnConn = func(*Conn) {}
	}
	boot, err := bootstrapPeers(o)
	if err != nil {
		return nil, err
	}
	s := &Swarm{opts: o, boot: boot, ready: make(chan struct{})}
	h, err := newHost(o, boot, s.relaySource)
	if err != nil {
		return nil, fmt.Errorf("swarm: starting the host: %w", err)
	}
	s.host = h
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.ss = &sessions{host: h, self: o.Device.ID(), onConn: o.OnConn, start: s.start, peers: make(map[peerID]*peerState)}
	s.dial = &dialler{host: h, ss: s.ss, net: o.Network, punch: o.Network == Public || o.Network == Private, born: time.Now(),
		kick: make(chan struct{}, 1), targets: make(map[key.DeviceID]*target), tellers: make(map[key.DeviceID]*teller)}
	s.ss.onUp, s.ss.onAddr, s.ss.onDown = s.up, s.dial.up, s.down
	close(s.ready)
	if err := s.run(ctx, boot); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// run starts everything that lives until Close.
func (s *Swarm) run(ctx context.Context, boot []addrInfo) error {
	identified, err := s.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("swarm: %w", err)
	}
	moved, err := s.host.EventBus().Subscribe(new(event.EvtLocalAddressesUpdated), eventbus.BufSize(16))
	if err != nil {
		identified.Close()
		return fmt.Errorf("swarm: %w", err)
	}
	if s.opts.Network == Public || s.opts.Network == Private {
		if s.dht, err = newLookup(s, boot); err != nil {
			identified.Close()
			moved.Close()
			return err
		}
	}
	s.host.Network().Notify(&network.NotifyBundle{DisconnectedF: s.ss.disconnected})
	s.host.SetStreamHandler(Protocol, s.ss.handle)
	s.start(func(ctx context.Context) { s.ss.run(ctx, identified) })
	s.start(func(ctx context.Context) { s.watchAddrs(ctx, moved) })
	s.start(s.dial.run)
	if s.dial.punch {
		s.start(s.dial.upgrade)
	}
	if s.opts.Network != Direct && s.reachesOthers() {
		s.lan = mdns.NewMdnsService(s.host, "_pearbox._udp", (*lanPeers)(s))
		if err := s.lan.Start(); err != nil {
			s.opts.Log.Warn("LAN discovery is off", "error", err)
			s.lan = nil
		}
	}
	return ctx.Err()
}

// start runs f in a goroutine that Close waits for.
func (s *Swarm) start(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		f(s.ctx)
	}()
}

// Close ends every session and stops the node. OnConn calls that still run are not waited for longer than their Conn's end.
func (s *Swarm) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	for _, c := range s.ss.all() {
		c.finish()
	}
	var errs []error
	if s.lan != nil {
		errs = append(errs, s.lan.Close())
	}
	if s.dht != nil {
		errs = append(errs, s.dht.close())
	}
	errs = append(errs, s.host.Close())
	s.wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("swarm: closing: %w", err)
	}
	return nil
}

// Device is this node's own id.
func (s *Swarm) Device() key.DeviceID { return s.ss.self }

// Join announces topic and looks for others who did. Without a DHT it does nothing: everyone who is met is offered as a Conn.
func (s *Swarm) Join(topic key.Hash) {
	if s.dht != nil {
		s.dht.join(topic)
	}
}

// AddBootstrap adds bootstrap addresses of a private network while running. They are relays too only from the next start on.
func (s *Swarm) AddBootstrap(addrs ...string) {
	more, err := bootstrapPeers(Options{Network: Private, Bootstrap: addrs})
	if err != nil || s.opts.Network != Private {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boot = merge(append(s.boot, more...))
}

func (s *Swarm) bootstrap() []addrInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.boot)
}

// Leave stops announcing topic. Sessions stay.
func (s *Swarm) Leave(topic key.Hash) {
	if s.dht != nil {
		s.dht.leave(topic)
	}
}

// Connect dials the devices at addrs now and keeps them connected from then on. It succeeds when one of them could be reached; the session
// itself follows through OnConn.
func (s *Swarm) Connect(ctx context.Context, addrs []string) error {
	byDevice, err := parseAddrs(s.ss.self, addrs)
	if err != nil {
		return err
	}
	if len(byDevice) == 0 {
		return nil
	}
	results := make(chan error, len(byDevice))
	for id, list := range byDevice {
		s.dial.add(id, list, true)
		s.dial.clearBackoff(id)
		s.start(func(own context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(own, cancel)()
			results <- s.dial.connect(ctx, id, list)
		})
	}
	defer s.dial.wake()
	var errs []error
	for range byDevice {
		select {
		case err := <-results:
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
	return fmt.Errorf("swarm: connecting: %w", errors.Join(errs...))
}

// Remember keeps the devices at addrs connected as well as it can, in the background. Addresses that do not parse are left out.
func (s *Swarm) Remember(addrs ...string) {
	for _, a := range addrs {
		byDevice, err := parseAddrs(s.ss.self, []string{a})
		if err != nil {
			s.opts.Log.Debug("address left out", "address", a, "error", err)
			continue
		}
		for id, list := range byDevice {
			s.dial.add(id, list, true)
		}
	}
	s.dial.wake()
}

// Suggest tells of addresses that another device, the teller, told. Each is tried a few times while there is no session with the device
// at it, and kept when it has led to one; before that Peers does not list it. Of one teller only so many are taken in an hour. Those that
// are no addresses, or that this network does not try, are left out.
func (s *Swarm) Suggest(teller key.DeviceID, addrs ...string) {
	for _, a := range addrs {
		byDevice, err := parseAddrs(s.ss.self, []string{a})
		if err != nil {
			s.opts.Log.Debug("address left out", "address", a, "error", err)
			continue
		}
		for id, list := range byDevice {
			s.dial.suggest(teller, id, list)
		}
	}
	s.dial.wake()
}

// Forget stops trying to reach a device. A present session stays.
func (s *Swarm) Forget(d key.DeviceID) { s.dial.forget(d) }

// Peers lists the devices that are connected, remembered or were found, the last seen first.
func (s *Swarm) Peers() []Peer { return s.dial.known() }

// Conns lists the present sessions.
func (s *Swarm) Conns() []*Conn { return s.ss.all() }

// Addrs lists full addresses under which others may reach this node: public ones first, loopback ones only when there are no others.
func (s *Swarm) Addrs() []string {
	var out, loop []string
	addrs := slices.Clone(s.host.Addrs())
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int { return shareRank(a) - shareRank(b) })
	for _, a := range addrs {
		full := a.String() + "/p2p/" + s.host.ID().String()
		if manet.IsIPLoopback(a) {
			loop = append(loop, full)
		} else {
			out = append(out, full)
		}
	}
	if len(out) == 0 {
		return loop
	}
	return out
}

func shareRank(a ma.Multiaddr) int {
	switch {
	case isRelayed(a):
		return 2
	case manet.IsPublicAddr(a):
		return 0
	}
	return 1
}

// Listening lists the addresses that this node listens on, with the ports that the system chose: to be given as Options.Earlier next time.
func (s *Swarm) Listening() []string {
	var out []string
	for _, a := range s.host.Network().ListenAddresses() {
		if !isRelayed(a) {
			out = append(out, a.String())
		}
	}
	slices.Sort(out)
	return out
}

// reachesOthers reports whether anything listens beyond loopback.
func (s *Swarm) reachesOthers() bool {
	return !onLoopback(s.host)
}

// onLoopback reports whether a host listens on loopback addresses only.
func onLoopback(h host.Host) bool {
	return !slices.ContainsFunc(h.Network().ListenAddresses(), func(a ma.Multiaddr) bool { return !isRelayed(a) && !manet.IsIPLoopback(a) })
}

func (s *Swarm) up(c *Conn) {
	s.dial.up(c)
	s.opts.Log.Debug("peer connected", "device", c.remote.Short(), "path", c.Path())
}

func (s *Swarm) down(c *Conn, lasted time.Duration) {
	s.opts.Log.Debug("peer gone", "device", c.remote.Short(), "lasted", lasted.Round(time.Second))
	s.dial.down(c, lasted)
}

// watchAddrs starts over with dialling and announcing when the own addresses change.
func (s *Swarm) watchAddrs(ctx context.Context, sub event.Subscription) {
	defer sub.Close()
	first := true
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-sub.Out():
			if !ok {
				return
			}
			if !first {
				s.dial.again()
			}
			first = false
			if s.dht != nil {
				s.dht.changed()
			}
		}
	}
}

// Status tells how well the node is connected, for people.
type Status struct {
	Network      Network
	Listening    []string
	Addrs        []string
	Sessions     int
	Connections  int  // of libp2p, DHT servers and relays included
	DHTPeers     int  // in the routing table; -1: no DHT
	HolePunching bool // ready
	Relayed      bool // this node has a relay address
}

// Status reports the present state.
func (s *Swarm) Status() Status {
	st := Status{Network: s.opts.Network, Listening: s.Listening(), Addrs: s.Addrs(), Sessions: len(s.ss.all()),
		Connections: len(s.host.Network().Conns()), DHTPeers: -1, HolePunching: s.dial.punch && s.dial.canPunch()}
	if s.dht != nil {
		st.DHTPeers = s.dht.size()
	}
	st.Relayed = slices.ContainsFunc(s.host.Addrs(), isRelayed)
	return st
}
