package vfs

import (
	"errors"
	iofs "io/fs"
)

// What a file system refuses, beside the fs.ErrNotExist family and what the drive says. A front end has one
// table that maps them to its own errors.
var (
	ErrNotEmpty  = errors.New("directory not empty")
	ErrIsDir     = errors.New("is a directory")
	ErrNotDir    = errors.New("not a directory")
	ErrName      = errors.New("not a possible file name")
	ErrNameLong  = errors.New("file name too long")
	ErrReadOnly  = errors.New("read-only file system")
	ErrStale     = errors.New("the file was replaced: look it up again") // open the node that Lookup finds now
	ErrSupport   = errors.New("not supported")
	ErrNoAttr    = errors.New("no such attribute")
	ErrBadHandle = errors.New("handle is not open for that")
	ErrLoop      = errors.New("a directory cannot move into itself")
	ErrTooBig    = errors.New("too big")
	ErrUnmounted = errors.New("file system is closed")
	ErrJournal   = errors.New("the staging journal cannot be written") // sticky: nothing new is accepted

	errNotExist = iofs.ErrNotExist
	errExist    = iofs.ErrExist
)
