package node

import (
	"testing"
	"time"
)

// TestStall: waiting for bytes ends when for a while nothing that is lacking goes out, and nothing less is lacking.
func TestStall(t *testing.T) {
	var s stall
	at := time.Unix(1_800_000_000, 0)
	for i, step := range []struct {
		after   time.Duration
		lacking int
		sent    int64
		over    bool
	}{
		{0, 3, 0, false},
		{stallAfter - 1, 3, 0, false},
		{0, 3, 1000, false}, // something goes out
		{stallAfter - 1, 3, 1000, false},
		{0, 2, 1000, false}, // somebody got one elsewhere
		{stallAfter - 1, 2, 1000, false},
		{1, 2, 1000, true},
	} {
		at = at.Add(step.after)
		if got := s.over(at, step.lacking, step.sent); got != step.over {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
