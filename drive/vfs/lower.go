package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A large file that is opened for writing is not copied first, where the disk cannot share the copy's blocks. Its staging
// file begins as one hole of the file's length, and what the drive has lies *below* it: a hole means those bytes, anything
// else is the file's own. Whole granules become its own: what is missing of one is put in before a part of it is written.
// Before the bytes become a version, or anything makes holes that mean zeroes, the rest is put in.
//
// The file system's own map of the holes is what survives this process. So this is done only where such a map is kept
// (keepsHoles), and the staging file's time of modification stays the user's when bytes are put in.

const (
	granule  = 64 << 10     // bytes that become the staging file's own together; the piece that a blob verifies by
	putBytes = 16 * granule // put in at once
	farShare = 16           // what is not on this machine is copied whole up to that part of Policy.Whole
)

// errNothingBelow is told to those who come too late: the bytes are elsewhere by now.
var errNothingBelow = errors.New("nothing lies below the staging file any more")

// lower is what lies under the holes of a staging file.
type lower struct {
	mu   sync.RWMutex // guards keep and own; held exclusively while the file is changed
	keep int64        // up to here holes are c's bytes
	own  []uint64     // a bit for each granule that has no hole below keep
	left int          // granules below keep that are not own
	torn map[int]bool // granules that an earlier process, or the power, left half their own

	done  atomic.Bool // left is 0: the staging file has all the bytes
	ended atomic.Bool // and the journal says so: its holes are zeroes
	wrote atomic.Bool // bytes or length are not the drive's any more

	using sync.RWMutex // held shared while c is read
	c     Content      // nil once closed
}

func newLower(c Content, keep int64) *lower {
	l := &lower{c: c, keep: keep, left: granules(keep)}
	l.own = make([]uint64, (l.left+63)/64)
	l.done.Store(l.left == 0)
	return l
}

// granules is how many of them n bytes take.
func granules(n int64) int { return int((n + granule - 1) / granule) }

func (l *lower) has(g int) bool { return l.own[g/64]>>(g%64)&1 != 0 }

// mark makes the granules of [from, to) own. mu is held.
func (l *lower) mark(from, to int) {
	for g := from; g < min(to, granules(l.keep)); g++ {
		if !l.has(g) {
			l.own[g/64] |= 1 << (g % 64)
			l.left--
		}
	}
	l.done.Store(l.left == 0)
}

// shrink makes keep smaller. mu is held.
func (l *lower) shrink(keep int64) {
	if keep >= l.keep {
		return
	}
	l.keep = keep
	n := granules(keep)
	l.left = n
	for i := range (n + 63) / 64 {
		word := l.own[i]
		if rest := n - 64*i; rest < 64 {
			word &= 1<<rest - 1
		}
		l.left -= bits.OnesCount64(word)
	}
	l.done.Store(l.left == 0)
}

// stretch returns how many of the n bytes at off are alike: the staging file's own, or to be found below. mu is held.
func (l *lower) stretch(off int64, n int) (k int, own bool) {
	if off >= l.keep {
		return n, true
	}
	end, g := min(off+int64(n), l.keep), int(off/granule)
	own = l.has(g)
	for g++; int64(g)*granule < end && l.has(g) == own; g++ {
	}
	if own && int64(g)*granule >= l.keep {
		return n, true
	}
	return int(min(int64(g)*granule, end) - off), own
}

