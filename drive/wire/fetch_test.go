package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// trio is a reader and two holders, all members, connected reader to holders.
func trio(t *testing.T) (r, a, b *node) { return trioWith(t, brisk) }

func trioWith(t *testing.T, timing Timing) (r, a, b *node) {
	r, a, b = newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{}), newNode(t, 3, Options{})
	members(r, a, b)
	linkNodes(r, a)
	linkNodes(b, r)
	ready(t, r, 2)
	return r, a, b
}

// ready waits until a node has this many peers that take requests.
func ready(t testing.TB, n *node, peers int) {
	t.Helper()
	eventually(t, "peers are ready", func() bool {
		n.rep.mu.Lock()
		defer n.rep.mu.Unlock()
		return len(n.rep.readySessions()) == peers
	})
}

func TestFetch(t *testing.T) {
	r, a, _ := trio(t)
	for _, size := range []int{64<<10 + 1, 100_000, 1 << 20, 10<<20 + 12345} {
		ref, b := makeBlob(size)
		a.blobs.add(ref, b)
		if err := r.rep.Fetch(t.Context(), ref, 0, ref.Size); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(r.blobs.bytes(ref), b.data) {
			t.Fatalf("%d bytes came out different", size)
		}
	}
	if st := r.rep.Stats(); st.Fetching != 0 || st.Wanted != 0 || st.Rejected != 0 {
		t.Errorf("stats: %+v", st)
	}
}

func TestFetchRange(t *testing.T) {
	r, a, _ := trio(t)
	ref, b := makeBlob(8 << 20)
	a.blobs.add(ref, b)
	if err := r.rep.Fetch(t.Context(), ref, 3<<20+5, 1000); err != nil {
		t.Fatal(err)
	}
	r.blobs.mu.Lock()
	held := total(r.blobs.blobs[ref.CID].held)
	r.blobs.mu.Unlock()
	if held != blob.Group {
		t.Fatalf("%d bytes came for a range within one group", held)
	}
	for _, c := range [][2]int64{{-1, 5}, {8 << 20, 5}, {0, 0}, {5, -1}} {
		if err := r.rep.Fetch(t.Context(), ref, c[0], c[1]); err != nil {
			t.Errorf("an empty range %v: %v", c, err)
		}
	}
	if err := r.rep.Fetch(t.Context(), ref, 8<<20-10, 1000); err != nil {
		t.Errorf("a range beyond the end: %v", err)
	}
	if err := r.rep.Fetch(t.Context(), blob.Ref{Size: 5}, 0, 5); err == nil {
		t.Error("a ref without a CID was fetched")
	}
}

// TestResume: what is here already does not come again.
func TestResume(t *testing.T) {
	r, a, _ := trio(t)
	ref, b := makeBlob(32 << 20)
	a.blobs.add(ref, b)
	r.blobs.add(ref, b)
	r.blobs.keep(ref, blob.Range{Off: 0, Len: 20 << 20}, blob.Range{Off: 24 << 20, Len: 3<<20 + 64<<10})
	before := r.rep.Stats().BlobsIn
	if err := r.rep.Fetch(t.Context(), ref, 0, ref.Size); err != nil {
		t.Fatal(err)
	}
	rest := int64(9<<20 - 64<<10)
	if in := r.rep.Stats().BlobsIn - before; in < rest || in > rest+rest/20 {
		t.Fatalf("%d bytes received for a rest of %d", in, rest)
	}
}

// TestManySources: two peers serve one blob, and together send little more than it.
func TestManySources(t *testing.T) {
	r, a, b := trio(t)
	ref, bl := makeBlob(48 << 20)
	a.blobs.add(ref, bl)
	b.blobs.add(ref, bl)
	if err := r.rep.Fetch(t.Context(), ref, 0, ref.Size); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.blobs.bytes(ref), bl.data) {
		t.Fatal("it came out different")
	}
	outA, outB := a.rep.Stats().BlobsOut, b.rep.Stats().BlobsOut
	if outA == 0 || outB == 0 {
		t.Fatalf("sent %d and %d bytes", outA, outB)
	}
	// On a busy machine one of them may be taken for stuck, and what was asked of it comes twice.
	if in := r.rep.Stats().BlobsIn; in > ref.Size+ref.Size/3 {
		t.Fatalf("%d bytes received for %d", in, ref.Size)
	}
}

