package room

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// The outer form of a block: see the package comment.
const (
	blockVersion = 1
	typeEntry    = 1
	typePayload  = 2

	partHeader  = 1
	partBody    = 2
	partPayload = 3

	fixedPrefix = 2 + tagSize + 1
	sealExtra   = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	// blockExtra is how much longer an entry's block is than header and body,
	// at most.
	blockExtra = fixedPrefix + MaxEpochHeads*tagSize + 4 + 2*sealExtra
)

const tagSize = 16

// tag says under which keys a block is sealed: the beginning of the public
// check value of the relay key.
type tag [tagSize]byte

func tagOf(relay key.Secret) tag {
	c := check(relay)
	return tag(c[:])
}

// check returns the public check value of a secret key.
func check(s key.Secret) key.Hash { return key.Derive(key.UseKeyCheck, s[:]) }

// envelope is what anybody sees of a block.
type envelope struct {
	payload    bool
	tag        tag
	components []tag // of the epochs whose keys make the set's keys; none for a single epoch
	prefix     []byte
	header     []byte // sealed, with its nonce; nil for a payload
	body       []byte // sealed, with its nonce
}

// parseEnvelope reads the outer form of a block. The result shares memory
// with it. ErrUpdateNeeded when a newer program wrote it.
func parseEnvelope(b []byte) (e envelope, err error) {
	if len(b) < fixedPrefix || len(b) > MaxEntry {
		return e, fmt.Errorf("%w: block of %d bytes", ErrFormat, len(b))
	}
	if b[0] != blockVersion {
		if b[0] > blockVersion {
			return e, fmt.Errorf("block version %d: %w", b[0], ErrUpdateNeeded)
		}
		return e, fmt.Errorf("%w: block version %d", ErrFormat, b[0])
	}
	e.payload = b[1] == typePayload
	if b[1] != typeEntry && !e.payload {
		return e, fmt.Errorf("%w: block type %d", ErrFormat, b[1])
	}
	e.tag = tag(b[2:])
	n := int(b[fixedPrefix-1])
	end := fixedPrefix + n*tagSize
	if n == 1 || n > MaxEpochHeads || len(b) < end {
		return e, fmt.Errorf("%w: %d epochs", ErrFormat, n)
	}
	for at := fixedPrefix; at < end; at += tagSize {
		t := tag(b[at:])
		if k := len(e.components); k > 0 && bytes.Compare(e.components[k-1][:], t[:]) >= 0 {
			return e, fmt.Errorf("%w: epochs out of order", ErrFormat)
		}
		e.components = append(e.components, t)
	}
	e.prefix, e.body = b[:end], b[end:]
	if e.payload {
		if len(e.body) < sealExtra {
			return e, fmt.Errorf("%w: short payload", ErrFormat)
		}
		return e, nil
	}
	if len(e.body) < 4 {
		return e, fmt.Errorf("%w: short entry", ErrFormat)
	}
	h := uint64(binary.BigEndian.Uint32(e.body))
	e.body = e.body[4:]
	if h < sealExtra || h > uint64(len(e.body)) || uint64(len(e.body))-h < sealExtra {
		return e, fmt.Errorf("%w: header length", ErrFormat)
	}
	e.header, e.body = e.body[:h], e.body[h:]
	return e, nil
}

// place is where a block stands: part of what is authenticated.
type place struct {
	core  key.CoreID
	index uint64
}

// sealer seals and opens parts of blocks under one pair of keys. Cached keys
// of one epoch serve all its blocks.
type sealer struct {
	tag        tag
	components []tag
	relay      key.Secret
	content    key.Secret // zero while unknown
	header     subkey
	control    subkey
	body       subkey
	payload    subkey
}

// subkey is a cipher with the key of its synthetic nonces.
type subkey struct {
	seal  key.Secret
	nonce key.Secret
}

func newSubkey(use key.Use, from key.Secret) subkey {
	s := subkey{seal: key.Derive(use, from[:])}
	s.nonce = key.Derive(key.UseNonceKey, s.seal[:])
	return s
}

