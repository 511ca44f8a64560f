package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/swarm/memnet"
)

// The rows here run whole nodes in this process over memnet, whose ways are slower than the machine, so that one process for all does
// not matter. A stream of memnet has at most a mebibyte on its way, as a stream of yamux begins.

const (
	oneWay      = 25 * time.Millisecond
	bareStreams = 2        // as many as a node has for bulk
	uplink      = 12 << 20 // of each of three
)

// delayed moves a file over a long way.
func delayed(b *bench) (work, base rate, err error) {
	n := *size / 4
	if base, err = bareDelayed(b.ctx, n); err != nil {
		return work, base, err
	}
	net := memnet.New(1)
	a, err := hostNode(b, net, "a", 0)
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	z, err := hostNode(b, net, "z", 0)
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, z.stop()) }()
	if err = a.create(b.ctx); err == nil {
		err = a.admit(b.ctx, z)
	}
	if err != nil {
		return work, base, err
	}
	net.Latency(oneWay, 0)
	if err = a.putLarge(b, n); err != nil {
		return work, base, err
	}
	var looked time.Duration
	work, err = clock(float64(n), func() (err error) { looked, err = z.held(b.ctx, n); return err })
	work.took -= looked
	return work, base, err
}

// bareDelayed sends n bytes over bareStreams streams at once.
func bareDelayed(ctx context.Context, n int64) (r rate, err error) {
	mem := memnet.New(1)
	mem.Latency(oneWay, 0)
	from, to := make(chan *memnet.Conn, 1), make(chan *memnet.Conn, 1)
	var ids [2]key.DeviceID
	for i, c := range []chan *memnet.Conn{from, to} {
		dev, err := key.NewDevice()
		if err != nil {
			return r, err
		}
		ids[i] = dev.ID()
		defer mem.Host(dev.ID(), func(conn *memnet.Conn) { c <- conn }).Close()
	}
	if err := mem.Connect(ids[0], ids[1]); err != nil {
		return r, err
	}
	sender, receiver := <-from, <-to
	var work sync.WaitGroup
	errs := make([]error, 2*bareStreams)
	r, err = clock(float64(n), func() error {
		for i := range bareStreams {
			work.Go(func() { errs[2*i] = sendBytes(ctx, sender, n/bareStreams) })
			work.Go(func() { errs[2*i+1] = dropBytes(ctx, receiver) })
		}
		work.Wait()
		return errors.Join(errs...)
	})
	return r, err
}

func sendBytes(ctx context.Context, c *memnet.Conn, n int64) error {
	s, err := c.Open(ctx)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(buf)) {
		if _, err := s.Write(buf[:min(n, int64(len(buf)))]); err != nil {
			return err
		}
	}
	return s.(interface{ CloseWrite() error }).CloseWrite()
}

func dropBytes(ctx context.Context, c *memnet.Conn) error {
	var s net.Conn
	s, err := c.Accept(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, make([]byte, 1<<20))
	return err
}

// capped has three nodes with capped uplinks serve one. The baseline begins with full buckets, as the nodes do.
func capped(b *bench) (work, base rate, err error) {
	names := []string{"a", "b", "c"}
	up, full := uplink*int64(len(names)), wire.Burst(uplink)*int64(len(names))
	n := max(*size/4, 4*full)
	base = rate{amount: float64(n), took: time.Duration(float64(n-full) / float64(up) * float64(time.Second))}
	net := memnet.New(1)
	if err := spread(b, net, names, n); err != nil {
		return work, base, err
	}
	peers := make([]*peer, len(names))
	for i, name := range names {
		p, err := hostNode(b, net, name, uplink)
		if err != nil {
			return work, base, err
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		peers[i] = p
	}
	z, err := hostNode(b, net, "z", 0)
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, z.stop()) }()
	work, err = clock(float64(n), func() error {
		if err := peers[0].ask(b.ctx, z); err != nil {
			return err
		}
		_, err = z.held(b.ctx, n)
		return err
	})
	return work, base, err
}

// spread makes a room with one large file that nodes of these names hold, and stops them.
func spread(b *bench, net *memnet.Net, names []string, n int64) (err error) {
	var peers []*peer
	defer func() {
		for _, p := range peers {
			err = errors.Join(err, p.stop())
		}
	}()
	for _, name := range names {
		p, err := hostNode(b, net, name, 0)
		if err != nil {
			return err
		}
		peers = append(peers, p)
	}
	if err := peers[0].create(b.ctx); err != nil {
		return err
	}
	if err := peers[0].admit(b.ctx, peers[1:]...); err != nil {
		return err
	}
	if err := peers[0].putLarge(b, n); err != nil {
		return err
	}
	for _, p := range peers[1:] {
		if _, err := p.held(b.ctx, n); err != nil {
			return err
		}
	}
	return nil
}
