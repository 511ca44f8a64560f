package fuse

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"
)

// Who opened a file while somebody wrote to it keeps its bytes for as long as he has it open, and hides from nobody what others make of it
// once the writer is gone.
func TestReaderHidesNothing(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		for name, size := range map[string]int{"small": 1000, "large": 200 << 10} {
			t.Run(mode+", "+name, func(t *testing.T) {
				b := startWith(t, childOptions{Mode: mode, Quick: true})
				mine := bytes.Repeat([]byte("m"), size)
				reader := writtenAndShared(t, b, mine)
				b.sync()
				theirs := bytes.Repeat([]byte("theirs "), size/5)
				b.must(request{Do: "replace", Name: "f", Data: theirs})
				var got []byte
				for deadline := time.Now().Add(time.Minute); !bytes.Equal(got, theirs) && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
					var err error
					if got, err = os.ReadFile(b.path("f")); err != nil {
						t.Fatal(err)
					}
				}
				if !bytes.Equal(got, theirs) {
					t.Errorf("a minute after others changed the file there are still %d bytes of before", len(got))
				}
				if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, mine) {
					t.Errorf("the old reader has %d bytes, %v; want %d", len(got), err, len(mine))
				}
			})
		}
	}
}

// Who opened a file while somebody wrote to it sees what the next writer here makes of it, too, also when the first is part of the drive by then.
func TestReaderFollowsTheNextWriter(t *testing.T) {
	for name, size := range map[string]int{"small": 1000, "large": 200 << 10} {
		t.Run(name, func(t *testing.T) {
			b := startWith(t, childOptions{Mode: "passthrough", Quick: true})
			want := bytes.Repeat([]byte("m"), size)
			reader := writtenAndShared(t, b, want)
			b.sync()
			for _, s := range []string{"second", "third"} {
				f, err := os.OpenFile(b.path("f"), os.O_WRONLY|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString(s); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				want = append(want, s...)
				got, err := io.ReadAll(io.NewSectionReader(reader, 0, 1<<20))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("after %q the reader has %d bytes, %v; want %d", s, len(got), err, len(want))
				}
				b.sync()
			}
		})
	}
}

// writtenAndShared makes the file f and returns a descriptor that was opened to read before its writer closed it.
func writtenAndShared(t *testing.T, b *bench, data []byte) *os.File {
	t.Helper()
	w, err := os.Create(b.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(b.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}
