package room_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/room/roomtest"
)

// TestConvergence lets a few devices write, invite, promote, demote, remove,
// leave, crash and come back while windows of their cores arrive in any order
// and size, then connects all members and expects one state.
func TestConvergence(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { converge(t, rand.New(rand.NewPCG(seed, *series))) })
	}
}

// TestConvergenceInSmallSteps does the same with transactions that process few
// entries, or few bytes of them, so that rebuilding and counting anew are interrupted.
func TestConvergenceInSmallSteps(t *testing.T) {
	defer room.LimitTransactions(3)()
	defer room.LimitBytes(20)()
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { converge(t, rand.New(rand.NewPCG(seed, *series+1000))) })
	}
}

var (
	seeds  = flag.Uint64("seeds", 12, "histories of TestConvergence")
	series = flag.Uint64("series", 1, "which ones")
)

func converge(t *testing.T, rnd *rand.Rand) {
	a := creator(t, "alice")
	peers := []*peer{a}
	for i := range 3 {
		role := []room.Role{room.RoleAdmin, room.RoleWriter, room.RoleReader, room.RoleOwner}[rnd.IntN(4)]
		peers = append(peers, a.invite(fmt.Sprint("first ", i), role, a))
	}
	links := []key.Link{}
	pick := func() *peer { return peers[rnd.IntN(len(peers))] }
	for step := range 60 {
		p := pick()
		switch n := rnd.IntN(100); {
		case n < 30:
			write(t, rnd, p, fmt.Sprint(p.name, " ", step))
		case n < 75:
			one(t, rnd, pick(), p)
		case n < 80:
			if l, err := p.Invite(ctx, room.InviteOptions{Role: room.Role(1 + rnd.IntN(3))}); ok(t, err) {
				links = append(links, l)
			}
		case n < 83 && len(links) > 0 && len(peers) < 7:
			peers = append(peers, p.asks(fmt.Sprint("later ", step), links[rnd.IntN(len(links))]))
		case n < 87:
			ok(t, p.SetRole(ctx, pick().dev.ID(), room.Role(1+rnd.IntN(4))))
		case n < 89:
			ok(t, p.Remove(ctx, pick().dev.ID()))
		case n < 90 && p != a:
			ok(t, p.Leave(ctx))
		case n < 91:
			ok(t, p.Rotate(ctx))
		case n < 93:
			if q, err := p.Quarantine(0); ok(t, err) && len(q) > 0 {
				c := q[rnd.IntN(len(q))]
				ok(t, p.Adopt(ctx, c.Core, c.Seq+1))
			}
		case n < 94:
			if inv := p.Invites(); len(inv) > 0 {
				ok(t, p.Revoke(ctx, inv[rnd.IntN(len(inv))].ID))
			}
		case n < 96:
			p.st.DropDerived()
			p.reopen()
		case n < 98:
			p.st.CrashAfter(1)
			_, err := p.tryWrite(key.Drive, fmt.Sprint("crash ", step))
			if err == nil {
				t.Fatal("no crash")
			}
			p.st.CrashAfter(0)
			p.reopen()
		}
	}
	for range 4 {
		for _, p := range peers {
			for _, q := range peers {
				if p != q {
					syncWindows(t, p, q, 1+rnd.IntN(4000))
				}
			}
		}
	}
	sameRebuilt(t, a, peers)
}

// ok reports success, and fails the test for errors that are not decisions.
func ok(t *testing.T, err error) bool {
	t.Helper()
	for _, e := range []error{
		room.ErrNotAllowed, room.ErrPending, room.ErrRemoved, room.ErrLeft, room.ErrRefused, room.ErrNotFound, room.ErrKey, roomtest.ErrCrash,
	} {
		if errors.Is(err, e) {
			return false
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

func write(t *testing.T, rnd *rand.Rand, p *peer, body string) {
	t.Helper()
	kind := []key.Kind{key.Drive, key.Chat}[rnd.IntN(2)]
	n := rnd.IntN(3)
	payloads := make([][]byte, n)
	for i := range payloads {
		payloads[i] = make([]byte, 1+rnd.IntN(300))
	}
	_, err := p.tryWrite(kind, body, payloads...)
	ok(t, err)
}

// sameRebuilt checks that those who are members by what a knows hold the same, also when everything derived is made anew.
func sameRebuilt(t *testing.T, a *peer, peers []*peer) {
	t.Helper()
	var members []*peer
	for _, p := range peers {
		if a.Access(p.dev.ID()) == room.AccessMember {
			members = append(members, p)
		}
	}
	same(t, members...)
	for _, p := range members {
		fresh := &peer{t: t, name: p.name + " rebuilt", dev: p.dev, st: p.st.Clone()}
		fresh.st.DropDerived()
		fresh.reopen()
		same(t, p, fresh)
	}
}
