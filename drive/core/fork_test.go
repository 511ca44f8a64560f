package core_test

import (
	"errors"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
)

// TestForksAtEveryLength enumerates
//
//	common ──┬── a ... (honest, length la)
//	         └── b ... (evil, length lb)
//
// and a peer that holds the first n blocks of a, fetched in one go or block by
// block (then it has only an anchor for them). Whatever it meets of b, the
// fork is proven as soon as it can be, and nothing of b is stored.
func TestForksAtEveryLength(t *testing.T) {
	d := coretest.Device(t, 1)
	dev := d.ID()
	for common := 0; common <= 5; common++ {
		base := &coretest.MemStore{}
		if common > 0 {
			coretest.Grow(t, base, d, common, "a")
		}
		for la := common + 1; la <= common+4; la++ {
			for lb := common + 1; lb <= common+4; lb++ {
				a, b := base.Clone(), base.Clone()
				coretest.Append(t, a, d, blocks("a", la-common)...)
				coretest.Append(t, b, d, blocks("b", lb-common)...)
				for n := 1; n <= la; n++ {
					peer := partial(t, a, dev, n)
					meetFork(t, peer, b, dev, uint64(common))
				}
			}
		}
	}
}

func blocks(label string, n int) (bs [][]byte) {
	for i := range n {
		bs = append(bs, []byte{label[0], byte(i)})
	}
	return bs
}

// partial returns a core that fetched n blocks one by one.
func partial(t testing.TB, src core.Reader, dev [32]byte, n int) *coretest.MemStore {
	t.Helper()
	m := &coretest.MemStore{}
	for i := range n {
		tail, err := core.ReadTail(src, uint64(i), 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := tail.Apply(m, dev); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// meetFork shows the peer everything that b can say, in the way the wire
// does: the head; tails; a joint when a tail does not join.
func meetFork(t testing.TB, peer, b *coretest.MemStore, dev [32]byte, common uint64) {
	t.Helper()
	before := peer.Clone()
	provable := peer.Len > common // b contradicts a block that is here
	convict := func(what string, err error) {
		t.Helper()
		var fork *core.ForkError
		if !errors.As(err, &fork) {
			t.Fatalf("common %d, here %d, b %d: %s: %v", common, peer.Len, b.Len, what, err)
		}
		if err := fork.Fork.Verify(dev); err != nil {
			t.Fatalf("common %d, here %d, b %d: %s: %v", common, peer.Len, b.Len, what, err)
		}
		if fork.Fork.At() <= common {
			t.Fatalf("a fork at %d after %d common blocks", fork.Fork.At(), common)
		}
	}
	if b.Len <= peer.Len {
		convict("head", core.CheckHead(peer, dev, b.Newest))
	}
	for from := range min(peer.Len, b.Len-1) + 1 {
		tail, err := core.ReadTail(b, from, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = tail.Check(peer, dev)
		switch {
		case from <= common && provable:
			convict("tail", err)
		case from > common:
			if !errors.Is(err, core.ErrJoin) {
				t.Fatalf("common %d, here %d: tail from %d: %v", common, peer.Len, from, err)
			}
			j, err := core.ReadJoint(b, min(peer.Len, b.Len))
			if err != nil {
				t.Fatal(err)
			}
			convict("joint", j.Check(peer, dev))
		}
	}
	if provable {
		unchanged(t, before, peer)
	}
}

// TestForkBeyond: the peer has only the common part, verified against branch
// a; branch b reaches it first and shows the head that a had signed to be one
// that b contradicts.
func TestForkBeyond(t *testing.T) {
	d := coretest.Device(t, 1)
	dev := d.ID()
	base := &coretest.MemStore{}
	coretest.Grow(t, base, d, 4, "a")
	a, b, same := base.Clone(), base.Clone(), base.Clone()
	coretest.Append(t, a, d, blocks("a", 3)...)
	coretest.Append(t, b, d, blocks("b", 5)...)
	coretest.Append(t, same, d, blocks("c", 3)...)
	for name, other := range map[string]*coretest.MemStore{"longer": b, "of the same length": same} {
		peer := partial(t, a, dev, 4)
		tail, err := core.ReadTail(other, 4, 0)
		if err != nil {
			t.Fatal(err)
		}
		var fork *core.ForkError
		if err := tail.Apply(peer, dev); !errors.As(err, &fork) {
			t.Fatalf("%s: %v", name, err)
		}
		if err := fork.Fork.Verify(dev); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	peer := partial(t, a, dev, 4)
	var fork *core.ForkError
	if err := core.CheckHead(peer, dev, same.Newest); !errors.As(err, &fork) {
		t.Errorf("head beyond what is here: %v", err)
	}
}

// TestForkIsCanonical: whoever meets the branches in whichever order makes the
// same proof from the same statements.
func TestForkIsCanonical(t *testing.T) {
	d := coretest.Device(t, 1)
	a, b := &coretest.MemStore{}, &coretest.MemStore{}
	coretest.Append(t, a, d, blocks("a", 3)...)
	coretest.Append(t, b, d, blocks("b", 3)...)
	var x, y *core.ForkError
	if !errors.As(core.CheckHead(a, d.ID(), b.Newest), &x) || !errors.As(core.CheckHead(b, d.ID(), a.Newest), &y) {
		t.Fatal("no fork")
	}
	ex, err := x.Fork.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ey, err := y.Fork.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if string(ex) != string(ey) {
		t.Error("two proofs of one fork")
	}
}

// TestBranch makes another history of a core from the hashes of the common part, and what follows, at every length.
func TestBranch(t *testing.T) {
	d := coretest.Device(t, 1)
	for common := range 10 {
		base := &coretest.MemStore{}
		if common > 0 {
			coretest.Grow(t, base, d, common, "common")
		}
		a, b := base.Clone(), base.Clone()
		coretest.Append(t, a, d, blocks("a", 3)...)
		head := coretest.Append(t, b, d, blocks("b", 5)...)
		for n := range uint64(common) + 3 { // of a, which may be more than it shares with b
			w := &coretest.MemStore{}
			if err := core.Branch(w, a, n); err != nil {
				t.Fatal(err)
			}
			tail, err := core.ReadTail(b, n, 0)
			if err != nil {
				t.Fatal(err)
			}
			err = tail.Apply(w, d.ID())
			if n > uint64(common) {
				if !errors.Is(err, core.ErrJoin) {
					t.Errorf("%d of %d in common: %v", n, common, err)
				}
				if h, err := w.Head(); err != nil || !h.IsZero() {
					t.Errorf("a head that nothing leads to: %+v, %v", h, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%d of %d in common: %v", n, common, err)
			}
			rep := coretest.Audit(t, w, d.ID())
			if rep.Length != head.Length || rep.Present != head.Length-n {
				t.Errorf("%d of %d in common: %+v", n, common, rep)
			}
			if got, err := core.Common(a, w); err != nil || got != uint64(common) {
				t.Errorf("it parts at %d, not at %d, %v", got, common, err)
			}
			if err := core.Branch(w, a, n); err != nil { // what has something is left alone
				t.Fatal(err)
			}
			if again := coretest.Audit(t, w, d.ID()); again != rep {
				t.Errorf("made twice: %+v, before %+v", again, rep)
			}
		}
		w := &coretest.MemStore{}
		if err := core.Branch(w, a, uint64(common)+4); !errors.Is(err, core.ErrRange) {
			t.Errorf("a branch beyond the end: %v", err)
		}
		if n, err := w.Length(); err != nil || n != 0 {
			t.Errorf("it left %d blocks, %v", n, err)
		}
	}
}
