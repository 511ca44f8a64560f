package fuse

import (
	"os"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
)

// That others changed a file is repeated without touching its times: a program here may be setting them.
func TestRepeatedChangeLeavesTimes(t *testing.T) {
	b := startWith(t, childOptions{Mode: "cached", Quick: true})
	if err := os.WriteFile(b.path("f"), []byte("f"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.sync()
	w := watch(t, b.dir)
	done := make(chan error)
	go func() {
		var err error
		for i := 0; i < 30 && err == nil; i++ {
			perm := uint32(0o600 + i%2)
			_, err = b.ask(request{Do: "alter", Name: "f", Attrs: &drive.Attrs{Perm: &perm}})
			time.Sleep(20 * time.Millisecond) // else they are told of as one
		}
		done <- err
	}()
	for i := int64(1); ; i++ {
		want := time.Unix(1e9+i, 0)
		if err := os.Chtimes(b.path("f"), want, want); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if fi, err := os.Stat(b.path("f")); err != nil || !fi.ModTime().Equal(want) {
				t.Fatalf("after %d: modified at %v, %v; want %v", i, fi.ModTime(), err, want)
			}
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			w.await(t, "attrib f")
			return
		default:
		}
	}
}
