package key

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"

	"github.com/tyler-smith/go-bip39"
)

// ErrRecovery is returned, wrapped, for words that are not a recovery key.
var ErrRecovery = errors.New("not a recovery key")

// RecoveryWords is the number of words of a recovery key.
const RecoveryWords = 24

// Recovery is the key that outranks everyone in a room: 32 random bytes that
// people keep as 24 words (BIP 39, English). It never prints by itself; Words
// is for showing it once.
type Recovery struct {
	seed   Secret
	signer Signer
}

// NewRecovery makes a new recovery key.
func NewRecovery() Recovery { return recoveryOf(NewSecret()) }

func recoveryOf(seed Secret) Recovery {
	return Recovery{seed, NewSigner(Derive(UseRecoveryKey, seed[:]))}
}

// Words returns the 24 words, separated by single spaces. They are the key:
// show them once, store them nowhere.
func (r Recovery) Words() string {
	words, err := bip39.NewMnemonic(r.seed[:])
	if err != nil {
		panic(err) // 32 bytes are a valid length
	}
	return words
}

// ParseRecovery reads the words of a recovery key, in any case, separated and
// numbered as people write lists. Errors say which word is wrong and never
// repeat it.
func ParseRecovery(text string) (Recovery, error) {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) })
	if len(words) != RecoveryWords {
		return Recovery{}, fmt.Errorf("%w: %d words instead of %d", ErrRecovery, len(words), RecoveryWords)
	}
	for i, w := range words {
		if _, ok := bip39.GetWordIndex(w); !ok {
			return Recovery{}, fmt.Errorf("%w: word %d is not in the list of words; check its spelling", ErrRecovery, i+1)
		}
	}
	seed, err := bip39.EntropyFromMnemonic(strings.Join(words, " "))
	if err != nil || len(seed) != 32 {
		return Recovery{}, fmt.Errorf("%w: the words do not fit together; check them and their order", ErrRecovery)
	}
	defer clear(seed)
	return recoveryOf(Secret(seed)), nil
}

// Public returns the public key that stands in the room's genesis.
func (r Recovery) Public() DeviceID { return r.signer.ID() }

// Sign signs msg for one use.
func (r Recovery) Sign(use Use, msg []byte) [SignatureSize]byte { return r.signer.Sign(use, msg) }

func (r Recovery) String() string               { return hidden }
func (r Recovery) Format(f fmt.State, _ rune)   { io.WriteString(f, hidden) }
func (r Recovery) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (r Recovery) MarshalText() ([]byte, error) { return []byte(hidden), nil }
