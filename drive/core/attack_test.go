package core_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
)

// world is a device with a core of 23 blocks, a peer that holds 9 of them, and
// a tail for that peer with data, a withheld block and a proof.
type world struct {
	dev  *key.Device
	src  *coretest.MemStore
	peer *coretest.MemStore
	tail core.Tail
}

func newWorld(t testing.TB) world {
	w := world{dev: coretest.Device(t, 1), src: &coretest.MemStore{}, peer: &coretest.MemStore{}}
	coretest.Grow(t, w.src, w.dev, 9, "a")
	coretest.Sync(t, w.peer, w.src, w.dev.ID(), 0)
	coretest.Grow(t, w.src, w.dev, 23, "a")
	if err := core.Clear(w.src, 10, 12); err != nil {
		t.Fatal(err)
	}
	tail, err := core.ReadTail(w.src, 9, 4<<10+480)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(tail.Blocks); n < 3 || tail.End() >= 23 || len(tail.Proof) == 0 {
		t.Fatalf("tail of %d blocks", n)
	}
	w.tail = tail
	return w
}

// unchanged fails the test if the peer's core is not what it was.
func unchanged(t testing.TB, before, after *coretest.MemStore) {
	t.Helper()
	coretest.Equal(t, after, before)
	if !bytes.Equal(before.Pending, after.Pending) || len(before.Hashes) != len(after.Hashes) {
		t.Fatal("something was stored")
	}
}

func TestMutateTail(t *testing.T) {
	w := newWorld(t)
	enc, err := w.tail.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range enc {
		for _, x := range []byte{1, 0x80, 0xff} {
			bad := bytes.Clone(enc)
			bad[i] ^= x
			tail, err := core.ParseTail(bad)
			if err != nil {
				continue
			}
			peer := w.peer.Clone()
			if err := tail.Apply(peer, w.dev.ID()); err == nil {
				if again, _ := tail.Encode(); bytes.Equal(again, enc) {
					continue // another way to write the same tail
				}
				t.Fatalf("byte %d of %d xor %#x was accepted", i, len(enc), x)
			}
			unchanged(t, w.peer, peer)
		}
	}
}

