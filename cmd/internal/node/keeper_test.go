package node

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
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

// TestRetry: what nobody has is looked for ever more rarely; while the disk is full, and when something changes, soon again.
func TestRetry(t *testing.T) {
	k := newKeeper(&Room{}, slog.New(slog.DiscardHandler))
	retry := retryFirst
	rounds := func(n, left int, fresh bool) time.Duration {
		for range n {
			retry = k.nextRetry(retry, left, fresh)
		}
		return retry
	}
	if got := rounds(2, 1, false); got != 4*retryFirst {
		t.Errorf("after two looks in vain: %v", got)
	}
	if got := rounds(20, 1, false); got != retryMax {
		t.Errorf("after many: %v", got)
	}
	if !k.complain(fmt.Errorf("writing: %w", store.ErrNoSpace)) {
		t.Error("a full disk is no reason to stop")
	}
	if got := rounds(20, 1, false); got != retryFirst {
		t.Errorf("while the disk is full: %v", got)
	}
	k.setFull(false)
	if got := rounds(2, 1, false); got != 4*retryFirst {
		t.Errorf("once it is not any more: %v", got)
	}
	if got := rounds(1, 1, true); got != retryFirst {
		t.Errorf("when something changed: %v", got)
	}
	rounds(3, 1, false)
	if got := rounds(1, 0, false); got != retryFirst {
		t.Errorf("when all is here: %v", got)
	}
}
