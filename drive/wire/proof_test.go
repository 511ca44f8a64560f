package wire

import (
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// TestOutsider: who has no relay key gets tags that say nothing, and then nothing.
func TestOutsider(t *testing.T) {
	for _, s := range []side{sideFirst, sideSecond} {
		timing := brisk
		timing.Prove = 300 * time.Millisecond
		n := newNode(t, 1, Options{Timing: timing})
		dev := deviceOn(t, s, n.dev.ID())
		n.room.set(dev.ID(), room.AccessMember) // even somebody listed has to prove
		ref, b := makeBlob(1000)
		n.blobs.add(ref, b)
		root, _ := blob.RootOf(ref.CID)
		r := newRogue(t, n.hub, dev)
		if s == sideFirst {
			r.send(frameTags, msgTags{Tags: padTags(nil)})
		}
		for ch := range uint16(3) {
			r.send(frameProbe, msgProbe{Chan: ch, Sum: []byte{formListed}})
			r.send(frameHaveAsk, msgHaveAsk{Chan: ch, ID: 1, Roots: []key.Hash{root}})
		}
		st := r.stream(1)
		st.Write(encode(frameAskSmall, askSmall{ID: 1, Chan: 1, Roots: []key.Hash{root}}))
		if ft, body, err := readFrame(st, nil, MaxDataFrame); err == nil && (ft != frameFail || failCode(body[5]) != failDenied) {
			t.Fatalf("an outsider got a frame of type %d", ft)
		}
		for f := range r.frames {
			if f.t != frameTags {
				t.Fatalf("an outsider got a frame of type %d", f.t)
			}
			m, _ := decode[msgTags](f.body)
			if len(m.Tags) != 8 {
				t.Fatalf("%d tags for one room", len(m.Tags))
			}
		}
		r.gone()
		if st := n.rep.Stats(); st.Peers != 0 || st.Out() != 0 {
			t.Fatalf("%+v", st)
		}
	}
}

// TestTagsNeverRepeat: two connections have no tag in common.
func TestTagsNeverRepeat(t *testing.T) {
	n := newNode(t, 1, Options{})
	dev := deviceOn(t, sideSecond, n.dev.ID())
	seen := map[tag]bool{}
	for range 3 {
		body, ok := newRogue(t, n.hub, dev).await(frameTags)
		if !ok {
			t.Fatal("no tags")
		}
		m, _ := decode[msgTags](body)
		for _, g := range m.Tags {
			if seen[g] {
				t.Fatal("a tag came twice")
			}
			seen[g] = true
		}
	}
}

func TestWrongProof(t *testing.T) {
	for i, mangle := range []func(*msgOpen){
		func(m *msgOpen) { m.Items[0].Proof[0] ^= 1 },
		func(m *msgOpen) { m.Items[0].Proof[31] ^= 0x80 },
		func(m *msgOpen) { m.Items[0].Tag[0] ^= 1 },
		func(m *msgOpen) { m.Items[0].Proof = mac{} },
		func(m *msgOpen) { m.Items = nil },
		func(m *msgOpen) { m.Items = append(m.Items, proofItem{}) },
	} {
		onBothSides(t, func(t *testing.T, n *node, dev *key.Device) {
			r := newRogue(t, n.hub, dev)
			r.prove(testRelay, mangle)
			r.gone()
			if p := n.rep.Peers(); len(p) != 0 {
				t.Fatalf("case %d: %+v", i, p)
			}
			eventually(t, "it is logged", func() bool { return n.log.has("peer dropped") })
		})
	}
}

// TestReplay: a proof from another session does not hold, even with the same peer.
func TestReplay(t *testing.T) {
	onBothSides(t, func(t *testing.T, n *node, dev *key.Device) {
		old := newRogue(t, n.hub, dev)
		old.join()
		tg := old.hs.tag(testRelay)
		was := proofItem{Tag: tg, Proof: old.hs.prove(testRelay, old.side, tg)}
		r := newRogue(t, n.hub, dev)
		r.prove(testRelay, func(m *msgOpen) { m.Items[0].Proof = was.Proof })
		r.gone()
		r = newRogue(t, n.hub, dev)
		r.prove(testRelay, func(m *msgOpen) { m.Items[0] = was })
		r.gone()
	})
}

// TestReflection: a peer that sends back what it gets, nonce included, proves nothing.
func TestReflection(t *testing.T) {
	for _, s := range []side{sideFirst, sideSecond} {
		timing := brisk
		timing.Prove = 300 * time.Millisecond
		n := newNode(t, 1, Options{Timing: timing})
		r := dialRogue(t, n.hub, deviceOn(t, s, n.dev.ID()))
		r.hello(nil)
		go func() {
			for f := range r.frames {
				r.control.Write(frameBytesOf(f.t, f.body))
			}
		}()
		r.gone()
		if len(n.rep.Peers()) != 0 {
			t.Fatal("a reflection was taken for a proof")
		}
	}
	// The node's own proof, shown by the other side as its own, does not hold.
	onBothSides(t, func(t *testing.T, n *node, dev *key.Device) {
		r := newRogue(t, n.hub, dev)
		r.prove(testRelay, func(m *msgOpen) {
			m.Items[0].Proof = r.hs.prove(testRelay, r.side.other(), m.Items[0].Tag)
		})
		r.gone()
	})
}

// TestBetween: somebody between two members, who passes on what each says, is not taken for either.
func TestBetween(t *testing.T) {
	timing := brisk
	timing.Prove = 500 * time.Millisecond
	a, b := newNode(t, 1, Options{Timing: timing}), newNode(t, 2, Options{Timing: timing})
	members(a, b)
	low := deviceOn(t, sideFirst, a.dev.ID())
	if sideOf(low.ID(), b.dev.ID()) != sideFirst {
		t.Fatal("the fixed devices of this test do not lie as it needs them")
	}
	high := deviceOn(t, sideSecond, a.dev.ID())
	x, y := newRogue(t, a.hub, high), newRogue(t, b.hub, low) // a shows tags to x, b is shown tags by y
	for _, pass := range [][2]*rogue{{x, y}, {y, x}} {
		go func() {
			for f := range pass[0].frames {
				pass[1].control.Write(frameBytesOf(f.t, f.body))
			}
		}()
	}
	x.gone()
	y.gone()
}
