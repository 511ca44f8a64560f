package key

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"lukechampine.com/blake3"
)

func testDevice(t testing.TB, seed byte) *Device {
	t.Helper()
	d, err := DeviceFromSeed(Secret{seed})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDerive compares with the library's own derivation, below and above the
// size that takes the short way.
func TestDerive(t *testing.T) {
	for _, n := range []int{0, 1, 55, 56, 57, 64, 1015, 1016, 1017, 5000} {
		part := bytes.Repeat([]byte{7}, n)
		material := append([]byte{0, 0, 0, 0, 0, 0, byte(n >> 8), byte(n)}, part...)
		var want [32]byte
		blake3.DeriveKey(want[:], "pearbox 2026-11 test", material)
		if got := Derive(UseTest, part); got != want {
			t.Errorf("%d bytes: %x, want %x", n, got, want)
		}
	}
	if Derive(UseTest, []byte("ab"), []byte("c")) == Derive(UseTest, []byte("a"), []byte("bc")) {
		t.Error("parts run together")
	}
	if Derive(UseTest) == Derive(UseTest, nil) {
		t.Error("no part and an empty part are the same")
	}
	if Derive(UseTest, nil) == Derive(UseCore, nil) {
		t.Error("uses are the same")
	}
}

// TestFixed pins values that stand on disks and in links.
func TestFixed(t *testing.T) {
	d := testDevice(t, 1)
	for _, c := range []struct{ what, got, want string }{
		{"sum", Sum(nil).String(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{"core", CoreIDOf(RoomID{1}, d.ID(), Drive, 2).String(), fixedCore},
		{"topic", Topic(Secret{1}).String(), fixedTopic},
		{"device", d.ID().String(), fixedDevice},
		{"link", testLink.String(), fixedLink},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, was %s", c.what, c.got, c.want)
		}
	}
}

// TestUseTable: every use stands once in the table and has one constant.
func TestUseTable(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "derive.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Names) != 1 || !strings.HasPrefix(v.Names[0].Name, "Use") {
			return true
		}
		use, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil || seen[use] {
			t.Errorf("use %q: twice, or %v", use, err)
		}
		seen[use] = true
		rows := 0
		for line := range strings.Lines(string(doc)) {
			if f := strings.Fields(line); len(f) > 2 && f[1] == v.Names[0].Name && strings.Contains(line, strconv.Quote(use)) {
				rows++
			}
		}
		if rows != 1 {
			t.Errorf("%s stands %d times in the table", v.Names[0].Name, rows)
		}
		return true
	})
	if len(seen) < 30 {
		t.Errorf("only %d uses", len(seen))
	}
}

func TestSign(t *testing.T) {
	d, e := testDevice(t, 1), testDevice(t, 2)
	msg := []byte("message")
	sig := d.Sign(UseHead, msg)
	if !Verify(d.ID(), UseHead, msg, sig[:]) {
		t.Fatal("a good signature does not verify")
	}
	bad := sig
	bad[9]++
	for name, ok := range map[string]bool{
		"another device":  Verify(e.ID(), UseHead, msg, sig[:]),
		"another use":     Verify(d.ID(), UseJoin, msg, sig[:]),
		"another message": Verify(d.ID(), UseHead, []byte("messagE"), sig[:]),
		"a changed one":   Verify(d.ID(), UseHead, msg, bad[:]),
		"a short one":     Verify(d.ID(), UseHead, msg, sig[:63]),
		"none":            Verify(d.ID(), UseHead, msg, nil),
		"no device":       Verify(DeviceID{}, UseHead, msg, sig[:]),
	} {
		if ok {
			t.Errorf("verified: %s", name)
		}
	}
	if !bytes.Equal(d.Ed25519()[32:], idBytes(d.ID())) {
		t.Error("the libp2p key is another key")
	}
}

func idBytes(id DeviceID) []byte { return id[:] }

func TestBox(t *testing.T) {
	d, e := testDevice(t, 1), testDevice(t, 2)
	plain := bytes.Repeat([]byte{5}, 32)
	sealed, err := SealBox(d.BoxPublic(), []byte("info"), plain)
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed) != len(plain)+BoxOverhead || len(d.BoxPublic()) != BoxPublicSize {
		t.Errorf("sizes: box %d, key %d", len(sealed), len(d.BoxPublic()))
	}
	got, err := d.OpenBox([]byte("info"), sealed)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opening: %v", err)
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)-1]++
	for name, open := range map[string]func() ([]byte, error){
		"another device": func() ([]byte, error) { return e.OpenBox([]byte("info"), sealed) },
		"another info":   func() ([]byte, error) { return d.OpenBox([]byte("inf"), sealed) },
		"changed":        func() ([]byte, error) { return d.OpenBox([]byte("info"), changed) },
		"short":          func() ([]byte, error) { return d.OpenBox([]byte("info"), sealed[:100]) },
	} {
		if _, err := open(); err == nil {
			t.Errorf("opened: %s", name)
		}
	}
	for _, n := range []int{0, 31, 1215, 1217} {
		if BoxPublic(make([]byte, n)).Valid() {
			t.Errorf("a box key of %d bytes is valid", n)
		}
	}
}

