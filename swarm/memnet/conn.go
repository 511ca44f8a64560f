package memnet

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// ErrClosed is returned by a Conn that ended.
var ErrClosed = fmt.Errorf("memnet: connection closed: %w", net.ErrClosed)

const (
	maxPending = 64
	again      = 50 * time.Millisecond // from the end of a connection to the next attempt
)

// Conn is one end of the connection of two hosts.
type Conn struct {
	host     *Host
	remote   key.DeviceID
	peer     *Conn
	number   int // of the connection, among those of the two devices
	incoming chan net.Conn
	done     chan struct{}

	mu      sync.Mutex // guards what follows
	ended   bool
	opened  int       // streams, by this end
	streams []*stream // that are open, in the order of their opening
}

func newConn(h *Host, remote key.DeviceID, number int) *Conn {
	return &Conn{host: h, remote: remote, number: number, incoming: make(chan net.Conn, maxPending), done: make(chan struct{})}
}

// Local is this host's device.
func (c *Conn) Local() key.DeviceID { return c.host.id }

// Remote is the other one.
func (c *Conn) Remote() key.DeviceID { return c.remote }

// Done is closed when the connection ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Path describes the connection for people.
func (c *Conn) Path() string { return "memory " + c.remote.Short() }

// Open starts a stream; the peer's Accept returns the other end.
func (c *Conn) Open(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.opened++
	here, there := newStream(c, c.peer, c.opened)
	c.mu.Unlock()
	if !c.track(here) || !c.peer.track(there) {
		here.reset()
		return nil, ErrClosed
	}
	select {
	case c.peer.incoming <- there:
		return here, nil
	default:
		here.reset()
		return nil, fmt.Errorf("memnet: too many streams that nobody accepted")
	}
}

// Accept waits for a stream that the peer opened.
func (c *Conn) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case s := <-c.incoming:
		return s, nil
	case <-c.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends both ends. Hosts with a reason to be connected are connected anew after a moment.
func (c *Conn) Close() error {
	c.end()
	c.host.net.gone(c)
	time.AfterFunc(again, c.host.net.settle)
	return nil
}

func (c *Conn) end() {
	c.finish()
	c.peer.finish()
}

func (c *Conn) finish() {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	streams := c.streams
	c.streams = nil
	close(c.done)
	c.mu.Unlock()
	for _, s := range streams {
		s.reset()
	}
}

func (c *Conn) track(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.streams = append(c.streams, s)
	return true
}

func (c *Conn) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.streams, s); i >= 0 {
		c.streams = slices.Delete(c.streams, i, i+1)
	}
}
