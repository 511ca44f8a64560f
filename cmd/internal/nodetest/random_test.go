package nodetest_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive"
)

// TestRandom lets three devices do random things while the network falls apart and heals, and asks that they agree in the end. The
// package drive/tree proves the rules by the million; this is about everything around them.
func TestRandom(t *testing.T) {
	seeds := 4
	if testing.Short() {
		seeds = 1
	}
	first := uint64(1000)
	// PEARBOX_TEST_SEEDS=2000,100 tries a hundred seeds from 2000 on.
	if n, _ := fmt.Sscanf(os.Getenv("PEARBOX_TEST_SEEDS"), "%d,%d", &first, &seeds); n != 0 && n != 2 {
		t.Fatal("PEARBOX_TEST_SEEDS is first,count")
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := nodetest.New(t, seed)
			w.Room("alice", "bob", "carol")
			names := []string{"alice", "bob", "carol"}
			for step := range 60 {
				switch w.Rand.IntN(12) {
				case 0:
					w.Alone()
				case 1:
					w.Apart("alice bob", "carol")
				case 2, 3:
					w.Together()
				case 4:
					w.Net.Drop(0.5)
				case 5:
					if w.Rand.IntN(4) == 0 {
						w.As(names[w.Rand.IntN(3)]).Restart()
					}
				default:
					random(w, w.As(names[w.Rand.IntN(3)]), step)
				}
			}
			w.Together()
			w.Converge()
		})
	}
}

// random makes one random change, on paths of a small tree so that changes meet. Commands that make no sense there fail, as they should.
func random(w *nodetest.World, p *nodetest.Peer, step int) {
	path := func() string {
		s := string(rune('a' + w.Rand.IntN(3)))
		for range w.Rand.IntN(3) {
			s += "/" + string(rune('a'+w.Rand.IntN(3)))
		}
		return s
	}
	ctx := context.Background()
	d := p.Handle().Drive()
	a, b, what := path(), path(), w.Rand.IntN(6)
	var content drive.Staged
	if what < 2 {
		size := []int{1, 100, 5000, 100_000}[w.Rand.IntN(4)]
		s, err := d.StageBytes(ctx, fmt.Appendf(nil, "%0*d", size, step))
		if err != nil {
			w.T.Fatal(err)
		}
		content = s
	}
	_, err := d.Write(ctx, func(batch *drive.Batch) error {
		switch what {
		case 0, 1:
			return batch.Put(a, content, drive.Attrs{})
		case 2:
			return batch.MkdirAll(a, drive.Attrs{})
		case 3:
			return batch.Move(a, b)
		case 4:
			return batch.Remove(a)
		default:
			return batch.MkdirAll(a+"/"+b, drive.Attrs{})
		}
	})
	_ = err
	if what == 4 && err != nil {
		_, _ = d.RemoveAll(ctx, a)
	}
}
