package wire

import (
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
)

// TestWithhold: of two who are about to drop what the other holds, each says that it lacks it, until it has ended.
func TestWithhold(t *testing.T) {
	r, a, _ := trio(t)
	ref, data := makeBlob(100 << 10)
	other, otherData := makeBlob(100<<10 + 1)
	for _, n := range []*node{r, a} {
		n.blobs.add(ref, data)
		n.blobs.add(other, otherData)
	}
	lacks := func(asks, asked *node, ref blob.Ref) bool {
		t.Helper()
		left, err := asks.rep.Lacking(t.Context(), asked.dev.ID(), []blob.Ref{ref})
		if err != nil {
			t.Fatal(err)
		}
		return len(left) > 0
	}
	endA, err := a.rep.Withhold([]blob.Ref{ref, ref})
	if err != nil {
		t.Fatal(err)
	}
	endR, err := r.rep.Withhold([]blob.Ref{ref})
	if err != nil {
		t.Fatal(err)
	}
	if !lacks(r, a, ref) || !lacks(a, r, ref) || lacks(r, a, other) || lacks(a, r, other) {
		t.Error("told of what is withheld, or not of what is not")
	}
	endA()
	if lacks(r, a, ref) || !lacks(a, r, ref) {
		t.Error("after one has ended")
	}
	endR()
	if lacks(a, r, ref) || len(a.rep.withheld)+len(r.rep.withheld) != 0 {
		t.Error("after both have ended")
	}
}