func TestTruncateEverything(t *testing.T) {
	w := newWorld(t)
	joint, err := core.ReadJoint(w.src, 5)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := core.ProveBlock(w.src, 5)
	if err != nil {
		t.Fatal(err)
	}
	fork := someFork(t, w)
	for name, c := range map[string]struct {
		encode func() ([]byte, error)
		parse  func([]byte) error
	}{
		"tail":  {w.tail.Encode, func(b []byte) error { _, err := core.ParseTail(b); return err }},
		"joint": {joint.Encode, func(b []byte) error { _, err := core.ParseJoint(b); return err }},
		"proof": {proof.Encode, func(b []byte) error { _, err := core.ParseBlockProof(b); return err }},
		"fork":  {fork.Encode, func(b []byte) error { _, err := core.ParseFork(b); return err }},
		"head":  {w.tail.Head.MarshalBinary, func(b []byte) error { _, err := core.ParseHead(b); return err }},
	} {
		enc, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.parse(enc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range enc {
			if c.parse(enc[:n]) == nil {
				t.Errorf("%s cut to %d of %d bytes was accepted", name, n, len(enc))
			}
		}
		if c.parse(append(bytes.Clone(enc), 0)) == nil {
			t.Errorf("%s with a byte more was accepted", name)
		}
	}
}

func someFork(t testing.TB, w world) core.Fork {
	t.Helper()
	evil := w.peer.Clone()
	coretest.Grow(t, evil, w.dev, 30, "evil")
	tail, err := core.ReadTail(evil, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	var fork *core.ForkError
	if err := tail.Check(w.src, w.dev.ID()); !errors.As(err, &fork) {
		t.Fatalf("no fork: %v", err)
	}
	return fork.Fork
}

func TestMutateFork(t *testing.T) {
	w := newWorld(t)
	enc, err := someFork(t, w).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range enc {
		bad := bytes.Clone(enc)
		bad[i] ^= 1
		if f, err := core.ParseFork(bad); err == nil && f.Verify(w.dev.ID()) == nil {
			t.Errorf("byte %d of %d: a changed fork still convicts", i, len(enc))
		}
	}
}

// TestFrameUp tries to convict a device that never forked.
func TestFrameUp(t *testing.T) {
	w := newWorld(t)
	at5, err := core.ReadJoint(w.src, 5)
	if err != nil {
		t.Fatal(err)
	}
	at6, err := core.ReadJoint(w.src, 6)
	if err != nil {
		t.Fatal(err)
	}
	other := coretest.Device(t, 2)
	forged := core.Joint{Head: core.SignHead(other, at5.Head.Core, 5, key.Hash{1})}
	alien := core.Joint{Head: core.SignHead(w.dev, key.CoreID{8}, 5, key.Hash{1})}
	noProof := core.Joint{Head: at5.Head, Steps: []core.Step{{Length: 5, Root: key.Hash{1}}}}
	lying := core.Joint{Head: at5.Head, Steps: []core.Step{{Length: 5, Root: key.Hash{1}, Proof: at5.Steps[0].Proof}}}
	for name, f := range map[string]core.Fork{
		"the same twice":        {A: at5, B: at5},
		"two lengths":           {A: at5, B: at6},
		"another device's head": {A: at5, B: forged},
		"another core's head":   {A: at5, B: alien},
		"no proof":              {A: at5, B: noProof},
		"a wrong proof":         {A: at5, B: lying},
		"nothing":               {},
	} {
		if f.Verify(w.dev.ID()) == nil {
			t.Errorf("convicted by %s", name)
		}
	}
}

func TestMutateBlockProof(t *testing.T) {
	w := newWorld(t)
	p, err := core.ProveBlock(w.src, 5)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range enc {
		bad := bytes.Clone(enc)
		bad[i] ^= 4
		if p, err := core.ParseBlockProof(bad); err == nil && p.Verify(w.dev.ID(), w.src.Newest) == nil {
			t.Errorf("byte %d of %d was accepted", i, len(enc))
		}
	}
}

// TestLies is a table of tails that are well formed and wrong.
func TestLies(t *testing.T) {
	other := coretest.Device(t, 2)
	for _, c := range []struct {
		name string
		lie  func(w world, tail *core.Tail)
		want error
	}{
		{"another core's name", func(w world, t *core.Tail) { t.Core[0]++ }, core.ErrCore},
		{"another core", func(w world, t *core.Tail) {
			t.Core[0]++
			t.Head = core.SignHead(w.dev, t.Core, t.Head.Length, t.Head.Root)
		}, core.ErrCore},
		{"another device", func(w world, t *core.Tail) {
			t.Head = core.SignHead(other, t.Core, t.Head.Length, t.Head.Root)
		}, core.ErrSignature},
		{"a longer head", func(w world, t *core.Tail) { t.Head.Length++ }, core.ErrSignature},
		{"a signed longer head", func(w world, t *core.Tail) {
			t.Head = core.SignHead(w.dev, t.Core, 2*t.Head.Length, t.Head.Root)
		}, core.ErrJoin},
		{"a huge head", func(w world, t *core.Tail) { t.Head.Length = 1 << 63 }, core.ErrRange},
		{"a huge signed head", func(w world, t *core.Tail) {
			t.Head = core.SignHead(w.dev, t.Core, 1<<63, t.Head.Root)
		}, core.ErrRange},
		{"a head before the end", func(w world, t *core.Tail) { t.Head.Length = t.End() - 1 }, core.ErrRange},
		{"a gap", func(w world, t *core.Tail) { t.From++; t.Blocks = t.Blocks[1:] }, core.ErrGap},
		{"a shift back", func(w world, t *core.Tail) { t.From-- }, core.ErrJoin},
		{"an overflow", func(w world, t *core.Tail) { t.From = 1<<64 - 1 }, core.ErrRange},
		{"no blocks", func(w world, t *core.Tail) { t.Blocks = nil }, core.ErrLimit},
		{"a block less", func(w world, t *core.Tail) { t.Blocks = t.Blocks[:len(t.Blocks)-1] }, core.ErrJoin},
		{"a block twice", func(w world, t *core.Tail) { t.Blocks = append(t.Blocks, t.Blocks[0]) }, core.ErrJoin},
		{"two blocks exchanged", func(w world, t *core.Tail) {
			t.Blocks[0], t.Blocks[2] = t.Blocks[2], t.Blocks[0]
		}, core.ErrJoin},
		{"an empty block", func(w world, t *core.Tail) { t.Blocks[0].Data = []byte{} }, core.ErrLimit},
		{"a block over the limit", func(w world, t *core.Tail) {
			t.Blocks[0].Data = make([]byte, core.MaxBlock+1)
		}, core.ErrLimit},
		{"no proof", func(w world, t *core.Tail) { t.Proof = nil }, core.ErrJoin},
		{"a hash less", func(w world, t *core.Tail) { t.Proof = t.Proof[1:] }, core.ErrJoin},
		{"a hash more", func(w world, t *core.Tail) { t.Proof = append(t.Proof, [32]byte{}) }, core.ErrJoin},
		{"an endless proof", func(w world, t *core.Tail) { t.Proof = make([][32]byte, 1<<20) }, core.ErrLimit},
		{"a whole other log", func(w world, t *core.Tail) {
			t.From = 0
		}, core.ErrProof},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			tail, peer := w.tail, w.peer.Clone()
			tail.Blocks = append([]core.Block(nil), tail.Blocks...)
			tail.Proof = append([][32]byte(nil), tail.Proof...)
			c.lie(w, &tail)
			err := tail.Apply(peer, w.dev.ID())
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			unchanged(t, w.peer, peer)
		})
	}
}

