package fuse

import (
	"strings"
	"testing"
)

// Only a dead mount of this program's own is taken away: mountinfo tells whose it is.
func TestTopmost(t *testing.T) {
	const info = `22 28 0:20 / /sys rw,nosuid - sysfs sysfs rw
31 28 0:50 / /home/a/Pear\040Box rw,nosuid,nodev shared:7 - fuse.pearbox pearbox rw,user_id=0
32 28 0:51 / /mnt/far rw - nfs4 host:/x rw
33 31 0:52 / /home/a/Pear\040Box/in rw - fuse.sshfs host: rw
34 28 0:53 / /mnt/far rw master:1 propagate_from:2 - fuse.pearbox pearbox rw
35 28 0:54 / /mnt/odd
`
	for dir, want := range map[string]string{
		"/home/a/Pear Box": ownType, "/home/a/Pear Box/in": "fuse.sshfs", "/mnt/far": ownType, "/mnt": "", "/mnt/odd": "unknown",
	} {
		if got := topmost(strings.NewReader(info), dir); got != want {
			t.Errorf("%s: got %q, want %q", dir, got, want)
		}
	}
}
