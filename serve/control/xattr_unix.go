//go:build linux || darwin || freebsd

package control

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// listXattrs lists the extended attributes of a file; none where the file system has none.
func listXattrs(path string) ([]string, error) {
	buf := make([]byte, 0)
	for {
		n, err := unix.Llistxattr(path, buf)
		switch {
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOENT): // the latter: it has just gone, as others notice
			return nil, nil
		case errors.Is(err, unix.ERANGE): // there are more since
			buf = buf[:0]
			continue
		case err != nil:
			return nil, err
		case n > len(buf):
			buf = make([]byte, n)
			continue
		}
		return strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }), nil
	}
}

// keepsXattrs reports whether the file could have attributes of users that can be read: a file system that knows none lists none.
func keepsXattrs(path string) bool {
	_, err := unix.Lgetxattr(path, xattrPrefix+"pearbox", nil)
	return !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EACCES)
}

// readXattr reads one of them.
func readXattr(path, name string) ([]byte, error) {
	buf := make([]byte, 1<<10)
	for {
		n, err := unix.Lgetxattr(path, name, buf)
		if errors.Is(err, unix.ERANGE) {
			if n, err = unix.Lgetxattr(path, name, nil); err == nil {
				buf = make([]byte, n+64)
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

func setXattr(fd uintptr, name string, value []byte) error {
	err := unix.Fsetxattr(int(fd), name, value, 0)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
