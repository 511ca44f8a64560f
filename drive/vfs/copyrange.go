package vfs

import (
	"context"
	"io"
	"os"
)

// CopyRange copies up to size bytes from one file to another, inside the kernel where possible.
func CopyRange(ctx context.Context, src *Handle, srcOff int64, dst *Handle, dstOff, size int64) (int64, error) {
	for {
		n, err := copyOnce(ctx, src, srcOff, dst, dstOff, size)
		if err != errNothingBelow {
			return n, err
		}
	}
}

// copyOnce is CopyRange, but for errNothingBelow when the source's bytes are elsewhere by now.
func copyOnce(ctx context.Context, src *Handle, srcOff int64, dst *Handle, dstOff, size int64) (int64, error) {
	if err := dst.writing(ctx); err != nil {
		return 0, err
	}
	defer dst.mu.RUnlock()
	if src != dst {
		if err := src.current(ctx); err != nil {
			return 0, err
		}
		defer src.mu.RUnlock()
	}
	if src.f != nil && !src.rev.lower.lies() && !dst.rev.lower.holed() {
		return copyFileRange(src.f, dst.f, srcOff, dstOff, min(size, 1<<30))
	}
	if f, off, ok := src.local(); ok && !dst.rev.lower.holed() {
		size = min(size, src.committed().Bytes.Size-srcOff, 1<<30)
		if size <= 0 {
			return 0, nil
		}
		return copyFileRange(f, dst.f, off+srcOff, dstOff, size)
	}
	buf := make([]byte, min(size, 1<<20))
	n, err := src.read(ctx, buf, srcOff)
	if n == 0 && err != nil && err != io.EOF {
		return 0, err
	}
	k, err := dst.put(ctx, buf[:n], dstOff)
	return int64(k), err
}

// committed is the entry of the drive that c is of. h.mu is held.
func (h *Handle) committed() Info {
	if h.n.past != nil {
		return h.n.past.info
	}
	return h.rev.info
}

// local is Content.Local of what is no staging file.
func (h *Handle) local() (f *os.File, off int64, ok bool) {
	if h.c == nil {
		return nil, 0, false
	}
	return h.c.Local()
}
