package coretest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// Device returns the device of a seed, the same in every run.
func Device(t testing.TB, seed byte) *key.Device {
	t.Helper()
	d, err := key.DeviceFromSeed(key.Secret{seed})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ID returns the id of a device's core in a room that only tests know.
func ID(d *key.Device) key.CoreID { return key.CoreIDOf(key.RoomID{1}, d.ID(), key.Drive, 0) }

// Bytes returns n bytes that differ for every label.
func Bytes(label string, n int) []byte {
	b := make([]byte, 0, n+32)
	for i := 0; len(b) < n; i++ {
		h := key.Sum(fmt.Appendf(nil, "%s %d", label, i))
		b = append(b, h[:]...)
	}
	return b[:n]
}

// Append appends one batch and fails the test on an error.
func Append(t testing.TB, w core.Writer, d *key.Device, blocks ...[]byte) core.Head {
	t.Helper()
	h, err := core.Append(w, d, ID(d), blocks)
	if err != nil {
		t.Fatalf("appending: %v", err)
	}
	return h
}

// Grow appends blocks of differing sizes, in batches of differing sizes, until
// the core has n.
func Grow(t testing.TB, w core.Writer, d *key.Device, n int, label string) core.Head {
	t.Helper()
	have, err := w.Length()
	if err != nil {
		t.Fatal(err)
	}
	head, err := w.Head()
	if err != nil {
		t.Fatal(err)
	}
	for batch, i := 1, int(have); i < n; batch = batch%7 + 1 {
		var blocks [][]byte
		for ; len(blocks) < batch && i < n; i++ {
			blocks = append(blocks, Bytes(fmt.Sprint(label, i), 1+(i*37)%211))
		}
		head = Append(t, w, d, blocks...)
	}
	return head
}

// Sync carries tails of at most maxBytes from one core to another until
// nothing is left, and returns how many it took.
func Sync(t testing.TB, to core.Writer, from core.Reader, dev key.DeviceID, maxBytes int) int {
	t.Helper()
	for n := 0; ; n++ {
		have, err := to.Length()
		if err != nil {
			t.Fatal(err)
		}
		tail, err := core.ReadTail(from, have, maxBytes)
		if errors.Is(err, core.ErrRange) {
			return n
		}
		if err != nil {
			t.Fatalf("reading tail from %d: %v", have, err)
		}
		if err := tail.Apply(to, dev); err != nil {
			t.Fatalf("applying tail from %d: %v", have, err)
		}
	}
}

// Equal fails the test unless both cores are the same, blocks included.
func Equal(t testing.TB, a, b core.Reader) {
	t.Helper()
	na, errA := a.Length()
	nb, errB := b.Length()
	ha, errC := a.Head()
	hb, errD := b.Head()
	if err := errors.Join(errA, errB, errC, errD); err != nil {
		t.Fatal(err)
	}
	if na != nb || ha != hb {
		t.Fatalf("length %d and %d, head %d and %d", na, nb, ha.Length, hb.Length)
	}
	for i := range na {
		ba, errA := a.Block(i)
		bb, errB := b.Block(i)
		if !bytes.Equal(ba, bb) || errors.Is(errA, core.ErrAbsent) != errors.Is(errB, core.ErrAbsent) {
			t.Fatalf("block %d: %d bytes (%v) and %d bytes (%v)", i, len(ba), errA, len(bb), errB)
		}
	}
}

// Audit fails the test if anything in the core does not match.
func Audit(t testing.TB, r core.Reader, dev key.DeviceID) core.Report {
	t.Helper()
	rep, err := core.Audit(r, dev, func(err error) { t.Errorf("audit: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// Test runs the suite. Every call of open returns another, empty core, which
// lives until the test that it was opened for ends.
func Test(t *testing.T, open func(t *testing.T) core.Writer) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, open func(t *testing.T) core.Writer)
	}{
		{"empty", testEmpty},
		{"storage", testStorage},
		{"append", testAppend},
		{"sync", testSync},
		{"anchor", testAnchor},
		{"clear", testClear},
		{"large", testLarge},
		{"fork", testFork},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open) })
	}
}

