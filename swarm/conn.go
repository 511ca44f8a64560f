package swarm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"

	"github.com/pearbox/pearbox/drive/key"
)

// Protocol is the one libp2p protocol of Pear Box. Its version changes only when the kind byte does.
const Protocol protocol.ID = "/pearbox/1"

const (
	kindHello  byte = 0
	kindStream byte = 1
)

// ErrClosed is returned by a Conn, and by the streams of a Conn, that ended.
var ErrClosed = fmt.Errorf("swarm: connection closed: %w", net.ErrClosed)

// Conn is the session with one remote device. All methods are safe for concurrent use.
type Conn struct {
	local, remote key.DeviceID
	under         network.Conn
	since         time.Time
	shut          func() // closes every connection to the peer

	incoming chan *stream
	done     chan struct{}

	mu      sync.Mutex // guards what follows
	ended   bool
	streams map[*stream]struct{}
}

func newConn(local, remote key.DeviceID, under network.Conn, shut func()) *Conn {
	return &Conn{
		local: local, remote: remote, under: under, since: time.Now(), shut: shut,
		incoming: make(chan *stream, maxPendingStreams),
		done:     make(chan struct{}),
		streams:  make(map[*stream]struct{}),
	}
}

// Local is this device.
func (c *Conn) Local() key.DeviceID { return c.local }

// Remote is the device that the secure channel has proven.
func (c *Conn) Remote() key.DeviceID { return c.remote }

// Done is closed when the session ended, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Relayed reports whether the bytes pass a relay, which may cap them.
func (c *Conn) Relayed() bool { return isRelayed(c.under.RemoteMultiaddr()) }

// Path describes the way to the peer for people: "tcp 192.0.2.1:4001", "quic [2001:db8::1]:4001", "relay …".
func (c *Conn) Path() string { return describe(c.under.RemoteMultiaddr()) }

// Open starts a stream. The remote Accept returns it without waiting for a payload.
func (c *Conn) Open(ctx context.Context) (net.Conn, error) {
	s, err := c.open(ctx, kindStream)
	if err != nil {
		return nil, err
	}
	if !c.track(s) {
		_ = s.Reset()
		return nil, ErrClosed
	}
	return s, nil
}

// Accept waits for a stream that the remote device opened.
func (c *Conn) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case s := <-c.incoming:
		return s, nil
	default:
	}
	select {
	case s := <-c.incoming:
		return s, nil
	case <-c.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends the session and closes every connection to the peer. A session that has ended already leaves them alone: one of them may
// carry the next session.
func (c *Conn) Close() error {
	if c.finish() {
		c.shut()
	}
	return nil
}

// finish ends the session without closing the connection below, and reports whether it had not ended before.
func (c *Conn) finish() bool {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	c.ended = true
	streams := c.streams
	c.streams = nil
	close(c.done)
	c.mu.Unlock()
	for s := range streams {
		_ = s.Stream.Reset()
	}
	return true
}

// deliver hands an accepted stream to Accept, or resets it when the session ended or nobody accepts.
func (c *Conn) deliver(s *stream) {
	if !c.track(s) {
		_ = s.Stream.Reset()
		return
	}
	select {
	case c.incoming <- s:
	default:
		_ = s.Reset()
	}
}

func (c *Conn) track(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.streams[s] = struct{}{}
	return true
}

func (c *Conn) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, s)
}

// open opens a stream on exactly the session's connection: host.NewStream would choose one by itself. The protocol handshake is lazy, it
// leaves with the kind byte and its answer is read with the first read.
func (c *Conn) open(ctx context.Context, kind byte) (*stream, error) {
	select {
	case <-c.done:
		return nil, ErrClosed
	default:
	}
	raw, err := c.under.NewStream(network.WithAllowLimitedConn(ctx, "pearbox"))
	if err != nil {
		if c.under.IsClosed() {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("swarm: opening a stream to %s: %w", c.Path(), err)
	}
	if err := raw.SetProtocol(Protocol); err != nil {
		_ = raw.Reset()
		return nil, fmt.Errorf("swarm: opening a stream: %w", err)
	}
	s := &stream{Stream: raw, rw: multistream.NewMSSelect(raw, Protocol), conn: c}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(kindTimeout)
	}
	_ = raw.SetWriteDeadline(deadline)
	if _, err := s.rw.Write([]byte{kind}); err != nil {
		_ = raw.Reset()
		return nil, fmt.Errorf("swarm: opening a stream to %s: %w", c.Path(), err)
	}
	_ = raw.SetWriteDeadline(time.Time{})
	return s, nil
}

// stream is a net.Conn over a libp2p stream.
type stream struct {
	network.Stream
	rw interface { // carries the handshake that is still under way
		Read([]byte) (int, error)
		Write([]byte) (int, error)
	}
	conn *Conn
}

var _ net.Conn = (*stream)(nil)

func (s *stream) Read(p []byte) (int, error)  { return s.rw.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.rw.Write(p) }

// Close closes both directions. (CloseWrite alone would leave the stream open until the connection ends.)
func (s *stream) Close() error {
	s.conn.forget(s)
	return s.Stream.Close()
}

// Reset gives up the stream: the remote reads and writes fail.
func (s *stream) Reset() error {
	s.conn.forget(s)
	return s.Stream.Reset()
}

func (s *stream) LocalAddr() net.Addr  { return addr(s.conn.local.String()) }
func (s *stream) RemoteAddr() net.Addr { return addr(s.conn.remote.String()) }

// addr names a device as a net.Addr.
type addr string

func (a addr) Network() string { return "pearbox" }
func (a addr) String() string  { return string(a) }

// describe turns a multiaddr into the words of Path.
func describe(a ma.Multiaddr) string {
	if a == nil {
		return ""
	}
	if isRelayed(a) {
		relay, err := a.ValueForProtocol(ma.P_P2P)
		if err != nil {
			return "relay"
		}
		return "relay " + relay
	}
	var host, port, kind string
	for _, c := range a {
		switch c.Protocol().Code {
		case ma.P_IP4, ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
			host = c.Value()
		case ma.P_IP6:
			host = "[" + c.Value() + "]"
		case ma.P_TCP:
			kind, port = "tcp", c.Value()
		case ma.P_UDP:
			kind, port = "udp", c.Value()
		case ma.P_QUIC_V1:
			kind = "quic"
		}
	}
	if host == "" {
		return strings.TrimPrefix(a.String(), "/")
	}
	return kind + " " + host + ":" + port
}

var errNotPearBox = errors.New("swarm: not a Pear Box device")
