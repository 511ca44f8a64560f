package fuse

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestXattrsAreUsers asks for attributes as ls(1) does: it asks for those of every file until it hears that there are none.
func TestXattrsAreUsers(t *testing.T) {
	b := start(t, "cached")
	file := b.dir + "/file"
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(file, "user.x", []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"user.x": nil, "user.none": unix.ENODATA, "user.pearbox.status": nil,
		"system.posix_acl_access": unix.EOPNOTSUPP, "system.posix_acl_default": unix.EOPNOTSUPP, "security.selinux": unix.EOPNOTSUPP,
		"security.capability": unix.EOPNOTSUPP, "trusted.x": unix.EOPNOTSUPP,
	} {
		if _, err := unix.Getxattr(file, name, make([]byte, 100)); err != want {
			t.Errorf("%s is %v, want %v", name, err, want)
		}
		if _, err := unix.Getxattr(file, name, nil); err != want {
			t.Errorf("the length of %s is %v, want %v", name, err, want)
		}
	}
	names := make([]byte, 100)
	if n, err := unix.Listxattr(file, names); err != nil || string(names[:n]) != "user.x\x00" {
		t.Errorf("the file has the attributes %q, %v", names[:max(n, 0)], err)
	}
}