func testEmpty(t *testing.T, open func(t *testing.T) core.Writer) {
	w := open(t)
	n, errN := w.Length()
	h, errH := w.Head()
	a, errA := w.Anchor()
	if err := errors.Join(errN, errH, errA); err != nil {
		t.Fatal(err)
	}
	if n != 0 || !h.IsZero() || len(a) != 0 {
		t.Fatalf("an empty core has length %d, head at %d, anchor of %d bytes", n, h.Length, len(a))
	}
	if hs, err := w.ReadHashes(nil); err != nil || len(hs) != 0 {
		t.Errorf("reading no hashes: %d, %v", len(hs), err)
	}
	if _, err := w.ReadHashes([]int64{0}); err == nil {
		t.Error("a hash beyond the end reads without an error")
	}
	if _, err := w.Block(0); err == nil {
		t.Error("a block beyond the end reads without an error")
	}
	if _, err := core.ReadTail(w, 0, 0); !errors.Is(err, core.ErrRange) {
		t.Errorf("tail of an empty core: %v", err)
	}
	Audit(t, w, Device(t, 1).ID())
}

// testStorage looks at the storage alone: it returns what was put.
func testStorage(t *testing.T, open func(t *testing.T) core.Writer) {
	w := open(t)
	hs := make([]tlog.Hash, 1000)
	for i := range hs {
		hs[i] = tlog.Hash(key.Sum(fmt.Append(nil, i)))
	}
	for _, cut := range [][2]int{{0, 1}, {1, 600}, {600, 601}, {601, 1000}} {
		if err := w.PutHashes(int64(cut[0]), hs[cut[0]:cut[1]]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.PutHashes(1000, nil); err != nil {
		t.Errorf("putting no hashes: %v", err)
	}
	got, err := w.ReadHashes([]int64{999, 0, 600, 600, 17})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range []int{999, 0, 600, 600, 17} {
		if got[i] != hs[x] {
			t.Errorf("hash %d is another one", x)
		}
	}
	b := []byte("block")
	if err := errors.Join(w.SetLength(10), w.PutBlock(3, b), w.SetAnchor([]byte("anchor"))); err != nil {
		t.Fatal(err)
	}
	b[0] = 'X' // the storage must have its own copy
	if got, err := w.Block(3); err != nil || string(got) != "block" {
		t.Errorf("block is %q, %v", got, err)
	}
	if _, err := w.Block(4); !errors.Is(err, core.ErrAbsent) {
		t.Errorf("a block that was never put: %v", err)
	}
	if a, err := w.Anchor(); err != nil || string(a) != "anchor" {
		t.Errorf("anchor is %q, %v", a, err)
	}
	if err := errors.Join(w.ClearBlock(3), w.ClearBlock(4), w.SetAnchor(nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Block(3); !errors.Is(err, core.ErrAbsent) {
		t.Errorf("a cleared block: %v", err)
	}
	if a, err := w.Anchor(); err != nil || len(a) != 0 {
		t.Errorf("removed anchor is %q, %v", a, err)
	}
	h := core.SignHead(Device(t, 1), key.CoreID{9}, 10, key.Hash{7})
	if err := w.SetHead(h); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Head(); err != nil || got != h {
		t.Errorf("head is %+v, %v", got, err)
	}
}

func testAppend(t *testing.T, open func(t *testing.T) core.Writer) {
	w, d := open(t), Device(t, 1)
	head := Grow(t, w, d, 100, "a")
	if head.Length != 100 || head.Core != ID(d) || head.Verify(d.ID()) != nil {
		t.Fatalf("head %+v", head)
	}
	if root, err := core.Root(w, 100); err != nil || root != head.Root {
		t.Errorf("root %s, head %s, %v", root.Short(), head.Root.Short(), err)
	}
	for i := range uint64(100) {
		want := Bytes(fmt.Sprint("a", i), 1+(int(i)*37)%211)
		if b, err := w.Block(i); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("block %d: %v", i, err)
		}
		p, err := core.ProveBlock(w, i)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(d.ID(), head); err != nil {
			t.Errorf("block %d: %v", i, err)
		}
	}
	if rep := Audit(t, w, d.ID()); rep.Length != 100 || rep.Present != 100 {
		t.Errorf("audit saw %+v", rep)
	}
}

func testSync(t *testing.T, open func(t *testing.T) core.Writer) {
	d := Device(t, 1)
	src := &MemStore{}
	for _, max := range []int{1, 5000, 0} {
		t.Run(fmt.Sprint(max), func(t *testing.T) {
			dst := open(t)
			for _, n := range []int{1, 2, 3, 64, 65, 130} {
				if int(src.Len) < n {
					Grow(t, src, d, n, "a")
				}
				Sync(t, dst, src, d.ID(), max)
				Equal(t, dst, src)
			}
			Audit(t, dst, d.ID())
			back := &MemStore{}
			Sync(t, back, dst, d.ID(), max)
			Equal(t, back, src)
		})
	}
}

// testAnchor stops in the middle of a long head and goes on.
func testAnchor(t *testing.T, open func(t *testing.T) core.Writer) {
	d, src, w := Device(t, 1), &MemStore{}, open(t)
	Append(t, src, d, []byte("first"))
	Sync(t, w, src, d.ID(), 0)
	Grow(t, src, d, 20, "a")
	for n := uint64(1); n < 19; n++ {
		tail, err := core.ReadTail(src, n, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := tail.Apply(w, d.ID()); err != nil {
			t.Fatal(err)
		}
		Audit(t, w, d.ID())
		for at := uint64(1); at <= n+1; at++ {
			j, err := core.ReadJoint(w, at)
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Check(src, d.ID()); err != nil {
				t.Fatalf("joint at %d with %d here: %v", at, n+1, err)
			}
		}
		if h, err := w.Head(); err != nil || h.Length != 1 {
			t.Fatalf("head at %d, %v", h.Length, err)
		}
	}
	Sync(t, w, src, d.ID(), 0)
	Equal(t, w, src)
	if a, err := w.Anchor(); err != nil || len(a) != 0 {
		t.Errorf("an anchor of %d bytes is left, %v", len(a), err)
	}
}

func testClear(t *testing.T, open func(t *testing.T) core.Writer) {
	d, w := Device(t, 1), open(t)
	Grow(t, w, d, 20, "a")
	p, err := core.ProveBlock(w, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := core.Clear(w, 3, 7, 7); err != nil {
		t.Fatal(err)
	}
	if err := core.Clear(w, 20); !errors.Is(err, core.ErrRange) {
		t.Errorf("clearing beyond the end: %v", err)
	}
	if ok, err := core.Has(w, 7); ok || err != nil {
		t.Errorf("cleared block is here: %v, %v", ok, err)
	}
	if rep := Audit(t, w, d.ID()); rep.Present != 18 {
		t.Errorf("audit saw %d blocks", rep.Present)
	}
	other := &MemStore{}
	Sync(t, other, w, d.ID(), 0)
	Equal(t, other, w)
	wrong := p
	wrong.Data = append(bytes.Clone(p.Data), 1)
	if err := core.FillBlock(w, p, wrong); !errors.Is(err, core.ErrProof) {
		t.Errorf("filling with other bytes: %v", err)
	}
	if ok, _ := core.Has(w, 7); ok {
		t.Error("a failed fill stored something")
	}
	if err := core.FillBlock(w, p); err != nil {
		t.Fatal(err)
	}
	if b, err := w.Block(7); err != nil || !bytes.Equal(b, p.Data) {
		t.Errorf("filled block: %v", err)
	}
}

func testLarge(t *testing.T, open func(t *testing.T) core.Writer) {
	d, w := Device(t, 1), open(t)
	big := Bytes("big", core.MaxBlock)
	Append(t, w, d, big, []byte("small"), big)
	if _, err := core.Append(w, d, ID(d), [][]byte{append(big, 1)}); !errors.Is(err, core.ErrLimit) {
		t.Errorf("a block over the limit: %v", err)
	}
	other := &MemStore{}
	if n := Sync(t, other, w, d.ID(), 0); n != 2 {
		t.Errorf("three blocks in %d tails", n)
	}
	Equal(t, other, w)
}

func testFork(t *testing.T, open func(t *testing.T) core.Writer) {
	d, w, src := Device(t, 1), open(t), &MemStore{}
	Grow(t, src, d, 10, "a")
	evil := src.Clone()
	Grow(t, src, d, 13, "a")
	Grow(t, evil, d, 15, "evil")
	Sync(t, w, src, d.ID(), 0)
	tail, err := core.ReadTail(evil, 9, 0)
	if err != nil {
		t.Fatal(err)
	}
	var fork *core.ForkError
	if err := tail.Apply(w, d.ID()); !errors.As(err, &fork) {
		t.Fatalf("the other branch: %v", err)
	}
	if err := fork.Fork.Verify(d.ID()); err != nil {
		t.Error(err)
	}
	if n, err := core.Common(w, evil); n != 10 || err != nil {
		t.Errorf("common length %d, %v", n, err)
	}
	Equal(t, w, src)
}
