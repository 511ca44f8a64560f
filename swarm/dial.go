package swarm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/pearbox/pearbox/drive/key"
)

// ErrAddress is returned for text that is no full address of a device: /ip4/…/tcp/…/p2p/<peer>.
var ErrAddress = errors.New("swarm: not an address of a device")

// Backoff after failed or short-lived sessions: 0.5 s, doubled each time, 5 min at most, each within 20 %.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMax   = 5 * time.Minute
	foundTries   = 6 // a peer that was found, never reached and not asked for is dropped after this many failures
)

// A relayed session is tried to be made direct after a minute, then after twice as long each time, at most every half hour. Variables for
// the tests.
var (
	upgradeFirst = time.Minute
	upgradeMax   = 30 * time.Minute
)

// target is a peer that we try to keep a session with.
type target struct {
	id      key.DeviceID
	addrs   []string // newest good one first; whole multiaddrs without /p2p/
	keep    bool     // given, remembered or proven by a session that lasted: never dropped
	fails   int
	next    time.Time // earliest next dial
	dialing bool
	seen    time.Time // end of the last session
	told    told
}

// dialler keeps the targets connected.
type dialler struct {
	host  host.Host
	ss    *sessions
	net   Network
	punch bool // hole punching is on
	born  time.Time

	kick chan struct{}

	mu      sync.Mutex // guards what follows, and everything in the targets
	targets map[key.DeviceID]*target
	tellers map[key.DeviceID]*teller
}

// parseAddrs groups full addresses by device. Own addresses are left out.
func parseAddrs(self key.DeviceID, addrs []string) (map[key.DeviceID][]string, error) {
	out := make(map[key.DeviceID][]string)
	for _, text := range addrs {
		text = strings.TrimSpace(text)
		info, err := peer.AddrInfoFromString(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %q (expected /ip4/…/tcp/…/p2p/<peer>)", ErrAddress, text)
		}
		id, err := deviceOf(info.ID)
		if err != nil {
			return nil, fmt.Errorf("%w: %q: the peer id is of another kind", ErrAddress, text)
		}
		if id == self {
			continue
		}
		out[id] = append(out[id], addrTexts(info.Addrs)...)
	}
	return out, nil
}

// IsAddrOf reports whether text is a full address of device d.
func IsAddrOf(text string, d key.DeviceID) bool {
	byDevice, err := parseAddrs(key.DeviceID{}, []string{text})
	return err == nil && len(byDevice[d]) == 1
}

func addrTexts(addrs []ma.Multiaddr) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// add makes d a target, or adds addresses to the one that there is.
func (d *dialler) add(id key.DeviceID, addrs []string, keep bool) *target {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.targets[id]
	if t == nil {
		if len(d.targets) >= maxTargets {
			d.dropWorst()
		}
		t = &target{id: id}
		d.targets[id] = t
	}
	t.keep = t.keep || keep
	for _, a := range slices.Backward(addrs) {
		fresh := !slices.Contains(t.addrs, a)
		t.addrs = slices.DeleteFunc(t.addrs, func(b string) bool { return a == b })
		t.addrs = slices.Insert(t.addrs, 0, a)
		if fresh {
			t.next, t.fails = time.Time{}, 0
		}
	}
	if len(t.addrs) > maxAddrsPerPeer {
		t.addrs = t.addrs[:maxAddrsPerPeer]
	}
	return t
}

// dropWorst makes room for another target. Those that were only found go first, however long the others have been
// out of reach: anybody on the LAN can make us find as many as he likes.
func (d *dialler) dropWorst() {
	var worst *target
	worse := func(a, b *target) bool {
		if a.keep != b.keep {
			return b.keep
		}
		return a.fails > b.fails
	}
	for _, t := range d.targets {
		if !t.dialing && (worst == nil || worse(t, worst)) {
			worst = t
		}
	}
	if worst != nil {
		delete(d.targets, worst.id)
	}
}

func (d *dialler) forget(id key.DeviceID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.targets, id)
}

func (d *dialler) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// again lets every target be dialled at once: the network changed, or the machine slept.
func (d *dialler) again() {
	d.mu.Lock()
	for _, t := range d.targets {
		t.next, t.fails = time.Time{}, 0
		d.clearBackoff(t.id)
	}
	d.mu.Unlock()
	d.wake()
}

func (d *dialler) clearBackoff(id key.DeviceID) {
	p, err := peerOf(id)
	if err != nil {
		return
	}
	if sw, ok := d.host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(p)
	}
}

