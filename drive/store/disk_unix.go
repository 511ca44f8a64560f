//go:build unix

package store

import (
	"os"
	"syscall"
)

// onDisk returns the bytes that a file takes on the disk.
func onDisk(fi os.FileInfo) int64 {
	if s, ok := fi.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return fi.Size()
}

// inode tells files apart that may have several names; ok is false for one that has a single one.
func inode(fi os.FileInfo) (id [2]uint64, ok bool) {
	s, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || s.Nlink < 2 {
		return id, false
	}
	return [2]uint64{uint64(s.Dev), uint64(s.Ino)}, true
}

// device returns the number of the file system that a file is on.
func device(fi os.FileInfo) uint64 {
	if s, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Dev)
	}
	return 0
}
