package drive

import (
	"testing"
	"time"
)

// FuzzParseTime: what is taken for a time "ago" is none in the future.
func FuzzParseTime(f *testing.F) {
	for _, text := range []string{"5m-ago", "3d-ago", "-1h-ago", "2026-11-30", "2026-11-30T10:00", "2026-11-30T10:00:00Z", "@GMT-2026.11.30-10.00.00", "99999999999d-ago", "107000000000000d-ago"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		then, ok := ParseTime(text, now)
		if ok && len(text) > 4 && text[len(text)-4:] == "-ago" && then.After(now) {
			t.Fatalf("%q is %v", text, then)
		}
	})
}

// FuzzLogged: no row of a damaged table of the log makes its reader fail.
func FuzzLogged(f *testing.F) {
	f.Add(make([]byte, logKeyLen), make([]byte, logValueLen))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if l, err := parseLogged(k, v); err == nil && (l.Ops < 0 || len(k) != logKeyLen) {
			t.Fatalf("%x, %x: %+v", k, v, l)
		}
	})
}