// up and down are told by the sessions.
func (d *dialler) up(c *Conn) {
	addrs := []string{}
	remote := c.under.RemoteMultiaddr()
	if c.under.Stat().Direction == network.DirOutbound && !isRelayed(remote) {
		addrs = append(addrs, remote.String())
	}
	// What the peer says it listens on, always in the same order; an inbound connection's own address is a passing port, and what was
	// only dialled is not known to be true.
	listens := d.ss.listens(c.under.RemotePeer())
	known := d.host.Peerstore().Addrs(c.under.RemotePeer()) // identify leaves out what cannot be reached from here
	slices.SortFunc(known, func(a, b ma.Multiaddr) int {
		return cmp.Or(shareRank(a)-shareRank(b), strings.Compare(a.String(), b.String()))
	})
	for _, a := range known {
		text := a.String()
		if len(addrs) < maxAddrsPerPeer && slices.Contains(listens, text) && !slices.Contains(addrs, text) {
			addrs = append(addrs, text)
		}
	}
	d.add(c.remote, addrs, false)
}

// down: whoever ends sessions at once, again and again, has no business with us, and is let go unless somebody asked for him.
func (d *dialler) down(c *Conn, lasted time.Duration) {
	d.mu.Lock()
	if t := d.targets[c.remote]; t != nil {
		t.seen = time.Now()
		if lasted >= provenAfter {
			t.fails, t.keep = 0, true
		}
		if t.keep || t.fails < foundTries {
			d.postpone(t)
		} else {
			delete(d.targets, c.remote)
		}
	}
	d.mu.Unlock()
	d.wake()
}

// postpone sets the time of the next dial. Call with mu held. The device with the higher id waits a little longer: both ends notice the
// end of a session at once, and one dial is enough.
func (d *dialler) postpone(t *target) {
	wait := min(backoffFirst<<min(t.fails, 20), backoffMax)
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
	if !d.ss.leads(t.id) {
		wait += 200 * time.Millisecond
	}
	t.fails++
	t.next = time.Now().Add(wait)
}

// run dials until ctx ends.
func (d *dialler) run(ctx context.Context) {
	slots := make(chan struct{}, maxDials)
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
		case <-timer.C:
		}
		// Wall time that ran on while the monotonic clock stood still is sleep.
		now := time.Now()
		if now.Round(0).Sub(last.Round(0))-now.Sub(last) > 10*time.Second {
			d.again()
		}
		last = now
		due, wait := d.due(now)
		for _, t := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			wg.Add(1)
			go func() {
				defer func() { <-slots; wg.Done(); d.wake() }()
				_ = d.dial(ctx, t)
			}()
		}
		timer.Reset(wait)
	}
}

// due takes the targets to dial now, marks them, and tells how long there is nothing to do.
func (d *dialler) due(now time.Time) (due []*target, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wait = time.Minute
	for id, t := range d.targets {
		if t.dialing || d.ss.with(t.id) != nil {
			continue
		}
		next, ok := t.nextDial()
		if !ok {
			if !t.keep && len(t.addrs) == 0 && t.told.old(now) {
				delete(d.targets, id)
			}
			continue
		}
		if left := next.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		t.dialing = true
		due = append(due, t)
	}
	return due, wait
}

// nextDial says when t is to be dialled next, if it is.
func (t *target) nextDial() (next time.Time, ok bool) {
	if ok = len(t.addrs) > 0; ok {
		next = t.next
	}
	if len(t.told.hints) > 0 && (!ok || t.told.next.Before(next)) {
		return t.told.next, true
	}
	return next, ok
}

// dial makes one attempt at t, which the caller marked as dialing.
func (d *dialler) dial(ctx context.Context, t *target) error {
	now := time.Now()
	d.mu.Lock()
	id, addrs := t.id, []string(nil)
	own := len(t.addrs) > 0 && !now.Before(t.next)
	if own {
		addrs = slices.Clone(t.addrs)
	}
	addrs = append(addrs, t.told.take(now)...)
	d.mu.Unlock()
	err := d.connect(ctx, id, addrs)
	d.mu.Lock()
	defer d.mu.Unlock()
	t.dialing = false
	if !own { // what others told changes nothing about when the own addresses are tried again
		return err
	}
	if err != nil && !t.keep && t.fails >= foundTries {
		if d.targets[id] == t {
			delete(d.targets, id)
		}
		return err
	}
	// A connection that becomes a session does not come back here before it ended.
	d.postpone(t)
	return err
}

