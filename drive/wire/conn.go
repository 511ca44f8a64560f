package wire

import (
	"context"
	"net"

	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// Conn is a secured connection to one device: whoever made it has proven that Remote is at the other end. Streams are
// reliable, ordered and independent of one another.
type Conn interface {
	Local() key.DeviceID
	Remote() key.DeviceID
	Open(ctx context.Context) (net.Conn, error)
	Accept(ctx context.Context) (net.Conn, error)
	Close() error
	Done() <-chan struct{} // closed when the connection is gone
	Path() string          // how it goes, for display: "tcp 127.0.0.1:1", "relay …"
}

// relayed is what a Conn may have besides: it says whether its bytes pass a relay.
type relayed interface {
	Relayed() bool
}

// Room is what the protocol needs of a room; *room.Room has it.
type Room interface {
	ID() key.RoomID
	RelayKeys() []key.Secret // newest first
	Access(peer key.DeviceID) room.Access
	Cores(a room.Access) []room.CoreInfo
	ReadTail(id key.CoreID, from uint64, maxBytes int) (core.Tail, error)
	Receive(ctx context.Context, from key.DeviceID, ci room.CoreInfo, tails ...core.Tail) error
	Watch(fn func(room.Event)) (cancel func())
	// MissingPayloads returns the payload blocks of the entry at block seq whose bytes are not here; Count 0: none.
	MissingPayloads(id key.CoreID, seq uint64) (room.Want, error)
	ProvePayloads(id key.CoreID, first uint64, n int) ([]core.BlockProof, error)
	FillPayload(id key.CoreID, proofs ...core.BlockProof) error
}

// Blobs is what the protocol needs of the store of a room's blobs; Adapt makes one of *store.Blobs.
type Blobs interface {
	// Serve opens a blob of which this node holds at least some bytes.
	Serve(c cid.Cid) (Source, error)
	// Begin opens a blob for writing what is missing of it.
	Begin(ref blob.Ref) (Sink, error)
	// Complete reports whether all bytes of the blob are here.
	Complete(ref blob.Ref) bool
	// Missing returns those of refs of which something is not here.
	Missing(refs []blob.Ref) []blob.Ref
	// ReadSmall calls fn with the ciphertext of each of the small blobs that are here, in any order. i is the place of its
	// CID in ids; the bytes are valid during the call. Who gets them verifies them. An error of fn ends it.
	ReadSmall(ids []cid.Cid, fn func(i int, ciphertext []byte) error) error
	// StoreSmall stores whole small blobs with one sync. Their bytes are the caller's again when it returns.
	StoreSmall(opened []blob.Opened) error
}

// Source reads the ciphertext of a blob.
type Source interface {
	Size() int64
	Held() []blob.Range
	// ReadFrame fills buf with the ciphertext of up to n bytes from off, which is group aligned.
	// Who gets it verifies it.
	ReadFrame(off int64, n int, buf []byte) (blob.Frame, error)
	// Verify checks what is held of [off, off+n) against the root, after a peer could not verify what it got. What
	// does not match is not held any more; that is an error.
	Verify(ctx context.Context, off, n int64) error
	Close() error
}

// Sink takes the verified frames of a blob. It may be used by several goroutines at once.
type Sink interface {
	// Store keeps what was verified and decrypted; soon says that somebody is about to read it.
	Store(f blob.Opened, soon bool) error
	Missing(off, n int64) []blob.Range
	Close() error
}
