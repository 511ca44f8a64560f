package node

import (
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/pearbox/pearbox/drive/room"
)

// TestMend: blocks are asked for several at once, so that those that nobody has hold up the others little; after too many of those the
// rest waits.
func TestMend(t *testing.T) {
	k := newKeeper(&Room{}, slog.New(slog.DiscardHandler))
	want := make([]room.Want, 4*maxMending)
	var mu sync.Mutex
	running, together := 0, make(chan struct{})
	nobody := errors.New("nobody has it")
	left := k.mend(want, len(want), func(room.Want) error {
		mu.Lock()
		if running++; running == maxMending {
			close(together)
		}
		mu.Unlock()
		<-together
		return nobody
	})
	if left != len(want) || running != len(want) {
		t.Errorf("%d of %d asked for, %d missing", running, len(want), left)
	}
	asked := 0
	left = k.mend(want, maxMissed, func(room.Want) error {
		mu.Lock()
		defer mu.Unlock()
		asked++
		return nobody
	})
	if asked >= len(want) || left != len(want) {
		t.Errorf("%d of %d asked for, %d missing", asked, len(want), left)
	}
}
