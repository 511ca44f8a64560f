package fuse

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Marks are listed in .pear/at, each moment is reached by every text that names it, nothing in it can be changed, and
// `cp -a` brings a directory back as it was, modes and times included.
func TestPastInMount(t *testing.T) {
	b := start(t, "passthrough")
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mark := func(label string) {
		t.Helper()
		b.sync()
		_, err := b.ask(request{Do: "mark", Name: label})
		do(err)
	}
	then := time.Unix(1700000000, 0)
	do(os.MkdirAll(b.path("dir/sub"), 0o755))
	do(os.WriteFile(b.path("dir/run"), []byte("one"), 0o644))
	do(os.Chmod(b.path("dir/run"), 0o751))
	do(os.Chtimes(b.path("dir/run"), then, then))
	do(os.WriteFile(b.path("dir/sub/f"), []byte("deep"), 0o640))
	large := bytes.Repeat([]byte("0123456789abcdef"), 300<<10/16) // a blob of its own
	do(os.WriteFile(b.path("dir/large"), large, 0o644))
	do(os.Symlink("run", b.path("dir/link")))
	mark("good")
	mark("a/b") // no file name
	mark("now") // means something else
	do(os.WriteFile(b.path("dir/run"), []byte("two"), 0o644))
	mark("later")
	mark("..")
	do(os.RemoveAll(b.path("dir")))
	b.sync()

	entries, err := os.ReadDir(b.path(".pear/at"))
	do(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"good", "later"}; !slices.Equal(names, want) {
		t.Errorf(".pear/at lists %q, want %q", names, want)
	}
	for at, want := range map[string]string{"good": "one", "later": "two"} {
		if got, err := os.ReadFile(b.path(".pear/at/" + at + "/dir/run")); err != nil || string(got) != want {
			t.Errorf("at %s: %q, %v", at, got, err)
		}
	}
	for _, at := range []string{"now", "0s-ago", "2999-01-01", "2999-01-01T10:00", time.Now().Add(time.Hour).UTC().Format("@GMT-2006.01.02-15.04.05")} {
		if _, err := os.Stat(b.path(".pear/at/" + at)); err != nil {
			t.Errorf("at %s: %v", at, err)
		}
		if _, err := os.Stat(b.path(".pear/at/" + at + "/dir")); !os.IsNotExist(err) {
			t.Errorf("at %s, after the removal, dir: %v", at, err)
		}
	}
	for _, at := range []string{"1970-02-01", "@GMT-1970.02.01-10.00.00", "876000h-ago"} {
		if e, err := os.ReadDir(b.path(".pear/at/" + at)); err != nil || len(e) != 0 {
			t.Errorf("at %s, before everything: %v, %v", at, e, err)
		}
	}
	if _, err := os.Stat(b.path(".pear/at/never heard of it")); !os.IsNotExist(err) {
		t.Errorf("a moment that nothing names: %v", err)
	}

	pastRefuses(t, b.path(".pear/at/good/dir"))

	if out, err := exec.Command("cp", "-a", b.path(".pear/at/good/dir"), b.dir).CombinedOutput(); err != nil {
		t.Fatalf("cp -a: %v: %s", err, out)
	}
	for name, want := range map[string]os.FileMode{"dir": 0o755 | os.ModeDir, "dir/sub": 0o755 | os.ModeDir, "dir/run": 0o751, "dir/large": 0o644, "dir/sub/f": 0o640} {
		if i, err := os.Stat(b.path(name)); err != nil || i.Mode() != want {
			t.Errorf("%s came back as %v, %v, want %v", name, i, err, want)
		}
	}
	if i, err := os.Stat(b.path("dir/run")); err != nil || !i.ModTime().Equal(then) {
		t.Errorf("dir/run came back with %v, %v, want the time %v", i, err, then)
	}
	if got, err := os.ReadFile(b.path("dir/large")); err != nil || !bytes.Equal(got, large) {
		t.Errorf("dir/large came back with %d bytes, %v", len(got), err)
	}
	if got, err := os.ReadFile(b.path("dir/link")); err != nil || string(got) != "one" {
		t.Errorf("through the link: %q, %v", got, err)
	}
	do(os.WriteFile(b.path("dir/run"), []byte("three"), 0o644))
}

// pastRefuses tries every change below dir, which holds run and sub and is of the past.
func pastRefuses(t *testing.T, dir string) {
	t.Helper()
	now := time.Now()
	for what, err := range map[string]error{
		"write":    os.WriteFile(dir+"/run", []byte("x"), 0o644),
		"create":   os.WriteFile(dir+"/new", []byte("x"), 0o644),
		"truncate": os.Truncate(dir+"/run", 0),
		"mkdir":    os.Mkdir(dir+"/new", 0o755),
		"remove":   unix.Unlink(dir + "/run"),
		"rmdir":    unix.Rmdir(dir + "/sub"),
		"rename":   os.Rename(dir+"/run", dir+"/ran"),
		"symlink":  os.Symlink("x", dir+"/new"),
		"chmod":    os.Chmod(dir+"/run", 0o600),
		"utimes":   os.Chtimes(dir+"/run", now, now),
		"setxattr": unix.Setxattr(dir+"/run", "user.x", []byte("x"), 0),
	} {
		if !isErrno(err, unix.EROFS) {
			t.Errorf("%s in the past: got %v, want EROFS", what, err)
		}
	}
}