// TestLyingLength: a consistency proof cannot always tell 23 blocks from 24,
// so a device may sign a length that its root does not have. It gains nothing:
// the blocks are its own, the head is never reached, and who reaches that
// length holds the proof against it.
func TestLyingLength(t *testing.T) {
	w := newWorld(t)
	dev := w.dev.ID()
	lie := w.tail
	lie.Head = core.SignHead(w.dev, lie.Core, lie.Head.Length+1, lie.Head.Root)
	peer := w.peer.Clone()
	if err := lie.Apply(peer, dev); err != nil {
		t.Fatal(err)
	}
	honest, caught := peer.Clone(), peer.Clone()
	coretest.Sync(t, honest, w.src, dev, 0)
	coretest.Equal(t, honest, w.src)
	coretest.Audit(t, honest, dev)
	coretest.Grow(t, w.src, w.dev, 25, "a")
	tail, err := core.ReadTail(w.src, caught.Len, 0)
	if err != nil {
		t.Fatal(err)
	}
	var fork *core.ForkError
	if err := tail.Apply(caught, dev); !errors.As(err, &fork) {
		t.Fatalf("the true block 24: %v", err)
	}
	if err := fork.Fork.Verify(dev); err != nil {
		t.Error(err)
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t)
	dev := w.dev.ID()
	var tails []core.Tail
	peer := w.peer.Clone()
	for peer.Len < w.src.Len {
		tail, err := core.ReadTail(w.src, peer.Len, 4<<10+200)
		if err != nil {
			t.Fatal(err)
		}
		tails = append(tails, tail)
		for range 2 {
			if err := tail.Apply(peer, dev); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := peer.Clone()
	for i := range tails { // again from the beginning, backwards, and from before the overlap
		if err := tails[len(tails)-1-i].Apply(peer, dev); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := core.ReadTail(w.src, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Apply(peer, dev); err != nil {
		t.Fatal(err)
	}
	unchanged(t, done, peer)
	if err := tails[1].Apply(w.peer.Clone(), dev); !errors.Is(err, core.ErrGap) {
		t.Errorf("the second tail first: %v", err)
	}
	cleared := peer.Clone()
	if err := core.Clear(cleared, 20); err != nil {
		t.Fatal(err)
	}
	if err := whole.Apply(cleared, dev); err != nil {
		t.Fatal(err)
	}
	if ok, _ := core.Has(cleared, 20); ok {
		t.Error("a replay brought back a cleared block")
	}
}

// TestOlderHead: two peers are behind by different amounts; what they serve
// joins.
func TestOlderHead(t *testing.T) {
	d, src, dst := coretest.Device(t, 1), &coretest.MemStore{}, &coretest.MemStore{}
	coretest.Grow(t, src, d, 10, "a")
	old := src.Clone()
	coretest.Grow(t, src, d, 40, "a")
	tail, err := core.ReadTail(src, 0, 4<<10+900) // towards 40
	if err != nil {
		t.Fatal(err)
	}
	tail.Blocks = tail.Blocks[:0]
	for i := range uint64(7) {
		tail.Blocks = append(tail.Blocks, core.Block{Data: src.Blocks[i]})
	}
	j, err := core.ReadJoint(src, 7)
	if err != nil {
		t.Fatal(err)
	}
	tail.Proof = j.Steps[0].Proof
	if err := tail.Apply(dst, d.ID()); err != nil {
		t.Fatal(err)
	}
	coretest.Sync(t, dst, old, d.ID(), 0) // towards 10
	coretest.Equal(t, dst, old)
	coretest.Audit(t, dst, d.ID())
	coretest.Sync(t, dst, src, d.ID(), 5000)
	coretest.Equal(t, dst, src)
	if err := core.CheckHead(dst, d.ID(), old.Newest); err != nil {
		t.Errorf("an older head: %v", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	d := coretest.Device(t, 1)
	good := &coretest.MemStore{}
	coretest.Grow(t, good, d, 9, "a")
	for _, c := range []struct {
		name   string
		damage func(m *coretest.MemStore)
		id     key.CoreID
		blocks [][]byte
		want   error
	}{
		{"no blocks", nil, coretest.ID(d), nil, core.ErrLimit},
		{"an empty block", nil, coretest.ID(d), [][]byte{{1}, {}}, core.ErrLimit},
		{"another core", nil, key.CoreID{3}, [][]byte{{1}}, core.ErrCore},
		{"damaged hashes", func(m *coretest.MemStore) { m.Hashes[len(m.Hashes)-1][0]++ }, coretest.ID(d), [][]byte{{1}}, core.ErrDamaged},
		{"a lost end", func(m *coretest.MemStore) { m.Newest = core.Head{} }, coretest.ID(d), [][]byte{{1}}, core.ErrBehind},
	} {
		m := good.Clone()
		if c.damage != nil {
			c.damage(m)
		}
		before := m.Clone()
		if _, err := core.Append(m, d, c.id, c.blocks); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		unchanged(t, before, m)
	}
}

// TestDamage: rot is found by the audit, and is not served.
func TestDamage(t *testing.T) {
	d := coretest.Device(t, 1)
	good := &coretest.MemStore{}
	coretest.Grow(t, good, d, 50, "a")
	damages := map[string]func(m *coretest.MemStore){
		"head":  func(m *coretest.MemStore) { m.Newest.Sig[3]++ },
		"block": func(m *coretest.MemStore) { m.Blocks[17][0]++ },
	}
	for i := range good.Hashes {
		damages[fmt.Sprint("hash ", i)] = func(m *coretest.MemStore) { m.Hashes[i][0]++ }
	}
	for name, damage := range damages {
		m, found := good.Clone(), 0
		damage(m)
		if _, err := core.Audit(m, d.ID(), func(err error) {
			if !errors.Is(err, core.ErrDamaged) {
				t.Errorf("%s: %v", name, err)
			}
			found++
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if found == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	m := good.Clone()
	m.Blocks[17][0]++
	if _, err := core.ReadTail(m, 10, 0); !errors.Is(err, core.ErrDamaged) {
		t.Errorf("a damaged block was served: %v", err)
	}
	if _, err := core.ProveBlock(m, 17); !errors.Is(err, core.ErrDamaged) {
		t.Errorf("a damaged block was proven: %v", err)
	}
}
