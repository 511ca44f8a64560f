// Package fuse mounts a vfs.FS in the kernel. It only translates: nodes and handles to go-fuse's, errors
// to errno, the file system's notifications to the kernel's.
package fuse
