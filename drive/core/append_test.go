package core_test

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/core/coretest"
)

// TestAppender: several appends and one signature leave the core that one append of everything leaves, at every length to begin with.
func TestAppender(t *testing.T) {
	d := coretest.Device(t, 1)
	for begin := range 9 {
		one, steps := &coretest.MemStore{}, &coretest.MemStore{}
		var blocks [][]byte
		for i := range begin + 12 {
			blocks = append(blocks, fmt.Appendf(nil, "block %d", i))
		}
		if begin > 0 {
			coretest.Append(t, one, d, blocks[:begin]...)
			coretest.Append(t, steps, d, blocks[:begin]...)
		}
		coretest.Append(t, one, d, blocks[begin:]...)
		a, err := core.NewAppender(steps, d, coretest.ID(d))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Sign(); !errors.Is(err, core.ErrLimit) {
			t.Errorf("signing the same once more: %v", err)
		}
		old := steps.Newest
		for n := begin; n < len(blocks); {
			k := min(n%3+1, len(blocks)-n)
			if err := a.Append(blocks[n : n+k]); err != nil {
				t.Fatal(err)
			}
			n += k
			root, err := core.Root(steps, uint64(n))
			if err != nil || a.Length() != uint64(n) || a.Root() != root || steps.Newest != old {
				t.Fatalf("after %d of %d blocks: length %d, root %s and not %s, %v", n, len(blocks), a.Length(), a.Root().Short(), root.Short(), err)
			}
		}
		if _, err := core.NewAppender(steps.Clone(), d, coretest.ID(d)); !errors.Is(err, core.ErrBehind) {
			t.Errorf("going on without a signature: %v", err)
		}
		if err := a.Append([][]byte{{1}, {}}); !errors.Is(err, core.ErrLimit) {
			t.Errorf("an empty block: %v", err)
		}
		head, err := a.Sign()
		if err != nil {
			t.Fatal(err)
		}
		if err := head.Verify(d.ID()); err != nil || head != steps.Newest {
			t.Errorf("the head that was stored is not the one that was signed: %v", err)
		}
		coretest.Equal(t, steps, one)
		coretest.Audit(t, steps, d.ID())
	}
}

// TestKeepHashes: the roots of a core are the same with hashes kept, and each hash is read once.
func TestKeepHashes(t *testing.T) {
	d := coretest.Device(t, 1)
	m := &coretest.MemStore{}
	coretest.Grow(t, m, d, 100, "a")
	counted := &countingReader{Reader: m, reads: map[int64]int{}}
	r := core.KeepHashes(counted)
	for n := uint64(1); n <= 100; n++ {
		got, err := core.Root(r, n)
		if err != nil {
			t.Fatal(err)
		}
		want, err := core.Root(m, n)
		if err != nil || got != want {
			t.Fatalf("root at %d: %s and not %s, %v", n, got.Short(), want.Short(), err)
		}
	}
	for x, n := range counted.reads {
		if n > 1 {
			t.Errorf("hash %d was read %d times", x, n)
		}
	}
	if _, err := core.Root(r, 101); !errors.Is(err, core.ErrRange) {
		t.Errorf("a root beyond the end: %v", err)
	}
}

type countingReader struct {
	core.Reader
	reads map[int64]int
}

func (c *countingReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	for _, x := range indexes {
		c.reads[x]++
	}
	return c.Reader.ReadHashes(indexes)
}
