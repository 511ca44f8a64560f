package swarm_test

import (
	"context"
	"io"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm"
)

// BenchmarkStream moves bytes through one stream, both ends in this process: what wire can reach at most.
func BenchmarkStream(b *testing.B) {
	for name, listen := range map[string]string{"tcp": loopback[0], "quic": loopback[1]} {
		b.Run(name, func(b *testing.B) {
			node := func(conns chan *swarm.Conn) *swarm.Swarm {
				d, err := key.NewDevice()
				if err != nil {
					b.Fatal(err)
				}
				s, err := swarm.New(context.Background(), swarm.Options{Device: d, Network: swarm.Direct, Listen: []string{listen},
					OnConn: func(c *swarm.Conn) { conns <- c }})
				if err != nil {
					b.Fatal(err)
				}
				return s
			}
			x, y := make(chan *swarm.Conn, 1), make(chan *swarm.Conn, 1)
			from, to := node(x), node(y)
			defer from.Close()
			defer to.Close()
			if err := from.Connect(context.Background(), to.Addrs()); err != nil {
				b.Fatal(err)
			}
			out, err := (<-x).Open(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			in, err := (<-y).Accept(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			buf, dst := make([]byte, 256<<10), make([]byte, 256<<10)
			b.SetBytes(int64(len(buf)))
			done := make(chan error, 1)
			b.ResetTimer()
			go func() {
				for range b.N {
					if _, err := out.Write(buf); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			for range b.N {
				if _, err := io.ReadFull(in, dst); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