// readAt reads what the file is, f being the staging file.
func (l *lower) readAt(ctx context.Context, f *os.File, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		l.mu.RLock()
		k, own := l.stretch(at, len(p)-n)
		torn := !own && l.tears(at, k)
		if own {
			k, err = f.ReadAt(p[n:n+k], at)
		}
		l.mu.RUnlock()
		if torn {
			if err := l.mend(ctx, f, at, k); err != nil {
				return n, err
			}
			continue
		}
		if !own {
			k, err = l.below(ctx, p[n:n+k], at)
		}
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// tears reports whether one of the granules that the n bytes at off lie in is torn. mu is held.
func (l *lower) tears(off int64, n int) bool {
	if len(l.torn) == 0 {
		return false
	}
	for g := int(off / granule); g < granules(off+int64(n)); g++ {
		if l.torn[g] && !l.has(g) {
			return true
		}
	}
	return false
}

// mend puts in what is missing of the granules that the n bytes at off lie in. f need not be open for writing.
func (l *lower) mend(ctx context.Context, f *os.File, off int64, n int) error {
	w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening a staging file: %w", err)
	}
	defer w.Close()
	return l.putIn(ctx, w, int(off/granule), granules(off+int64(n)))
}

// below reads all of p from what lies under the file, and waits for what is not here.
func (l *lower) below(ctx context.Context, p []byte, off int64) (int, error) {
	l.using.RLock()
	defer l.using.RUnlock()
	if l.c == nil {
		return 0, errNothingBelow
	}
	n, err := l.c.ReadAtContext(ctx, p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// writeAt writes p to the staging file f. It may wait for the bytes around p.
func (l *lower) writeAt(ctx context.Context, f *os.File, p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	first, last := int(off/granule), granules(end)
	for _, g := range []int{first, last - 1} {
		if s := int64(g) * granule; s < off || s+granule > end {
			if err := l.putIn(ctx, f, g, g+1); err != nil {
				return 0, err
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrote.Store(true)
	n, err := f.WriteAt(p, off)
	l.mark(granules(off), int((off+int64(n))/granule))
	return n, err
}

// truncate changes the staging file's length.
func (l *lower) truncate(path string, size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	l.wrote.Store(true)
	l.shrink(size)
	return nil
}

// putIn makes the granules of [from, to) the staging file's own.
func (l *lower) putIn(ctx context.Context, f *os.File, from, to int) error {
	var buf []byte
	for {
		l.mu.RLock()
		to = min(to, granules(l.keep))
		for from < to && l.has(from) {
			from++
		}
		start := int64(from) * granule
		end := min(start+putBytes, int64(to)*granule, l.keep)
		l.mu.RUnlock()
		if from >= to {
			return nil
		}
		if buf == nil {
			buf = make([]byte, end-start)
		}
		p := buf[:end-start]
		if _, err := l.below(ctx, p, start); err != nil {
			return err
		}
		l.mu.Lock()
		end = min(end, l.keep)
		err := error(nil)
		if start < end {
			if err = fillHoles(f, p[:end-start], start); err == nil {
				l.mark(from, granules(end))
			}
		}
		l.mu.Unlock()
		if err != nil {
			return fmt.Errorf("filling a staging file: %w", err)
		}
	}
}

// fillHoles writes those bytes of p, which belong at off, that fall into holes of f, and leaves its time of modification.
func fillHoles(f *os.File, p []byte, off int64) error {
	fd := int(f.Fd())
	var was unix.Stat_t
	if err := unix.Fstat(fd, &was); err != nil {
		return err
	}
	end := off + int64(len(p))
	for at := off; at < end; {
		hole, err := unix.Seek(fd, at, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if hole >= end {
			break
		}
		data, err := unix.Seek(fd, hole, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data, err = end, nil
		}
		if err != nil {
			return err
		}
		data = min(data, end)
		if _, err := f.WriteAt(p[hole-off:data-off], hole); err != nil {
			return err
		}
		at = data
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, was.Mtim}, 0)
}

// close lets go of what lies below, once nobody reads it. It does not wait.
func (l *lower) close() {
	if l == nil {
		return
	}
	go func() {
		l.using.Lock()
		defer l.using.Unlock()
		if l.c != nil {
			l.c.Close()
			l.c = nil
		}
	}()
}

// lies reports whether the staging file alone does not have all the bytes.
func (l *lower) lies() bool { return l != nil && !l.done.Load() }

// holed reports whether holes of the staging file may mean what lies under them.
func (l *lower) holed() bool { return l != nil && !l.ended.Load() }
