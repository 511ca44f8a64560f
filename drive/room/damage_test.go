package room_test

import (
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// lose makes the storage lose the bytes of one block, as a damaged disk does.
func (p *peer) lose(id key.CoreID, block uint64) {
	p.t.Helper()
	err := p.st.Update(func(tx room.Tx) error {
		w, err := tx.Core(id)
		if err != nil {
			return err
		}
		return w.ClearBlock(block)
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// heal brings back what WantEntries lists, from another peer.
func (p *peer) heal(from *peer) {
	p.t.Helper()
	for range 10 {
		want, err := p.WantEntries(0)
		if err != nil {
			p.t.Fatal(err)
		}
		if len(want) == 0 {
			return
		}
		for _, w := range want {
			if m, err := p.MissingPayloads(w.Core, w.Seq); err != nil || m != w {
				p.t.Fatalf("missing %+v, want %+v, %v", m, w, err)
			}
			proofs, err := from.ProvePayloads(w.Core, w.First, w.Count)
			if err != nil || len(proofs) != 1 {
				p.t.Fatal(proofs, err)
			}
			if err := p.FillPayload(w.Core, proofs...); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	p.t.Fatal("no end to what is missing")
}

// A room opens although the block of an entry is damaged, and is whole again
// once a peer has given it.
func TestLostBlocksComeBack(t *testing.T) {
	for _, kind := range []key.Kind{key.Control, key.Drive} {
		a := creator(t, "alice")
		b := a.invite("bob", room.RoleWriter, a)
		a.write(key.Drive, "one")
		a.write(key.Drive, "two")
		meet(t, a, b)
		ci, _ := own(t, a, kind)
		b.lose(ci.ID, ci.Length-1)
		// a drive that is made anew, so that every entry is read again
		r, err := room.Open(b.st, b.dev, &set{kind: key.Drive, version: "2"}, &set{kind: key.Chat})
		if err != nil {
			t.Fatal(err)
		}
		b.Room = r
		if kind == key.Control {
			if s := b.Status(); s.Standing == room.Unknown || b.Name() != "the room" {
				t.Errorf("%s: %+v", kind, s)
			}
		} else if got := b.set(key.Drive); !slices.Equal(got, []string{"one"}) {
			t.Errorf("%s: set %q", kind, got)
		}
		b.heal(a)
		meet(t, a, b)
		if s := b.Status(); s.Standing != room.Admitted || s.Waiting != 0 {
			t.Errorf("%s: healed %+v", kind, s)
		}
		same(t, a, b)
	}
}

// A transaction that needs a lost block goes on without it.
func TestLostBlockWhileRunning(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	c := a.invite("carol", room.RoleWriter, a)
	meet(t, a, b)
	b.write(key.Drive, "one")
	b.write(key.Drive, "two")
	meet(t, a, b)
	meet(t, a, c)
	ci, _ := own(t, b, key.Drive)
	c.lose(ci.ID, 1)
	d := a.evil() // removes bob without having seen what he wrote
	if err := d.Remove(ctx, b.dev.ID()); err != nil {
		t.Fatal(err)
	}
	d.forge(room.Forgery{Kind: key.Control, Types: []uint16{8}, Recs: []any{second(room.RecRemove(b.dev.ID()))}, Wall: 1})
	d.reopen()
	meet(t, d, c)
	meet(t, d, c)
	if got := c.set(key.Drive); len(got) != 0 {
		t.Errorf("set %q, %+v", got, c.Status())
	}
	c.heal(b)
	same(t, d, c)
}

// A block that is here is not wanted because a later tail leaves it out.
func TestHeldBlockIsNotMissing(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	if _, err := a.tryWrite(key.Chat, "body", []byte("payload")); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
	ci, tail := own(t, a, key.Chat)
	tail.Blocks[1] = core.Block{Hash: tail.Blocks[1].Leaf()}
	if err := b.Receive(ctx, a.dev.ID(), ci, tail); err != nil {
		t.Fatal(err)
	}
	if want, err := b.WantPayloads(0); err != nil || len(want) != 0 {
		t.Errorf("wants %+v, %v", want, err)
	}
}
