package chat

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

var target = key.Sum([]byte("target"))

func testFile(t testing.TB) fileRecord {
	t.Helper()
	a := Attachment{
		Path: "files/r\xff.pdf", Name: "r\xff.pdf", Version: target, MIME: "application/pdf", Core: key.CoreID{1}, Seq: 7,
		Content: blob.Content{Size: 5, Plain: key.Sum([]byte("hello")), Payload: 1, PayloadHash: key.Sum([]byte("hello"))},
	}
	f, err := a.record()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func text(s string) *textRef {
	return &textRef{Block: 1, Size: uint32(len(s)), Hash: key.Sum([]byte(s))}
}

func TestRecordRoundTrip(t *testing.T) {
	f := testFile(t)
	for _, r := range []record{
		{Type: typeMessage, Text: text("hi")},
		{Type: typeMessage, Text: text("hi"), Target: target[:], Mentions: []key.DeviceID{{1}, {2}}},
		{Type: typeMessage, Files: []fileRecord{f, f}},
		{Type: typeEdit, Text: text("ho"), Target: target[:]},
		{Type: typeDelete, Target: target[:]},
		{Type: typeReaction, Target: target[:], Emoji: "👍🏽", Off: true},
	} {
		b, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		again, err := got.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%+v comes back as %+v, %v", r, got, err)
		}
	}
	a := f.attachment()
	if a.Name != "r\xff.pdf" || a.Content.Payload != 1 || a.Seq != 7 {
		t.Errorf("attachment comes back as %+v", a)
	}
}

func TestRecordRefuses(t *testing.T) {
	f := testFile(t)
	with := func(change func(f *fileRecord)) record {
		g := f
		change(&g)
		return record{Type: typeMessage, Files: []fileRecord{g}}
	}
	for name, r := range map[string]record{
		"no type":         {Text: text("hi")},
		"nothing":         {Type: typeMessage},
		"an empty text":   {Type: typeMessage, Text: &textRef{Block: 1}},
		"a long text":     {Type: typeMessage, Text: &textRef{Block: 1, Size: MaxText + 1}},
		"no block":        {Type: typeMessage, Text: &textRef{Size: 1}},
		"a short target":  {Type: typeMessage, Text: text("hi"), Target: target[:31]},
		"many files":      {Type: typeMessage, Files: make([]fileRecord, MaxFiles+1)},
		"many mentions":   {Type: typeMessage, Text: text("hi"), Mentions: make([]key.DeviceID, MaxMentions+1)},
		"edit of nothing": {Type: typeEdit, Text: text("hi")},
		"empty edit":      {Type: typeEdit, Target: target[:]},
		"delete nothing":  {Type: typeDelete},
		"react to none":   {Type: typeReaction, Emoji: "x"},
		"no emoji":        {Type: typeReaction, Target: target[:]},
		"long emoji":      {Type: typeReaction, Target: target[:], Emoji: strings.Repeat("x", MaxEmoji+1)},
		"escape emoji":    {Type: typeReaction, Target: target[:], Emoji: "\x1b[2J"},
		"no path":         with(func(f *fileRecord) { f.Path = nil }),
		"long name":       with(func(f *fileRecord) { f.Name = make([]byte, MaxName+1) }),
		"no name":         with(func(f *fileRecord) { f.Name = nil }),
		"mime":            with(func(f *fileRecord) { f.MIME = "text/\n" }),
		"lying size":      with(func(f *fileRecord) { f.Size++ }),
		"content":         with(func(f *fileRecord) { f.Content = []byte{0xf6} }),
		"seq":             with(func(f *fileRecord) { f.Seq = 1 << 63 }),
	} {
		if _, err := r.encode(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := encMode.Marshal(r); err == nil { // whoever writes it without asking
			if _, err := decodeRecord(b); err == nil {
				t.Errorf("%s was read", name)
			}
		}
	}
}

func TestLaterTypes(t *testing.T) {
	later := func(m map[int]any) []byte {
		b, err := encMode.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if _, err := decodeRecord(later(map[int]any{1: 9, 4: "another shape", 77: true})); !errors.Is(err, errUnknownType) {
		t.Errorf("unknown type: %v", err)
	}
	if _, err := decodeRecord(later(map[int]any{1: 9, 2: true})); !errors.Is(err, room.ErrUpdateNeeded) {
		t.Errorf("critical unknown type: %v", err)
	}
	m := map[int]any{1: 1, 4: []any{1, 2, target[:]}, 40: map[int]any{1: 2}}
	if _, err := decodeRecord(later(m)); err != nil {
		t.Errorf("an unknown key: %v", err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []record{
		{Type: typeMessage, Text: text("hi"), Files: []fileRecord{testFile(f)}, Target: target[:]},
		{Type: typeReaction, Target: target[:], Emoji: "x"},
	} {
		b, err := r.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := decodeRecord(again); err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Files {
			f.attachment()
		}
	})
}

// FuzzRow: no row of a damaged timeline makes its reader fail.
func FuzzRow(f *testing.F) {
	f.Add(make([]byte, placeLen))
	f.Add([]byte{0xa1, 0x01, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = parseRow(b)
		if p, err := parsePlace(b); err == nil && !bytes.Equal(p.key('x', nil)[1:], b) {
			t.Fatalf("%x came back as %x", b, p.key('x', nil))
		}
		if p, err := parseBack(b); err == nil && !bytes.Equal(p.back('x')[1:], b) {
			t.Fatalf("%x came back as %x", b, p.back('x'))
		}
	})
}
