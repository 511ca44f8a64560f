package core_test

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
	"github.com/pearbox/pearbox/drive/key"
)

var errFault = errors.New("the disk is gone")

// faulty fails from its n-th call on.
type faulty struct {
	core.Writer
	left int
}

func (f *faulty) fail() error {
	if f.left == 0 {
		return errFault
	}
	f.left--
	return nil
}

func (f *faulty) ReadHashes(x []int64) ([]tlog.Hash, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Writer.ReadHashes(x)
}

func (f *faulty) Length() (uint64, error) {
	if err := f.fail(); err != nil {
		return 0, err
	}
	return f.Writer.Length()
}

func (f *faulty) Head() (core.Head, error) {
	if err := f.fail(); err != nil {
		return core.Head{}, err
	}
	return f.Writer.Head()
}

func (f *faulty) Anchor() ([]byte, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Writer.Anchor()
}

func (f *faulty) Block(i uint64) ([]byte, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Writer.Block(i)
}

func (f *faulty) SetLength(n uint64) error {
	return errors.Join(f.fail(), f.Writer.SetLength(n))
}

func (f *faulty) SetHead(h core.Head) error {
	return errors.Join(f.fail(), f.Writer.SetHead(h))
}

func (f *faulty) SetAnchor(b []byte) error {
	return errors.Join(f.fail(), f.Writer.SetAnchor(b))
}

func (f *faulty) PutBlock(i uint64, b []byte) error {
	return errors.Join(f.fail(), f.Writer.PutBlock(i, b))
}

func (f *faulty) ClearBlock(i uint64) error {
	return errors.Join(f.fail(), f.Writer.ClearBlock(i))
}

func (f *faulty) PutHashes(first int64, hs []tlog.Hash) error {
	return errors.Join(f.fail(), f.Writer.PutHashes(first, hs))
}

// TestFaults lets every call of the storage fail in turn: the operation says
// so, whichever it was, and never succeeds or panics.
func TestFaults(t *testing.T) {
	w := newWorld(t)
	dev := w.dev.ID()
	joint, err := core.ReadJoint(w.src, 7)
	if err != nil {
		t.Fatal(err)
	}
	other := w.peer.Clone()
	coretest.Grow(t, other, w.dev, 20, "evil")
	forked, err := core.ReadTail(other, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	fill := core.BlockProof{Core: coretest.ID(w.dev), Index: 3, Data: w.src.Blocks[3]}
	for name, op := range map[string]func(f *faulty) error{
		"append": func(f *faulty) error {
			f.Writer = w.peer.Clone()
			_, err := core.Append(f, w.dev, coretest.ID(w.dev), [][]byte{{1}, {2}})
			return err
		},
		"apply": func(f *faulty) error { f.Writer = w.peer.Clone(); return w.tail.Apply(f, dev) },
		"fork": func(f *faulty) error {
			f.Writer = w.src.Clone()
			err := forked.Apply(f, dev)
			if fork := (*core.ForkError)(nil); errors.As(err, &fork) {
				return nil
			}
			return err
		},
		"tail":  func(f *faulty) error { _, err := core.ReadTail(f, 5, 0); return err },
		"joint": func(f *faulty) error { return joint.Check(f, dev) },
		"read joint": func(f *faulty) error {
			_, err := core.ReadJoint(f, 5)
			return err
		},
		"head":   func(f *faulty) error { return core.CheckHead(f, dev, w.src.Newest) },
		"prove":  func(f *faulty) error { _, err := core.ProveBlock(f, 5); return err },
		"fill":   func(f *faulty) error { return core.FillBlock(f, fill) },
		"clear":  func(f *faulty) error { f.Writer = w.src.Clone(); return core.Clear(f, 3, 4) },
		"root":   func(f *faulty) error { _, err := core.Root(f, 5); return err },
		"common": func(f *faulty) error { _, err := core.Common(f, w.peer); return err },
		"has":    func(f *faulty) error { _, err := core.Has(f, 5); return err },
		"audit": func(f *faulty) error {
			_, err := core.Audit(f, dev, func(err error) { t.Errorf("found %v", err) })
			return err
		},
	} {
		for n := 0; ; n++ {
			f := &faulty{Writer: w.src, left: n}
			err := op(f)
			if err == nil {
				if n == 0 {
					t.Errorf("%s asks the storage nothing", name)
				}
				break
			}
			if !errors.Is(err, errFault) || n > 1000 {
				t.Errorf("%s, call %d: %v", name, n, err)
				break
			}
		}
	}
}

// TestFixed pins what stands on disks and is signed.
func TestFixed(t *testing.T) {
	w := newWorld(t)
	tail, err := w.tail.Encode()
	if err != nil {
		t.Fatal(err)
	}
	fork, err := someFork(t, w).Encode()
	if err != nil {
		t.Fatal(err)
	}
	head, _ := w.src.Newest.MarshalBinary()
	for what, c := range map[string]struct{ got, want string }{
		"leaf": {core.Leaf([]byte("block")).String(), "04fed06c2aa4fbb9358d0137165ebc573d9e310a17cafa6e8f79e64ddc213ced"},
		"root": {w.src.Newest.Root.String(), "189577ec4a8689413f42fd7ef9ec4d3eec7b01273785e5dca4b5a14dba6acea0"},
		"head": {key.Sum(head).String(), "bcc054b2a37505f1c62e57142afa95876258e9dd483946b0d204469eec361593"},
		"tail": {fmt.Sprint(len(tail), " ", key.Sum(tail)), "770 142b9f2a57643cf132c9f08ad283cb08d230b806be6108d02fc88f07cbb8e175"},
		"fork": {fmt.Sprint(len(fork), " ", key.Sum(fork)), "698 4133fd88d45a0844d655a28c354091f1a8586ec50cdea517790ea30767b36ae1"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, was %s", what, c.got, c.want)
		}
	}
}
