package fuse

import (
	"os"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"
)

func need(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
}

// otherwise are those of go-fuse's tests that want something else than this file system gives: two make hard links,
// which are refused, and one wants a process's locks to conflict with each other (go-fuse skips it, too).
var otherwise = map[string]bool{"Link": true, "LinkUnlinkRename": true, "FcntlFlockLocksFile": true}

func TestPosix(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			for name, fn := range posixtest.All {
				if otherwise[name] {
					continue
				}
				t.Run(name, func(t *testing.T) {
					b := start(t, mode)
					fn(t, b.dir)
				})
			}
		})
	}
}

func TestHardLinksAreRefused(t *testing.T) {
	b := start(t, "passthrough")
	if err := os.WriteFile(b.dir+"/a", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Link(b.dir+"/a", b.dir+"/b"); err != unix.EPERM {
		t.Errorf("link: got %v, want EPERM", err)
	}
}
