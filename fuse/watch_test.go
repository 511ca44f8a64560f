package fuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watcher collects what inotify says about one directory.
type watcher struct {
	f *os.File

	mu   sync.Mutex
	seen []string
}

func watch(t *testing.T, dir string) *watcher {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{f: os.NewFile(uintptr(fd), "inotify")}
	t.Cleanup(func() { w.f.Close() })
	mask := uint32(unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_MODIFY | unix.IN_ATTRIB)
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		t.Fatal(err)
	}
	go w.read()
	return w
}

func (w *watcher) read() {
	names := map[uint32]string{unix.IN_CREATE: "create", unix.IN_DELETE: "delete", unix.IN_MOVED_FROM: "from", unix.IN_MOVED_TO: "to",
		unix.IN_MODIFY: "modify", unix.IN_ATTRIB: "attrib"}
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			mask, size := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
			name := strings.TrimRight(string(b[16:16+size]), "\x00")
			w.seen = append(w.seen, names[mask&^unix.IN_ISDIR]+" "+name)
			b = b[16+size:]
		}
		w.mu.Unlock()
	}
}

// await waits until the events were seen, in this order, perhaps with others between them.
func (w *watcher) await(t *testing.T, want ...string) {
	t.Helper()
	err := within(func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		left := want
		for _, s := range w.seen {
			if len(left) > 0 && s == left[0] {
				left = left[1:]
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("got %q, want %q", w.seen, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// awaitRename has others rename a file of d, back and forth, until that is told as a rename.
func (w *watcher) awaitRename(t *testing.T, b *bench, from, to string) {
	t.Helper()
	for range 20 {
		if w.rename(t, b, from, to) {
			return
		}
		w.rename(t, b, to, from)
	}
	t.Fatal("no rename was told as one")
}

// rename has others rename a file of d and waits until that is told, so that the next change is not looked at together with it.
// A rename whose two halves were not looked at together, because the machine was busy, is told as one name that is gone and another
// that came; rename reports whether it was told as one.
func (w *watcher) rename(t *testing.T, b *bench, from, to string) (whole bool) {
	t.Helper()
	w.mu.Lock()
	w.seen = nil
	w.mu.Unlock()
	b.must(request{Do: "move", Name: "d/" + from, Data: []byte("d/" + to)})
	err := within(func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		whole = slices.Contains(w.seen, "from "+from) && slices.Contains(w.seen, "to "+to)
		if whole || slices.Contains(w.seen, "create "+to) && slices.Contains(w.seen, "delete "+from) {
			return nil
		}
		return fmt.Errorf("got %q for a rename of %s to %s", w.seen, from, to)
	})
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func (b *bench) must(q request) {
	b.t.Helper()
	if _, err := b.ask(q); err != nil {
		b.t.Fatalf("%s %s: %v", q.Do, q.Name, err)
	}
}

// TestWatching: what others do raises the events that a program would have raised that did it in the mount.
func TestWatching(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := startWith(t, childOptions{Mode: mode, Quick: true})
			if err := os.Mkdir(b.path("d"), 0o755); err != nil {
				t.Fatal(err)
			}
			w := watch(t, b.path("d"))
			b.must(request{Do: "replace", Name: "d/new", Data: []byte("one")})
			w.await(t, "create new")
			read(t, b.path("d/new"), "one")

			b.must(request{Do: "replace", Name: "d/new", Data: []byte("two, longer")})
			w.await(t, "create new", "modify new")
			if err := within(func() error { return same(b.path("d/new"), "two, longer") }); err != nil {
				t.Fatal(err)
			}
			b.must(request{Do: "chmod", Name: "d/new"})
			w.await(t, "modify new", "attrib new")

			w.awaitRename(t, b, "new", "moved")
			read(t, b.path("d/moved"), "two, longer")

			b.must(request{Do: "mkdir", Name: "d/sub"})
			w.await(t, "create sub")
			w.awaitRename(t, b, "sub", "sub2")
			b.must(request{Do: "remove", Name: "d/sub2"})
			w.await(t, "delete sub2")
			b.must(request{Do: "remove", Name: "d/moved"})
			w.await(t, "delete moved")
			if es, err := os.ReadDir(b.path("d")); err != nil || len(es) != 0 {
				t.Errorf("the directory has %v, %v", es, err)
			}
			if got := b.inDrive(); strings.TrimSpace(got) != "d" {
				t.Errorf("the drive has %q: repeating changed something", got)
			}
		})
	}
}

// TestOwnChangesAreToldOnce: what a program does in the mount raises its events, and no others when it is recorded.
func TestOwnChangesAreToldOnce(t *testing.T) {
	b := startWith(t, childOptions{Mode: "passthrough", Quick: true})
	w := watch(t, b.dir)
	if err := os.WriteFile(b.path("own"), []byte("own"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.path("dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.sync()
	if err := os.Remove(b.path("own")); err != nil {
		t.Fatal(err)
	}
	b.sync()
	b.must(request{Do: "mkdir", Name: "others"})
	w.await(t, "create own", "create dir", "delete own", "create others")
	w.mu.Lock()
	defer w.mu.Unlock()
	count := map[string]int{}
	for _, s := range w.seen {
		count[s]++
	}
	for _, s := range []string{"create own", "create dir", "delete own"} {
		if count[s] != 1 {
			t.Errorf("%q was told %d times: %q", s, count[s], w.seen)
		}
	}
}

// TestKilledWhileRepeating: killing the server in the middle of many changes of others and of programs' own leaves
// nothing that hangs, neither a program nor the mount's child, and a new server takes over.
func TestKilledWhileRepeating(t *testing.T) {
	b := startWith(t, childOptions{Mode: "passthrough", Quick: true})
	if err := os.Mkdir(b.path("d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		watch(t, b.path("d"))
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					name := b.path(fmt.Sprintf("d/own-%d-%d-%d", round, i, k))
					if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
						return
					}
					os.Remove(name)
				}
			})
		}
		for k := range 40 {
			b.must(request{Do: "replace", Name: fmt.Sprintf("d/other-%d", k), Data: fmt.Append(nil, round, k)})
		}
		var children []int
		if err := within(func() error { // it begins with the first change that somebody watches for
			if children = childrenOf(t, b.cmd.Process.Pid); len(children) == 0 {
				b.must(request{Do: "replace", Name: "d/other", Data: fmt.Append(nil, round, time.Now())})
				return errors.New("there is no child to repeat changes")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		for _, pid := range children { // one that has just been forked has it until it runs its own program
			if err := within(func() error {
				fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
				for _, fd := range fds {
					if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())); to == "/dev/fuse" {
						return errors.New("the child has the descriptor that keeps the mount alive")
					}
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		b.kill()
		close(stop)
		ended := make(chan struct{})
		go func() { wg.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Fatal("programs hang in the mount of a killed server")
		}
		if err := within(func() error {
			for _, pid := range children {
				if unix.Kill(pid, 0) == nil && !zombie(pid) {
					return fmt.Errorf("the child %d is still there", pid)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		b.run()
		read(t, b.path("d/other-39"), fmt.Sprint(round, 39))
	}
}

func childrenOf(t *testing.T, pid int) (pids []int) {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		b, _ := os.ReadFile(task)
		for _, f := range strings.Fields(string(b)) {
			var p int
			fmt.Sscan(f, &p)
			pids = append(pids, p)
		}
	}
	return pids
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

func same(path, want string) error {
	got, err := os.ReadFile(path)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%s is %q, want %q", path, got, want)
	}
	return err
}

func read(t *testing.T, path, want string) {
	t.Helper()
	if err := same(path, want); err != nil {
		t.Error(err)
	}
}
