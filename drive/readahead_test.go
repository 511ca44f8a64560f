package drive

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// orders is a Fetcher that remembers what it was asked for.
type orders struct {
	mu   sync.Mutex
	list []order
	got  chan struct{}
}

type order struct {
	blob.Range
	ctx context.Context
}

func (o *orders) Fetch(ctx context.Context, _ blob.Ref, off, n int64) error {
	o.mu.Lock()
	o.list = append(o.list, order{blob.Range{Off: off, Len: n}, ctx})
	o.mu.Unlock()
	o.got <- struct{}{}
	return nil
}

func (o *orders) FetchSmall(context.Context, []blob.Ref) error           { return nil }
func (o *orders) FetchPayload(context.Context, key.CoreID, uint64) error { return nil }

// Reads in almost the right order, as a kernel's own read-ahead makes them, take nothing back that is on order and order nothing twice.
func TestReadAhead(t *testing.T) {
	const mib, size = 1 << 20, 200 << 20
	o := &orders{got: make(chan struct{}, 1000)}
	f := &File{d: &Drive{fetch: o}, size: size, segs: []segment{{part: blob.Part{Length: size, Size: size}}}}
	f.ahead = newLookahead(t.Context(), size, false)
	at := []int64{0, 1, 3, 2, 4, 6, 5, 8, 7, 10, 9, 12, 13, 11, 14, 15}
	for _, i := range at {
		f.order(f.ahead.plan(i*mib, mib))
	}
	collect := func() []order {
		o.mu.Lock()
		defer o.mu.Unlock()
		list := slices.Clone(o.list)
		slices.SortFunc(list, func(a, b order) int { return int(a.Off - b.Off) })
		return list
	}
	for late := time.After(time.Minute); joined(collect(), mib) < f.ahead.upTo; {
		select {
		case <-o.got:
		case <-late:
			t.Fatalf("on order: %v, which does not join up to %d", collect(), f.ahead.upTo)
		}
	}
	if f.ahead.upTo < 16*mib+readAheadMax {
		t.Errorf("on order up to %d only", f.ahead.upTo)
	}
	for _, r := range collect() {
		if r.ctx.Err() != nil {
			t.Errorf("%v was taken back", r.Range)
		}
	}
	f.order(f.ahead.plan(150*mib, mib))
	for _, r := range collect() {
		if r.Off < 100*mib && r.ctx.Err() == nil {
			t.Errorf("after a jump %v is still on order", r.Range)
		}
	}
}

// A player reads the head, then the index at the end, then goes on: both ends are on order from the first read on, in one round trip, and the look
// at the end takes nothing back.
func TestReadAheadOfMedia(t *testing.T) {
	const mib, size = 1 << 20, 200 << 20
	if !indexAtEnd("/a/Film.MP4") || indexAtEnd("/a.mp4/notes.txt") {
		t.Fatal("what has its index at the end is not told by the name")
	}
	r := newLookahead(t.Context(), size, true)
	spans := func(list []wanted) (out []blob.Range) {
		for _, w := range list {
			out = append(out, blob.Range{Off: w.from, Len: w.to - w.from})
		}
		return out
	}
	first := r.plan(0, 64<<10)
	want := []blob.Range{{Off: 0, Len: endLen}, {Off: size - endLen, Len: endLen}, {Off: endLen, Len: 64 << 10}}
	if got := spans(first); !slices.Equal(got, want) {
		t.Fatalf("the first read orders %v, want %v", got, want)
	}
	if got := r.plan(size-100<<10, 64<<10); got != nil {
		t.Errorf("a look at the end orders %v", spans(got))
	}
	if got := r.plan(128<<10, 64<<10); len(got) > 1 || first[2].ctx.Err() != nil {
		t.Errorf("the reader in order lost what it had on order, or orders twice: %v", spans(got))
	}
	r.plan(100*mib, 64<<10)
	if first[2].ctx.Err() == nil {
		t.Error("a seek does not take back what the reader had on order")
	}
	if first[0].ctx.Err() != nil || first[1].ctx.Err() != nil {
		t.Error("a seek takes back the ends")
	}
	r.close()
	if first[1].ctx.Err() == nil {
		t.Error("what is closed still has bytes on order")
	}
	if small := newLookahead(t.Context(), 2*endLen, true); len(small.plan(0, 64<<10)) != 1 {
		t.Error("the ends of a small file are ordered apart")
	}
}

// Opened by its name, a video of several parts asks the blobs it is cut from, at the right places.
func TestReadAheadOfParts(t *testing.T) {
	const mib = 1 << 20
	o := &orders{got: make(chan struct{}, 10)}
	content := blob.Content{Size: 8 * mib, Parts: []blob.Part{
		{Offset: 3 * mib, Length: 7*mib + mib/2, Size: 20 * mib},
		{Offset: 5, Length: mib / 2, Size: mib},
	}}
	f, err := (&Drive{fetch: o}).OpenContent(t.Context(), Info{Path: "/v.webm", Kind: KindFile, Content: &content})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.order(f.ahead.plan(4*mib, mib))
	want := []blob.Range{{Off: 3 * mib, Len: mib}, {Off: 10 * mib, Len: mib / 2}, {Off: 5, Len: mib / 2}, {Off: 8 * mib, Len: mib}}
	for range want {
		select {
		case <-o.got:
		case <-time.After(time.Minute):
			t.Fatal("not all is on order")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range want {
		if !slices.ContainsFunc(o.list, func(g order) bool { return g.Range == w }) {
			t.Errorf("%v is not on order: %v", w, o.list)
		}
	}
}

// joined returns up to where list, by offset, is without a gap or an overlap from at on.
func joined(list []order, at int64) int64 {
	for _, r := range list {
		if r.Off != at {
			break
		}
		at = r.End()
	}
	return at
}