// TestPartialHolders: each peer has a part, one of which appears later.
func TestPartialHolders(t *testing.T) {
	r, a, b := trioWith(t, hasty)
	ref, bl := makeBlob(8 << 20)
	a.blobs.add(ref, bl)
	a.blobs.keep(ref, blob.Range{Off: 0, Len: 3 << 20})
	b.blobs.add(ref, bl)
	b.blobs.keep(ref, blob.Range{Off: 2 << 20, Len: 4 << 20})
	done := make(chan error, 1)
	go func() { done <- r.rep.Fetch(t.Context(), ref, 0, ref.Size) }()
	eventually(t, "both parts arrive", func() bool {
		r.blobs.mu.Lock()
		defer r.blobs.mu.Unlock()
		return r.blobs.blobs[ref.CID] != nil && total(r.blobs.blobs[ref.CID].held) == 6<<20
	})
	b.blobs.keep(ref, blob.Range{Off: 0, Len: 8 << 20})
	if err := <-done; err != nil {
		// The last part may have come too late for the wait of this test.
		if !errors.Is(err, ErrNobody) {
			t.Fatal(err)
		}
		eventually(t, "the rest arrives", func() bool { return r.rep.Fetch(t.Context(), ref, 0, ref.Size) == nil })
	}
}

func TestNobodyAndThenSomebody(t *testing.T) {
	r, a, _ := trioWith(t, hasty)
	ref, bl := makeBlob(1 << 20)
	small, sb := makeBlob(1000)
	if err := r.rep.Fetch(t.Context(), ref, 0, ref.Size); !errors.Is(err, ErrNobody) {
		t.Fatalf("a blob that nobody has: %v", err)
	}
	if err := r.rep.Fetch(t.Context(), small, 0, small.Size); !errors.Is(err, ErrNobody) {
		t.Fatalf("a small blob that nobody has: %v", err)
	}
	a.blobs.add(ref, bl)
	a.blobs.add(small, sb)
	for i, f := range []func() error{
		func() error { return r.rep.Fetch(t.Context(), ref, 0, ref.Size) },
		func() error { return r.rep.Fetch(t.Context(), small, 0, small.Size) },
	} {
		var err error
		eventually(t, "it is found once somebody has it", func() bool { err = f(); return err == nil || !errors.Is(err, ErrNobody) })
		if err != nil {
			t.Fatal(i, err)
		}
	}
}

