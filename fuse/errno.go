package fuse

import (
	"context"
	"errors"
	iofs "io/fs"
	"syscall"

	"github.com/pearbox/pearbox/drive/vfs"
)

// errnos says what the kernel is told, first match first. An errno anywhere in an error's chain comes before the
// last of them: the network's errors bring theirs along.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{context.Canceled, syscall.EINTR},
	{context.DeadlineExceeded, syscall.ETIMEDOUT},
	{vfs.ErrStale, syscall.ESTALE},
	{vfs.ErrReadOnly, syscall.EROFS},
	{vfs.ErrNotEmpty, syscall.ENOTEMPTY},
	{vfs.ErrIsDir, syscall.EISDIR},
	{vfs.ErrNotDir, syscall.ENOTDIR},
	{vfs.ErrNameLong, syscall.ENAMETOOLONG},
	{vfs.ErrName, syscall.EINVAL},
	{vfs.ErrLoop, syscall.EINVAL},
	{vfs.ErrSupport, syscall.EOPNOTSUPP},
	{vfs.ErrNoAttr, syscall.ENODATA},
	{vfs.ErrBadHandle, syscall.EBADF},
	{vfs.ErrTooBig, syscall.E2BIG},
	{vfs.ErrUnmounted, syscall.EIO},
	{vfs.ErrJournal, syscall.EIO},
	{iofs.ErrNotExist, syscall.ENOENT},
	{iofs.ErrExist, syscall.EEXIST},
	{iofs.ErrPermission, syscall.EACCES},
	{iofs.ErrInvalid, syscall.EINVAL},
}

func (m *Mounted) errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	m.log.Warn("a request failed", "err", err)
	return syscall.EIO
}
