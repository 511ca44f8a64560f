package nodetest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk is a file system of its own in a file of this one, which can lose its power.
type smallDisk struct {
	image string
	dir   string // where it is mounted
}

// newSmallDisk makes and mounts an ext4 file system of some MiB. It skips the test where that cannot be.
func newSmallDisk(t *testing.T, mib int64) *smallDisk {
	t.Helper()
	top := t.TempDir()
	d := &smallDisk{filepath.Join(top, "image"), filepath.Join(top, "disk")}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, mib<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", d.image).CombinedOutput(); err != nil {
		t.Skipf("POWER CUTS ARE NOT TESTED: mkfs.ext4: %v: %s", err, out)
	}
	if err := d.mount(); err != nil {
		t.Skipf("POWER CUTS ARE NOT TESTED: no file system of our own can be mounted: %v", err)
	}
	t.Cleanup(func() { _ = d.unmount() })
	return d
}

func (d *smallDisk) mount() error { return run("mount", "-o", "loop", d.image, d.dir) }

func (d *smallDisk) unmount() error { return run("umount", d.dir) }

// cut takes the power away: nothing that has not reached the disk by now will, and every further call fails.
func (d *smallDisk) cut() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, withoutFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH: linux/fs/ext4/ext4.h
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdown, withoutFlush)
}

// run runs a program and puts what it says into the error.
func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return &os.PathError{Op: name + " " + strings.Join(args, " ") + ": " + strings.TrimSpace(string(out)), Err: err}
	}
	return nil
}

// inNamespace runs the running test again in a mount namespace of its own, where what it mounts goes when it ends, and tells whether
// this is that run.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const env = "PEARBOX_TEST_NAMESPACE"
	if os.Getenv(env) == t.Name() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("POWER CUTS ARE NOT TESTED: only root can make disks")
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v=true"}
	if limit, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+time.Until(limit).Round(time.Second).String())
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), env+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	switch {
	case err != nil:
		t.Error(err)
	case strings.Contains(string(out), "--- SKIP"):
		t.SkipNow()
	}
	return false
}
