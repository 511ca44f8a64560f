package fuse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// statSoon is os.Stat with an end: a mount that nobody serves any more may never answer.
func statSoon(dir string) (os.FileInfo, error) {
	type answer struct {
		fi  os.FileInfo
		err error
	}
	c := make(chan answer, 1)
	go func() {
		fi, err := os.Stat(dir)
		var st unix.Statfs_t
		if e := unix.Statfs(dir, &st); err == nil && e == unix.ENOTCONN { // the kernel may remember a dead mount's root
			err = e
		}
		c <- answer{fi, err}
	}()
	select {
	case a := <-c:
		return a.fi, a.err
	case <-time.After(10 * time.Second):
		return nil, os.ErrDeadlineExceeded
	}
}

// removeDead unmounts what nobody serves, and frees whoever waits for it.
func removeDead(dir string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH)
	}
	return unmountDir(dir, true)
}

// prepare takes away a dead mount and checks the mountpoint.
func prepare(dir string, opts Options) error {
	fi, err := statSoon(dir)
	if errors.Is(err, syscall.ENOTCONN) || errors.Is(err, os.ErrDeadlineExceeded) {
		// What does not answer may be anybody's, and come back: only one of this program's own kind is taken away.
		if fstype, _ := mountedAs(realMountpoint(dir)); fstype != ownType {
			return fmt.Errorf("%w: %s: something else is mounted there and does not answer", ErrInUse, dir)
		}
		if err := removeDead(dir); err != nil {
			return fmt.Errorf("taking away the dead mount on %s: %w", dir, err)
		}
		fi, err = statSoon(dir)
	}
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("%w: %s does not exist", ErrNoDir, dir)
	case err != nil:
		return err
	case !fi.IsDir():
		return fmt.Errorf("%w: %s", ErrNoDir, dir)
	case os.Geteuid() != 0 && unix.Access(dir, unix.W_OK) != nil:
		return fmt.Errorf("a plain user may mount only where he may write: %w", iofs.ErrPermission)
	}
	if mounted(dir) {
		return fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	if opts.NonEmpty {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if names, _ := d.Readdirnames(1); len(names) > 0 {
		return fmt.Errorf("%w: %s", ErrNotEmpty, dir)
	}
	return nil
}

// mounted reports whether something is mounted on dir itself.
func mounted(dir string) bool {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir
	}
	fstype, _ := mountedAs(real)
	return fstype != ""
}

// ownType is the type of file system that the kernel knows this program's mounts by.
const ownType = "fuse.pearbox"

// realMountpoint is dir without symbolic links above it. It does not touch dir itself, which may never answer.
func realMountpoint(dir string) string {
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		return filepath.Join(parent, filepath.Base(dir))
	}
	return dir
}

// mountedAs returns the type and the device number of the file system that is mounted on dir, the topmost if there are several, or "".
func mountedAs(dir string) (fstype, dev string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	defer f.Close()
	return topmost(f, dir)
}

// mountpointOf returns where the file system with a device number is mounted, or "".
func mountpointOf(dev string) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	return mountpointIn(f, dev)
}

func mountpointIn(mountinfo io.Reader, dev string) string {
	for s := bufio.NewScanner(mountinfo); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) >= 5 && fields[2] == dev {
			return unescape.Replace(fields[4])
		}
	}
	return ""
}

// unescape gives a path in mountinfo its bytes back.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// topmost reads mountinfo: see proc_pid_mountinfo(5).
func topmost(mountinfo io.Reader, dir string) (fstype, dev string) {
	for s := bufio.NewScanner(mountinfo); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 || unescape.Replace(fields[4]) != dir {
			continue
		}
		fstype, dev = "unknown", fields[2]
		if i := slices.Index(fields, "-"); i >= 0 && i+1 < len(fields) {
			fstype = fields[i+1]
		}
	}
	return fstype, dev
}

// holders names the processes that have something open below dir, as far as this user may see.
func holders(dir string) string {
	var found []string
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if holds(pid, dir) {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			found = append(found, fmt.Sprintf("%s (%d)", strings.TrimSpace(string(comm)), pid))
		}
		if len(found) == 10 {
			found = append(found, "…")
			break
		}
	}
	if len(found) == 0 {
		return "a program has a file open there"
	}
	return "in use by " + strings.Join(found, ", ")
}

func holds(pid int, dir string) bool {
	below := func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && (target == dir || strings.HasPrefix(target, dir+"/"))
	}
	base := fmt.Sprintf("/proc/%d/", pid)
	if below(base+"cwd") || below(base+"root") {
		return true
	}
	fds, _ := os.ReadDir(base + "fd")
	for _, fd := range fds {
		if below(base + "fd/" + fd.Name()) {
			return true
		}
	}
	return false
}
