package key

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestDeviceFile(t *testing.T) {
	d, err := NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	b := d.Marshal()
	e, err := ParseDevice(b)
	if err != nil {
		t.Fatal(err)
	}
	if e.ID() != d.ID() || !bytes.Equal(e.BoxPublic(), d.BoxPublic()) {
		t.Error("the device comes back as another")
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := ParseDevice(bad); !errors.Is(err, ErrDevice) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := ParseDevice(b[:i]); !errors.Is(err, ErrDevice) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := ParseDevice(append(b, 0)); !errors.Is(err, ErrDevice) {
		t.Errorf("a byte more: %v", err)
	}
	newer := bytes.Clone(b[:len(b)-checkLen])
	newer[len(deviceMagic)]++
	if _, err := ParseDevice(appendCheck(newer)); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer file: %v", err)
	}
}

func TestSealedDevice(t *testing.T) {
	d := testDevice(t, 1)
	b, err := d.MarshalSealed([]byte("passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := OpenDevice(b, []byte("passphrase")); err != nil || e.ID() != d.ID() {
		t.Errorf("opening: %v", err)
	}
	if _, err := OpenDevice(b, []byte("Passphrase")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	if _, err := ParseDevice(b); !errors.Is(err, ErrSealed) {
		t.Errorf("no passphrase: %v", err)
	}
	if bytes.Contains(b, d.seed[:]) || bytes.Contains(b, d.boxSeed[:]) {
		t.Error("the sealed file shows a seed")
	}
	costly := bytes.Clone(b[:len(b)-checkLen])
	costly[headLen+4] = 0xff // 4 TiB of memory
	if _, err := OpenDevice(appendCheck(costly), []byte("x")); !errors.Is(err, ErrDevice) {
		t.Errorf("unreasonable costs: %v", err)
	}
	if plain, err := OpenDevice(d.Marshal(), []byte("unused")); err != nil || plain.ID() != d.ID() {
		t.Errorf("a plain file with a passphrase: %v", err)
	}
}

func TestRecovery(t *testing.T) {
	r := NewRecovery()
	words := r.Words()
	list := strings.Fields(words)
	if len(list) != RecoveryWords {
		t.Fatalf("%d words", len(list))
	}
	var numbered strings.Builder
	for i, w := range list {
		numbered.WriteString(strings.Repeat(" ", i%3) + string(rune('1'+i%9)) + ". " + strings.ToUpper(w) + "\r\n")
	}
	for _, text := range []string{words, numbered.String(), strings.Join(list, ", ")} {
		s, err := ParseRecovery(text)
		if err != nil || s.Public() != r.Public() {
			t.Errorf("words written another way: %v", err)
		}
	}
	sig := r.Sign(UseRecovery, []byte("m"))
	if !Verify(r.Public(), UseRecovery, []byte("m"), sig[:]) {
		t.Error("signature")
	}
	typo := append([]string(nil), list...)
	typo[6] = "qqqq"
	_, err := ParseRecovery(strings.Join(typo, " "))
	if !errors.Is(err, ErrRecovery) || !strings.Contains(err.Error(), "word 7") || strings.Contains(err.Error(), "qqqq") {
		t.Errorf("a typing error: %v", err)
	}
	if _, err := ParseRecovery(strings.Join(list[1:], " ")); !errors.Is(err, ErrRecovery) {
		t.Errorf("a word less: %v", err)
	}
	fixed := recoveryOf(Secret{})
	if got := fixed.Words(); !strings.HasPrefix(got, "abandon abandon ") || !strings.HasSuffix(got, " art") {
		t.Errorf("words of zero: %s", got)
	}
	if _, err := ParseRecovery(strings.Replace(fixed.Words(), " art", " abandon", 1)); !errors.Is(err, ErrRecovery) {
		t.Errorf("a wrong checksum: %v", err)
	}
}

func FuzzParseDevice(f *testing.F) {
	d := testDevice(f, 1)
	f.Add(d.Marshal())
	f.Add([]byte(deviceMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDevice(b)
		if err == nil && !bytes.Equal(d.Marshal(), b) {
			t.Error("a device has two files")
		}
		ParseDevice(appendCheck(bytes.Clone(b)))
	})
}

// FuzzRecovery: words that are taken name one key, however they are written.
func FuzzRecovery(f *testing.F) {
	f.Add(NewRecovery().Words())
	f.Add("abandon")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRecovery(text)
		if err != nil {
			return
		}
		again, err := ParseRecovery(r.Words())
		if err != nil || again.Public() != r.Public() {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
