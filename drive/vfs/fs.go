package vfs

import (
	"context"
	"log/slog"
)

// Options opens a file system over a drive.
type Options struct {
	Drive    Drive        // the drive below; see [Over] for a *drive.Drive
	Staging  string       // directory for staging files and the journal, on the blobs' file system
	ReadOnly bool         // refuse every change
	Log      *slog.Logger // nil: discarded
}

// Drive is what a file system needs of the drive below it.
type Drive interface{}

// FS is one drive as a file system. Several mounts and servers may share it.
type FS struct{}

// New opens the file system: it replays the journal and commits what an earlier process left behind.
func New(ctx context.Context, opts Options) (*FS, error) { return &FS{}, nil }

// Progress tells how far a Sync or a Close is.
type Progress struct {
	Files int    // still to be committed
	Bytes int64  // in those files
	Path  string // what is being worked on, "" when nothing is
}

// Sync commits everything pending at or below path ("" is everything) and returns when it is durable
// in the drive. progress, if not nil, is called now and then from the calling goroutine.
func (fs *FS) Sync(ctx context.Context, path string, progress func(Progress)) error { return nil }

// Pending lists the paths of what is written but not yet part of the drive.
func (fs *FS) Pending() []string { return nil }

// Close commits what is pending, as Sync does, and closes the file system. When ctx ends first the
// rest stays in staging and is committed by the next New.
func (fs *FS) Close(ctx context.Context, progress func(Progress)) error { return nil }
