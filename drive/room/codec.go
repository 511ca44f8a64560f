package room

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/ipfs/go-cid"

	"github.com/pearbox/pearbox/drive/key"
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxArrayElements:  1 << 14,
		MaxMapPairs:       64,
		MaxNestedLevels:   8,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode())
)

// must is for options that are constants of this file.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// encode returns the one encoding of v.
func encode(v any) ([]byte, error) {
	b, err := encMode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return b, nil
}

// decode reads b into v, which is empty. Every value has one encoding: bytes
// that are not what encode would write are malformed.
func decode(b []byte, v any) error {
	if err := decMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	again, err := encMode.Marshal(v)
	if err != nil || !bytes.Equal(b, again) {
		return fmt.Errorf("%w: not in the deterministic encoding", ErrFormat)
	}
	return nil
}

// header is the part of an entry that everyone with the relay key reads.
type header struct {
	Prev     key.Hash   `cbor:"1,keyasint"` // root of the own core before this block
	Lamport  uint64     `cbor:"2,keyasint"`
	Wall     int64      `cbor:"3,keyasint"`
	Deps     []key.Hash `cbor:"4,keyasint,omitempty"` // sorted, unique
	Control  []key.Hash `cbor:"5,keyasint,omitempty"` // sorted, unique
	Payloads uint32     `cbor:"6,keyasint,omitempty"`
	Blobs    []hint     `cbor:"7,keyasint,omitempty"`
	Keys     []relayKey `cbor:"8,keyasint,omitempty"` // control entries only
}

// hint is a BlobHint on the wire.
type hint struct {
	_    struct{} `cbor:",toarray"`
	CID  []byte
	Size int64
}

// relayKey hands an older relay key on. Its epoch's id is the hash of Check
// and of the key's own check, so that nobody can hand on a wrong one.
type relayKey struct {
	_     struct{} `cbor:",toarray"`
	Check key.Hash // of the content key
	Relay key.Secret
}

// decodeHeader reads a header and checks every limit that needs nothing else.
func decodeHeader(b []byte, kind key.Kind) (h header, err error) {
	if len(b) > MaxHeader {
		return h, fmt.Errorf("%w: header of %d bytes", ErrFormat, len(b))
	}
	if !h.readPlain(b) {
		h = header{}
		if err := decode(b, &h); err != nil {
			return h, fmt.Errorf("header: %w", err)
		}
	}
	switch {
	case len(h.Deps) > MaxDeps, len(h.Control) > MaxControl, len(h.Blobs) > MaxBlobs, len(h.Keys) > MaxRelayKeys,
		h.Payloads > MaxPayloads, h.Lamport == 0, h.Lamport > MaxLamport, h.Wall < 0, h.Wall > maxWall:
		return h, fmt.Errorf("%w: header over a limit", ErrFormat)
	case kind == key.Control && (len(h.Control) > 0 || h.Payloads > 0 || len(h.Blobs) > 0),
		kind != key.Control && len(h.Keys) > 0:
		return h, fmt.Errorf("%w: header field of another kind", ErrFormat)
	case !sortedUnique(h.Deps) || !sortedUnique(h.Control):
		return h, fmt.Errorf("%w: references out of order", ErrFormat)
	}
	for _, b := range h.Blobs {
		if _, err := cid.Cast(b.CID); err != nil || b.Size < 0 {
			return h, fmt.Errorf("%w: blob hint", ErrFormat)
		}
	}
	return h, nil
}

// maxWall keeps author clocks within what a time.Time in nanoseconds holds.
const maxWall = 1<<62 - 1

func sortedUnique(hs []key.Hash) bool {
	for i := 1; i < len(hs); i++ {
		if bytes.Compare(hs[i-1][:], hs[i][:]) >= 0 {
			return false
		}
	}
	return true
}
