// Package swarmtest is the shared test suite of everything that hands out connections as package swarm does: swarm itself and memnet.
package swarmtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// Conn is what the suite holds every implementation to. It has the shape that drive/wire asks for.
type Conn interface {
	Local() key.DeviceID
	Remote() key.DeviceID
	Open(ctx context.Context) (net.Conn, error)
	Accept(ctx context.Context) (net.Conn, error)
	Close() error
	Done() <-chan struct{}
	Path() string
}

// Host is one node under test.
type Host interface {
	Addrs() []string
	Connect(ctx context.Context, addrs []string) error
	Close() error
}

// Start starts a node whose connections go to onConn.
type Start func(t *testing.T, dev *key.Device, onConn func(Conn)) Host

// patience is how long anything may take on a busy machine.
const patience = 90 * time.Second

type node struct {
	Host
	dev   *key.Device
	conns chan Conn
}

func (s Start) node(t *testing.T, dev *key.Device) *node {
	t.Helper()
	if dev == nil {
		var err error
		if dev, err = key.NewDevice(); err != nil {
			t.Fatal(err)
		}
	}
	n := &node{dev: dev, conns: make(chan Conn, 64)}
	n.Host = s(t, dev, func(c Conn) { n.conns <- c })
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func (n *node) conn(t *testing.T) Conn {
	t.Helper()
	select {
	case c := <-n.conns:
		return c
	case <-time.After(patience):
		t.Fatal("no connection came")
		return nil
	}
}

// latest returns the newest connection that is still open once both ends agree on it: a stream through it works.
func latest(t *testing.T, a, b *node) (Conn, Conn) {
	t.Helper()
	ca, cb := a.conn(t), b.conn(t)
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		for ended(ca) {
			ca = a.conn(t)
		}
		for ended(cb) {
			cb = b.conn(t)
		}
		if through(ca, cb) && through(cb, ca) {
			return ca, cb
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the two ends never agreed on a connection")
	return nil, nil
}

func ended(c Conn) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

func through(from, to Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := from.Open(ctx)
	if err != nil {
		return false
	}
	defer s.Close()
	r, err := to.Accept(ctx)
	if err != nil {
		return false
	}
	return r.Close() == nil
}

func connect(t *testing.T, from, to *node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := from.Connect(ctx, to.Addrs()); err != nil {
		t.Fatalf("connecting: %v", err)
	}
}

func streams(t *testing.T, from, to Conn) (net.Conn, net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := from.Open(ctx)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	r, err := to.Accept(ctx)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	return s, r
}

// Test runs the suite.
func Test(t *testing.T, start Start) {
	t.Run("Devices", start.devices)
	t.Run("Streams", start.streams)
	t.Run("HalfClose", start.halfClose)
	t.Run("Deadlines", start.deadlines)
	t.Run("Bulk", start.bulk)
	t.Run("Close", start.closing)
	t.Run("Simultaneous", start.simultaneous)
	t.Run("Again", start.again)
	t.Run("Restart", start.restart)
	t.Run("Unreachable", start.unreachable)
}

func (s Start) pair(t *testing.T) (a, b *node, ca, cb Conn) {
	t.Helper()
	a, b = s.node(t, nil), s.node(t, nil)
	connect(t, a, b)
	ca, cb = latest(t, a, b)
	return a, b, ca, cb
}

func (s Start) devices(t *testing.T) {
	a, b, ca, cb := s.pair(t)
	if ca.Local() != a.dev.ID() || ca.Remote() != b.dev.ID() || cb.Local() != b.dev.ID() || cb.Remote() != a.dev.ID() {
		t.Error("the connection names the wrong devices")
	}
	if ca.Path() == "" || cb.Path() == "" {
		t.Error("a connection has no path to show")
	}
	select {
	case <-ca.Done():
		t.Error("done while open")
	default:
	}
}

// streams: Accept returns before any payload, in both directions, and each stream keeps to itself.
func (s Start) streams(t *testing.T) {
	_, _, ca, cb := s.pair(t)
	x, x2 := streams(t, ca, cb)
	y, y2 := streams(t, cb, ca)
	for i, p := range [][2]net.Conn{{x, x2}, {x2, x}, {y, y2}, {y2, y}} {
		want := fmt.Sprintf("message %d", i)
		if _, err := io.WriteString(p[0], want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(p[1], got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	for _, c := range []net.Conn{x, x2, y, y2} {
		if c.LocalAddr().String() == "" || c.RemoteAddr().String() == "" {
			t.Error("a stream without addresses")
		}
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// halfClose: what was written before Close arrives whole, then EOF; the other direction still works after CloseWrite.
func (s Start) halfClose(t *testing.T) {
	_, _, ca, cb := s.pair(t)
	x, y := streams(t, ca, cb)
	if _, err := io.WriteString(x, "question"); err != nil {
		t.Fatal(err)
	}
	if err := x.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	q, err := io.ReadAll(y)
	if err != nil || string(q) != "question" {
		t.Fatalf("read %q, %v", q, err)
	}
	if _, err := io.WriteString(y, "answer"); err != nil {
		t.Fatal(err)
	}
	if err := y.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := io.ReadAll(x)
	if err != nil || string(r) != "answer" {
		t.Fatalf("read %q, %v", r, err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s Start) deadlines(t *testing.T) {
	_, _, ca, cb := s.pair(t)
	x, y := streams(t, ca, cb)
	defer x.Close()
	defer y.Close()
	if err := x.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) && !isTimeout(err) {
		t.Fatalf("read past the deadline: %v", err)
	}
	if err := x.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := y.Write([]byte{7}); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := io.ReadFull(x, b[:]); err != nil || b[0] != 7 {
		t.Fatalf("after the deadline was lifted: %v %v", b, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := ca.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("accept with nothing to accept: %v", err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// bulk: several streams carry bytes both ways at once, in order and unchanged.
func (s Start) bulk(t *testing.T) {
	_, _, ca, cb := s.pair(t)
	data := make([]byte, 3<<20+17)
	_, _ = rand.Read(data)
	var wg sync.WaitGroup
	for range 4 {
		x, y := streams(t, ca, cb)
		for _, p := range [][2]net.Conn{{x, y}, {y, x}} {
			wg.Add(2)
			go func() {
				defer wg.Done()
				if _, err := p[0].Write(data); err != nil {
					t.Errorf("write: %v", err)
				}
				_ = p[0].(interface{ CloseWrite() error }).CloseWrite()
			}()
			go func() {
				defer wg.Done()
				got, err := io.ReadAll(p[1])
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("read %d of %d bytes: %v", len(got), len(data), err)
				}
			}()
		}
	}
	wg.Wait()
}

// closing: Close ends both ends and every stream, and wakes whoever waits.
func (s Start) closing(t *testing.T) {
	_, b, ca, cb := s.pair(t)
	x, y := streams(t, ca, cb)
	_ = b
	woken := make(chan error, 3)
	go func() { _, err := x.Read(make([]byte, 1)); woken <- err }()
	go func() { _, err := y.Read(make([]byte, 1)); woken <- err }()
	go func() { _, err := cb.Accept(context.Background()); woken <- err }()
	if err := ca.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Conn{ca, cb} {
		select {
		case <-c.Done():
		case <-time.After(patience):
			t.Fatal("not done after Close")
		}
	}
	for range 3 {
		select {
		case err := <-woken:
			if err == nil {
				t.Error("no error after Close")
			}
		case <-time.After(patience):
			t.Fatal("somebody still waits after Close")
		}
	}
	if _, err := ca.Open(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("open after close: %v", err)
	}
	if err := ca.Close(); err != nil {
		t.Errorf("close twice: %v", err)
	}
}

// simultaneous: however many dial at once, both ends end up with one and the same connection.
func (s Start) simultaneous(t *testing.T) {
	a, b := s.node(t, nil), s.node(t, nil)
	var wg sync.WaitGroup
	for range 3 {
		wg.Add(2)
		go func() { defer wg.Done(); _ = a.Connect(context.Background(), b.Addrs()) }()
		go func() { defer wg.Done(); _ = b.Connect(context.Background(), a.Addrs()) }()
	}
	wg.Wait()
	ca, cb := latest(t, a, b)
	x, y := streams(t, ca, cb)
	if _, err := io.WriteString(x, "one"); err != nil {
		t.Fatal(err)
	}
	_ = x.Close()
	if got, err := io.ReadAll(y); err != nil || string(got) != "one" {
		t.Fatalf("read %q, %v", got, err)
	}
	_ = y.Close()
}

// again: a session that was closed comes back by itself, the address is remembered.
func (s Start) again(t *testing.T) {
	a, b, ca, _ := s.pair(t)
	if err := ca.Close(); err != nil {
		t.Fatal(err)
	}
	ca2, _ := latest(t, a, b)
	if ca2 == ca {
		t.Error("the closed connection came again")
	}
}

// restart: a device that starts anew is met again.
func (s Start) restart(t *testing.T) {
	a, b, ca, _ := s.pair(t)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ca.Done():
	case <-time.After(patience):
		t.Fatal("not done after the other host closed")
	}
	b2 := s.node(t, b.dev)
	connect(t, b2, a)
	ca2, cb2 := latest(t, a, b2)
	if ca2.Remote() != b.dev.ID() || cb2.Remote() != a.dev.ID() {
		t.Error("another device came")
	}
}

// unreachable: dialling a host that is gone fails.
func (s Start) unreachable(t *testing.T) {
	a, b := s.node(t, nil), s.node(t, nil)
	addrs := b.Addrs()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Connect(ctx, addrs); err == nil {
		t.Error("connected to a closed host")
	}
	if err := a.Connect(ctx, []string{"nonsense"}); err == nil {
		t.Error("connected to nonsense")
	}
}