func (d *dialler) connect(ctx context.Context, id key.DeviceID, texts []string) error {
	p, err := peerOf(id)
	if err != nil {
		return err
	}
	info := peer.AddrInfo{ID: p}
	direct := false
	for _, text := range texts {
		if a, err := ma.NewMultiaddr(text); err == nil {
			info.Addrs = append(info.Addrs, a)
			direct = direct || !isRelayed(a)
		}
	}
	if !direct && d.punch {
		d.awaitPunching(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d.host.Peerstore().AddAddrs(p, info.Addrs, peerstore.TempAddrTTL)
	return d.host.Connect(network.WithAllowLimitedConn(ctx, "pearbox"), info)
}

// awaitPunching waits, 15 s after the start at most, until hole punching is ready: relayed connections that are made before are never
// upgraded to direct ones.
func (d *dialler) awaitPunching(ctx context.Context) {
	for time.Since(d.born) < 15*time.Second && !d.canPunch() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (d *dialler) canPunch() bool {
	return slices.Contains(d.host.Mux().Protocols(), holepunch.Protocol)
}

// upgrade tries, with backoff, to get direct connections to peers whose session is relayed. libp2p punches once, when the relayed
// connection is made (and again whenever the relay's limit ended one); what it misses is that a network changed, and relayed connections
// that are older than its own hole punching. A direct connection moves the session; nothing is closed before.
func (d *dialler) upgrade(ctx context.Context) {
	tick := time.NewTicker(upgradeFirst / 4)
	defer tick.Stop()
	type attempt struct {
		next time.Time
		wait time.Duration
	}
	state := make(map[*Conn]attempt)
	punchAt := time.Time{} // when hole punching became ready
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if punchAt.IsZero() && d.canPunch() {
			punchAt = time.Now()
		}
		next := make(map[*Conn]attempt, len(state))
		for _, c := range d.ss.all() {
			if !c.Relayed() {
				continue
			}
			a, ok := state[c]
			if !ok {
				a = attempt{time.Now().Add(upgradeFirst), upgradeFirst}
			}
			if time.Now().After(a.next) {
				d.direct(ctx, c)
				a.wait = min(2*a.wait, upgradeMax)
				a.next = time.Now().Add(a.wait)
				early := !punchAt.IsZero() && c.since.Before(punchAt)
				if early && c.under.Stat().Direction == network.DirOutbound && !ended(c) && c.Relayed() {
					// Dialled again, it is punched for.
					_ = c.Close()
				}
			}
			next[c] = a
		}
		state = next
	}
}

func ended(c *Conn) bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// direct dials the known direct addresses of a peer although there is a relayed connection.
func (d *dialler) direct(ctx context.Context, c *Conn) {
	p := c.under.RemotePeer()
	d.mu.Lock()
	var addrs []ma.Multiaddr
	if t := d.targets[c.remote]; t != nil {
		for _, text := range t.addrs {
			if a, err := ma.NewMultiaddr(text); err == nil && !isRelayed(a) {
				addrs = append(addrs, a)
			}
		}
	}
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d.clearBackoff(c.remote)
	d.host.Peerstore().AddAddrs(p, addrs, peerstore.TempAddrTTL)
	_ = d.host.Connect(network.WithForceDirectDial(ctx, "pearbox upgrade"), peer.AddrInfo{ID: p})
}

// known lists the targets for Peers.
func (d *dialler) known() []Peer {
	for _, c := range d.ss.all() {
		d.up(c) // identify may have told more since
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Peer, 0, len(d.targets))
	for _, t := range d.targets {
		p, err := peerOf(t.id)
		if err != nil || len(t.addrs) == 0 && d.ss.with(t.id) == nil {
			continue // all that is known of it is what others told
		}
		pr := Peer{Device: t.id, Seen: t.seen, Keep: t.keep}
		for _, a := range t.addrs {
			pr.Addrs = append(pr.Addrs, a+"/p2p/"+p.String())
		}
		if c := d.ss.with(t.id); c != nil {
			pr.Connected, pr.Seen = true, time.Now()
			pr.Keep = pr.Keep || time.Since(c.since) >= provenAfter
		}
		out = append(out, pr)
	}
	slices.SortFunc(out, func(a, b Peer) int { return b.Seen.Compare(a.Seen) })
	return out
}
