package wire

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// memConn is one end of a connection inside the process. Streams are net.Pipe, or loopback TCP.
type memConn struct {
	self   key.DeviceID
	peer   *memConn
	accept chan net.Conn
	done   chan struct{}
	once   *sync.Once
	tcp    net.Listener
	slow   func(net.Conn) net.Conn // wraps every stream of both ends
	opened atomic.Int32

	mu      sync.Mutex
	streams []net.Conn
}

// connect returns the two ends of a connection between devices.
func connect(a, b key.DeviceID) (*memConn, *memConn) {
	done, once := make(chan struct{}), new(sync.Once)
	x := &memConn{self: a, accept: make(chan net.Conn, 16), done: done, once: once}
	y := &memConn{self: b, accept: make(chan net.Conn, 16), done: done, once: once}
	x.peer, y.peer = y, x
	return x, y
}

func (c *memConn) Local() key.DeviceID   { return c.self }
func (c *memConn) Remote() key.DeviceID  { return c.peer.self }
func (c *memConn) Done() <-chan struct{} { return c.done }
func (c *memConn) Path() string          { return "mem " + c.peer.self.Short() }

func (c *memConn) Close() error {
	c.once.Do(func() { close(c.done) })
	for _, e := range []*memConn{c, c.peer} {
		e.mu.Lock()
		for _, s := range e.streams {
			s.Close()
		}
		e.mu.Unlock()
	}
	return nil
}

func (c *memConn) Open(ctx context.Context) (net.Conn, error) {
	a, b := net.Pipe()
	if c.tcp != nil {
		var err error
		if a, b, err = c.tcpPair(); err != nil {
			return nil, err
		}
	}
	if c.slow != nil {
		a, b = c.slow(a), c.slow(b)
	}
	for _, e := range []struct {
		c *memConn
		s net.Conn
	}{{c, a}, {c.peer, b}} {
		e.c.mu.Lock()
		e.c.streams = append(e.c.streams, e.s)
		e.c.mu.Unlock()
	}
	select {
	case <-c.done:
		a.Close()
		b.Close()
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case c.peer.accept <- b:
		c.opened.Add(1)
		return a, nil
	}
}

func (c *memConn) tcpPair() (net.Conn, net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	type res struct {
		s   net.Conn
		err error
	}
	got := make(chan res, 1)
	go func() {
		s, err := c.tcp.Accept()
		got <- res{s, err}
	}()
	a, err := net.Dial("tcp", c.tcp.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	r := <-got
	return a, r.s, r.err
}

func (c *memConn) Accept(ctx context.Context) (net.Conn, error) {
	select {
	case s := <-c.accept:
		return s, nil
	case <-c.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *memConn) isClosed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// overTCP makes the streams of a connection loopback TCP connections.
func overTCP(t testing.TB, a, b *memConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	a.tcp, b.tcp = l, l
}

// eventually polls until ok says yes.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

var errTest = errors.New("test")
