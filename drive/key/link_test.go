package key

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

var testLink = Link{
	Room: RoomID{1}, Relay: Secret{2}, Seed: Secret{3}, Role: 2, Name: "Größe ✓",
	Addrs: []string{
		"/ip4/192.168.1.17/tcp/4711/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
		"/ip4/192.168.1.17/udp/4711/quic-v1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
	},
	Bootstrap: []string{"/dns4/example.org/tcp/443/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"},
}

// Values of version 1, which later versions must still read.
const (
	fixedCore   = "xcszgpxzisfxpbze66koy57lpzaa5we6qe553id4qotn3j5lkica"
	fixedTopic  = "a3151db66030e8619df042b01ef21ab291513e4ee60dbb8c38c05aa1e547871b"
	fixedDevice = "beehgjfcwie7zg4g4uoy5ov6vqz2aolhpbo3kbn7ynk7s6d7jeaa"
	fixedLink   = "pear1aeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaadaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabawr3syo3mhh3fedrjzeycaaaaauzpnfydilzrhezc4mjwhaxdclrrg4xxiy3qf42domjrf5yde4bpgezeim2ln5xvorbtmvrww2lgk5yfe3rzo5ixatkhhfjds2cygnzuimjvhb5dorlrjblw253fkfauuvjvknareoqab52wi4bpgq3tcmjpof2wsyznoyaqcaaakfsg44zuf5sxqylnobwgkltpojts65ddoaxtinbtf5yde4bpgezeim2ln5xvoudkmnsvc4sto5sfowcqpfgeyzkbijjfq3lvof2dmoksm4zxgqszmjktcttgoq4uq6krgzmlcrsgb4nq"
)

func TestLinkRoundTrip(t *testing.T) {
	for _, l := range []Link{{}, testLink, {Name: strings.Repeat("x", 255)}, {Addrs: testLink.Addrs}, {Bootstrap: testLink.Addrs}} {
		got, err := ParseLink(l.String())
		if err != nil || !reflect.DeepEqual(got, l) {
			t.Errorf("%#v comes back as %#v, %v", l, got, err)
		}
	}
}

// TestLinkForgiving: what people and programs do to links.
func TestLinkForgiving(t *testing.T) {
	s := testLink.String()
	var wrapped strings.Builder
	for i, c := range s {
		if i%60 == 59 {
			wrapped.WriteString("\r\n  ")
		}
		wrapped.WriteRune(c)
	}
	for name, text := range map[string]string{
		"spaces":     "  \n" + s + "\t ",
		"upper case": strings.ToUpper(s),
		"wrapped":    wrapped.String(),
		"quoted":     "<" + s + ">.",
		"web":        "https://example.org/join#" + s,
		"zero width": "\ufeff" + s[:20] + "\u200b" + s[20:] + "\u00a0",
		"backquotes": "`" + s + "`",
	} {
		if got, err := ParseLink(text); err != nil || !reflect.DeepEqual(got, testLink) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLinkErrors(t *testing.T) {
	s := testLink.String()
	for i := range s {
		for _, r := range "a7" {
			bad := s[:i] + string(r) + s[i+1:]
			if bad == s {
				continue
			}
			if _, err := ParseLink(bad); !errors.Is(err, ErrLink) {
				t.Fatalf("character %d mistyped: %v", i, err)
			}
		}
		if _, err := ParseLink(s[:i]); !errors.Is(err, ErrLink) {
			t.Fatalf("cut to %d characters: %v", i, err)
		}
		if i+1 < len(s) && s[i] != s[i+1] {
			bad := s[:i] + s[i+1:i+2] + s[i:i+1] + s[i+2:]
			if _, err := ParseLink(bad); !errors.Is(err, ErrLink) {
				t.Fatalf("characters %d and %d exchanged: %v", i, i+1, err)
			}
		}
	}
	for text, want := range map[string]error{
		"":                                   ErrLink,
		"pear":                               ErrLink,
		"pear1":                              ErrLinkChecksum,
		"hello":                              ErrLink,
		"https://example.org":                ErrLink,
		"pear2" + s[5:]:                      ErrLinkVersion,
		"pear9":                              ErrLinkVersion,
		s[:len(s)-8]:                         ErrLinkChecksum,
		strings.Repeat("a", 1<<20):           ErrLink,
		"pear1" + strings.Repeat("a", 60000): ErrLink,
	} {
		_, err := ParseLink(text)
		if !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", text, err, want)
		}
		if err != nil && len(text) > 10 && strings.Contains(err.Error(), text[:10]) {
			t.Errorf("the error repeats the text: %v", err)
		}
	}
}

// TestLinkLimits: what does not fit is left out, never a broken link.
func TestLinkLimits(t *testing.T) {
	l := Link{Name: strings.Repeat("ä", 200) + "\x00\xff"}
	for i := range 100 {
		l.Addrs = append(l.Addrs, fmt.Sprintf("/dns4/%s%d/tcp/1", strings.Repeat(string(rune('a'+i%26)), 200), i))
		l.Bootstrap = append(l.Bootstrap, "/ip4/1.2.3.4/tcp/1", "", strings.Repeat("x", 600))
	}
	got, err := ParseLink(l.String())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Name) != 254 || len(got.Addrs) == 0 || len(got.Addrs) > MaxLinkAddrs {
		t.Errorf("name of %d bytes, %d addresses", len(got.Name), len(got.Addrs))
	}
	later := "pear1" + base32Lower.EncodeToString(withCheck(append(body(t, testLink), "from a later version"...)))
	if got, err := ParseLink(later); err != nil || !reflect.DeepEqual(got, testLink) {
		t.Errorf("a later field: %v", err)
	}
}

func body(t testing.TB, l Link) []byte {
	t.Helper()
	b, err := linkBody(l.String()[5:])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func withCheck(b []byte) []byte {
	check := Derive(UseLinkCheck, b)
	return append(b, check[:linkCheckLen]...)
}

func FuzzParseLink(f *testing.F) {
	f.Add(testLink.String())
	f.Add("https://x/#" + strings.ToUpper(Link{}.String()))
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLink(s)
		if err != nil {
			return
		}
		if again, err := ParseLink(l.String()); err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%#v comes back as %#v, %v", l, again, err)
		}
	})
}

func FuzzLinkBody(f *testing.F) {
	f.Add(body(f, testLink))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLinkBody(b)
		if err != nil || len(b) > maxLinkBody {
			return
		}
		if again, err := ParseLink(l.String()); err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%#v comes back as %#v, %v", l, again, err)
		}
	})
}
