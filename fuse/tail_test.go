package fuse

import (
	"bytes"
	"io"
	"os"
	"testing"
)

// A log that is opened anew for each line is followed by who has opened it to read once it has grown, in the blob or in staging, and also if
// it is read by passthrough otherwise.
func TestFollowingALog(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := startWith(t, childOptions{Mode: mode, Quick: true})
			want := bytes.Repeat([]byte("a line\n"), 20<<10)
			if err := os.WriteFile(b.path("log"), want, 0o644); err != nil {
				t.Fatal(err)
			}
			b.sync()
			line := func(s string) {
				t.Helper()
				f, err := os.OpenFile(b.path("log"), os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.WriteString(s); err != nil {
					t.Fatal(err)
				}
				want = append(want, s...)
			}
			line("the first\n")
			b.sync()
			f, err := os.Open(b.path("log"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got []byte
			for _, s := range []string{"the second\n", "the third\n", "the fourth\n"} {
				line(s)
				more, err := io.ReadAll(f)
				if got = append(got, more...); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("after %q: %d bytes, %v; want %d", s, len(got), err, len(want))
				}
				if s != "the second\n" { // the next begins from the blob, or goes on in staging
					b.sync()
				}
			}
		})
	}
}
