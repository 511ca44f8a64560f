package room_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// forgeCarrier appends the blocks of a carrier to a core of a peer.
func (p *peer) forgeCarrier(gen uint32, blocks ...[]byte) {
	for _, b := range blocks {
		p.forge(room.Forgery{Kind: key.Drive, Gen: gen, Mangle: func([]byte) []byte { return append([]byte{1, 3}, b...) }})
	}
}

// encodedTail returns what a peer has of a core from a block on.
func (p *peer) encodedTail(id key.CoreID, from uint64) []byte {
	p.t.Helper()
	tail, err := p.ReadTail(id, from, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	enc, err := tail.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	return enc
}

// TestCarriersThatLeadNowhere: whatever a member hands on who wants to keep the others apart, what they wrote on either of two histories
// counts everywhere: nobody takes a history for handed on that others cannot have.
func TestCarriersThatLeadNowhere(t *testing.T) {
	for _, tc := range []struct {
		name string
		// do has mallory, who has the history that carol built on, do something before carol meets him and before dave does.
		do func(t *testing.T, m, b *peer, forked key.CoreID, c, d *peer)
	}{
		{"none", func(t *testing.T, m, b *peer, forked key.CoreID, c, d *peer) {}},
		{"the end alone", func(t *testing.T, m, b *peer, forked key.CoreID, c, d *peer) {
			m.forgeCarrier(7, m.encodedTail(forked, 2))
			converse(t, m, c)
		}},
		{"another one for others", func(t *testing.T, m, b *peer, forked key.CoreID, c, d *peer) {
			copied := m.twin()
			m.forgeCarrier(7, m.encodedTail(forked, 0))
			copied.forgeCarrier(7, []byte("nothing"))
			converse(t, m, c)
			converse(t, copied, d)
		}},
		{"one that goes on, falsely", func(t *testing.T, m, b *peer, forked key.CoreID, c, d *peer) {
			m.forgeCarrier(7, m.encodedTail(forked, 0))
			converse(t, m, c)
			m.forgeCarrier(7, []byte("nothing"))
			converse(t, m, d)
		}},
		{"more than are taken", func(t *testing.T, m, b *peer, forked key.CoreID, c, d *peer) {
			for i := range uint32(room.MaxHistories) {
				other := b.twin()
				other.write(key.Drive, fmt.Sprint("other ", i))
				m.forgeCarrier(7+i, other.encodedTail(forked, 0))
			}
			m.forgeCarrier(100, m.encodedTail(forked, 0))
			converse(t, m, c)
			converse(t, m, d)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := creator(t, "alice")
			b := a.invite("bob", room.RoleWriter, a)
			c := a.invite("carol", room.RoleWriter, a)
			d := a.invite("dave", room.RoleWriter, a)
			m := a.invite("mallory", room.RoleReader, a)
			b.write(key.Drive, "common")
			for range 2 {
				for _, p := range []*peer{b, c, d, m} {
					meet(t, a, p)
				}
			}
			twin, third := b.twin(), b.twin()
			b.write(key.Drive, "one")
			b.write(key.Drive, "one more")
			meet(t, b, c)
			meet(t, b, m)
			c.write(key.Drive, "on one")
			twin.write(key.Drive, "two")
			twin.write(key.Drive, "three")
			meet(t, twin, d)
			d.write(key.Drive, "on three")
			forked := key.CoreID{}
			for _, ci := range m.Cores(room.AccessMember) {
				if ci.Device == b.dev.ID() && ci.Kind == key.Drive && ci.Length == 3 {
					forked = ci.ID
				}
			}
			tc.do(t, m, third, forked, c, d)
			all := []*peer{a, c, d}
			for range 4 {
				encounter(t, c, d)
				encounter(t, a, c)
				encounter(t, a, d)
			}
			for _, p := range all {
				if got := p.set(key.Drive); !slices.Contains(got, "on one") || !slices.Contains(got, "on three") {
					t.Errorf("%s has %q: %+v", p.name, got, p.Status())
				}
				if ids, err := p.Uncarried(); err != nil || len(ids) > 0 {
					t.Errorf("%s would still hand on %v, %v", p.name, ids, err)
				}
			}
			same(t, all...)
		})
	}
}
