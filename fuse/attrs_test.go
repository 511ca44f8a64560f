package fuse

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive"
)

// modes runs a test in a mount of each kind.
func modes(t *testing.T, fn func(t *testing.T, b *bench)) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) { fn(t, startWith(t, childOptions{Mode: mode, Quick: true})) })
	}
}

// A file that is renamed over another keeps its own attributes and gets none of the other's, also once that is part of the drive.
func TestReplacedAttributesGo(t *testing.T) {
	modes(t, func(t *testing.T, b *bench) {
		attrs := func() string {
			buf := make([]byte, 200)
			n, err := unix.Listxattr(b.path("file"), buf)
			if err != nil {
				t.Fatal(err)
			}
			fi, err := os.Stat(b.path("file"))
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%q %o", buf[:n], fi.Mode().Perm())
		}
		for i, name := range []string{"file", "file.new"} {
			if err := os.WriteFile(b.path(name), []byte(name), 0o600+os.FileMode(i)*0o40); err != nil {
				t.Fatal(err)
			}
			if err := unix.Setxattr(b.path(name), []string{"user.old", "user.new"}[i], nil, 0); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				b.sync()
			}
		}
		if err := os.Rename(b.path("file.new"), b.path("file")); err != nil {
			t.Fatal(err)
		}
		const want = `"user.new\x00" 640`
		if got := attrs(); got != want {
			t.Errorf("after the rename %s, want %s", got, want)
		}
		b.sync()
		b.stop()
		b.run()
		if got := attrs(); got != want {
			t.Errorf("mounted again %s, want %s", got, want)
		}
	})
}

// What is open and has lost its name keeps its attributes, and they can be changed.
func TestAttributesOfTheNameless(t *testing.T) {
	modes(t, func(t *testing.T, b *bench) {
		if err := os.WriteFile(b.path("file"), []byte("here"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(b.path("file"), "user.a", []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		b.sync()
		for _, flags := range []int{os.O_RDWR, os.O_RDONLY} { // with a staging file, and without one
			f, err := os.OpenFile(b.path("file"), flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Chmod(0o604); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(b.path("file.new"), []byte("here, too"), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := unix.Setxattr(b.path("file.new"), "user.a", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(b.path("file.new"), b.path("file")); err != nil {
				t.Fatal(err)
			}
			b.sync()
			v := make([]byte, 10)
			fi, err := f.Stat()
			n, err2 := unix.Fgetxattr(int(f.Fd()), "user.a", v)
			if err != nil || err2 != nil || fi.Mode().Perm() != 0o604 || string(v[:n]) != "1" {
				t.Errorf("it has mode %v and attribute %q: %v, %v", fi.Mode(), v[:max(n, 0)], err, err2)
			}
			if err := f.Chmod(0o600); err != nil {
				t.Fatal(err)
			}
			if err := unix.Fsetxattr(int(f.Fd()), "user.a", []byte("2"), 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(remembered) // or the kernel answers
			fi, err = f.Stat()
			n, err2 = unix.Fgetxattr(int(f.Fd()), "user.a", v)
			if err != nil || err2 != nil || fi.Mode().Perm() != 0o600 || string(v[:n]) != "2" {
				t.Errorf("changed, it has mode %v and attribute %q: %v, %v", fi.Mode(), v[:max(n, 0)], err, err2)
			}
		}
	})
}

// What the kernel holds back counts as data: cp(1) leaves out what lies in a hole.
func TestNoHoleWhereBytesAre(t *testing.T) {
	modes(t, func(t *testing.T, b *bench) {
		f, err := os.Create(b.path("file"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("far away"), 1<<20); err != nil {
			t.Fatal(err)
		}
		if at, err := unix.Seek(int(f.Fd()), 1<<19, unix.SEEK_DATA); err != nil || at > 1<<20 {
			t.Errorf("SEEK_DATA finds %d, %v", at, err)
		}
		if at, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE); err != nil || at > 1<<20+8 {
			t.Errorf("SEEK_HOLE finds %d, %v", at, err)
		}
		if at, err := unix.Seek(int(f.Fd()), 2<<20, unix.SEEK_DATA); err != unix.ENXIO {
			t.Errorf("SEEK_DATA behind the end finds %d, %v", at, err)
		}
	})
}

// A time that others give to a file is seen, also by a kernel that keeps times itself.
func TestTimeOfOthers(t *testing.T) {
	modes(t, func(t *testing.T, b *bench) {
		if err := os.WriteFile(b.path("file"), []byte("here"), 0o640); err != nil {
			t.Fatal(err)
		}
		b.sync()
		want := time.Unix(981173106, 789)
		if _, err := b.ask(request{Do: "alter", Name: "file", Attrs: &drive.Attrs{MTime: &want}}); err != nil {
			t.Fatal(err)
		}
		if err := within(func() error {
			fi, err := os.Stat(b.path("file"))
			if err == nil && !fi.ModTime().Equal(want) {
				err = fmt.Errorf("modified at %v, want %v", fi.ModTime(), want)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}
