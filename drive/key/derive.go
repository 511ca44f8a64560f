package key

import (
	"encoding/binary"
	"sync/atomic"

	"lukechampine.com/blake3"
	"lukechampine.com/blake3/guts"
)

// Use is a purpose of a derivation or signature: see the table in the package
// comment. Every Use is a constant.
type Use string

// The uses. The package comment says what each one derives or signs.
const (
	UseCore        Use = "core"
	UseRoom        Use = "room"
	UseTopic       Use = "topic"
	UseRoomTag     Use = "room tag"
	UseWireProof   Use = "wire proof"
	UseHeaderKey   Use = "header key"
	UseControlKey  Use = "control key"
	UseBodyKey     Use = "body key"
	UsePayloadKey  Use = "payload key"
	UseNonceKey    Use = "nonce key"
	UseNonce       Use = "nonce"
	UseWriteKey    Use = "write key"
	UseContentLink Use = "content link"
	UseRelayLink   Use = "relay link"
	UseEpoch       Use = "epoch"
	UseKeyCheck    Use = "key check"
	UseBlobName    Use = "blob name"
	UseBlobStream  Use = "blob stream"
	UseNode        Use = "node"
	UseEntry       Use = "entry"
	UseStateHash   Use = "state hash"
	UseVersion     Use = "version"
	UseLinkCheck   Use = "link check"
	UseDeviceCheck Use = "device check"
	UseDeviceSeal  Use = "device seal"
	UseRecoveryKey Use = "recovery key"
	UseInviteKey   Use = "invite key"
	UseProbe       Use = "probe"
	UseStore       Use = "store"
	UseIncarnation Use = "incarnation"
	UseToken       Use = "token"
	UseTest        Use = "test"

	UseHead     Use = "head"
	UseGenesis  Use = "genesis"
	UseInvite   Use = "invite"
	UseJoin     Use = "join"
	UseControl  Use = "control"
	UseRecovery Use = "recovery"
	UsePresence Use = "presence"
	UsePeer     Use = "peer"

	UseBox Use = "box"
)

// domain precedes every use, in derivations and signatures.
const domain = "pearbox 2026-11 "

// contextKeys caches the first of the two steps of a derivation, which
// depends on the use alone. The map is replaced, never changed.
var contextKeys atomic.Pointer[map[Use][8]uint32]

func contextKey(use Use) [8]uint32 {
	old := contextKeys.Load()
	if old != nil {
		if k, ok := (*old)[use]; ok {
			return k
		}
	}
	n := guts.CompressChunk([]byte(domain+string(use)), &guts.IV, 0, guts.FlagDeriveKeyContext)
	n.Flags |= guts.FlagRoot
	k := guts.ChainingValue(n)
	grown := map[Use][8]uint32{use: k}
	if old != nil {
		for u, k := range *old {
			grown[u] = k
		}
	}
	contextKeys.CompareAndSwap(old, &grown) // whoever loses computes again
	return k
}

// Derive returns BLAKE3 in derive-key mode over the parts, each preceded by
// its length, so that no two lists of parts give the same input.
func Derive(use Use, parts ...[]byte) [32]byte {
	size := 0
	for _, p := range parts {
		size += 8 + len(p)
	}
	if size > guts.ChunkSize {
		return deriveLong(use, parts, size)
	}
	var stack [guts.ChunkSize]byte
	k := contextKey(use)
	return root(guts.CompressChunk(appendParts(stack[:0], parts), &k, 0, guts.FlagDeriveKeyMaterial))
}

// deriveLong is Derive of more than one chunk. It is apart because the short
// way keeps everything on the stack.
func deriveLong(use Use, parts [][]byte, size int) (out [32]byte) {
	blake3.DeriveKey(out[:], domain+string(use), appendParts(make([]byte, 0, size), parts))
	return out
}

func appendParts(b []byte, parts [][]byte) []byte {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// root finishes a hash whose whole input was one chunk.
func root(n guts.Node) (out [32]byte) {
	n.Flags |= guts.FlagRoot
	b := guts.WordsToBytes(guts.CompressNode(n))
	copy(out[:], b[:])
	return out
}

// Sum is BLAKE3-256. It is meant for small inputs: package blob hashes files.
func Sum(b []byte) Hash { return blake3.Sum256(b) }

// CoreIDOf returns the id of the core that a device writes in a room. The
// generation starts at 0 and grows when a core had to be closed. Everyone who
// knows the members of a room knows every core.
func CoreIDOf(room RoomID, dev DeviceID, k Kind, gen uint32) CoreID {
	var g [4]byte
	binary.BigEndian.PutUint32(g[:], gen)
	return Derive(UseCore, room[:], dev[:], []byte{byte(k)}, g[:])
}

// Topic returns the name under which the peers of a room find each other. It
// tells nothing about the room to whoever does not hold the relay key.
func Topic(relay Secret) Hash { return Derive(UseTopic, relay[:]) }
