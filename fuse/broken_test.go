package fuse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// faultyDrive panics when somebody opens the file called faulty.
type faultyDrive struct {
	vfs.Drive
	vfs.Watcher
}

func (d faultyDrive) Open(ctx context.Context, i vfs.Info) (vfs.Content, error) {
	if i.Name == "faulty" {
		panic("provoked below")
	}
	return d.Drive.Open(ctx, i)
}

// replaced is what a change of others ends with that was under way when the mount broke.
var replaced = make(chan error, 1)

// provoke has the next lookup panic while go-fuse's lock of the root is held, and a change of others wait for that lock.
func provoke(ctx context.Context, q request, real *vfstest.Real, m *Mounted) error {
	mu := reflect.ValueOf(&m.root.Inode).Elem().FieldByName("mu")
	lock, ok := reflect.NewAt(mu.Type(), mu.Addr().UnsafePointer()).Interface().(sync.Locker)
	if !ok {
		return errors.New("go-fuse has another kind of lock now")
	}
	m.mu.Lock()
	m.nodes = nil
	m.mu.Unlock()
	lock.Lock()
	go func() { replaced <- real.Replace(ctx, q.Name, q.Data) }()
	return nil
}

// waited returns when the change of others has gone on and the mount knows that it is broken.
func waited(m *Mounted) error {
	select {
	case err := <-replaced:
		if err != nil {
			return err
		}
	case <-time.After(time.Minute):
		return errors.New("who changes the drive waits for a mount that is broken")
	}
	m.Wait()
	if err := m.Broken(); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "nil map") {
		return fmt.Errorf("the mount is broken because of %v", err)
	}
	return nil
}

// soon fails the test, and ends the server, when fn does not return.
func (b *bench) soon(what string, fn func() error) error {
	b.t.Helper()
	c := make(chan error, 1)
	go func() { c <- fn() }()
	select {
	case err := <-c:
		return err
	case <-time.After(time.Minute):
		b.kill()
		b.t.Fatalf("%s hangs", what)
		return nil
	}
}

// A handler that panics with locks held ends its mount, and nothing else: programs get errors at once, what others do goes on, and what
// was being written is there when the room is mounted again.
func TestPanicEndsTheMount(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := startWith(t, childOptions{Mode: mode, Quick: true, Faulty: true})
			if err := os.WriteFile(b.path("saved"), []byte("saved"), 0o644); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(b.path("open"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("written"); err != nil {
				t.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			b.must(request{Do: "replace", Name: "others", Data: []byte("one")})
			b.must(request{Do: "break", Name: "others", Data: []byte("two")})
			panics := func() (err error) {
				for err == nil { // what the kernel remembers it does not ask for
					_, err = os.Stat(b.path("others"))
				}
				return err
			}
			if err := b.soon("the request that panics", panics); isErrno(err, unix.ENOENT) {
				t.Errorf("the request that panics: %v", err)
			}
			for range 3 {
				if err := b.soon("a later request", func() error { return os.Mkdir(b.path("new"), 0o755) }); !isErrno(err, unix.ENOTCONN) {
					t.Errorf("a later request: %v, want ENOTCONN", err)
				}
			}
			if err := b.soon("the root", func() error { _, err := os.ReadDir(b.dir); return err }); !isErrno(err, unix.ENOTCONN) {
				t.Errorf("the root of the dead mount: %v, want ENOTCONN", err)
			}
			if err := b.soon("the room", func() error { _, err := b.ask(request{Do: "broken"}); return err }); err != nil {
				t.Error(err)
			}
			f.Close()
			b.must(request{Do: "mount again"})
			for name, want := range map[string]string{"saved": "saved", "open": "written", "others": "two"} {
				read(t, b.path(name), want)
			}
			b.sync()
			if got := b.inDrive(); got != " open others saved" {
				t.Errorf("the drive has %q", got)
			}
		})
	}
}

// A panic in the drive may have left the room's own locks held: the process ends, and the next one has everything.
func TestPanicBelowEndsTheProcess(t *testing.T) {
	b := startWith(t, childOptions{Mode: "cached", Quick: true, Faulty: true})
	b.must(request{Do: "replace", Name: "faulty", Data: make([]byte, 100<<10)})
	if err := os.WriteFile(b.path("saved"), []byte("saved"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.soon("the request that panics", func() error { _, err := os.ReadFile(b.path("faulty")); return err }); err == nil || isErrno(err, unix.ENOENT) {
		t.Errorf("the request that panics: %v", err)
	}
	var ended *exec.ExitError
	if err := b.soon("the process", b.cmd.Wait); !errors.As(err, &ended) {
		t.Errorf("the process ended with %v", err)
	}
	if _, err := os.Stat(b.path("saved")); !isErrno(err, unix.ENOTCONN) {
		t.Errorf("a later request: %v, want ENOTCONN", err)
	}
	b.opts.Faulty = false
	b.run()
	read(t, b.path("saved"), "saved")
	if fi, err := os.Stat(b.path("faulty")); err != nil || fi.Size() != 100<<10 {
		t.Errorf("faulty: %v, %v", fi, err)
	}
}
