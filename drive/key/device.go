package key

import (
	"bytes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// Errors of reading a device file.
var (
	ErrDevice     = errors.New("not a device file, or a damaged one; restore device.key from a backup")
	ErrVersion    = errors.New("the device file was written by a newer Pear Box; update this one")
	ErrSealed     = errors.New("the device file is sealed; its passphrase is needed")
	ErrPassphrase = errors.New("wrong passphrase, or a damaged device file")
)

// Device is the identity of one installation: an Ed25519 key that signs and
// is the libp2p identity, and an HPKE key that boxes are sealed to. It is
// immutable and safe for concurrent use. It never prints its keys.
type Device struct {
	signer  Signer
	seed    Secret // Ed25519 seed
	boxSeed Secret // HPKE private key
	box     hpke.PrivateKey
	boxPub  BoxPublic
}

// NewDevice makes a new identity.
func NewDevice() (*Device, error) { return newDevice(NewSecret(), NewSecret()) }

// DeviceFromSeed makes an identity that depends on the seed alone, for tests
// and simulations that must repeat.
func DeviceFromSeed(seed Secret) (*Device, error) {
	return newDevice(Derive(UseTest, seed[:], []byte("sign")), Derive(UseTest, seed[:], []byte("box")))
}

func newDevice(seed, boxSeed Secret) (*Device, error) {
	box, err := boxKEM.NewPrivateKey(boxSeed[:])
	if err != nil {
		return nil, fmt.Errorf("making the box key: %w", err)
	}
	return &Device{
		signer:  NewSigner(seed),
		seed:    seed,
		boxSeed: boxSeed,
		box:     box,
		boxPub:  box.PublicKey().Bytes(),
	}, nil
}

// ID returns the device id: the public key that signatures are checked with.
func (d *Device) ID() DeviceID { return d.signer.ID() }

// Sign signs msg for one use.
func (d *Device) Sign(use Use, msg []byte) [SignatureSize]byte { return d.signer.Sign(use, msg) }

// Ed25519 returns a copy of the private key, for the libp2p identity.
func (d *Device) Ed25519() ed25519.PrivateKey { return bytes.Clone(d.signer.priv) }

// String returns the text form of the device's id.
func (d *Device) String() string { return "device " + d.ID().Short() }

// Format prints the id for every verb: the keys stay hidden.
func (d *Device) Format(f fmt.State, _ rune) { io.WriteString(f, d.String()) }

// LogValue logs the id.
func (d *Device) LogValue() slog.Value { return slog.StringValue(d.ID().String()) }

const (
	deviceMagic   = "pearbox device\n"
	deviceVersion = 1
	formPlain     = 0
	formSealed    = 1

	headLen  = len(deviceMagic) + 2
	checkLen = 8
	plainLen = 64
	saltLen  = 16
	paramLen = 4 + 4 + 1 + saltLen + chacha20poly1305.NonceSizeX
)

// Costs of argon2id (RFC 9106, second recommendation), and what a file may
// ask of the machine that opens it.
const (
	argonTime, argonMemory, argonThreads = 3, 64 << 10, 4
	maxArgonTime, maxArgonMemory         = 16, 1 << 20
)

// Marshal returns the plain device file: whoever reads it is the device.
func (d *Device) Marshal() []byte {
	b := deviceHead(formPlain)
	b = append(b, d.seed[:]...)
	b = append(b, d.boxSeed[:]...)
	return appendCheck(b)
}

// MarshalSealed returns the device file sealed with a passphrase.
func (d *Device) MarshalSealed(passphrase []byte) ([]byte, error) {
	b := deviceHead(formSealed)
	b = binary.BigEndian.AppendUint32(b, argonTime)
	b = binary.BigEndian.AppendUint32(b, argonMemory)
	b = append(b, argonThreads)
	var random [saltLen + chacha20poly1305.NonceSizeX]byte
	rand.Read(random[:])
	b = append(b, random[:]...)
	aead, err := deviceAEAD(b[headLen:], passphrase)
	if err != nil {
		return nil, err
	}
	plain := append(append(make([]byte, 0, plainLen), d.seed[:]...), d.boxSeed[:]...)
	b = aead.Seal(b, b[len(b)-chacha20poly1305.NonceSizeX:], plain, b)
	clear(plain)
	return appendCheck(b), nil
}

// ParseDevice reads a plain device file. The error is ErrSealed when a
// passphrase is needed: see OpenDevice.
func ParseDevice(b []byte) (*Device, error) { return OpenDevice(b, nil) }

// OpenDevice reads a device file of either form. The passphrase is not used
// for a plain one.
func OpenDevice(b, passphrase []byte) (*Device, error) {
	form, content, err := deviceContent(b)
	if err != nil {
		return nil, err
	}
	switch {
	case form == formPlain && len(content) == plainLen:
		return newDevice(Secret(content[:32]), Secret(content[32:]))
	case form == formSealed && len(content) == paramLen+plainLen+chacha20poly1305.Overhead:
		if len(passphrase) == 0 {
			return nil, ErrSealed
		}
	default:
		return nil, ErrDevice
	}
	aead, err := deviceAEAD(content, passphrase)
	if err != nil {
		return nil, err
	}
	nonce := content[paramLen-chacha20poly1305.NonceSizeX : paramLen]
	plain, err := aead.Open(nil, nonce, content[paramLen:], b[:headLen+paramLen])
	if err != nil {
		return nil, ErrPassphrase
	}
	defer clear(plain)
	return newDevice(Secret(plain[:32]), Secret(plain[32:]))
}

// deviceContent checks the frame of a device file.
func deviceContent(b []byte) (form byte, content []byte, err error) {
	if len(b) < headLen+checkLen || string(b[:len(deviceMagic)]) != deviceMagic {
		return 0, nil, ErrDevice
	}
	body, check := b[:len(b)-checkLen], b[len(b)-checkLen:]
	want := Derive(UseDeviceCheck, body)
	if subtle.ConstantTimeCompare(want[:checkLen], check) != 1 {
		return 0, nil, ErrDevice
	}
	if v := b[len(deviceMagic)]; v != deviceVersion {
		return 0, nil, fmt.Errorf("%w (format %d)", ErrVersion, v)
	}
	return b[len(deviceMagic)+1], body[headLen:], nil
}

// deviceAEAD derives the cipher of a sealed device file from its parameters.
func deviceAEAD(params, passphrase []byte) (cipher.AEAD, error) {
	time := binary.BigEndian.Uint32(params)
	memory := binary.BigEndian.Uint32(params[4:])
	threads := params[8]
	if time == 0 || time > maxArgonTime || memory == 0 || memory > maxArgonMemory || threads == 0 {
		return nil, fmt.Errorf("%w: unreasonable passphrase costs", ErrDevice)
	}
	stretched := argon2.IDKey(passphrase, params[9:9+saltLen], time, memory, threads, 32)
	k := Derive(UseDeviceSeal, stretched)
	return chacha20poly1305.NewX(k[:])
}

func deviceHead(form byte) []byte {
	b := make([]byte, 0, 256)
	b = append(b, deviceMagic...)
	return append(b, deviceVersion, form)
}

func appendCheck(b []byte) []byte {
	check := Derive(UseDeviceCheck, b)
	return append(b, check[:checkLen]...)
}
