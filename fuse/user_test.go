package fuse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	userEnv = "PEARBOX_FUSE_TEST_USE" // the process uses the folder it names as a program does

	nobody = 65534 // has a name everywhere, which fusermount3 wants
	daemon = 1
)

func as(uid int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
}

// needUsers skips a test that has to become other users.
func needUsers(t *testing.T) {
	t.Helper()
	need(t)
	if os.Getuid() != 0 {
		t.Skip("MOUNTS OF OTHER USERS ARE NOT TESTED: only root can become them")
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skipf("MOUNTS OF PLAIN USERS ARE NOT TESTED: %v", err)
	}
}

// openTo gives base, a test's own directory, to uid and puts this program into it, where uid can start it.
func openTo(t testing.TB, base string, uid int) (program string) {
	t.Helper()
	program = filepath.Join(base, "fuse.test")
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Close()); err != nil {
		t.Fatal(err)
	}
	for dir := base; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{base, filepath.Join(base, "mnt"), program} {
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return program
}

// everybodysFuse runs the rest of the test where every user may open /dev/fuse, as is usual: where only root may, the
// test runs once more with a device of its own, in a mount namespace of its own. It reports whether it did that.
func everybodysFuse(t *testing.T) (ran bool) {
	t.Helper()
	if i, err := os.Stat("/dev/fuse"); err != nil || i.Mode()&0o006 == 0o006 {
		return false
	}
	if os.Getenv("PEARBOX_FUSE_TEST_NAMESPACE") != "" {
		t.Fatal("/dev/fuse is not open to everybody in the namespace made for that")
	}
	dir := t.TempDir()
	const script = `set -e
mount -t tmpfs -o mode=755 pearbox-test "$1"
mknod -m 666 "$1/fuse" c 10 229
mount --bind "$1/fuse" /dev/fuse
exec "$2" -test.v "-test.run=^$3\$"`
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", dir, os.Args[0], t.Name())
	cmd.Env = append(os.Environ(), "PEARBOX_FUSE_TEST_NAMESPACE=1")
	out, err := cmd.CombinedOutput()
	if !bytes.Contains(out, []byte("=== RUN")) {
		t.Skipf("NOT TESTED: this machine allows no device of its own: %v\n%s", err, out)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("with a /dev/fuse for everybody: %v\n%s", err, out)
	}
	return true
}

// A plain user mounts with fusermount3: the page cache is used, and everything works for him, and for nobody else.
func TestPlainUser(t *testing.T) {
	needUsers(t)
	if everybodysFuse(t) {
		return
	}
	b := startWith(t, childOptions{UID: nobody})
	if b.mode != "cached" {
		t.Errorf("mode %q, want cached", b.mode)
	}
	use := exec.Command(filepath.Join(b.base, "fuse.test"))
	use.Env = append(os.Environ(), userEnv+"="+b.dir)
	use.Dir, use.SysProcAttr = b.base, as(nobody)
	if out, err := use.CombinedOutput(); err != nil {
		t.Fatalf("using the folder: %v\n%s", err, out)
	}
	b.sync()
	if got := b.inDrive(); got != " dir dir/kept dir/link" {
		t.Errorf("the drive has %q", got)
	}
	if out, err := catAs(daemon, b.path("dir/kept")); err == nil {
		t.Errorf("another user reads %q without allow_other", out)
	}
}

// mountAs has a plain user try to mount on dir, and returns what he is told.
func mountAs(t *testing.T, uid int, base, dir string) string {
	t.Helper()
	o, err := json.Marshal(childOptions{Dir: base, Mnt: dir})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(base, "fuse.test"))
	cmd.Env = append(os.Environ(), childEnv+"="+string(o))
	cmd.Dir, cmd.SysProcAttr = base, as(uid)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("he may mount on %s", dir)
	}
	return string(out)
}

// A plain user is told why he may not mount, and not with which code fusermount3 ended.
func TestPlainUserIsRefused(t *testing.T) {
	needUsers(t)
	base := t.TempDir()
	own, roots := filepath.Join(base, "mnt"), filepath.Join(base, "root's")
	for _, dir := range []string{own, roots} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	openTo(t, base, nobody)
	const closed = "FUSE is not available: this user may not open /dev/fuse"
	if i, err := os.Stat("/dev/fuse"); err == nil && i.Mode()&0o006 == 0 {
		if said := mountAs(t, nobody, base, own); !strings.Contains(said, closed) {
			t.Errorf("without the right to /dev/fuse he is told %q", said)
		}
	}
	if everybodysFuse(t) {
		return
	}
	if said := mountAs(t, nobody, base, roots); !strings.Contains(said, "only where he may write: permission denied") {
		t.Errorf("of a directory of somebody else he is told %q", said)
	}
}

// With AllowOther other users come in, and modes bind them.
func TestAllowOther(t *testing.T) {
	needUsers(t)
	for _, others := range []bool{false, true} {
		b := startWith(t, childOptions{Mode: "passthrough", Others: others})
		openTo(t, b.base, 0)
		for name, perm := range map[string]os.FileMode{"open": 0o644, "private": 0o600} {
			if err := os.WriteFile(b.path(name), []byte(name), perm); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(b.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := catAs(daemon, b.path("open")); (err == nil) != others || others && string(out) != "open" {
			t.Errorf("AllowOther %v: another user reads %q, %v", others, out, err)
		}
		if out, err := catAs(daemon, b.path("private")); err == nil {
			t.Errorf("AllowOther %v: another user reads %q, which is private", others, out)
		}
	}
}

// A plain user is told what is missing, rather than fusermount3's exit code.
func TestOthersAllowed(t *testing.T) {
	for conf, want := range map[string]bool{
		"": false, "#user_allow_other\n": false, "user_allow_other": true, "mount_max = 7\n user_allow_other # yes\n": true, "user_allow_others\n": false,
	} {
		if got := othersAllowed(conf); got != want {
			t.Errorf("%q: %v, want %v", conf, got, want)
		}
	}
}

func catAs(uid int, path string) ([]byte, error) {
	cat := exec.Command("cat", path)
	cat.Dir, cat.SysProcAttr = "/", as(uid)
	return cat.Output()
}

// useFolder does in dir what programs do, and leaves dir/kept and dir/link.
func useFolder(dir string) error {
	dir = filepath.Join(dir, "dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "new"))
	if err != nil {
		return err
	}
	defer f.Close()
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	if _, err := f.Write(want); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	copy(m[5000:], "mapped")
	copy(want[5000:], "mapped")
	if err := errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m)); err != nil {
		return fmt.Errorf("msync: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kept"), []byte("old"), 0o644); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "kept")); err != nil {
		return err
	}
	if err := os.Symlink("kept", filepath.Join(dir, "link")); err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(dir, "link"))
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("read %d bytes, %v, not the %d written", len(got), err, len(want))
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "kept"), &st); err != nil || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("kept belongs to %d, %v, not to %d", st.Uid, err, os.Getuid())
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
