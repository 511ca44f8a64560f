package wire

import (
	"net"
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

// TestRefusesSmall: who sends a small blob that does not verify is told.
func TestRefusesSmall(t *testing.T) {
	n := newNode(t, 1, Options{Timing: hasty})
	dev := deviceOn(t, sideFirst, n.dev.ID())
	n.room.set(dev.ID(), room.AccessMember)
	ref, _ := makeBlob(3000)
	r := newRogue(t, n.hub, dev).join()
	r.serve(func(s net.Conn, ft frameType, body []byte) {
		q, err := decode[askSmall](body)
		if ft != frameAskSmall || err != nil {
			return
		}
		f := newSmallFrame(q.ID, n.hub.up)
		f.add(0, make([]byte, ref.Size))
		putHeader(f.b, frameSmall, len(f.b)-frameHeader)
		f.b[frameHeader+replyHeader-1] = flagLast
		s.Write(f.b)
		f.buf.put()
	})
	ready(t, n, 1)
	n.rep.work.Go(func() { n.rep.FetchSmall(n.rep.ctx, []blob.Ref{ref}) })
	body, ok := r.await(frameRefused)
	if !ok {
		t.Fatal("the connection ended")
	}
	m, err := decode[msgRefused](body)
	if root, rerr := blob.RootOf(ref.CID); err != nil || rerr != nil || m.Root != root || m.Off != 0 || m.Len != ref.Size {
		t.Errorf("refused: %+v, %v", m, err)
	}
}
