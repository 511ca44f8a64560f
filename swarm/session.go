package swarm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/pearbox/pearbox/drive/key"
)

const protectTag = "pearbox"

// sessions keeps at most one Conn per device, as the package comment says. It never calls out while it holds its lock.
type sessions struct {
	host   host.Host
	self   key.DeviceID
	onConn func(*Conn)
	onUp   func(*Conn)                     // for the dialler
	onAddr func(*Conn)                     // identify told where its peer listens
	onDown func(*Conn, time.Duration)      // after a session ended, with how long it lasted
	start  func(func(ctx context.Context)) // runs a goroutine that Close waits for

	mu    sync.Mutex // guards peers and everything in them
	peers map[peer.ID]*peerState
}

// peerState is what is known about the connections to one Pear Box device.
type peerState struct {
	id      key.DeviceID
	conns   []*link // in the order of their arrival
	cur     *Conn
	listens []string // the addresses that it says it listens on
}

// link is one libp2p connection.
type link struct {
	under   network.Conn
	speaks  bool // identify told the leader that the peer speaks our protocol
	retired bool // was left for another one
}

func deviceOf(p peer.ID) (key.DeviceID, error) {
	var id key.DeviceID
	pub, err := p.ExtractPublicKey()
	if err != nil {
		return id, errNotPearBox
	}
	raw, err := pub.Raw()
	if err != nil || pub.Type() != crypto.Ed25519 || len(raw) != len(id) {
		return id, errNotPearBox
	}
	copy(id[:], raw)
	return id, nil
}

func peerOf(d key.DeviceID) (peer.ID, error) {
	pub, err := crypto.UnmarshalEd25519PublicKey(d[:])
	if err != nil {
		return "", fmt.Errorf("swarm: device id: %w", err)
	}
	return peer.IDFromPublicKey(pub)
}

func (ss *sessions) leads(d key.DeviceID) bool { return bytes.Compare(ss.self[:], d[:]) < 0 }

// run handles identify's results until ctx ends.
func (ss *sessions) run(ctx context.Context, sub event.Subscription) {
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-sub.Out():
			if !ok {
				return
			}
			if ev, ok := e.(event.EvtPeerIdentificationCompleted); ok && slices.Contains(ev.Protocols, Protocol) {
				ss.identified(ev.Conn, addrTexts(ev.ListenAddrs))
			}
		}
	}
}

// state finds or makes the state of c's peer and c in it. nil: not a Pear Box device, or c is closed already. Call with mu held.
func (ss *sessions) state(c network.Conn) (*peerState, *link) {
	p := c.RemotePeer()
	id, err := deviceOf(p)
	if err != nil || c.IsClosed() {
		return nil, nil
	}
	st := ss.peers[p]
	if st == nil {
		st = &peerState{id: id}
		ss.peers[p] = st
	}
	for _, l := range st.conns {
		if l.under == c {
			return st, l
		}
	}
	l := &link{under: c}
	st.conns = append(st.conns, l)
	return st, l
}

func (ss *sessions) identified(c network.Conn, listens []string) {
	ss.mu.Lock()
	st, l := ss.state(c)
	if st == nil {
		ss.mu.Unlock()
		return
	}
	l.speaks, st.listens = true, listens
	after := func() {}
	if ss.leads(st.id) {
		after = ss.choose(st)
	}
	cur := st.cur
	ss.mu.Unlock()
	after()
	if cur != nil {
		ss.onAddr(cur)
	}
}

// choose lets the leader pick the connection of the session. It returns what to do once the lock is released.
func (ss *sessions) choose(st *peerState) (after func()) {
	var best *link
	for _, l := range st.conns {
		if !l.speaks || l.retired || l.under.IsClosed() {
			continue
		}
		if best == nil || isRelayed(best.under.RemoteMultiaddr()) || !isRelayed(l.under.RemoteMultiaddr()) {
			best = l
		}
	}
	if best == nil || (st.cur != nil && st.cur.under == best.under) {
		return func() {}
	}
	if st.cur != nil && st.cur.Relayed() == isRelayed(best.under.RemoteMultiaddr()) && time.Since(st.cur.since) < displaceAfter {
		return func() { time.AfterFunc(displaceAfter, func() { ss.spare(st, best) }) }
	}
	c, moved := ss.move(st, best)
	return func() {
		moved()
		ss.start(func(ctx context.Context) { ss.hello(ctx, c) })
	}
}

