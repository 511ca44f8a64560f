package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// found is one local file, directory or symlink that is to be put.
type found struct {
	local  string
	path   string // in the room
	kind   fs.FileMode
	perm   uint32
	mtime  time.Time
	size   int64
	target string // of a symlink

	xattrs    map[string][]byte // of a file or directory
	attrBytes int               // of them
	all       bool              // those are all that there are
}

// scan is what a put is going to copy, parents before children.
type scan struct {
	list    []found
	files   int64
	bytes   int64
	skipped []string          // what is neither file, directory nor symlink
	failed  []string          // what could not be read
	avoid   map[string]string // local directories that are left out, and why
}

// add walks the local path and everything below it; it becomes at in the room. A
// source itself must be there; what cannot be read below it is noted.
func (s *scan) add(ctx context.Context, local, at string) error {
	st, err := os.Lstat(local)
	if err != nil {
		return localErr(err)
	}
	// A source that is a symlink stands for what it points to, as with scp.
	if st.Mode()&fs.ModeSymlink != 0 {
		if local, err = filepath.EvalSymlinks(local); err != nil {
			return localErr(err)
		}
	}
	if st, err := os.Stat(local); err != nil {
		return localErr(err)
	} else if t := st.Mode().Type(); t != 0 && t != fs.ModeDir {
		return api.Errorf(api.LocalFile, "%s is %s", local, kindWord(t)).With("files, directories and symlinks can be put; `-` takes what comes from stdin")
	}
	return filepath.WalkDir(local, func(p string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if p == local {
				return localErr(err)
			}
			s.failed = append(s.failed, err.Error())
			return nil
		}
		if why := s.avoid[p]; why != "" && p != local {
			s.skipped = append(s.skipped, p+" ("+why+")")
			return fs.SkipDir
		}
		rel, err := filepath.Rel(local, p)
		if err != nil {
			return err
		}
		return s.entry(p, path.Join(at, filepath.ToSlash(rel)), e)
	})
}

func (s *scan) entry(local, at string, e fs.DirEntry) error {
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has just gone
	}
	if err != nil {
		s.failed = append(s.failed, err.Error())
		return nil
	}
	f := found{local: local, path: at, kind: info.Mode().Type(), perm: uint32(info.Mode().Perm()), mtime: info.ModTime()}
	switch f.kind {
	case 0:
		f.size = info.Size()
		s.files++
		s.bytes += f.size
		s.takeXattrs(&f)
	case fs.ModeDir:
		s.takeXattrs(&f)
	case fs.ModeSymlink:
		if f.target, err = os.Readlink(local); err != nil {
			s.failed = append(s.failed, err.Error())
			return nil
		}
	default:
		s.skipped = append(s.skipped, fmt.Sprintf("%s (%s)", local, kindWord(f.kind)))
		return nil
	}
	s.list = append(s.list, f)
	return nil
}

func kindWord(m fs.FileMode) string {
	switch {
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	}
	return "a device"
}

// problem returns the error that a put ends with when not everything could be read.
func (s *scan) problem() error {
	if len(s.failed) == 0 {
		return nil
	}
	more := ""
	if n := len(s.failed) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return api.Errorf(api.LocalFile, "everything was copied but %s%s", s.failed[0], more)
}
