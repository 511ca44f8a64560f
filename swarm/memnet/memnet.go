// Package memnet is a network in one process with the same connections as package swarm: for tests and simulations of many nodes.
//
// A Net has Hosts, one per device. Connect joins two hosts; both get a Conn through OnConn. What a real network does to connections can be
// ordered: Cut ends the connection of two hosts and lets them not connect until Heal, Partition does so between groups, Drop ends
// connections that may come back, and Latency and Bandwidth hold for everything sent after they were set. Hosts that have a reason to be
// connected (Connect was called, or both joined one topic) are connected again by themselves as soon as nothing is in the way, as swarm's
// dialler does it, but at once.
//
// Everything random (which connection Drop takes, the jitter of the latency) is drawn from the seed: what jitter a piece has follows from its
// place in its stream, whatever else is sent meanwhile. Time is time's: in a bubble of testing/synctest a Net that has jitter delivers one
// piece at a time, and everything that comes of it happens before the next one.
package memnet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// ErrUnreachable is returned by Connect when the peer is cut off, closed or unknown.
var ErrUnreachable = errors.New("memnet: unreachable")

// Net is a network. All methods are safe for concurrent use.
type Net struct {
	mu        sync.Mutex // guards everything below
	rng       *rand.Rand
	hosts     map[key.DeviceID]*Host
	links     map[pair]*link
	wanted    map[pair]bool
	cut       map[pair]bool
	latency   time.Duration
	jitter    time.Duration
	bandwidth int64
	observe   func(Sent)
	joined    map[pair]int // how often the devices of a pair were connected
	seed      uint64
}

// Sent is a piece of a stream on its way. Data must be neither kept nor changed.
type Sent struct {
	From, To key.DeviceID
	Stream   string // names the stream among all of the Net: the same one in two runs that open the same ones
	Data     []byte
	Arrives  time.Time
}

// Observe has fn told of everything that is sent from now on, by whoever sends it.
func (n *Net) Observe(fn func(Sent)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.observe = fn
}

// pair is two devices, the lower id first.
type pair [2]key.DeviceID

func pairOf(a, b key.DeviceID) pair {
	if slices.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return pair{a, b}
}

func (p pair) compare(q pair) int {
	return cmp.Or(slices.Compare(p[0][:], q[0][:]), slices.Compare(p[1][:], q[1][:]))
}

// link is the present connection of a pair.
type link struct {
	ends [2]*Conn // of pair[0] and pair[1]
}

// New makes a network without hosts.
func New(seed uint64) *Net {
	return &Net{
		rng:    rand.New(rand.NewPCG(seed, 0x70656172)),
		hosts:  make(map[key.DeviceID]*Host),
		links:  make(map[pair]*link),
		wanted: make(map[pair]bool),
		cut:    make(map[pair]bool),
		joined: make(map[pair]int),
		seed:   seed,
	}
}

// Host is one device's place in the network.
type Host struct {
	net    *Net
	id     key.DeviceID
	onConn func(*Conn)
	topics map[key.Hash]bool // guarded by net.mu
	closed bool              // guarded by net.mu
}

// Host adds a device. onConn is called in its own goroutine for each new connection; nil drops nothing, the connection just stays unused.
// A device that was added before and closed may be added again.
func (n *Net) Host(id key.DeviceID, onConn func(*Conn)) *Host {
	if onConn == nil {
		onConn = func(*Conn) {}
	}
	h := &Host{net: n, id: id, onConn: onConn, topics: make(map[key.Hash]bool)}
	n.mu.Lock()
	n.hosts[id] = h
	n.mu.Unlock()
	n.settle()
	return h
}

// Latency sets the one-way delay of everything sent from now on: base plus a seeded share of jitter.
func (n *Net) Latency(base, jitter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latency, n.jitter = base, jitter
}

// Bandwidth caps each direction of each stream in bytes per second; 0 lifts the cap.
func (n *Net) Bandwidth(bytesPerSecond int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bandwidth = bytesPerSecond
}

// delay is when size bytes sent now arrive, if the sender's last ones were sent off at free, and who is to be told of it. rng is the
// stream's.
func (n *Net) delay(size int, free time.Time, rng *rand.Rand) (sent, arrives time.Time, observe func(Sent)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if free.Before(now) {
		free = now
	}
	if n.bandwidth > 0 {
		free = free.Add(time.Duration(int64(size) * int64(time.Second) / n.bandwidth))
	}
	arrives = free.Add(n.latency)
	if n.jitter > 0 {
		arrives = arrives.Add(time.Duration(rng.Int64N(int64(n.jitter))))
	}
	return free, arrives, n.observe
}

// Connect joins two hosts and keeps them joined whenever nothing is in the way.
func (n *Net) Connect(a, b key.DeviceID) error {
	if a == b {
		return nil
	}
	n.mu.Lock()
	p := pairOf(a, b)
	n.wanted[p] = true
	n.mu.Unlock()
	n.settle()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links[p] == nil {
		return fmt.Errorf("%w: %s", ErrUnreachable, b.Short())
	}
	return nil
}

// Cut ends the connection of a and b and keeps them apart until Heal.
func (n *Net) Cut(a, b key.DeviceID) {
	n.mu.Lock()
	n.cut[pairOf(a, b)] = true
	n.mu.Unlock()
	n.settle()
}

// Heal lets a and b connect again.
func (n *Net) Heal(a, b key.DeviceID) {
	n.mu.Lock()
	delete(n.cut, pairOf(a, b))
	n.mu.Unlock()
	n.settle()
}

