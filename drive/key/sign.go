package key

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
)

// SignatureSize is the length of every signature, in bytes.
const SignatureSize = ed25519.SignatureSize

// Signer is an Ed25519 key pair made from a seed. It does not print its key.
type Signer struct{ priv ed25519.PrivateKey }

// NewSigner returns the key pair of an Ed25519 seed. Seeds that serve several
// purposes are derived first.
func NewSigner(seed Secret) Signer { return Signer{ed25519.NewKeyFromSeed(seed[:])} }

// ID returns the public key.
func (s Signer) ID() (id DeviceID) {
	copy(id[:], s.priv[ed25519.SeedSize:])
	return id
}

// Sign signs msg for one use.
func (s Signer) Sign(use Use, msg []byte) (sig [SignatureSize]byte) {
	copy(sig[:], ed25519.Sign(s.priv, signed(use, msg)))
	return sig
}

func (s Signer) String() string             { return hidden }
func (s Signer) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }
func (s Signer) LogValue() slog.Value       { return slog.StringValue(hidden) }

// Verify reports whether sig is a signature of id over msg for this use. It
// takes any lengths without panicking.
func Verify(id DeviceID, use Use, msg []byte, sig []byte) bool {
	return len(sig) == SignatureSize && ed25519.Verify(id[:], signed(use, msg), sig)
}

func signed(use Use, msg []byte) []byte {
	b := make([]byte, 0, len(domain)+len(use)+1+len(msg))
	b = append(b, domain...)
	b = append(b, use...)
	b = append(b, 0)
	return append(b, msg...)
}
