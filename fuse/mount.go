package fuse

import (
	"context"
	"errors"
	"log/slog"

	"github.com/pearbox/pearbox/drive/vfs"
)

var (
	ErrNoFUSE   = errors.New("FUSE is not available")         // no /dev/fuse, or no fusermount3 for a plain user
	ErrInUse    = errors.New("mountpoint is already in use")  // something is mounted there
	ErrNotEmpty = errors.New("mountpoint is not empty")       //
	ErrBusy     = errors.New("mount is busy")                 // programs have files open in it
	ErrNoDir    = errors.New("mountpoint is not a directory") // missing, or a file
)

// Options says how a room is mounted.
type Options struct {
	Name       string       // shown by df and mount, e.g. the room's name
	ReadOnly   bool         // refuse writes
	AllowOther bool         // let other users in (a plain user needs user_allow_other in /etc/fuse.conf)
	NonEmpty   bool         // mount over a directory that is not empty
	Log        *slog.Logger // nil: discarded
	Debug      bool         // log every request
}

// Mounted is a mounted file system.
type Mounted struct{}

// Mount mounts fsys on dir and serves it until it is unmounted. A dead mount that a killed process left on
// dir is taken away first.
func Mount(ctx context.Context, dir string, fsys *vfs.FS, opts Options) (*Mounted, error) {
	return nil, nil
}

// Mode says how file contents reach the kernel: "passthrough" or "cached".
func (m *Mounted) Mode() string { return "" }

// Dir is the absolute mountpoint.
func (m *Mounted) Dir() string { return "" }

// Unmount commits what is pending and unmounts. It fails with ErrBusy, naming the processes, while programs
// have files open.
func (m *Mounted) Unmount(ctx context.Context) error { return nil }

// Detach unmounts at once, even when busy: open files fail from then on. For shutting down.
func (m *Mounted) Detach() error { return nil }

// Wait returns when the file system was unmounted, by whomever.
func (m *Mounted) Wait() {}
