package key

import (
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrID is returned, wrapped, for text that is not an id of the wanted sort.
var ErrID = errors.New("not a valid id")

// Hash is a 32-byte hash: BLAKE3, or the SHA-256 of RFC 6962 for what a core
// contains. Its text form is 64 hexadecimal digits.
type Hash [32]byte

// DeviceID is the Ed25519 public key of a device. Its text form, like that of
// RoomID and CoreID, is base32: lower case, 52 characters.
type DeviceID [32]byte

// RoomID names a room: the hash of its genesis.
type RoomID [32]byte

// CoreID names a core: see CoreIDOf.
type CoreID [32]byte

// base32Lower is the alphabet of every text form except Hash.
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func idText(b [32]byte) string { return base32Lower.EncodeToString(b[:]) }

func parseID(text, what string) (id [32]byte, err error) {
	b, err := base32Lower.DecodeString(strings.ToLower(strings.TrimSpace(text)))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%w: a %s is 52 letters and digits (a-z, 2-7)", ErrID, what)
	}
	copy(id[:], b)
	if idText(id) != strings.ToLower(strings.TrimSpace(text)) {
		return [32]byte{}, fmt.Errorf("%w: the last character of the %s is wrong", ErrID, what)
	}
	return id, nil
}

// ParseHash reads the text form of a Hash.
func ParseHash(text string) (Hash, error) {
	var h Hash
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != len(h) {
		return Hash{}, fmt.Errorf("%w: a hash is 64 hexadecimal digits", ErrID)
	}
	copy(h[:], b)
	return h, nil
}

// ParseDeviceID reads the text form of a DeviceID.
func ParseDeviceID(text string) (DeviceID, error) { return parse[DeviceID](text, "device id") }

// ParseRoomID reads the text form of a RoomID.
func ParseRoomID(text string) (RoomID, error) { return parse[RoomID](text, "room id") }

// ParseCoreID reads the text form of a CoreID.
func ParseCoreID(text string) (CoreID, error) { return parse[CoreID](text, "core id") }

func parse[T ~[32]byte](text, what string) (T, error) {
	id, err := parseID(text, what)
	return T(id), err
}

func (h Hash) String() string     { return hex.EncodeToString(h[:]) }
func (d DeviceID) String() string { return idText(d) }
func (r RoomID) String() string   { return idText(r) }
func (c CoreID) String() string   { return idText(c) }

// Short returns the first 8 characters of the text form, for people to read.
func (h Hash) Short() string     { return hex.EncodeToString(h[:4]) }
func (d DeviceID) Short() string { return idText(d)[:8] }
func (r RoomID) Short() string   { return idText(r)[:8] }
func (c CoreID) Short() string   { return idText(c)[:8] }

// IsZero reports whether the value was never set.
func (h Hash) IsZero() bool     { return h == Hash{} }
func (d DeviceID) IsZero() bool { return d == DeviceID{} }
func (r RoomID) IsZero() bool   { return r == RoomID{} }
func (c CoreID) IsZero() bool   { return c == CoreID{} }

// MarshalText and UnmarshalText make the ids readable in JSON and TOML.
func (h Hash) MarshalText() ([]byte, error)     { return []byte(h.String()), nil }
func (d DeviceID) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
func (r RoomID) MarshalText() ([]byte, error)   { return []byte(r.String()), nil }
func (c CoreID) MarshalText() ([]byte, error)   { return []byte(c.String()), nil }

func (h *Hash) UnmarshalText(b []byte) (err error) { *h, err = ParseHash(string(b)); return err }
func (d *DeviceID) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDeviceID(string(b))
	return err
}
func (r *RoomID) UnmarshalText(b []byte) (err error) { *r, err = ParseRoomID(string(b)); return err }
func (c *CoreID) UnmarshalText(b []byte) (err error) { *c, err = ParseCoreID(string(b)); return err }

// Kind says what a core of a room carries. Append-only: the numbers stand in
// core ids.
type Kind uint8

const (
	Control Kind = 1
	Drive   Kind = 2
	Chat    Kind = 3
)

// Kinds are all valid kinds, in order.
var Kinds = [...]Kind{Control, Drive, Chat}

// Valid reports whether this version knows the kind.
func (k Kind) Valid() bool { return k >= Control && k <= Chat }

func (k Kind) String() string {
	switch k {
	case Control:
		return "control"
	case Drive:
		return "drive"
	case Chat:
		return "chat"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
