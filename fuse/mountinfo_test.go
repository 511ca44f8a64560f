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
	for dir, want := range map[string][2]string{
		"/home/a/Pear Box": {ownType, "0:50"}, "/home/a/Pear Box/in": {"fuse.sshfs", "0:52"}, "/mnt/far": {ownType, "0:53"}, "/mnt": {},
		"/mnt/odd": {"unknown", "0:54"},
	} {
		if fstype, dev := topmost(strings.NewReader(info), dir); fstype != want[0] || dev != want[1] {
			t.Errorf("%s: got %q, %q, want %q", dir, fstype, dev, want)
		}
	}
	for dev, want := range map[string]string{"0:50": "/home/a/Pear Box", "0:54": "/mnt/odd", "0:5": ""} {
		if got := mountpointIn(strings.NewReader(info), dev); got != want {
			t.Errorf("%s: at %q, want %q", dev, got, want)
		}
	}
}