// newSealer prepares the keys. components are the tags of the epochs of the
// set, none when it is a single one.
func newSealer(relay, content key.Secret, components []tag) *sealer {
	s := &sealer{tag: tagOf(relay), components: components, relay: relay, content: content}
	s.header = newSubkey(key.UseHeaderKey, relay)
	s.control = newSubkey(key.UseControlKey, relay)
	if !content.IsZero() {
		s.body = newSubkey(key.UseBodyKey, content)
		s.payload = newSubkey(key.UsePayloadKey, content)
	}
	return s
}

func (s *sealer) bodyKey(kind key.Kind) (subkey, error) {
	if kind == key.Control {
		return s.control, nil
	}
	if s.content.IsZero() {
		return subkey{}, ErrKey
	}
	return s.body, nil
}

func (s *sealer) prefix(typ byte) []byte {
	b := make([]byte, 0, fixedPrefix+len(s.components)*tagSize)
	b = append(b, blockVersion, typ)
	b = append(b, s.tag[:]...)
	b = append(b, byte(len(s.components)))
	for _, c := range s.components {
		b = append(b, c[:]...)
	}
	return b
}

// entry seals an entry's block.
func (s *sealer) entry(kind key.Kind, at place, header, body []byte) ([]byte, error) {
	bk, err := s.bodyKey(kind)
	if err != nil {
		return nil, err
	}
	prefix := s.prefix(typeEntry)
	sealed, err := s.header.sealPart(at, prefix, partHeader, header)
	if err != nil {
		return nil, err
	}
	sealedBody, err := bk.sealPart(at, prefix, partBody, body)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32(prefix, uint32(len(sealed)))
	b = append(b, sealed...)
	return append(b, sealedBody...), nil
}

// payloadBlock seals a payload block.
func (s *sealer) payloadBlock(at place, plain []byte) ([]byte, error) {
	if s.content.IsZero() {
		return nil, ErrKey
	}
	prefix := s.prefix(typePayload)
	sealed, err := s.payload.sealPart(at, prefix, partPayload, plain)
	if err != nil {
		return nil, err
	}
	return append(prefix, sealed...), nil
}

func (s *sealer) openHeader(at place, e envelope) ([]byte, error) {
	return s.header.openPart(at, e.prefix, partHeader, e.header)
}

func (s *sealer) openBody(kind key.Kind, at place, e envelope) ([]byte, error) {
	bk, err := s.bodyKey(kind)
	if err != nil {
		return nil, err
	}
	return bk.openPart(at, e.prefix, partBody, e.body)
}

func (s *sealer) openPayload(at place, e envelope) ([]byte, error) {
	if s.content.IsZero() {
		return nil, ErrKey
	}
	return s.payload.openPart(at, e.prefix, partPayload, e.body)
}

// sealPart returns nonce and ciphertext. The nonce depends on everything that
// is sealed, so that a fork or a restored copy never seals two texts under one.
func (k subkey) sealPart(at place, prefix []byte, part byte, plain []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k.seal[:])
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	ad := additional(at, prefix, part)
	n := key.Derive(key.UseNonce, k.nonce[:], ad, plain)
	nonce := n[:chacha20poly1305.NonceSizeX]
	out := make([]byte, 0, len(plain)+sealExtra)
	return aead.Seal(append(out, nonce...), nonce, plain, ad), nil
}

func (k subkey) openPart(at place, prefix []byte, part byte, sealed []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k.seal[:])
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	nonce, ct := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	plain, err := aead.Open(nil, nonce, ct, additional(at, prefix, part))
	if err != nil {
		return nil, fmt.Errorf("%w: does not open under its key", ErrFormat)
	}
	return plain, nil
}

// additional is the data that is authenticated with a part: core, index, the
// block's prefix (version, type, epochs) and which part it is.
func additional(at place, prefix []byte, part byte) []byte {
	b := make([]byte, 0, 32+8+len(prefix)+1)
	b = append(b, at.core[:]...)
	b = binary.BigEndian.AppendUint64(b, at.index)
	b = append(b, prefix...)
	return append(b, part)
}

// leaf is the name of an entry: the leaf hash of its block.
func leaf(block []byte) key.Hash { return core.Leaf(block) }
