package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// onFd calls fn with the descriptor, again while it is interrupted.
func onFd(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = c.Control(func(fd uintptr) {
		for ferr = fn(int(fd)); ferr == unix.EINTR; {
			ferr = fn(int(fd))
		}
	})
	return errors.Join(err, ferr)
}

func dataSync(f *os.File) error { return onFd(f, unix.Fdatasync) }

// writeSync saves the disk a flush of all that it has, where it can be told to let one write through.
func writeSync(f *os.File, p []byte, off int64) error {
	n := 0
	err := onFd(f, func(fd int) (err error) {
		n, err = unix.Pwritev2(fd, [][]byte{p}, off, unix.RWF_DSYNC)
		return err
	})
	if err == nil && n == len(p) {
		return nil
	}
	if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
		return &os.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	return writeThenSync(osDisk{}, f, p, off) // an old kernel; or the rest did not go at once, and this says why
}

// reserveRange allocates a range of a sparse file without changing its size.
// File systems that cannot are fine.
func reserveRange(f *os.File, off, n int64) error {
	err := onFd(f, func(fd int) error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// startWriteback asks the kernel to begin writing a range; it promises
// nothing.
func startWriteback(f *os.File, off, n int64) {
	_ = onFd(f, func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
}

// directAlign is what memory, offset and length of a write past the page cache
// are multiples of: a page, which is at least a block of any disk in use.
const directAlign = 4096

// openDirect opens a file for writing past the page cache.
func openDirect(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
}

// refusesDirect reports whether an error means that the file system cannot
// write past the page cache after all.
func refusesDirect(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

// clone makes dst share the bytes of src, if the file system can.
func clone(dst, src *os.File) error {
	return onFd(src, func(from int) error {
		return onFd(dst, func(to int) error { return unix.IoctlFileClone(to, from) })
	})
}

// place is where a file lives: what changes when it is copied or restored.
type place struct {
	Dev, Inode, Birth uint64
}

func placeOf(path string) (place, error) {
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &s); err != nil {
		return place{}, err
	}
	p := place{Dev: unix.Mkdev(s.Dev_major, s.Dev_minor), Inode: s.Ino}
	if s.Mask&unix.STATX_BTIME != 0 {
		p.Birth = uint64(s.Btime.Sec)*1e9 + uint64(s.Btime.Nsec)
	}
	return p, nil
}

// changedAt returns a file's inode and when that was changed last, in unix nanoseconds.
func changedAt(path string) (inode uint64, changed int64, err error) {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return s.Ino, s.Ctim.Nano(), nil
}

// bootID names the running boot of the machine; empty when unknown.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(b)
}

// freeSpace returns the bytes that an ordinary user may still write.
func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
