//go:build unix && !linux

package store

import (
	"errors"
	"os"
	"syscall"
)

func dataSync(f *os.File) error { return f.Sync() }

func writeSync(f *os.File, p []byte, off int64) error { return writeThenSync(osDisk{}, f, p, off) }

func reserveRange(*os.File, int64, int64) error { return nil }

func startWriteback(*os.File, int64, int64) {}

const directAlign = 4096

func openDirect(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func refusesDirect(error) bool { return true }

func clone(dst, src *os.File) error { return errors.ErrUnsupported }

// place is where a file lives: what changes when it is copied or restored.
type place struct {
	Dev, Inode, Birth uint64
}

func placeOf(path string) (place, error) {
	var s syscall.Stat_t
	if err := syscall.Lstat(path, &s); err != nil {
		return place{}, err
	}
	return place{Dev: uint64(s.Dev), Inode: s.Ino}, nil
}

// changedAt returns a file's inode. When that was changed is not told here.
func changedAt(path string) (inode uint64, changed int64, err error) {
	var s syscall.Stat_t
	if err := syscall.Lstat(path, &s); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return s.Ino, 0, nil
}

// bootID names the running boot of the machine; empty when unknown, and then
// every unclean end counts as one of the machine.
func bootID() string { return "" }

// freeSpace returns the bytes that an ordinary user may still write.
func freeSpace(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
