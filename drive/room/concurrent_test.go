package room_test

import (
	"errors"
	"fmt"
	gosync "sync"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// TestConcurrentUse writes, reads, invites and receives from several
// goroutines at once, with transactions that run twice.
func TestConcurrentUse(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	meet(t, a, b)
	var wg gosync.WaitGroup
	for _, p := range []*peer{a, b} {
		for i := range 3 {
			wg.Go(func() {
				for n := range 15 {
					if _, err := p.tryWrite(key.Drive, fmt.Sprint(p.name, i, n)); err != nil {
						t.Errorf("write: %v", err)
					}
				}
			})
		}
		wg.Go(func() {
			for range 5 {
				if _, err := p.Invite(ctx, room.InviteOptions{}); err != nil {
					t.Errorf("invite: %v", err)
				}
				p.Members()
				p.Status()
				p.RelayKeys()
			}
		})
	}
	for _, pair := range [][2]*peer{{a, b}, {b, a}} {
		wg.Go(func() {
			for range 20 {
				exchange(t, pair[0], pair[1])
			}
		})
	}
	wg.Wait()
	meet(t, a, b)
	same(t, a, b)
	if n := len(a.set(key.Drive)); n != 2*3*15 {
		t.Errorf("%d entries", n)
	}
}

// exchange is one round of sync that may be called from any goroutine.
func exchange(t *testing.T, from, to *peer) {
	for _, ci := range from.Cores(room.AccessMember) {
		have := to.lengths()[ci.ID]
		if have >= ci.Head.Length {
			continue
		}
		tail, err := from.ReadTail(ci.ID, have, 0)
		if err == nil {
			err = to.Receive(ctx, from.dev.ID(), ci, tail)
		}
		if err != nil && !errors.Is(err, room.ErrDrop) {
			t.Errorf("exchange: %v", err)
		}
	}
}
