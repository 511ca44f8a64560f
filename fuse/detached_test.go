package fuse

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a program saves after the folder was taken away from under it becomes a version when it closes the file, which the kernel does not
// tell of: with the last open file the whole file system goes.
func TestLastCloseOfADetachedMount(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := start(t, mode)
			f, err := os.Create(b.path("file"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("before"); err != nil {
				t.Fatal(err)
			}
			b.must(request{Do: "force"})
			if mounted(b.dir) {
				t.Fatal("it is mounted still")
			}
			if _, err := f.WriteString(" and after"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			b.must(request{Do: "settle"})
			r, err := b.ask(request{Do: "see"})
			if err != nil {
				t.Fatal(err)
			}
			if last := r.Seen[len(r.Seen)-1]; last.Name != "file" || last.Sum != sha256.Sum256([]byte("before and after")) {
				t.Errorf("the drive does not have what was saved last: %v", r.Seen)
			}
		})
	}
}

// A mount that somebody else still sees, in a mount namespace of his own or through a bind mount, is unmounted here all the same.
func TestUnmountWhatOthersSee(t *testing.T) {
	b := start(t, "passthrough")
	other := exec.Command("unshare", "-m", "sh", "-c", "echo; read end")
	end, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Skip("no mount namespaces here: ", err)
	}
	defer func() {
		end.Close()
		other.Wait()
		b.must(request{Do: "settle"})
	}()
	if _, err := said.Read(make([]byte, 1)); err != nil {
		t.Skip("no mount namespaces here: ", err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := b.ask(request{Do: "unmount"})
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("unmounting does not end")
		end.Close() // then it does
		<-ended
	}
	if mounted(b.dir) {
		t.Error("it is mounted still")
	}
}

// A mount whose place has another name since a directory above it was renamed is unmounted where it is.
func TestUnmountWhatWasMoved(t *testing.T) {
	for _, how := range []string{"unmount", "force"} {
		t.Run(how, func(t *testing.T) {
			b := start(t, "passthrough")
			moved := b.base + ".moved"
			if err := os.Rename(b.base, moved); err != nil {
				t.Fatal(err)
			}
			defer os.Rename(moved, b.base)
			b.must(request{Do: how})
			if dir := filepath.Join(moved, "mnt"); mounted(dir) {
				t.Error("it is mounted still")
				unix.Unmount(dir, unix.MNT_DETACH)
			}
			b.must(request{Do: "settle"})
		})
	}
}
