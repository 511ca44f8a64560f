package blob

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// allocate reserves size bytes, where the file system can.
func allocate(f *os.File, size int64) error {
	err := control(f, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}

// hasHoles reports whether a file takes less of the disk than it has bytes.
func hasHoles(f *os.File) bool {
	fi, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Blocks*512 < fi.Size()
}

// nextPiece returns how many of the bytes [off, end) of f lie in a hole as off does, in whole groups or all, or else how
// many come before such a hole. off is a multiple of Group. ErrChanged when f does not reach that far any more.
func nextPiece(f *os.File, off, end int64) (n int64, hole bool, err error) {
	data, err := nextData(f, off, end)
	if err != nil {
		return 0, false, fmt.Errorf("looking for holes: %w", err)
	}
	if data == end {
		return end - off, true, nil
	}
	if n = data/Group*Group - off; n > 0 {
		return n, true, nil
	}
	at, err := seek(f, data, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) { // it has become shorter: reading will tell
		return end - off, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("looking for holes: %w", err)
	}
	if at <= data { // there is no telling, or it has just become one
		at = end
	}
	return min(end, (at+Group-1)/Group*Group) - off, false, nil
}

// nextData returns where in [off, end) of f the first data is, end if there is none.
func nextData(f *os.File, off, end int64) (int64, error) {
	at, err := seek(f, off, unix.SEEK_DATA)
	if !errors.Is(err, unix.ENXIO) {
		return min(at, end), err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() < end {
		err = fmt.Errorf("%w: it ends at byte %d", ErrChanged, fi.Size())
	}
	return end, err
}

// seek is lseek(2). It returns off where the file system knows of no holes, and ENXIO if there is no data, or no file, at off
// or behind it.
func seek(f *os.File, off int64, whence int) (at int64, err error) {
	err = control(f, func(fd int) (err error) { at, err = unix.Seek(fd, off, whence); return err })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return off, nil
	}
	return at, err
}

// startWriteback asks the kernel to begin writing a range; it promises
// nothing.
func startWriteback(f *os.File, off, n int64) {
	_ = control(f, func(fd int) error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
}

func control(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = c.Control(func(fd uintptr) {
		for {
			if ferr = fn(int(fd)); ferr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return ferr
}
