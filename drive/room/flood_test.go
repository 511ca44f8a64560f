package room_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// asked is a request to come in, as it is sent.
type asked struct {
	room.CoreInfo
	tail core.Tail
}

// flood makes as many requests with one link.
func (p *peer) flood(name string, l key.Link, n int) (out []asked) {
	p.t.Helper()
	for i := range n {
		q := p.asks(fmt.Sprint(name, i), l)
		ci, tail := own(p.t.(*testing.T), q, key.Control)
		out = append(out, asked{ci, tail})
	}
	return out
}

// hears receives requests from those who ask, and returns how many were kept.
func (p *peer) hears(all []asked) (kept int) {
	p.t.Helper()
	for _, a := range all {
		switch err := p.Receive(ctx, a.Device, a.CoreInfo, a.tail); {
		case err == nil:
			kept++
		case !errors.Is(err, room.ErrDrop):
			p.t.Fatal(err)
		}
	}
	return kept
}

// Whoever has a link can ask under as many names as he likes. He keeps nobody from coming in by another link, and what somebody has answered
// reaches everybody, whoever asked first there.
func TestFloodOfRequests(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleAdmin, a)
	meet(t, a, b)
	l, err := a.Invite(ctx, room.InviteOptions{Approve: true})
	if err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	all := a.flood("mallory", l, room.MaxPendingLink+20)
	if kept := b.hears(all); kept != room.MaxPendingLink {
		t.Errorf("%d requests by one link are kept, of %d", kept, len(all))
	}
	slices.Reverse(all)
	if kept := a.hears(all); kept != room.MaxPendingLink {
		t.Errorf("%d requests by one link are kept, of %d", kept, len(all))
	}
	carol := a.invite("carol", room.RoleWriter, a)
	meet(t, a, b)
	if !b.isMember(carol.dev.ID()) {
		t.Error("somebody with another link did not come in")
	}

	// bob has not heard the first that alice answers
	for i, answer := range []func(key.Hash) error{
		func(id key.Hash) error { return a.Admit(ctx, id) },
		func(id key.Hash) error { return a.Refuse(ctx, id, "no") },
	} {
		j := slices.IndexFunc(a.Pending(), func(r room.Request) bool { return r.Device == all[i].Device })
		if j < 0 {
			t.Fatal("the request is not here")
		}
		if err := answer(a.Pending()[j].Join); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Rename(ctx, "told"); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	if !b.isMember(all[0].Device) {
		t.Error("who was let in is not known everywhere")
	}
	if b.Name() != "told" {
		t.Error("what was said after an answer is not known everywhere")
	}
}

func (p *peer) isMember(dev key.DeviceID) bool {
	m, ok := p.Member(dev)
	return ok && m.Standing == room.Admitted
}
