package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Text is a string of raw bytes, such as a path, that survives JSON whatever
// bytes it has: see "Names that are not UTF-8" in the package comment.
type Text string

// MarshalJSON implements json.Marshaler.
func (t Text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	var b bytes.Buffer
	b.WriteByte('"')
	for s := string(t); s != ""; {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\udc%02x`, s[0])
		} else if err := writeInner(&b, s[:n]); err != nil {
			return nil, err
		}
		s = s[n:]
	}
	b.WriteByte('"')
	return b.Bytes(), nil
}

// writeInner writes valid s as JSON without its quotes.
func writeInner(b *bytes.Buffer, s string) error {
	q, err := json.Marshal(s)
	if err != nil {
		return err
	}
	b.Write(q[1 : len(q)-1])
	return nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Text) UnmarshalJSON(data []byte) error {
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return errors.New("a text is to be a JSON string")
	}
	var out []byte
	rest := data[1 : len(data)-1]
	for {
		i, c := escapedByte(rest)
		if i < 0 {
			break
		}
		s, err := unquote(rest[:i])
		if err != nil {
			return err
		}
		out = append(append(out, s...), c)
		rest = rest[i+6:]
	}
	s, err := unquote(rest)
	if err != nil {
		return err
	}
	*t = Text(append(out, s...))
	return nil
}

// unquote decodes the inside of a JSON string.
func unquote(b []byte) (string, error) {
	if len(b) == 0 {
		return "", nil
	}
	q := make([]byte, 0, len(b)+2)
	q = append(append(append(q, '"'), b...), '"')
	var s string
	err := json.Unmarshal(q, &s)
	return s, err
}

// escapedByte finds the first lone surrogate escape \udc80 to \udcff in b and
// returns where it stands and the byte it means; -1 when there is none. A
// surrogate that follows a high one belongs to a pair and is left to JSON.
func escapedByte(b []byte) (int, byte) {
	high := false
	for i := 0; i < len(b); {
		if b[i] != '\\' || i+1 >= len(b) {
			high = false
			i++
			continue
		}
		if b[i+1] != 'u' || i+6 > len(b) {
			high = false
			i += 2
			continue
		}
		v, _ := strconv.ParseUint(string(b[i+2:i+6]), 16, 16)
		if !high && v >= 0xdc80 && v <= 0xdcff {
			return i, byte(v)
		}
		high = v >= 0xd800 && v < 0xdc00
		i += 6
	}
	return -1, 0
}
