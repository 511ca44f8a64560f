package node

import (
	"context"
	"slices"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/swarm"
)

// savePeersEvery is how often peers.json follows what the network knows, and savePeersAlways how often when only times have changed.
const (
	savePeersEvery  = time.Minute
	savePeersAlways = time.Hour
)

// maxLinkAddrs is how many addresses a link or Status tells, the most useful first: a link is to be copied by people.
const maxLinkAddrs = 8

// savePeersSoon is how long it waits after members changed.
const savePeersSoon = time.Second

// Network finds peers and hands their connections to the function that it was started with. *swarm.Swarm and *memnet.Host are ones.
type Network interface {
	Join(topic key.Hash)
	Leave(topic key.Hash)
	Connect(ctx context.Context, addrs []string) error
	Remember(addrs ...string)
	Addrs() []string
	Close() error
}

// persistent is a Network with something to keep until the next start.
type persistent interface {
	Peers() []swarm.Peer
	Listening() []string
}

// connectSwarm starts the real network.
func (n *Node) connectSwarm(ctx context.Context, onConn func(wire.Conn), state config.Rooms) (Network, error) {
	network, err := swarm.ParseNetwork(n.opts.Config.Network)
	if err != nil {
		return nil, err
	}
	s, err := swarm.New(ctx, swarm.Options{
		Device: n.dev, Network: network, Listen: n.opts.Config.Listen, Earlier: n.dir.Network().Listening, Bootstrap: n.bootstrap(state),
		Log: n.log.With("part", "swarm"), OnConn: func(c *swarm.Conn) { onConn(c) },
	})
	if err != nil {
		return nil, err // s would be a Network that is not nil
	}
	return s, nil
}

