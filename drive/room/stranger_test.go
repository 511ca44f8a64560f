package room_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Nothing is kept of a core that its device has not signed, and little of one
// whose device nobody let in.
func TestMadeUpCores(t *testing.T) {
	a := creator(t, "alice")
	b := a.invite("bob", room.RoleWriter, a)
	meet(t, a, b)
	ci, tail := own(t, b, key.Control)
	before := a.known()
	for name, change := range map[string]func(*room.CoreInfo, *core.Tail){
		"signed by another": func(ci *room.CoreInfo, tail *core.Tail) {
			tail.Head = core.SignHead(device(t, "mallory"), ci.ID, tail.Head.Length, tail.Head.Root)
		},
		"not signed": func(_ *room.CoreInfo, tail *core.Tail) { tail.Head.Sig = [64]byte{} },
		"not its blocks": func(_ *room.CoreInfo, tail *core.Tail) {
			tail.Blocks = slices.Clone(tail.Blocks)
			tail.Blocks[0] = core.Block{Data: []byte("x")}
		},
		"another core's": func(_ *room.CoreInfo, tail *core.Tail) { tail.Core = ci.ID },
		"of a stranger": func(ci *room.CoreInfo, _ *core.Tail) {
			ci.Device = device(t, "mallory").ID()
			ci.ID = key.CoreIDOf(a.ID(), ci.Device, ci.Kind, ci.Gen)
		},
	} {
		for gen := uint32(1000); gen < 1003; gen++ {
			ci := room.CoreInfo{Device: b.dev.ID(), Kind: key.Control, Gen: gen}
			ci.ID = key.CoreIDOf(a.ID(), ci.Device, ci.Kind, ci.Gen)
			bad := tail
			bad.Core, bad.Head.Core = ci.ID, ci.ID
			bad.Head = core.SignHead(b.dev, ci.ID, tail.Head.Length, tail.Head.Root)
			change(&ci, &bad)
			if err := a.Receive(ctx, b.dev.ID(), ci, bad); err == nil {
				t.Errorf("%s: taken", name)
			}
			if err := a.Receive(ctx, b.dev.ID(), ci); !errors.Is(err, room.ErrDrop) {
				t.Errorf("%s: nothing of it: %v", name, err)
			}
		}
	}
	if after := a.known(); after != before {
		t.Errorf("%d cores are known, %d before", after, before)
	}
	// a stranger's blocks are small
	x := device(t, "xaver")
	st := a.st.Clone()
	cx := room.CoreInfo{Device: x.ID(), Kind: key.Control}
	cx.ID = key.CoreIDOf(a.ID(), cx.Device, cx.Kind, 0)
	err := st.Update(func(tx room.Tx) error {
		w, err := tx.Core(cx.ID)
		if err != nil {
			return err
		}
		if _, err := core.Append(w, x, cx.ID, [][]byte{make([]byte, room.MaxStrangerBlock+1)}); err != nil {
			return err
		}
		tail, err = core.ReadTail(w, 0, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Receive(ctx, x.ID(), cx, tail); !errors.Is(err, room.ErrDrop) {
		t.Errorf("a stranger's large block: %v", err)
	}
	if after := a.known(); after != before {
		t.Error("its core was kept")
	}
}

// known is how many cores the truth knows the owner of.
func (p *peer) known() (n int) {
	err := p.View(func(tx room.Tx) error {
		for range tx.Log("cores").Scan(nil, nil) {
			n++
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}
