package room

import (
	"math/rand/v2"
	"testing"
)

// TestClock compares clocks with maps.
func TestClock(t *testing.T) {
	type pair struct {
		c clock
		m map[uint32]uint64
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	all := []pair{{nil, map[uint32]uint64{}}}
	for range 3000 {
		p, q := all[rnd.IntN(len(all))], all[rnd.IntN(len(all))]
		n := pair{p.c.clone(), map[uint32]uint64{}}
		for k, v := range p.m {
			n.m[k] = v
		}
		if rnd.IntN(3) == 0 {
			n.c.merge(q.c)
			for k, v := range q.m {
				n.m[k] = max(n.m[k], v)
			}
		} else {
			no, v := uint32(rnd.IntN(300)), uint64(1+rnd.IntN(50))
			n.c.raise(no, v)
			n.m[no] = max(n.m[no], v)
		}
		var again clock
		again = p.c.clone()
		if err := applyDelta(&again, appendDelta(nil, p.c, n.c)); err != nil {
			t.Fatal(err)
		}
		for no := range uint32(400) {
			if n.c.at(no) != n.m[no] || again.at(no) != n.m[no] || p.c.at(no) != p.m[no] {
				t.Fatalf("core %d: %d, %d after a delta, want %d; before %d, want %d",
					no, n.c.at(no), again.at(no), n.m[no], p.c.at(no), p.m[no])
			}
		}
		if all = append(all, n); len(all) > 40 {
			all = all[1:]
		}
	}
}

// FuzzClock reads clocks as a damaged table might hold them.
func FuzzClock(f *testing.F) {
	f.Add(appendDelta(nil, nil, sampleClock()))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c clock
		applyDelta(&c, b)
	})
}
