package nodetest_test

import (
	"context"
	"testing"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/serve/api"
)

// TestWithoutTheThird: two members who came in through a third, over the real network in direct mode, find each other and go on when
// that one is gone, also after both were restarted. While it is there, everyone sees who is online.
func TestWithoutTheThird(t *testing.T) {
	w := nodetest.New(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 3*nodetest.Patience)
	defer cancel()
	log := &logBuffer{}
	alice, bob, carol := runLogged(t, "alice", log), runLogged(t, "bob", log), runLogged(t, "carol", log)
	defer func() {
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	if _, err := alice.Create(ctx, api.CreateRequest{Name: "club"}); err != nil {
		t.Fatal(err)
	}
	invite, err := alice.Invite(ctx, "club", api.InviteRequest{Role: "writer", Uses: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*running{bob, carol} {
		if _, err := n.Join(ctx, api.JoinRequest{Link: invite.Link, Wait: nodetest.Patience}, nil); err != nil {
			t.Fatal(err)
		}
	}
	online := func(n *running, want int) func() bool {
		return func() bool {
			members, err := n.Members(ctx, "club")
			if err != nil {
				t.Fatal(err)
			}
			have := 0
			for _, m := range members {
				if m.Online {
					have++
				}
			}
			return have == want
		}
	}
	for _, n := range []*running{alice, bob, carol} {
		w.Until("everyone sees three online", online(n, 3))
	}

	alice.stop()
	w.Until("bob sees alice go", online(bob, 2))
	says(ctx, t, bob, "can you hear me without alice?")
	w.Until("carol hears bob", hears(ctx, t, carol, "can you hear me without alice?"))

	bob.stop()
	carol.stop()
	bob, carol = bob.again(t, "bob", log), carol.again(t, "carol", log)
	says(ctx, t, carol, "and after a restart?")
	w.Until("bob hears carol", hears(ctx, t, bob, "and after a restart?"))
}

func says(ctx context.Context, t *testing.T, n *running, text string) {
	t.Helper()
	if _, err := n.Say(ctx, "club", api.SayRequest{Text: text}); err != nil {
		t.Fatal(err)
	}
}

// hears is a condition: a node has this message.
func hears(ctx context.Context, t *testing.T, n *running, text string) func() bool {
	return func() bool {
		list, err := n.History(ctx, "club", 10, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if m.Text == text {
				return true
			}
		}
		return false
	}
}