// TestSecretsNeverPrint looks for the bytes of secrets in every text form.
func TestSecretsNeverPrint(t *testing.T) {
	seed := Secret(bytes.Repeat([]byte{0xab}, 32))
	rec := recoveryOf(seed)
	d, err := newDevice(seed, seed)
	if err != nil {
		t.Fatal(err)
	}
	signer := NewSigner(seed)
	link := Link{Relay: seed, Seed: seed}
	values := []any{seed, &seed, rec, &rec, d, signer, &signer,
		struct{ S Secret }{seed}, []Secret{seed}, map[string]Secret{"a": seed}}
	var texts []string
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
	}
	texts = append(texts, fmt.Sprintf("%#v", link))
	for _, v := range append(values, link) {
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		j, _ := json.Marshal(v)
		texts = append(texts, out.String(), string(j))
	}
	words := strings.Fields(rec.Words())[0]
	for _, text := range texts {
		low := strings.ToLower(text)
		for _, leak := range []string{"abab", "171 171", "171,171", "0xab", "253253", "10101011", words, base32Lower.EncodeToString(seed[:])[:20]} {
			if strings.Contains(low, leak) {
				t.Errorf("shows %q: %.100s", leak, text)
			}
		}
	}
	b, err := cbor.Marshal(struct{ S Secret }{seed})
	if err != nil || !bytes.Contains(b, seed[:]) {
		t.Errorf("CBOR does not carry a secret: %x, %v", b, err)
	}
}

func TestIDs(t *testing.T) {
	type all struct {
		H Hash
		D DeviceID
		R RoomID
		C CoreID
	}
	in := all{Sum([]byte{1}), DeviceID(Sum([]byte{2})), RoomID(Sum([]byte{3})), CoreID(Sum([]byte{4}))}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out all
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("%s comes back as %+v, %v", b, out, err)
	}
	c, err := cbor.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out = all{}
	if err := cbor.Unmarshal(c, &out); err != nil || out != in {
		t.Errorf("CBOR comes back as %+v, %v", out, err)
	}
	if len(c) > 160 {
		t.Errorf("ids take %d bytes in CBOR", len(c))
	}
	text := in.R.String()
	if r, err := ParseRoomID(" " + strings.ToUpper(text) + "\n"); err != nil || r != in.R {
		t.Errorf("upper case: %v", err)
	}
	last := text[:len(text)-1] + "b" // bits that no id has
	for _, bad := range []string{"", text[1:], text + "a", "1" + text[1:], last} {
		if _, err := ParseRoomID(bad); err == nil {
			t.Errorf("%q is a room id", bad)
		}
	}
	for _, bad := range []string{"", in.H.String()[2:], "zz" + in.H.String()[2:]} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("%q is a hash", bad)
		}
	}
}

func BenchmarkDerive(b *testing.B) {
	part := make([]byte, 64)
	for b.Loop() {
		Derive(UseTest, part)
	}
}

func BenchmarkVerify(b *testing.B) {
	d := testDevice(b, 1)
	sig := d.Sign(UseHead, make([]byte, 72))
	for b.Loop() {
		Verify(d.ID(), UseHead, make([]byte, 72), sig[:])
	}
}

func TestSmallThings(t *testing.T) {
	l := testLink
	id := l.Invite().ID()
	l.Seed[0]++
	if id == l.Invite().ID() || id == NewSigner(testLink.Seed).ID() {
		t.Error("the invite's key does not come from the seed alone, by its own derivation")
	}
	sig := testLink.Invite().Sign(UseJoin, []byte("m"))
	if !Verify(id, UseJoin, []byte("m"), sig[:]) {
		t.Error("signature of the invite's key")
	}
	if Kind(0).Valid() || Kind(4).Valid() || !Drive.Valid() || Chat.String() != "chat" || Kind(9).String() != "kind 9" {
		t.Error("kinds")
	}
	var zero Secret
	if !zero.IsZero() || NewSecret().IsZero() || NewSecret().Equal(NewSecret()) {
		t.Error("secrets")
	}
	if err := zero.UnmarshalText([]byte(hidden)); err == nil {
		t.Error("a secret was read from a text")
	}
	if r := (RoomID{1}); len(r.Short()) != 8 || !strings.HasPrefix(r.String(), r.Short()) || r.IsZero() {
		t.Error("short form")
	}
}
