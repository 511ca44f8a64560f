package fuse

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

var (
	seed = flag.Uint64("seed", 1, "seed of the random tests; 0: another one for each run")
	ops  = flag.Int("ops", 1000, "operations of the random test")
)

func TestRandom(t *testing.T) {
	for _, o := range []childOptions{{Mode: "passthrough"}, {Mode: "cached"}, {Mode: "cached", Remote: true}} {
		name := o.Mode
		if o.Remote {
			name += ", from afar"
		}
		t.Run(name, func(t *testing.T) {
			if *ops > 5000 {
				t.Parallel() // a soak waits more than it does
			}
			o.Quick = true
			b := startWith(t, o)
			s := *seed
			if s == 0 {
				s = uint64(time.Now().UnixNano())
			}
			n := *ops
			if o.Remote {
				n = n/5 + 1 // slow
			}
			t.Logf("seed %d, %d operations", s, n)
			begun := time.Now()
			vfstest.Random{Dir: b.dir, Seed: s, Ops: n, Rare: min(16, *ops/2500), // a soak is to see many
				Commit: func() error { _, err := b.ask(request{Do: "sync"}); return err },
				Replace: func(name string, data []byte) error {
					_, err := b.ask(request{Do: "replace", Name: name, Data: data})
					return err
				},
				Alter: func(name string, a drive.Attrs) error {
					_, err := b.ask(request{Do: "alter", Name: name, Attrs: &a})
					return err
				},
				Elsewhere: func() ([]vfstest.Seen, error) {
					r, err := b.ask(request{Do: "see"})
					return r.Seen, err
				},
				Remount: func() error { b.stop(); b.run(); return nil },
				Behind:  o.Mode == "passthrough", Late: o.Mode == "cached",
			}.Run(t)
			t.Logf("%.0f operations a second", float64(n)/time.Since(begun).Seconds())
		})
	}
}

// remoteDrive is a drive whose bytes are with a peer: they come piece by piece and in no order, each after a while.
type remoteDrive struct{ vfs.Drive }

func (d remoteDrive) Open(ctx context.Context, info vfs.Info) (vfs.Content, error) {
	c, err := d.Drive.Open(ctx, info)
	return remoteContent{c}, err
}

type remoteContent struct{ vfs.Content }

func (c remoteContent) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(rand.N(2 * time.Millisecond)):
		return c.Content.ReadAtContext(ctx, p, off)
	}
}

func (remoteContent) ReadHere(p []byte, off int64) (int, error) { return 0, syscall.EHOSTUNREACH }

func (remoteContent) Local() (*os.File, int64, bool) { return nil, 0, false }

func within(fn func() error) (err error) {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = fn(); err == nil {
			return nil
		}
	}
	return err
}
