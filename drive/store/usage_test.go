package store

import (
	"os"
	"path/filepath"
	"testing"
)

// A file that is about to become a blob has two names, and takes its bytes once.
func TestSpaceCountsLinkedFilesOnce(t *testing.T) {
	s := openRoom(t, t.TempDir())
	before, err := s.Space()
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	staged := filepath.Join(s.Blobs().Staging(), "staged")
	if err := os.WriteFile(staged, random(size, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(staged, staged+".seal"); err != nil {
		t.Skip("no hard links here: ", err)
	}
	after, err := s.Space()
	if err != nil {
		t.Fatal(err)
	}
	if got := after.Total() - before.Total(); got < size || got > size+size/2 {
		t.Errorf("%d bytes more are taken by %d", got, size)
	}
}
