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
	f.bg, f.stop = context.WithCancel(t.Context())
	at := []int64{0, 1, 3, 2, 4, 6, 5, 8, 7, 10, 9, 12, 13, 11, 14, 15}
	for _, i := range at {
		f.readAhead(&f.segs[0], i*mib, mib)
	}
	collect := func() []order {
		o.mu.Lock()
		defer o.mu.Unlock()
		list := slices.Clone(o.list)
		slices.SortFunc(list, func(a, b order) int { return int(a.Off - b.Off) })
		return list
	}
	for late := time.After(time.Minute); joined(collect(), mib) < f.ahead; {
		select {
		case <-o.got:
		case <-late:
			t.Fatalf("on order: %v, which does not join up to %d", collect(), f.ahead)
		}
	}
	if f.ahead < 16*mib+readAheadMax {
		t.Errorf("on order up to %d only", f.ahead)
	}
	for _, r := range collect() {
		if r.ctx.Err() != nil {
			t.Errorf("%v was taken back", r.Range)
		}
	}
	f.readAhead(&f.segs[0], 150*mib, mib)
	for _, r := range collect() {
		if r.Off < 100*mib && r.ctx.Err() == nil {
			t.Errorf("after a jump %v is still on order", r.Range)
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
