package vfs

import (
	"context"
	"io"
	"os"
)

// empty is the content of an empty file.
type empty struct{}

func (empty) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) { return 0, io.EOF }
func (empty) ReadHere(p []byte, off int64) (int, error)                           { return 0, io.EOF }
func (empty) Local() (f *os.File, off int64, ok bool)                             { return nil, 0, false }
func (empty) Close() error                                                        { return nil }
