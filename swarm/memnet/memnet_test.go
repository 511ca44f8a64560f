package memnet_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm/memnet"
	"github.com/pearbox/pearbox/swarm/swarmtest"
)

func TestConformance(t *testing.T) {
	net := memnet.New(1)
	swarmtest.Test(t, func(t *testing.T, dev *key.Device, onConn func(swarmtest.Conn)) swarmtest.Host {
		return net.Host(dev.ID(), func(c *memnet.Conn) { onConn(c) })
	})
}

func TestConformanceSlow(t *testing.T) {
	net := memnet.New(2)
	net.Latency(time.Millisecond, 3*time.Millisecond)
	net.Bandwidth(200 << 20)
	swarmtest.Test(t, func(t *testing.T, dev *key.Device, onConn func(swarmtest.Conn)) swarmtest.Host {
		return net.Host(dev.ID(), func(c *memnet.Conn) { onConn(c) })
	})
}

func ids(n int) []key.DeviceID {
	out := make([]key.DeviceID, n)
	for i := range out {
		out[i][0] = byte(i + 1)
	}
	return out
}

func TestPartition(t *testing.T) {
	net := memnet.New(3)
	d := ids(4)
	topic := key.Hash{9}
	hosts := make([]*memnet.Host, len(d))
	for i, id := range d {
		hosts[i] = net.Host(id, nil)
		hosts[i].Join(topic)
	}
	want := func(when string, counts ...int) {
		t.Helper()
		for i, n := range counts {
			if got := len(hosts[i].Conns()); got != n {
				t.Errorf("%s: host %d has %d connections, want %d", when, i, got, n)
			}
		}
	}
	want("joined", 3, 3, 3, 3)
	net.Partition(d[:2], d[2:])
	want("partitioned", 1, 1, 1, 1)
	if err := net.Connect(d[0], d[3]); err == nil {
		t.Error("connected across a partition")
	}
	net.HealAll()
	want("healed", 3, 3, 3, 3)
	net.Cut(d[0], d[1])
	want("cut", 2, 2, 3, 3)
	net.Heal(d[0], d[1])
	net.Drop(1)
	want("dropped", 3, 3, 3, 3)
	_ = hosts[3].Close()
	want("one closed", 2, 2, 2, 0)
}

func TestCutEndsStreams(t *testing.T) {
	net := memnet.New(4)
	d := ids(2)
	got := make(chan *memnet.Conn, 1)
	a := net.Host(d[0], nil)
	net.Host(d[1], func(c *memnet.Conn) { got <- c })
	if err := net.Connect(d[0], d[1]); err != nil {
		t.Fatal(err)
	}
	s, err := a.Conns()[0].Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	c := <-got
	net.Cut(d[0], d[1])
	<-c.Done()
	if _, err := io.ReadAll(s); err == nil {
		t.Error("a stream survived the cut")
	}
}

// What is sent at once over several streams arrives, piece by piece, at moments that follow from the seed, whoever writes first.
func TestArrivals(t *testing.T) {
	arrivals := func(seed uint64, order ...int) (out []string) {
		synctest.Test(t, func(t *testing.T) {
			net := memnet.New(seed)
			net.Latency(time.Millisecond, time.Millisecond)
			net.Observe(func(m memnet.Sent) {
				out = append(out, fmt.Sprint(m.Stream, m.From.Short(), m.Arrives.Sub(time.Now())))
			})
			d := ids(3)
			a := net.Host(d[0], nil)
			for _, id := range d[1:] {
				net.Host(id, nil)
				if err := net.Connect(d[0], id); err != nil {
					t.Fatal(err)
				}
			}
			for _, i := range order {
				s, err := a.Conns()[i].Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if _, err := s.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
		slices.Sort(out)
		return out
	}
	first := arrivals(1, 0, 1)
	if got := arrivals(1, 1, 0); !slices.Equal(got, first) || len(first) != 6 {
		t.Errorf("arrivals %q, and %q when the other was written to first", first, got)
	}
	if got := arrivals(2, 0, 1); slices.Equal(got, first) {
		t.Error("another seed makes no difference")
	}
}
