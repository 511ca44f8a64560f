package fuse

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// renameat2(2) exchanges two names at once, or takes none that is there.
func TestRenameFlags(t *testing.T) {
	b := start(t, "passthrough")
	rename := func(from, to string, flags uint) error {
		return unix.Renameat2(unix.AT_FDCWD, b.path(from), unix.AT_FDCWD, b.path(to), flags)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(b.path(name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(b.path("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.sync()
	for _, c := range []struct {
		from, to string
		flags    uint
		want     error
	}{
		{"a", "b", unix.RENAME_NOREPLACE, unix.EEXIST},
		{"a", "c", unix.RENAME_NOREPLACE, nil},
		{"b", "c", unix.RENAME_EXCHANGE, nil},
		{"b", "dir", unix.RENAME_EXCHANGE, nil},
		{"b", "missing", unix.RENAME_EXCHANGE, unix.ENOENT},
		{"dir", "b", unix.RENAME_EXCHANGE | unix.RENAME_NOREPLACE, unix.EINVAL},
		{"c", "w", unix.RENAME_WHITEOUT, unix.EINVAL},
	} {
		if err := rename(c.from, c.to, c.flags); err != c.want {
			t.Errorf("rename %s to %s with %#x: %v, want %v", c.from, c.to, c.flags, err, c.want)
		}
	}
	read(t, b.path("c"), "b")
	read(t, b.path("dir"), "a")
	if fi, err := os.Lstat(b.path("b")); err != nil || !fi.IsDir() {
		t.Errorf("b is %v, %v", fi, err)
	}
	b.sync()
	if got := b.inDrive(); got != " b c dir" {
		t.Errorf("the drive has %q", got)
	}
}
