package vfs

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openFile is os.OpenFile for a regular file. That one tries to have the runtime wait for the file as for a socket, which takes four more
// calls of the system and which the system refuses.
func openFile(path string, flag int, perm uint32) (*os.File, error) {
	return openAs(path, path, flag, perm)
}

// reopen opens an open file once more, to read, whatever has become of its name.
func reopen(f *os.File) (*os.File, error) {
	return openAs(f.Name(), fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDONLY, 0)
}

// openAs opens path as a file that goes by name.
func openAs(name, path string, flag int, perm uint32) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flag|unix.O_CLOEXEC, perm)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), name), nil
		case unix.EINTR:
		default:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// fileStat is what tells a staging file's states apart.
type fileStat struct {
	size, blocks int64
	mtime, ctime time.Time
	links        uint64
}

func statPath(path string) (fileStat, error) {
	var st syscall.Stat_t
	if err := syscall.Lstat(path, &st); err != nil {
		return fileStat{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return statOf(&st), nil
}

func statFile(f *os.File) (fileStat, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return fileStat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return statOf(&st), nil
}

func statOf(st *syscall.Stat_t) fileStat {
	return fileStat{st.Size, st.Blocks, time.Unix(st.Mtim.Unix()), time.Unix(st.Ctim.Unix()), uint64(st.Nlink)}
}

// again makes a system call until no signal interrupts it: the Go runtime sends itself some, and programs do not expect EINTR of files.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// copyFileRange is copy_file_range(2).
func copyFileRange(src, dst *os.File, in, out, n int64) (copied int64, err error) {
	err = again(func() error {
		i, o := in, out
		k, err := unix.CopyFileRange(int(src.Fd()), &i, int(dst.Fd()), &o, int(n), 0)
		copied = int64(k)
		return err
	})
	return copied, err
}