// HealAll lifts every Cut and Partition.
func (n *Net) HealAll() {
	n.mu.Lock()
	clear(n.cut)
	n.mu.Unlock()
	n.settle()
}

// Partition keeps the devices of different groups apart, and lifts every earlier Cut and Partition. Devices in no group reach everyone.
func (n *Net) Partition(groups ...[]key.DeviceID) {
	n.mu.Lock()
	clear(n.cut)
	for i, g := range groups {
		for _, other := range groups[i+1:] {
			for _, a := range g {
				for _, b := range other {
					n.cut[pairOf(a, b)] = true
				}
			}
		}
	}
	n.mu.Unlock()
	n.settle()
}

// Drop ends each present connection with the given probability, drawn from the seed. They come back at once.
func (n *Net) Drop(probability float64) {
	n.mu.Lock()
	pairs := make([]pair, 0, len(n.links))
	for p := range n.links {
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, pair.compare)
	var ends []*Conn
	for _, p := range pairs {
		if n.rng.Float64() < probability {
			ends = append(ends, n.links[p].ends[0])
		}
	}
	n.mu.Unlock()
	for _, c := range ends {
		_ = c.Close()
	}
	n.settle()
}

// settle makes the connections what they should be.
func (n *Net) settle() {
	n.mu.Lock()
	var end []*Conn
	for _, p := range slices.SortedFunc(maps.Keys(n.links), pair.compare) {
		l := n.links[p]
		if n.cut[p] || !n.up(p[0]) || !n.up(p[1]) {
			end = append(end, l.ends[0])
			delete(n.links, p)
		}
	}
	var begin []*Conn
	for _, p := range n.wishes() {
		if n.links[p] == nil && !n.cut[p] && n.up(p[0]) && n.up(p[1]) {
			l := n.join(p)
			begin = append(begin, l.ends[0], l.ends[1])
		}
	}
	n.mu.Unlock()
	for _, c := range end {
		c.end()
	}
	for _, c := range begin {
		go c.host.onConn(c)
	}
}

// wishes are the pairs that have a reason to be connected, in order. Call with mu held.
func (n *Net) wishes() []pair {
	out := slices.Collect(maps.Keys(n.wanted))
	members := make(map[key.Hash][]key.DeviceID)
	for id, h := range n.hosts {
		for t := range h.topics {
			for _, other := range members[t] {
				out = append(out, pairOf(id, other))
			}
			members[t] = append(members[t], id)
		}
	}
	slices.SortFunc(out, pair.compare)
	return slices.Compact(out)
}

func (n *Net) up(id key.DeviceID) bool { h := n.hosts[id]; return h != nil && !h.closed }

// join makes the connection of p. Call with mu held.
func (n *Net) join(p pair) *link {
	n.joined[p]++
	a, b := newConn(n.hosts[p[0]], p[1], n.joined[p]), newConn(n.hosts[p[1]], p[0], n.joined[p])
	a.peer, b.peer = b, a
	l := &link{ends: [2]*Conn{a, b}}
	n.links[p] = l
	return l
}

// gone is told by a connection that ended by itself.
func (n *Net) gone(c *Conn) {
	n.mu.Lock()
	p := pairOf(c.host.id, c.remote)
	if l := n.links[p]; l != nil && (l.ends[0] == c || l.ends[1] == c) {
		delete(n.links, p)
	}
	n.mu.Unlock()
}

// Device is the host's id.
func (h *Host) Device() key.DeviceID { return h.id }

// Join makes the host meet everyone else who joined topic.
func (h *Host) Join(topic key.Hash) {
	h.net.mu.Lock()
	h.topics[topic] = true
	h.net.mu.Unlock()
	h.net.settle()
}

// Leave is the opposite of Join; connections stay.
func (h *Host) Leave(topic key.Hash) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	delete(h.topics, topic)
}

// Connect joins this host with the devices at addrs: texts that Addrs of another host gave.
func (h *Host) Connect(ctx context.Context, addrs []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var last error
	for _, a := range addrs {
		id, err := ParseAddr(a)
		if err != nil {
			return err
		}
		if last = h.net.Connect(h.id, id); last == nil {
			return nil
		}
	}
	return last
}

// Remember is Connect in the background.
func (h *Host) Remember(addrs ...string) { _ = h.Connect(context.Background(), addrs) }

// Addrs is the address of the host: "memnet:<device>".
func (h *Host) Addrs() []string { return []string{addrPrefix + h.id.String()} }

// Conns lists the present connections.
func (h *Host) Conns() []*Conn {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	var out []*Conn
	for _, p := range slices.SortedFunc(maps.Keys(h.net.links), pair.compare) {
		l := h.net.links[p]
		for i, id := range p {
			if id == h.id {
				out = append(out, l.ends[i])
			}
		}
	}
	return out
}

// Close takes the host off the network: every connection ends.
func (h *Host) Close() error {
	h.net.mu.Lock()
	h.closed = true
	if h.net.hosts[h.id] != h {
		h.net.mu.Unlock()
		return nil
	}
	h.net.mu.Unlock()
	h.net.settle()
	return nil
}

const addrPrefix = "memnet:"

// ParseAddr reads an address of this network.
func ParseAddr(text string) (key.DeviceID, error) {
	if len(text) <= len(addrPrefix) || text[:len(addrPrefix)] != addrPrefix {
		return key.DeviceID{}, fmt.Errorf("memnet: not an address: %q", text)
	}
	return key.ParseDeviceID(text[len(addrPrefix):])
}
