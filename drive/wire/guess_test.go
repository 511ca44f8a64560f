package wire

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// rogueMember is a peer that says nothing of what it holds, and a member.
func rogueMember(t *testing.T, n *node) *rogue {
	dev := deviceOn(t, sideFirst, n.dev.ID())
	members(n)
	n.room.set(dev.ID(), room.AccessMember)
	return newRogue(t, n.hub, dev).join()
}

// TestGuess: a reader gets the beginning of what he waits for from a peer that has not said yet whether it holds it, and no more than
// that; in the background nothing is asked for that way.
func TestGuess(t *testing.T) {
	n := newNode(t, 1, Options{Timing: brisk})
	r := rogueMember(t, n) // it never says what it holds
	blobs := map[key.Hash]*fakeBlob{}
	var refs []blob.Ref
	for range 4 {
		ref, b := makeBlob(8 << 20)
		root, err := blob.RootOf(ref.CID)
		if err != nil {
			t.Fatal(err)
		}
		blobs[root], refs = b, append(refs, ref)
	}
	var mu sync.Mutex
	asked := map[*fakeBlob]int64{}
	r.serve(func(s net.Conn, ft frameType, body []byte) {
		q, err := decode[askBlob](body)
		if err != nil || ft != frameAskBlob {
			t.Errorf("a request of type %d, %v", ft, err)
			return
		}
		b := blobs[q.Root]
		mu.Lock()
		asked[b] += q.Len
		mu.Unlock()
		for at := q.Off; at < q.Off+q.Len; at += 4 * blob.Group {
			m, flags := min(4*blob.Group, q.Off+q.Len-at), byte(0)
			if at+m == q.Off+q.Len {
				flags = flagLast
			}
			s.Write(frameBytesOf(frameBlob, reply(q.ID, flags, blobBytes(t, b, at, m))))
		}
	})
	ready(t, n, 1)
	askedOf := func(ref blob.Ref) int64 {
		root, _ := blob.RootOf(ref.CID)
		mu.Lock()
		defer mu.Unlock()
		return asked[blobs[root]]
	}
	begin := func(ref blob.Ref) {
		t.Helper()
		if err := n.rep.Fetch(t.Context(), ref, 0, 3*blob.Group); err != nil {
			t.Fatal(err)
		}
		root, _ := blob.RootOf(ref.CID)
		if got := n.blobs.bytes(ref)[:3*blob.Group]; !bytes.Equal(got, blobs[root].data[:3*blob.Group]) {
			t.Error("it came out different")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { n.rep.Fetch(Background(ctx), refs[0], 0, refs[0].Size) })
	eventually(t, "it is wanted", func() bool { return n.rep.Stats().Fetching == 1 })
	begin(refs[1])
	wg.Go(func() { n.rep.Fetch(ctx, refs[2], 0, refs[2].Size) })
	eventually(t, "all that may be asked for unseen is", func() bool { return askedOf(refs[2]) == maxGuess })
	begin(refs[3])
	if got := [...]int64{askedOf(refs[0]), askedOf(refs[1]), askedOf(refs[2]), askedOf(refs[3])}; got != [...]int64{0, 3 * blob.Group, maxGuess, 3 * blob.Group} {
		t.Errorf("bytes asked for: %d", got)
	}
	cancel()
	wg.Wait()
}

// TestGuessedWrong: a peer that does not have what it was asked for unseen is asked for nothing more of the blob, others serve it, and
// what it says later that it holds is believed.
func TestGuessedWrong(t *testing.T) {
	n, friend := newNode(t, 1, Options{Timing: hasty}), newNode(t, 2, Options{})
	members(n, friend)
	linkNodes(n, friend)
	ready(t, n, 1)
	for range 8 { // it has the second half alone, and is asked for the first
		ref, b := makeBlob(4 << 20)
		friend.blobs.add(ref, b)
		friend.blobs.keep(ref, blob.Range{Off: 2 << 20, Len: 2 << 20})
		if err := n.rep.Fetch(t.Context(), ref, 0, ref.Size); err == nil {
			t.Fatal("it came from nowhere")
		}
		eventually(t, "the half that it has comes", func() bool { return n.rep.Fetch(t.Context(), ref, 2<<20, 2<<20) == nil })
		friend.blobs.keep(ref, blob.Range{Off: 0, Len: 4 << 20})
		eventually(t, "the rest comes once it is there", func() bool { return n.rep.Fetch(t.Context(), ref, 0, ref.Size) == nil })
		if !bytes.Equal(n.blobs.bytes(ref), b.data) {
			t.Fatal("it came out different")
		}
	}
	if st := n.rep.Stats(); st.Rejected != 0 {
		t.Errorf("%d frames are called bad", st.Rejected)
	}
}

// TestGuessedHung: a peer that was asked unseen and answers nothing keeps nobody from what others have.
func TestGuessedHung(t *testing.T) {
	timing := hasty
	timing.Deliver, timing.Stall, timing.Ping = time.Hour, time.Hour, time.Hour // nothing else frees what was asked of it
	n, friend := newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{})
	members(n, friend)
	r := rogueMember(t, n)
	asked := make(chan struct{}, 100)
	r.serve(func(net.Conn, frameType, []byte) { asked <- struct{}{} })
	ready(t, n, 1)
	ref, b := makeBlob(1 << 20)
	friend.blobs.add(ref, b)
	done := make(chan error, 1)
	go func() { done <- n.rep.Fetch(t.Context(), ref, 0, ref.Size) }()
	<-asked
	linkNodes(n, friend)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestLuck: a peer that seldom has what is looked for is not guessed to; later answers count more than early ones.
func TestLuck(t *testing.T) {
	var k luck
	if k.rate() < leastLuck {
		t.Error("a new peer is not tried")
	}
	for range 100 {
		k.note(false)
	}
	if k.rate() >= leastLuck {
		t.Errorf("a peer that never has anything: %v", k.rate())
	}
	for range 32 {
		k.note(true)
	}
	if k.rate() < leastLuck {
		t.Errorf("a peer that has had the last 32: %v", k.rate())
	}
}
