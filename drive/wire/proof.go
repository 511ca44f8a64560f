package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"math/bits"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// side says which end of a connection speaks. The device with the smaller id is the first one.
type side byte

const (
	sideFirst  side = 1
	sideSecond side = 2
)

func (s side) other() side { return 3 - s }

type (
	nonce [32]byte
	tag   [16]byte // names a room and a relay key to those who know both, on one connection only
	mac   [32]byte
)

func newNonce() (n nonce) {
	rand.Read(n[:]) // never fails
	return n
}

// handshake is what both ends of a connection agree on before any room is spoken of.
type handshake struct {
	first, second           key.DeviceID // first < second
	firstNonce, secondNonce nonce
}

// sideOf returns on which side self stands towards peer.
func sideOf(self, peer key.DeviceID) side {
	if bytes.Compare(self[:], peer[:]) < 0 {
		return sideFirst
	}
	return sideSecond
}

// mac is HMAC-SHA256 under a key derived from the relay key for one use, over all that makes this connection itself.
func (h *handshake) mac(relay key.Secret, use key.Use, s side, more []byte) mac {
	k := key.Derive(use, relay[:])
	m := hmac.New(sha256.New, k[:])
	m.Write([]byte("pearbox wire 2\x00"))
	m.Write([]byte{byte(s)})
	m.Write(h.first[:])
	m.Write(h.second[:])
	m.Write(h.firstNonce[:])
	m.Write(h.secondNonce[:])
	m.Write(more)
	var out mac
	m.Sum(out[:0])
	return out
}

// tag returns the name under which the first side offers the room of this relay key. Who does not know the key sees
// random bytes that never come again.
func (h *handshake) tag(relay key.Secret) tag {
	m := h.mac(relay, key.UseRoomTag, sideFirst, nil)
	return tag(m[:len(tag{})])
}

// prove returns the proof that s knows the relay key behind t.
func (h *handshake) prove(relay key.Secret, s side, t tag) mac {
	return h.mac(relay, key.UseWireProof, s, t[:])
}

// check reports in constant time whether p is what s has to show for t.
func (h *handshake) check(relay key.Secret, s side, t tag, p mac) bool {
	want := h.prove(relay, s, t)
	return hmac.Equal(want[:], p[:])
}

// padTags adds random tags up to a power of two (at least eight) and sorts, so that neither the number of rooms nor
// the order of keys shows.
func padTags(tags []tag) []tag {
	n := max(8, 1<<bits.Len(uint(max(len(tags), 1)-1)))
	for len(tags) < n {
		var t tag
		rand.Read(t[:])
		tags = append(tags, t)
	}
	slices.SortFunc(tags, func(a, b tag) int { return bytes.Compare(a[:], b[:]) })
	return tags
}
