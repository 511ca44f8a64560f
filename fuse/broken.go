package fuse

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

// A request that panics leaves locks behind that nobody lets go of: go-fuse unlocks most of its own by hand. Whoever asks for one of them
// afterwards would wait for ever, and with him the program that made the request. So after a panic the mount ends: the kernel is told to
// answer ENOTCONN, those who wait included. The dead mount stays where it is, so that no program goes on in the directory below it.
//
// What else ends depends on where the panic was. Where no function of drive or below was under way, no lock of theirs is held: they go on,
// with the other mounts and rooms of this process, and what the mount's programs had open is closed, so that what they wrote becomes part of
// the room. Otherwise the room's own locks may be held, and whatever looks at all rooms, or ends them in order, would wait for this one:
// then the process ends, as it does when any other goroutine of it panics. What it had in staging is found by the next one, as after a kill.

// ErrBroken: the mount has ended because of a fault in this program.
var ErrBroken = errors.New("a fault in pearbox")

// broke is what the log says when a request ended in a panic.
const broke = "a request broke an invariant"

// drivePackages is the import path that drive and what lies below it begin with.
const drivePackages = "github.com/pearbox/pearbox/drive"

// panicked is what go-fuse calls when a handler panics, with its stack still there.
func (m *Mounted) panicked(p any) fuse.Status {
	stack := debug.Stack()
	why := fmt.Errorf("%w: %v", ErrBroken, p)
	m.log.Error(broke, "dir", m.dir, "panic", p, "stack", string(stack))
	if inDrive() {
		m.die(why, stack)
	}
	m.breaking.Do(func() {
		m.broken = why
		close(m.breaks)
		if err := m.abort(); err != nil {
			m.die(fmt.Errorf("%w; the mount could not be ended: %w", why, err), stack)
		}
		go m.afterBreak()
	})
	return fuse.EIO
}

// inDrive reports whether a function of drive or below is under way on this goroutine.
func inDrive() bool {
	pcs := make([]uintptr, 1000)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, drivePackages) {
			return true
		}
		if !more {
			return false
		}
	}
}

// die ends the process: a panic that nobody recovers.
func (m *Mounted) die(why error, stack []byte) {
	if m.opts.Dying != nil {
		m.opts.Dying(m.dir, why)
	}
	go panic(fmt.Sprintf("%s: %v\n\n%s", m.dir, why, stack))
	select {}
}

// abortFile is what the kernel has for ending a connection, by the minor number of the mount's device. Whoever has mounted may use it.
const abortFile = "/sys/fs/fuse/connections/%d/abort"

// abort has the kernel answer everybody, those who wait for this process included, that it is gone.
func (m *Mounted) abort() error {
	var major, minor int
	if _, err := fmt.Sscanf(m.dev, "%d:%d", &major, &minor); err != nil {
		return fmt.Errorf("nobody knows its device: %w", err)
	}
	err := os.WriteFile(fmt.Sprintf(abortFile, minor), []byte("1"), 0)
	if err == nil || os.Geteuid() != 0 {
		return err
	}
	// Where fusectl is not mounted. A forced unmount aborts first, and then finds that the mount is in use: it stays.
	fd, err := unix.Open(m.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !m.Shown() {
		return errors.New("something else is at its place")
	}
	if err := unix.Unmount(m.dir, unix.MNT_FORCE); err != nil && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

// breakWait is how long what is under way may take to end once the mount is broken: what is not stuck is told to.
const breakWait = 5 * time.Second

// afterBreak closes what programs had open.
func (m *Mounted) afterBreak() {
	if e := m.echoes.Load(); e != nil {
		e.stop()
	}
	select {
	case <-m.served:
	case <-time.After(breakWait):
	}
	m.closeAll()
	m.finish()
}

// Broken returns why the mount has ended by itself, or nil: an ErrBroken. The dead mount is at its place until it is unmounted, or
// something is mounted there.
func (m *Mounted) Broken() error {
	select {
	case <-m.breaks:
		return m.broken
	default:
		return nil
	}
}

// finish says that the mount has ended. It may be called twice.
func (m *Mounted) finish() { m.finished.Do(func() { close(m.done) }) }

// holds notes a handle that the kernel is about to be told of.
func (m *Mounted) holds(h *vfs.Handle) {
	m.mu.Lock()
	m.open[h] = struct{}{}
	m.mu.Unlock()
}

// letGo reports whether it falls to the caller to close h.
func (m *Mounted) letGo(h *vfs.Handle) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, mine := m.open[h]
	delete(m.open, h)
	return mine
}

// closeAll closes what the kernel will say no more about: it says nothing once a connection was aborted, nor of the last file that was open
// in a mount when that was detached.
func (m *Mounted) closeAll() {
	m.mu.Lock()
	open := m.open
	m.open = map[*vfs.Handle]struct{}{}
	m.mu.Unlock()
	for h := range open {
		h.Close()
		h.Unpass()
	}
}

// childAt is what the kernel knows under a name in dir, or nil. It asks go-fuse, whose locks a panic may have left held.
func (m *Mounted) childAt(dir *node, name string) *node {
	answer := make(chan *node, 1)
	go func() { answer <- dir.child(name) }()
	select {
	case n := <-answer:
		return n
	case <-m.breaks:
		return nil
	}
}
