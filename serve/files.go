package serve

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// Rooms finds the drives that are served.
type Rooms interface {
	// Names lists them by the names under which they appear.
	Names() []string
	// Drive finds one by that name.
	Drive(name string) (Drive, bool)
}

// Drive is one room's files.
type Drive interface {
	// At returns the drive as it was at version, as a user writes it; "" is now.
	// ErrVersion if there is none.
	At(ctx context.Context, version string) (Tree, error)
}

// Tree is a drive at one moment. Paths have no leading slash; "" is the top.
// Nothing follows symlinks. Errors are of the fs.ErrNotExist family.
type Tree interface {
	Stat(path string) (Info, error)
	List(path string) ([]Info, error)
	Open(ctx context.Context, path string) (File, error)
}

// File reads one version of a file.
type File interface {
	// ReadAtContext is ReadAt that waits for bytes that are not here yet: ErrNobody
	// if they cannot be had, ctx's error if it ends before they come.
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	Close() error
}

// Kinds of Info.
const (
	KindFile    = "file"
	KindDir     = "dir"
	KindSymlink = "symlink"
)

// Info is one file, directory or symlink.
type Info struct {
	Name    string
	Kind    string
	Size    int64
	Perm    uint32
	MTime   time.Time
	Target  string // of a symlink
	Hash    string // of a file's bytes, hex; never empty for a file
	Version string // that wrote the bytes, hex
}

// Errors that a Drive and a File tell by.
var (
	ErrVersion = errors.New("no such version")
	ErrNobody  = errors.New("nobody who is connected has these bytes")
	errOutside = errors.New("symlink points out of the room")
	errLoop    = errors.New("too many symlinks")
)

// maxLinks is how many symlinks one path may pass through, as in Linux.
const maxLinks = 40

// walk follows the symlinks of p inside t and returns where it ends.
func walk(t Tree, p string) (string, Info, error) {
	links := 0
	done, rest := "", p
	info, err := t.Stat("")
	for err == nil && rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if done == "" {
				return "", Info{}, errOutside
			}
			if done = path.Dir(done); done == "." {
				done = ""
			}
			info, err = t.Stat(done)
			continue
		}
		next := path.Join(done, name)
		if info, err = t.Stat(next); err != nil {
			break
		}
		if info.Kind != KindSymlink {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", Info{}, errLoop
		}
		if strings.HasPrefix(info.Target, "/") {
			return "", Info{}, errOutside
		}
		rest = info.Target + "/" + rest
		info, err = t.Stat(done)
	}
	if err != nil {
		return "", Info{}, err
	}
	return done, info, nil
}

// failure says what an error means to a client.
func failure(err error) *api.Error {
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrVersion):
		return api.Errorf(api.UnknownVersion, "%w", err)
	case errors.Is(err, ErrNobody):
		return api.Errorf(api.Nobody, "Nobody who is connected has these bytes. They will be here when somebody who does comes online.")
	case errors.Is(err, context.DeadlineExceeded):
		return api.Errorf(api.Timeout, "The bytes did not come in time. Try again.")
	case errors.Is(err, errOutside), errors.Is(err, errLoop):
		return api.Errorf(api.NotFound, "%w", err)
	case errors.Is(err, fs.ErrNotExist):
		return api.Errorf(api.NotFound, "There is nothing of that name.")
	default:
		return api.Errorf(api.Internal, "%w", err)
	}
}
