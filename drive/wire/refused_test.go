package wire

import (
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// TestRefusals: a member's complaints are looked into, a few of them; a stranger's are not.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		access room.Access
		looked int64
	}{{room.AccessMember, maxBannedBlobs}, {room.AccessStranger, 0}} {
		t.Run(c.access.String(), func(t *testing.T) {
			n := newNode(t, 1, Options{})
			dev := deviceOn(t, sideSecond, n.dev.ID())
			n.room.set(dev.ID(), c.access)
			ref, b := makeBlob(3 * blob.Group)
			n.blobs.add(ref, b)
			root, err := blob.RootOf(ref.CID)
			if err != nil {
				t.Fatal(err)
			}
			r := newRogue(t, n.hub, dev).join()
			for range 3 * maxBannedBlobs {
				r.send(frameRefused, msgRefused{Chan: r.ch, Root: root, Off: 0, Len: ref.Size})
			}
			r.send(frameHaveAsk, msgHaveAsk{Chan: r.ch, ID: 7, Roots: []key.Hash{root}})
			if _, ok := r.await(frameHave); !ok {
				t.Fatal("the connection ended")
			}
			if got := n.blobs.verified.Load(); got != c.looked {
				t.Errorf("%d complaints were looked into, want %d", got, c.looked)
			}
		})
	}
}
