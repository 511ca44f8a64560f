package fuse

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive"
)

// That others changed a file is repeated without touching its times: a program here may be setting them.
func TestRepeatedChangeLeavesTimes(t *testing.T) {
	b := startWith(t, childOptions{Mode: "cached", Quick: true})
	if err := os.WriteFile(b.path("f"), []byte("f"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.sync()
	w := watch(t, b.dir)
	done := make(chan error)
	go func() {
		var err error
		for i := 0; i < 30 && err == nil; i++ {
			perm := uint32(0o600 + i%2)
			_, err = b.ask(request{Do: "alter", Name: "f", Attrs: &drive.Attrs{Perm: &perm}})
			time.Sleep(20 * time.Millisecond) // else they are told of as one
		}
		done <- err
	}()
	for i := int64(1); ; i++ {
		want := time.Unix(1e9+i, 0)
		if err := os.Chtimes(b.path("f"), want, want); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if fi, err := os.Stat(b.path("f")); err != nil || !fi.ModTime().Equal(want) {
				t.Fatalf("after %d: modified at %v, %v; want %v", i, fi.ModTime(), err, want)
			}
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			w.await(t, "attrib f")
			return
		default:
		}
	}
}

// pose has the thread of that number be taken for the mount's own child, until it is 0.
func pose(m *Mounted, q request) error {
	tid, err := strconv.ParseUint(string(q.Data), 10, 32)
	e := m.echoes.Load()
	if err != nil || e == nil {
		return fmt.Errorf("no thread, or nothing is repeated: %v", err)
	}
	e.turn.Lock() // no child does anything meanwhile
	defer e.turn.Unlock()
	e.active.Store(nil)
	if tid > 0 {
		e.active.Store(&echo{op: echoModify, at: echoKey{m.root, q.Name}})
	}
	e.tid.Store(uint32(tid))
	return nil
}

// The child sets a file's time to what it saw. What write(2) does meanwhile waits, but a mapping may write at any moment, and with write-back
// the kernel would believe the child: so it is refused for as long as anybody has the file open, or mapped, to write.
func TestRepeatedChangeWhileWriting(t *testing.T) {
	b := startWith(t, childOptions{Mode: "cached", Quick: true})
	if err := os.WriteFile(b.path("f"), make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(b.path("f"), old, old); err != nil {
		t.Fatal(err)
	}
	b.sync()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	touch := func() error {
		b.must(request{Do: "pose", Name: "f", Data: fmt.Append(nil, unix.Gettid())})
		defer b.must(request{Do: "pose", Data: []byte("0")})
		return unix.UtimesNanoAt(unix.AT_FDCWD, b.path("f"), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: old.Unix()}}, 0)
	}
	if err := within(touch); err != nil {
		t.Fatalf("nobody writes, and the child is refused: %v", err)
	}
	f, err := os.OpenFile(b.path("f"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := touch(); !isErrno(err, unix.EBUSY) {
		t.Errorf("the child sets the time of a file that is mapped to write: %v, want EBUSY", err)
	}
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	if err := within(touch); err != nil {
		t.Errorf("nobody writes any more, and the child is refused: %v", err)
	}
}
