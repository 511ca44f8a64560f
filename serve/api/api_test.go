package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"unicode/utf8"
)

func TestCodesAreDistinct(t *testing.T) {
	codes, exits := map[Code]bool{}, map[int]Code{}
	for _, k := range Classes() {
		if codes[k.Code] {
			t.Errorf("%s stands twice in the table", k.Code)
		}
		codes[k.Code] = true
		if other, ok := exits[k.Exit]; ok {
			t.Errorf("%s and %s have exit code %d both", k.Code, other, k.Exit)
		}
		exits[k.Exit] = k.Code
		if k.Exit <= 0 || k.Exit > 125 && k.Exit != 130 {
			t.Errorf("%s: exit code %d means something else to a shell", k.Code, k.Exit)
		}
		if k.HTTP < 400 || k.HTTP > 599 {
			t.Errorf("%s: status %d is no failure", k.Code, k.HTTP)
		}
		if k.What == "" || k.Hint == "" && k.Code != Cancelled {
			t.Errorf("%s does not say what it is or what to do", k.Code)
		}
		if k.Code.Class() != k || FromExit(k.Exit) != k.Code {
			t.Errorf("%s is not found by its code or its exit code", k.Code)
		}
	}
	if FromExit(99) != Internal || Code("new").Class().Code != Internal {
		t.Error("what is unknown is to be internal")
	}
}

func TestError(t *testing.T) {
	err := error(Errorf(NotFound, "stat %q: %w", "x", fs.ErrNotExist))
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, &Error{Code: NotFound}) || errors.Is(err, &Error{Code: Exists}) {
		t.Errorf("%v does not match what it is", err)
	}
	wrapped := fmt.Errorf("doing: %w", err)
	var e *Error
	if !errors.As(wrapped, &e) || e.Advice() != NotFound.Class().Hint || e.With("look").Advice() != "look" || e.Hint != "" {
		t.Errorf("%v does not advise", wrapped)
	}
	b, _ := json.Marshal(e)
	if got := string(b); got != `{"code":"not-found","message":"stat \"x\": file does not exist"}` {
		t.Errorf("got %s", got)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[Text]string{
		"plain":          `"plain"`,
		"grün \"q\"\n":   `"grün \"q\"\n"`,
		"a\xffb":         `"a\udcffb"`,
		"\x80\xc3":       `"\udc80\udcc3"`,
		"\xed\xb2\x80":   `"\udced\udcb2\udc80"`, // U+DC80 in CESU: not UTF-8, so three bytes
		"\\udc80":        `"\\udc80"`,
		"\\\xff\\":       `"\\\udcff\\"`,
		"😀\xff😀":         `"😀\udcff😀"`,
		"":               `""`,
		"\u2028<&>\xfe/": `"\u2028\u003c\u0026\u003e\udcfe/"`,
	} {
		b, err := json.Marshal(in)
		if err != nil || string(b) != want {
			t.Errorf("%q: got %s %v, want %s", in, b, err, want)
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil || back != in {
			t.Errorf("%s: got %q %v back, want %q", b, back, err, in)
		}
	}
	var v Text
	if err := json.Unmarshal([]byte(`"\ud83d\ude00 \ud83d\udc80"`), &v); err != nil || v != "😀 💀" {
		t.Errorf("a pair of surrogates: got %q %v", v, err)
	}
	for _, bad := range []string{`1`, `{}`, `"\udcff`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &v); err == nil {
			t.Errorf("%s passes as a text", bad)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "\xff", "\\udc80", "\\\xff\\u", "\xed\xb2\x80", "\"\\\"", "💀\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(struct{ A, B Text }{Text(s), "x"})
		if err != nil || !utf8.Valid(b) {
			t.Fatalf("%q: %v %q", s, err, b)
		}
		var back struct{ A, B Text }
		if err := json.Unmarshal(b, &back); err != nil || string(back.A) != s {
			t.Fatalf("%q: got %q back: %v", s, back.A, err)
		}
		// Whatever arrives is decoded or refused.
		var v Text
		_ = v.UnmarshalJSON([]byte(s))
	})
}
