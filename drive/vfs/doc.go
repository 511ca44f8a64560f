// Package vfs is the drive as a file system: what the kernel mount and WebDAV share.
//
// A [FS] lies over one drive. It hands out [Node] values (what a kernel calls an inode), opens
// [Handle] values on them, and keeps everything that was written but is not yet part of the drive
// in *staging files* with a *journal* beside them.
package vfs
