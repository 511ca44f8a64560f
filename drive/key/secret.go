package key

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a 32-byte key. It never prints: see the package comment.
type Secret [32]byte

// hidden is what every text form of a secret shows.
const hidden = "[secret]"

var errSecretText = errors.New("a secret has no text form")

// NewSecret returns a random secret.
func NewSecret() Secret {
	var s Secret
	rand.Read(s[:]) // never fails: crypto/rand ends the program instead
	return s
}

// Equal compares in constant time.
func (s Secret) Equal(t Secret) bool { return subtle.ConstantTimeCompare(s[:], t[:]) == 1 }

// IsZero reports whether the secret was never set.
func (s Secret) IsZero() bool { return s.Equal(Secret{}) }

func (s Secret) String() string               { return hidden }
func (s Secret) GoString() string             { return hidden }
func (s Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, hidden) }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// UnmarshalText always fails: a secret does not travel as text.
func (s *Secret) UnmarshalText([]byte) error { return errSecretText }
