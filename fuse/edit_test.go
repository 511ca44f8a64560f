package fuse

import (
	"os"
	"strings"
	"testing"
)

// TestSaves: what editors do to save a file makes one version of it, and what they leave lying about stays here.
func TestSaves(t *testing.T) {
	b := startWith(t, childOptions{Mode: "passthrough"}) // not Quick: an editor that is slow, because the machine is, saves anew
	path := b.path("letter.txt")
	if err := os.WriteFile(path, []byte("first"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.sync()
	saves := []struct {
		name string
		save func(string, []byte) error
	}{
		{"a new file renamed over", func(p string, d []byte) error { return atomicSave(p, d, true) }},
		{"the old one renamed away first", backupSave},
		{"in place", func(p string, d []byte) error { return os.WriteFile(p, d, 0o644) }},
		{"a swap file beside it", func(p string, d []byte) error {
			if err := os.WriteFile(b.path(".letter.txt.swp"), d, 0o600); err != nil {
				return err
			}
			return os.WriteFile(p, d, 0o644)
		}},
	}
	for i, s := range saves {
		if err := s.save(path, []byte(s.name)); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		b.sync()
		if got, want := b.versions("letter.txt"), i+2; got != want {
			t.Errorf("%s: there are %d versions, want %d", s.name, got, want)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != s.name {
			t.Errorf("%s: read %q, %v", s.name, got, err)
		}
	}
	if names := strings.TrimSpace(b.inDrive()); names != "letter.txt" {
		t.Errorf("the drive has %q, want letter.txt alone", names)
	}
	if err := os.Rename(b.path(".letter.txt.swp"), b.path("recovered.txt")); err != nil {
		t.Fatal(err)
	}
	b.sync()
	if names := strings.TrimSpace(b.inDrive()); names != "letter.txt recovered.txt" {
		t.Errorf("the drive has %q, want the renamed swap file, too", names)
	}
}