// spare closes a connection that was not chosen and still is not: whoever is at its other end waits for a session on it, and may be
// another machine with the same key. From here on it is not chosen any more.
func (ss *sessions) spare(st *peerState, l *link) {
	ss.mu.Lock()
	used := st.cur != nil && st.cur.under == l.under
	l.retired = l.retired || !used
	ss.mu.Unlock()
	if !used {
		_ = l.under.Close()
	}
}

// move makes l carry the session. Call with mu held, and the returned function without.
func (ss *sessions) move(st *peerState, l *link) (*Conn, func()) {
	old := st.cur
	p := l.under.RemotePeer()
	c := newConn(ss.self, st.id, l.under, func() { _ = ss.host.Network().ClosePeer(p) })
	st.cur = c
	var left network.Conn
	for _, other := range st.conns {
		if old != nil && other.under == old.under {
			other.retired = true
			left = other.under
		}
	}
	return c, func() {
		if old != nil {
			old.finish()
			ss.onDown(old, time.Since(old.since))
			if left != nil && ss.leads(st.id) {
				// Hole punching may still be finishing on a relayed connection.
				time.AfterFunc(displaceAfter, func() { _ = left.Close() })
			}
		}
		ss.host.ConnManager().Protect(p, protectTag)
		ss.onUp(c)
		ss.start(func(context.Context) { ss.onConn(c) })
	}
}

// hello tells the other end that c carries the session.
func (ss *sessions) hello(ctx context.Context, c *Conn) {
	ctx, cancel := context.WithTimeout(ctx, kindTimeout)
	defer cancel()
	s, err := c.open(ctx, kindHello)
	if err != nil {
		_ = c.under.Close()
		return
	}
	_ = s.SetReadDeadline(time.Now().Add(kindTimeout))
	_ = s.Stream.CloseWrite()
	_, _ = io.Copy(io.Discard, io.LimitReader(s.rw, 1))
	_ = s.Stream.Close()
}

// handle takes one stream that a peer opened.
func (ss *sessions) handle(raw network.Stream) {
	var kind [1]byte
	_ = raw.SetReadDeadline(time.Now().Add(kindTimeout))
	if _, err := io.ReadFull(raw, kind[:]); err != nil || kind[0] > kindStream {
		_ = raw.Reset()
		return
	}
	_ = raw.SetReadDeadline(time.Time{})

	ss.mu.Lock()
	st, l := ss.state(raw.Conn())
	if st == nil || l.retired || (ss.leads(st.id) && (st.cur == nil || st.cur.under != l.under)) {
		ss.mu.Unlock()
		_ = raw.Reset()
		return
	}
	after := func() {}
	if st.cur == nil || st.cur.under != l.under {
		_, after = ss.move(st, l)
	}
	c := st.cur
	ss.mu.Unlock()
	after()

	if kind[0] == kindHello {
		_ = raw.Close()
		return
	}
	c.deliver(&stream{Stream: raw, rw: raw, conn: c})
}

// disconnected is told by libp2p about every connection that ended.
func (ss *sessions) disconnected(_ network.Network, c network.Conn) {
	p := c.RemotePeer()
	ss.mu.Lock()
	st := ss.peers[p]
	if st == nil {
		ss.mu.Unlock()
		return
	}
	st.conns = slices.DeleteFunc(st.conns, func(l *link) bool { return l.under == c })
	old := st.cur
	after := func() {}
	if old != nil && old.under == c {
		st.cur = nil
		if ss.leads(st.id) {
			after = ss.choose(st)
		}
	} else {
		old = nil
	}
	if len(st.conns) == 0 && st.cur == nil {
		delete(ss.peers, p)
		ss.host.ConnManager().Unprotect(p, protectTag)
	}
	ss.mu.Unlock()
	if old != nil {
		old.finish()
		ss.onDown(old, time.Since(old.since))
	}
	after()
}

// all lists the present sessions.
func (ss *sessions) all() []*Conn {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	var out []*Conn
	for _, st := range ss.peers {
		if st.cur != nil {
			out = append(out, st.cur)
		}
	}
	return out
}

func (ss *sessions) with(d key.DeviceID) *Conn {
	p, err := peerOf(d)
	if err != nil {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if st := ss.peers[p]; st != nil {
		return st.cur
	}
	return nil
}

// listens returns the addresses that p says it listens on.
func (ss *sessions) listens(p peer.ID) []string {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if st := ss.peers[p]; st != nil {
		return st.listens
	}
	return nil
}

// speaks reports whether p is known as a Pear Box device.
func (ss *sessions) speaks(p peer.ID) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.peers[p] != nil
}
