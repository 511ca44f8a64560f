package fuse

import (
	"crypto/sha256"
	"os"
	"testing"
)

// What a program saves after the folder was taken away from under it becomes a version when it closes the file, which the kernel does not
// tell of: with the last open file the whole file system goes.
func TestLastCloseOfADetachedMount(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := start(t, mode)
			f, err := os.Create(b.path("file"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("before"); err != nil {
				t.Fatal(err)
			}
			b.must(request{Do: "force"})
			if mounted(b.dir) {
				t.Fatal("it is mounted still")
			}
			if _, err := f.WriteString(" and after"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			b.must(request{Do: "settle"})
			r, err := b.ask(request{Do: "see"})
			if err != nil {
				t.Fatal(err)
			}
			if last := r.Seen[len(r.Seen)-1]; last.Name != "file" || last.Sum != sha256.Sum256([]byte("before and after")) {
				t.Errorf("the drive does not have what was saved last: %v", r.Seen)
			}
		})
	}
}
