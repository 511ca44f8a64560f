package fuse

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

var (
	seed = flag.Uint64("seed", 1, "seed of the random tests; 0: another one for each run")
	ops  = flag.Int("ops", 1500, "operations of the random test")
)

func TestRandom(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := startWith(t, childOptions{Mode: mode, Quick: true})
			s := *seed
			if s == 0 {
				s = uint64(time.Now().UnixNano())
			}
			vfstest.Random{Dir: b.dir, Seed: s, Ops: *ops,
				Commit: func() error { _, err := b.ask(request{Do: "sync"}); return err },
				Replace: func(name string, data []byte) error {
					if _, err := b.ask(request{Do: "replace", Name: name, Data: data}); err != nil {
						return err
					}
					return within(func() error {
						got, err := os.ReadFile(b.path(name))
						if err == nil && !bytes.Equal(got, data) {
							err = fmt.Errorf("%s still has the old bytes", name)
						}
						return err
					})
				},
			}.Run(t)
		})
	}
}

func within(fn func() error) (err error) {
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = fn(); err == nil {
			return nil
		}
	}
	return err
}