// bootstrap are the addresses of the private network: the settings' and those that links named.
func (n *Node) bootstrap(state config.Rooms) []string {
	if n.opts.Config.Network != string(swarm.Private) {
		return nil
	}
	out := slices.Clone(n.opts.Config.Bootstrap)
	for _, r := range state.Rooms {
		out = append(out, r.Bootstrap...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// networkNote tells, for Status, that a private network has nobody to begin with.
func (n *Node) networkNote() (string, error) {
	if n.opts.Config.Network != string(swarm.Private) {
		return "", nil
	}
	state, err := n.dir.Rooms()
	if err != nil || len(n.bootstrap(state)) > 0 {
		return "", err
	}
	return "the private network has no address to begin with, so that peers can only come by the addresses in links: run `pearbox relay` on a machine that all can reach, " +
		"and start the node with --bootstrap and the address that it prints", nil
}

func (n *Node) startNetwork(ctx context.Context, state config.Rooms) (err error) {
	onConn := func(c wire.Conn) {
		n.hub.Attach(c)
		n.wakePeers() // where it was met is worth keeping
	}
	if n.opts.Connect != nil {
		n.net, err = n.opts.Connect(ctx, n.dev, onConn)
	} else {
		n.net, err = n.connectSwarm(ctx, onConn, state)
	}
	if err != nil {
		return err
	}
	close(n.netUp)
	for _, r := range n.roomList() {
		n.refreshTopics(r)
	}
	for _, p := range n.dir.Network().Peers {
		n.net.Remember(p.Addrs...)
	}
	n.goes(n.keepPeers)
	return nil
}

// keepPeers writes peers.json at the start, for the ports, and now and then.
func (n *Node) keepPeers(ctx context.Context) {
	n.savePeers()
	tick := time.NewTicker(savePeersEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.met:
			// Others may come in the same moment.
			select {
			case <-ctx.Done():
				return
			case <-time.After(savePeersSoon):
			}
		}
		n.savePeers()
	}
}

// wakePeers has peers.json written soon.
func (n *Node) wakePeers() {
	select {
	case n.met <- struct{}{}:
	default:
	}
}

// savePeers writes peers.json, unless nothing but times has changed since it last did, not long ago.
func (n *Node) savePeers() {
	net, ok := n.net.(persistent)
	if !ok {
		return
	}
	n.saving.Lock()
	defer n.saving.Unlock()
	state := config.Network{Listening: net.Listening()}
	rooms := n.roomList()
	member := func(d key.DeviceID) bool {
		return slices.ContainsFunc(rooms, func(r *Room) bool {
			m, ok := r.log.Member(d)
			return ok && m.Standing == room.Admitted
		})
	}
	for _, p := range net.Peers() {
		if len(p.Addrs) > 0 && (p.Keep || member(p.Device)) {
			state.Peers = append(state.Peers, config.Peer{Device: p.Device, Addrs: p.Addrs, Seen: p.Seen})
		}
	}
	if time.Since(n.peersAt) < savePeersAlways && samePeers(n.peers, state) {
		return
	}
	if err := n.dir.SaveNetwork(state); err != nil {
		n.log.Warn("remembering peers", "error", err)
		return
	}
	n.peers, n.peersAt = state, time.Now()
}

// samePeers reports whether a and b say the same but for when somebody was seen.
func samePeers(a, b config.Network) bool {
	if len(a.Peers) != len(b.Peers) || !slices.Equal(a.Listening, b.Listening) {
		return false
	}
	addrs := make(map[key.DeviceID][]string, len(a.Peers))
	for _, p := range a.Peers {
		addrs[p.Device] = p.Addrs
	}
	return !slices.ContainsFunc(b.Peers, func(p config.Peer) bool { return !slices.Equal(addrs[p.Device], p.Addrs) })
}

// suggestible is a Network that takes hints of others where somebody may be.
type suggestible interface {
	Suggest(teller key.DeviceID, addrs ...string)
}

// neighbours are the other members of a room whom the network knows how to reach: what other members are told.
func (n *Node) neighbours(id key.RoomID) (out []wire.Neighbour) {
	select {
	case <-n.netUp:
	default:
		return nil
	}
	net, ok := n.net.(persistent)
	r := n.roomOf(id)
	if !ok || r == nil {
		return nil
	}
	for _, p := range net.Peers() {
		if m, ok := r.log.Member(p.Device); ok && m.Standing == room.Admitted && len(p.Addrs) > 0 {
			out = append(out, wire.Neighbour{Device: p.Device, Addrs: p.Addrs})
		}
	}
	return out
}

// meet is told by a member of a room where other members may be reached: the network tries it. Those who were met there are remembered for
// when that one is gone.
func (n *Node) meet(_ key.RoomID, teller key.DeviceID, told []wire.Neighbour) {
	select {
	case <-n.netUp:
	default:
		return
	}
	net, ok := n.net.(suggestible)
	if !ok {
		return
	}
	for _, t := range told {
		for _, a := range t.Addrs {
			if swarm.IsAddrOf(a, t.Device) {
				net.Suggest(teller, a)
			}
		}
	}
}

func (n *Node) roomOf(id key.RoomID) *Room {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rooms[id]
}

// refreshTopics makes the network look for peers of r under all its present relay keys, and no others.
func (n *Node) refreshTopics(r *Room) {
	var want []key.Hash
	if n.net == nil {
		return
	}
	if r.active() {
		for _, k := range r.log.RelayKeys() {
			want = append(want, key.Topic(k))
		}
	}
	r.topicsMu.Lock()
	defer r.topicsMu.Unlock()
	for _, t := range want {
		if !slices.Contains(r.topics, t) {
			n.net.Join(t)
		}
	}
	for _, t := range r.topics {
		if !slices.Contains(want, t) {
			n.net.Leave(t)
		}
	}
	r.topics = want
}

// follow reacts to what happens in r until it closes.
func (n *Node) follow(r *Room) {
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.changed:
		}
		n.refreshTopics(r)
		n.adoptName(r)
		n.wakePeers()
		switch r.log.Status().Standing {
		case room.Removed, room.Refused: // Leave itself ends replication, once somebody knows
			n.hub.Remove(r.id)
		}
	}
}

// watch is told by the room's log; it only leaves word.
func (r *Room) watch(e room.Event) {
	if e.Keys || e.Members || e.Status || e.Removed {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	if e.Status {
		select {
		case r.forked <- struct{}{}:
		default:
		}
	}
}

// Addrs implements control.Node.
func (n *Node) Addrs() (addrs, bootstrap []string) {
	if n.net != nil {
		addrs = n.net.Addrs()
		addrs = addrs[:min(len(addrs), maxLinkAddrs)]
	}
	if n.opts.Config.Network == string(swarm.Private) {
		bootstrap = slices.Clone(n.opts.Config.Bootstrap)
	}
	return addrs, bootstrap
}
