package key

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Errors of reading a link. The last two are also ErrLink, whose text they do not repeat.
var (
	ErrLink         = errors.New("that is no link to a room")
	ErrLinkVersion  = error(linkError("the link was made by a newer Pear Box"))
	ErrLinkChecksum = error(linkError("a part of the link is missing or mistyped"))
)

// linkError is a kind of ErrLink.
type linkError string

func (e linkError) Error() string        { return string(e) }
func (e linkError) Is(target error) bool { return target == ErrLink }

// Limits of a link.
const (
	MaxLinkName  = 255  // bytes of the room's name
	MaxLinkAddrs = 32   // addresses in each list
	MaxLinkAddr  = 512  // bytes of one address
	maxLinkBody  = 4096 // bytes before base32
	maxLinkText  = 64 << 10

	linkScheme   = "pear"
	linkVersion  = '1'
	linkCheckLen = 5
)

// Link is an invitation: what one needs to find a room and ask to come in. It
// holds no content key.
type Link struct {
	Room      RoomID
	Relay     Secret   // connects, follows control entries, carries ciphertext
	Seed      Secret   // of the invite's key pair: see Invite
	Role      uint8    // a hint; the invite in the room decides
	Name      string   // of the room, a hint
	Addrs     []string // of peers, multiaddrs with /p2p/
	Bootstrap []string // of the network, multiaddrs with /p2p/
}

// Invite returns the key pair that a join is signed with.
func (l Link) Invite() Signer { return NewSigner(Derive(UseInviteKey, l.Seed[:])) }

// String returns the link itself, secrets included: show it to those who are
// invited and nobody else. What does not fit the limits is left out: addresses
// from the end of the lists, the end of the name.
func (l Link) String() string {
	b := make([]byte, 0, 512)
	b = append(b, l.Room[:]...)
	b = append(b, l.Relay[:]...)
	b = append(b, l.Seed[:]...)
	b = append(b, l.Role)
	name := linkName(l.Name)
	b = append(b, byte(len(name)))
	b = append(b, name...)
	b, last := appendAddrs(b, l.Addrs, "", 1)
	b, _ = appendAddrs(b, l.Bootstrap, last, 0)
	check := Derive(UseLinkCheck, b)
	b = append(b, check[:linkCheckLen]...)
	return linkScheme + string(linkVersion) + base32Lower.EncodeToString(b)
}

// GoString and LogValue hide the secrets. String does not.
func (l Link) GoString() string     { return fmt.Sprintf("key.Link{Room: %s, ...}", l.Room) }
func (l Link) LogValue() slog.Value { return slog.StringValue("link to room " + l.Room.Short()) }

// MarshalText refuses: a link in a structure that is written as text would
// leak. Use String where that is meant.
func (l Link) MarshalText() ([]byte, error) { return nil, errSecretText }

// linkName returns what of a room's name may stand in a link.
func linkName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	for len(name) > MaxLinkName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return name
}

// appendAddrs adds a list of addresses, coded against the address before
// each, and keeps spare bytes free for what follows.
func appendAddrs(b []byte, addrs []string, last string, spare int) ([]byte, string) {
	at, n := len(b), 0
	b = append(b, 0)
	for _, a := range addrs {
		pre := commonPrefix(last, a)
		suf := commonSuffix(last[pre:], a[pre:])
		mid := a[pre : len(a)-suf]
		if n == MaxLinkAddrs || len(b)+4+len(mid)+spare > maxLinkBody {
			break
		}
		if a == "" || len(a) > MaxLinkAddr {
			continue
		}
		b = append(b, byte(pre), byte(suf))
		b = binary.BigEndian.AppendUint16(b, uint16(len(mid)))
		b = append(b, mid...)
		last, n = a, n+1
	}
	b[at] = byte(n)
	return b, last
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b), 255) && a[n] == b[n] {
		n++
	}
	return n
}

func commonSuffix(a, b string) int {
	n := 0
	for n < min(len(a), len(b), 255) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// ParseLink reads a link. It is forgiving about case, white space, quotes and
// a web address around it; errors never repeat the text.
func ParseLink(text string) (Link, error) {
	if len(text) > maxLinkText {
		return Link{}, ErrLink
	}
	text = text[strings.LastIndexByte(text, '#')+1:]
	text = strings.ToLower(strings.Map(linkRune, text))
	text = strings.Trim(text, "\"'`<>()[]{}.,;:!?*_")
	rest, ok := strings.CutPrefix(text, linkScheme)
	switch {
	case !ok || rest == "":
		return Link{}, ErrLink
	case rest[0] != linkVersion && rest[0] >= '0' && rest[0] <= '9':
		return Link{}, ErrLinkVersion
	case rest[0] != linkVersion:
		return Link{}, ErrLink
	}
	body, err := linkBody(rest[1:])
	if err != nil {
		return Link{}, err
	}
	return parseLinkBody(body)
}

// linkRune drops what mail programs and chat windows put between characters.
func linkRune(r rune) rune {
	if unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) || unicode.IsControl(r) {
		return -1
	}
	return r
}

// linkBody undoes the base32 and checks the checksum.
func linkBody(text string) ([]byte, error) {
	if base32Lower.DecodedLen(len(text)) > maxLinkBody+linkCheckLen {
		return nil, ErrLink
	}
	b, err := base32Lower.DecodeString(text)
	if err != nil || len(b) < linkCheckLen || base32Lower.EncodeToString(b) != text {
		return nil, ErrLinkChecksum
	}
	body, check := b[:len(b)-linkCheckLen], b[len(b)-linkCheckLen:]
	want := Derive(UseLinkCheck, body)
	if subtle.ConstantTimeCompare(want[:linkCheckLen], check) != 1 {
		return nil, ErrLinkChecksum
	}
	return body, nil
}

func parseLinkBody(b []byte) (Link, error) {
	r := linkReader{b: b}
	var l Link
	copy(l.Room[:], r.take(32))
	copy(l.Relay[:], r.take(32))
	copy(l.Seed[:], r.take(32))
	l.Role = r.byte()
	l.Name = string(r.take(int(r.byte())))
	l.Addrs = r.addrs()
	l.Bootstrap = r.addrs()
	if r.bad || linkName(l.Name) != l.Name {
		return Link{}, ErrLink
	}
	return l, nil
}

// linkReader reads the fields of a body; bad is set once something does not
// fit, and everything after reads as empty.
type linkReader struct {
	b    []byte
	last string // the address before
	bad  bool
}

func (r *linkReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *linkReader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *linkReader) addrs() []string {
	n := int(r.byte())
	if n > MaxLinkAddrs {
		r.bad = true
	}
	var list []string
	for i := 0; i < n && !r.bad; i++ {
		list = append(list, r.addr())
	}
	return list
}

func (r *linkReader) addr() string {
	pre, suf := int(r.byte()), int(r.byte())
	mid := r.take(int(r.byte())<<8 | int(r.byte()))
	if r.bad || pre+suf > len(r.last) || pre+len(mid)+suf == 0 || pre+len(mid)+suf > MaxLinkAddr {
		r.bad = true
		return ""
	}
	a := r.last[:pre] + string(mid) + r.last[len(r.last)-suf:]
	if !printable(a) {
		r.bad = true
		return ""
	}
	r.last = a
	return a
}

// printable reports whether an address consists of visible ASCII, as every
// multiaddr does.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
