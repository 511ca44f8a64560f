package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What a staging file of a file of the drive begins with.

// fill gives a new staging file the first keep bytes (-1: all) of what the drive has: the same blocks, a copy, or a hole. Absent bytes
// that are copied are waited for.
func (st *stage) fill(ctx context.Context, f *os.File, info Info, keep int64) error {
	if keep < 0 || keep > info.Bytes.Size {
		keep = info.Bytes.Size
	}
	if keep == 0 {
		return nil
	}
	c, err := st.fs.drive.Open(ctx, info)
	if err != nil {
		return err
	}
	src, off, here := c.Local()
	if here && off == 0 && unix.IoctlFileClone(int(f.Fd()), int(src.Fd())) == nil {
		c.Close()
		return f.Truncate(keep)
	}
	whole := st.fs.policy.Whole
	if !here {
		whole /= farShare
	}
	if ref := st.fs.drive.Ref(info); keep > whole && ref != nil {
		return st.fillInTime(ctx, f, c, keep, ref)
	}
	defer c.Close()
	return copyFrom(ctx, f, c, keep)
}

// fillInTime copies the first keep bytes of c if that is soon done. What is copied until then is the staging file's own otherwise, and
// the rest, which ref names, lies below. It takes over c.
func (st *stage) fillInTime(ctx context.Context, f *os.File, c Content, keep int64, ref []byte) error {
	n, err := int64(0), error(nil)
	if src, off, here := c.Local(); here && st.fs.policy.Copying > 0 && st.fs.roomFor(keep) {
		n, err = copyInTime(ctx, f, src, off, keep, st.fs.policy.Copying)
	}
	if err != nil || n == keep {
		c.Close()
		return err
	}
	m, err := makeMap(f, keep)
	if err != nil {
		c.Close()
		return err
	}
	st.lower, st.rec.Base = newLower(c, m, keep, make([]uint64, (m.n+63)/64)), &baseOf{ref, keep}
	if err := st.lower.mark(0, int(n/granule)); err != nil {
		return err
	}
	return f.Truncate(keep)
}

// roomFor reports whether n bytes take no more than half of what is free on the disk: a copy that nobody may need is not worth more.
func (fs *FS) roomFor(n int64) bool {
	s, err := fs.Space()
	return err == nil && uint64(n) <= s.Available*uint64(s.BlockSize)/2
}

const (
	copyPiece = 16 << 20 // bytes copied before the clock is looked at again
	copyTimes = 4        // a copy that would take so many times as long, as it seems, is given up at once
)

// copyInTime copies the first n bytes from offset off of src, whole pieces or all, until it is clear that all would take longer than
// limit.
func copyInTime(ctx context.Context, dst, src *os.File, off, n int64, limit time.Duration) (int64, error) {
	start := time.Now()
	for done := int64(0); ; {
		p, want := off+done, min(copyPiece, n-done)
		k, err := copyRange(dst, src, p, done, want, stagedPiece)
		done += k
		switch took := time.Since(start); {
		case err == nil && k < want:
			return done, fmt.Errorf("copying to a staging file: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return done, fmt.Errorf("copying to a staging file: %w", err)
		case ctx.Err() != nil:
			return done, ctx.Err()
		case done == n, took > limit, took.Seconds()/float64(done)*float64(n) > copyTimes*limit.Seconds():
			return done, nil
		}
	}
}

func copyFrom(ctx context.Context, f *os.File, c Content, keep int64) error {
	if src, off, ok := c.Local(); ok {
		n, err := copyRange(f, src, off, 0, keep, stagedPiece)
		if err != nil {
			return fmt.Errorf("copying to a staging file: %w", err)
		}
		if n == keep {
			return nil
		}
		return fmt.Errorf("copying to a staging file: %w", io.ErrUnexpectedEOF)
	}
	buf := make([]byte, min(keep, 1<<20))
	for off := int64(0); off < keep; {
		p := buf[:min(int64(len(buf)), keep-off)]
		n, err := c.ReadAtContext(ctx, p, off)
		if n < len(p) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if _, err := f.WriteAt(p, off); err != nil {
			return fmt.Errorf("copying to a staging file: %w", err)
		}
		off += int64(n)
	}
	return nil
}

// Bytes that the kernel is asked to copy at once. It keeps what it copies in folios of up to this size, and ext4 looks at each block of a folio
// when a part of it is overwritten: overwrites of 4 KiB are 1.4 times as quick where a file was copied in pieces of 16 KiB, and copying
// it takes 1.6 times as long (Linux 6.18).
const (
	stagedPiece = 16 << 10 // of what is opened for writing
	sealedPiece = 1 << 30  // of what becomes a version
)

// copyRange copies n bytes from offset off of src to offset to of dst inside the kernel, if it can, in pieces.
func copyRange(dst, src *os.File, off, to, n, piece int64) (int64, error) {
	done := int64(0)
	for done < n {
		k, err := copyFileRange(src, dst, off+done, to+done, min(n-done, piece))
		if err != nil && done == 0 && (errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) {
			return io.Copy(io.NewOffsetWriter(dst, to), io.NewSectionReader(src, off, n))
		}
		if err != nil || k == 0 {
			return done, err
		}
		done += k
	}
	return done, nil
}
