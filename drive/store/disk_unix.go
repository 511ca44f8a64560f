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

// device returns the number of the file system that a file is on.
func device(fi os.FileInfo) uint64 {
	if s, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Dev)
	}
	return 0
}
