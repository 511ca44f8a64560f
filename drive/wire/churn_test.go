package wire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// TestChurn: nodes write, fetch and lose connections at random; in the end, connected, they are level.
func TestChurn(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { churn(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func churn(t *testing.T, rnd *rand.Rand) {
	nodes := []*node{newNode(t, 1, Options{}), newNode(t, 2, Options{}), newNode(t, 3, Options{}), newNode(t, 4, Options{})}
	members(nodes...)
	var refs []blob.Ref
	var conns []*memConn
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	written := map[*node][4]int{}
	for range 150 {
		n := nodes[rnd.IntN(len(nodes))]
		switch k := rnd.IntN(10); {
		case k < 3:
			m := nodes[rnd.IntN(len(nodes))]
			if m != n {
				x, _ := linkNodes(n, m)
				conns = append(conns, x)
			}
		case k < 5 && len(conns) > 0:
			conns[rnd.IntN(len(conns))].Close()
		case k < 7:
			kind := []key.Kind{key.Control, key.Drive, key.Chat}[rnd.IntN(3)]
			n.room.append(t, kind, make([]byte, 1+rnd.IntN(300<<10)), []byte("x"))
			w := written[n]
			w[kind] += 2
			written[n] = w
		case k < 8:
			ref, b := makeBlob(1 + rnd.IntN(2<<20))
			n.blobs.add(ref, b)
			refs = append(refs, ref)
		case len(refs) > 0:
			ref := refs[rnd.IntN(len(refs))]
			fctx, stop := context.WithCancel(ctx)
			wg.Go(func() { n.rep.Fetch(fctx, ref, 0, ref.Size) })
			if rnd.IntN(3) == 0 {
				stop()
			}
			defer stop()
		}
	}
	for _, c := range conns {
		c.Close()
	}
	for i, n := range nodes {
		for _, m := range nodes[:i] {
			linkNodes(n, m)
		}
	}
	eventually(t, "all have all entries", func() bool {
		for _, n := range nodes {
			for m, w := range written {
				for _, k := range []key.Kind{key.Control, key.Drive, key.Chat} {
					if n.room.length(m.dev.ID(), k) != uint64(w[k]) {
						return false
					}
				}
			}
		}
		return true
	})
	cancel()
	wg.Wait()
	for _, n := range nodes {
		for _, ref := range refs {
			eventually(t, "all have all blobs", func() bool { return n.rep.Fetch(t.Context(), ref, 0, ref.Size) == nil })
		}
		if st := n.rep.Stats(); st.Rejected != 0 {
			t.Errorf("honest nodes are blamed: %+v", st)
		}
	}
}
