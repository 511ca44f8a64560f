package wire

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// TestStrangersAreAskedLast: small blobs that a member has are not asked of strangers, however many there are: each might keep them for
// as long as it may owe an answer. What no member has they are asked for.
func TestStrangersAreAskedLast(t *testing.T) {
	n, friend := newNode(t, 1, Options{}), newNode(t, 2, Options{})
	members(n, friend)
	var asked atomic.Int32
	const strangers = 20
	for i := range byte(strangers) {
		dev, err := key.DeviceFromSeed(key.Secret{i, 80})
		if err != nil {
			t.Fatal(err)
		}
		r := newRogue(t, n.hub, dev).join()
		r.serve(func(_ net.Conn, ft frameType, _ []byte) {
			if ft == frameAskSmall {
				asked.Add(1)
			}
		})
	}
	linkNodes(n, friend)
	ready(t, n, strangers+1)
	eventually(t, "the node knows who is a stranger", func() bool {
		n.rep.mu.Lock()
		defer n.rep.mu.Unlock()
		return !n.rep.outside && len(n.rep.readySessions()) == strangers+1
	})
	var refs []blob.Ref
	for range 100 {
		ref, b := makeBlob(3000)
		friend.blobs.add(ref, b)
		refs = append(refs, ref)
	}
	if err := n.rep.FetchSmall(t.Context(), refs); err != nil {
		t.Fatal(err)
	}
	if k := asked.Load(); k > 0 {
		t.Errorf("strangers were asked %d times for what a member has", k)
	}
	other, _ := makeBlob(3000)
	n.rep.work.Go(func() { n.rep.FetchSmall(n.rep.ctx, []blob.Ref{other}) }) // which nobody has
	eventually(t, "a stranger is asked", func() bool { return asked.Load() > 0 })
}
