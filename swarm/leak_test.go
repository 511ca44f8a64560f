package swarm_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/swarm"
)

// Close ends every goroutine that a node started, streams that nobody closed included.
func TestCloseLeavesNothing(t *testing.T) {
	cycle := func() {
		a := start(t, swarm.Options{Network: swarm.Private})
		b := start(t, swarm.Options{Network: swarm.Private})
		a.Join(key.Hash{1})
		if err := a.Connect(context.Background(), b.Addrs()); err != nil {
			t.Fatal(err)
		}
		until(t, "a session", func() bool { return len(a.Conns()) == 1 && len(b.Conns()) == 1 })
		if s, err := a.Conns()[0].Open(context.Background()); err == nil {
			_, _ = s.Write([]byte("left open"))
		}
		for _, s := range []*swarm.Swarm{a, b} {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	cycle() // what libp2p starts once for all
	before := runtime.NumGoroutine()
	for range 3 {
		cycle()
	}
	until(t, "as many goroutines as before", func() bool { return runtime.NumGoroutine() <= before+2 })
}
