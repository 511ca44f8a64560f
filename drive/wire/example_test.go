package wire

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// TestWorkedExample keeps the example in PROTOCOL.md true.
func TestWorkedExample(t *testing.T) {
	fill := func(b byte) (out [32]byte) { return [32]byte(bytes.Repeat([]byte{b}, 32)) }
	h := handshake{first: fill(0x11), second: fill(0x22), firstNonce: fill(0x33), secondNonce: fill(0x44)}
	relay := key.Secret(fill(0x55))
	tg := h.tag(relay)
	p1, p2 := h.prove(relay, sideFirst, tg), h.prove(relay, sideSecond, tg)
	doc, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"tag           ": tg[:],
		"proof, first  ": p1[:],
		"proof, second ": p2[:],
		"ping 7        ": encode(framePing, msgPing{Echo: 7}),
		"ask blob      ": encode(frameAskBlob, askBlob{ID: 9, Chan: 1, Root: fill(0x66), Off: 131072, Len: 65536, Urgent: true}),
	} {
		if line := "    " + name + " " + hex.EncodeToString(b) + "\n"; !strings.Contains(string(doc), line) {
			t.Errorf("PROTOCOL.md should have the line\n%s", line)
		}
	}
	if !h.check(relay, sideFirst, tg, p1) || h.check(relay, sideSecond, tg, p1) || h.check(key.Secret{}, sideFirst, tg, p1) {
		t.Error("the proof holds for the wrong side or key, or not at all")
	}
}
