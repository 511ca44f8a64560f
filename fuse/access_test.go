package fuse

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What permission bits allow whoever mounted is what they allow him on a disk.
func TestAccess(t *testing.T) {
	b := start(t, "passthrough")
	disk := t.TempDir()
	script := []byte("#!/bin/sh\n")
	for _, dir := range []string{disk, b.dir} {
		for name, perm := range map[string]os.FileMode{"plain": 0o644, "script": 0o755, "others": 0o001, "closed": 0} {
			err := os.WriteFile(filepath.Join(dir, name), script, 0o644)
			if err == nil {
				err = os.Chmod(filepath.Join(dir, name), perm)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "dir"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"", "plain", "script", "others", "closed", "dir"} {
		on, in := filepath.Join(disk, name), filepath.Join(b.dir, name)
		for mask := range uint32(8) {
			if got, want := unix.Access(in, mask), unix.Access(on, mask); got != want {
				t.Errorf("access(%q, %d): %v, on the disk %v", name, mask, got, want)
			}
		}
		_, gotErr := os.ReadFile(in)
		_, wantErr := os.ReadFile(on)
		if (gotErr == nil) != (wantErr == nil) {
			t.Errorf("reading %q: %v, on the disk %v", name, gotErr, wantErr)
		}
		gotErr, wantErr = exec.Command(in).Run(), exec.Command(on).Run()
		if (gotErr == nil) != (wantErr == nil) {
			t.Errorf("starting %q: %v, on the disk %v", name, gotErr, wantErr)
		}
	}
}