// TestPeerAppearsWhileWaiting: Fetch waits a moment for peers to appear.
func TestPeerAppearsWhileWaiting(t *testing.T) {
	r, a := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(r, a)
	ref, bl := makeBlob(1 << 20)
	a.blobs.add(ref, bl)
	done := make(chan error, 1)
	go func() { done <- r.rep.Fetch(t.Context(), ref, 0, ref.Size) }()
	eventually(t, "the fetch has begun", func() bool { return r.rep.Stats().Fetching == 1 })
	linkNodes(r, a)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCancel(t *testing.T) {
	r, a := newNode(t, 1, Options{}), newNode(t, 2, Options{UpLimit: 256 << 10})
	members(r, a)
	linkNodes(r, a)
	ready(t, r, 1)
	ref, bl := makeBlob(64 << 20)
	a.blobs.add(ref, bl)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.rep.Fetch(ctx, ref, 0, ref.Size) }()
	eventually(t, "some bytes have come", func() bool { return r.blobs.writes.Load() > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	eventually(t, "nothing is asked for any more", func() bool {
		return r.rep.Stats().Fetching == 0 && r.rep.Peers()[0].Window > 0 && pending(r) == 0
	})
	// A second reader of another range is not held up by what was cancelled.
	if err := r.rep.Fetch(t.Context(), ref, 60<<20, 64<<10); err != nil {
		t.Fatal(err)
	}
}

// pending counts the requests of a node that are under way.
func pending(n *node) (sum int) {
	for _, l := range n.hub.currentLinks() {
		for i := range l.lanes {
			l.lanes[i].mu.Lock()
			sum += len(l.lanes[i].pending)
			l.lanes[i].mu.Unlock()
		}
	}
	return sum
}

// TestReaderFirst: what a reader waits for passes a long background fetch.
func TestReaderFirst(t *testing.T) {
	r, a := newNode(t, 1, Options{}), newNode(t, 2, Options{UpLimit: 1 << 20})
	members(r, a)
	linkNodes(r, a)
	ready(t, r, 1)
	long, lb := makeBlob(256 << 20)
	short, sb := makeBlob(200 << 10)
	a.blobs.add(long, lb)
	a.blobs.add(short, sb)
	ctx, cancel := context.WithCancel(Background(t.Context()))
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { r.rep.Fetch(ctx, long, 0, long.Size) })
	eventually(t, "the long one is under way", func() bool { return r.blobs.writes.Load() > 0 })
	if err := r.rep.Fetch(t.Context(), short, 0, short.Size); err != nil {
		t.Fatal(err)
	}
	a.room.append(t, key.Chat, []byte("a message"))
	eventually(t, "a message passes too", func() bool { return r.room.length(a.dev.ID(), key.Chat) == 1 })
	if r.blobs.Complete(long) {
		t.Fatal("the long fetch is over: this shows nothing")
	}
	cancel()
	wg.Wait()
}

func TestSmall(t *testing.T) {
	r, a, b := trio(t)
	var refs []blob.Ref
	for i := range 3000 {
		ref, bl := makeBlob(i % 5000)
		refs = append(refs, ref)
		if i%2 == 0 {
			a.blobs.add(ref, bl)
		} else {
			b.blobs.add(ref, bl)
		}
	}
	for range 40 { // as large as they get, so that a batch is bounded by its bytes
		ref, bl := makeBlob(blob.MaxPacked)
		refs = append(refs, ref)
		a.blobs.add(ref, bl)
	}
	if err := r.rep.FetchSmall(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	for i, ref := range refs {
		if !r.blobs.Complete(ref) {
			t.Fatalf("%d bytes are missing", ref.Size)
		}
		from := a
		if i < 3000 && i%2 == 1 {
			from = b
		}
		if !bytes.Equal(r.blobs.bytes(ref), from.blobs.bytes(ref)) { // batches use each other's memory
			t.Fatalf("blob %d arrived differently", i)
		}
	}
	if n := r.blobs.syncs.Load(); n > 100 {
		t.Errorf("%d syncs for %d blobs", n, len(refs))
	}
	big, _ := makeBlob(70 << 10)
	if err := r.rep.FetchSmall(t.Context(), []blob.Ref{big}); err == nil {
		t.Fatal("a large blob was taken for a small one")
	}
}

// TestSomeSmallMissing: a blob that nobody has does not keep another from coming.
func TestSomeSmallMissing(t *testing.T) {
	r, a, _ := trioWith(t, hasty)
	missing, _ := makeBlob(10)
	have, hb := makeBlob(11)
	a.blobs.add(have, hb)
	eventually(t, "the other comes", func() bool {
		if err := r.rep.FetchSmall(t.Context(), []blob.Ref{missing, have}); !errors.Is(err, ErrNobody) {
			t.Fatal(err)
		}
		return r.blobs.Complete(have)
	})
}

// TestManyReaders: many waits for the same and overlapping ranges and small blobs end.
func TestManyReaders(t *testing.T) {
	r, a, b := trio(t)
	ref, bl := makeBlob(6<<20 + 77)
	small, sb := makeBlob(500)
	for _, n := range []*node{a, b} {
		n.blobs.add(ref, bl)
		n.blobs.add(small, sb)
	}
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for i := range 40 {
		wg.Go(func() { errs <- r.rep.Fetch(t.Context(), ref, int64(i)*150_000, 400_000) })
		wg.Go(func() { errs <- r.rep.Fetch(t.Context(), small, 0, 500) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if in := r.rep.Stats().BlobsIn; in > 12<<20 {
		t.Errorf("%d bytes came for one blob of %d", in, ref.Size)
	}
}

// TestDiskFull: an error of the own store ends the fetch and blames no peer.
func TestDiskFull(t *testing.T) {
	r, a, _ := trio(t)
	r.blobs.full = fmt.Errorf("writing: %w", syscall.ENOSPC)
	for _, size := range []int{1 << 20, 100} {
		ref, bl := makeBlob(size)
		a.blobs.add(ref, bl)
		if err := r.rep.Fetch(t.Context(), ref, 0, ref.Size); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	if st := r.rep.Stats(); st.Rejected != 0 || st.Peers != 2 {
		t.Errorf("a peer was blamed: %+v", st)
	}
}

func TestClosedHub(t *testing.T) {
	r := newNode(t, 1, Options{})
	ref, _ := makeBlob(1 << 20)
	small, _ := makeBlob(10)
	errs := make(chan error, 2)
	go func() { errs <- r.rep.Fetch(t.Context(), ref, 0, ref.Size) }()
	go func() { errs <- r.rep.Fetch(t.Context(), small, 0, small.Size) }()
	eventually(t, "both wait", func() bool { return r.rep.Stats().Fetching == 2 })
	r.hub.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
}

func TestRanges(t *testing.T) {
	a := []blob.Range{{Off: 0, Len: 10}, {Off: 20, Len: 10}}
	for _, c := range []struct {
		r    blob.Range
		want string
	}{
		{blob.Range{Off: 5, Len: 20}, "[{0 5} {25 5}]"}, {blob.Range{Off: 2, Len: 3}, "[{0 2} {5 5} {20 10}]"},
		{blob.Range{Off: 10, Len: 10}, "[{0 10} {20 10}]"}, {blob.Range{Off: 0, Len: 30}, "[]"}, {blob.Range{Off: 5}, "[{0 10} {20 10}]"},
		{blob.Range{Off: 40, Len: 2}, "[{0 10} {20 10}]"},
	} {
		if got := fmt.Sprint(subtract(a, c.r)); got != c.want {
			t.Errorf("without %v: %s, want %s", c.r, got, c.want)
		}
	}
	if got := fmt.Sprint(intersect(a, []blob.Range{{Off: 5, Len: 20}, {Off: 28, Len: 50}})); got != "[{5 5} {20 5} {28 2}]" {
		t.Error(got)
	}
}
