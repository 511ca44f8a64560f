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

// A large file that is opened for writing is not copied first, where the disk cannot share the copy's blocks and copying would take a
// while (fill.go). Its staging file begins as a hole of the file's length, but for what was copied, and what the drive has lies *below*
// it. Whole granules become the file's own: what is missing of one is put in before a part of it is written. Before the bytes become a version, or anything makes holes that mean
// zeroes, the rest is put in.
//
// Which granules are own is written down in a map beside the staging file (granulemap.go), after their bytes and before the write
// returns: what a granule that is not own has in the staging file means nothing. The staging file's time of modification stays the
// user's when bytes are put in.

const (
	granule  = 64 << 10     // bytes that become the staging file's own together; the piece that a blob verifies by
	putBytes = 16 * granule // put in at once
	farShare = 16           // what is not on this machine is copied whole up to that part of Policy.Whole
)

// errNothingBelow is told to those who come too late: the bytes are elsewhere by now.
var errNothingBelow = errors.New("nothing lies below the staging file any more")

// lower is what lies under the granules of a staging file that are not its own.
type lower struct {
	mu   sync.RWMutex // guards what follows; held exclusively while the file is changed
	keep int64        // up to here what is not own is c's
	own  []uint64     // a bit for each granule
	left int          // granules below keep that are not own
	m    *granuleMap  // says the same beside the file; nil once closed

	syncing sync.Mutex // held from reading own until the map's second half has it

	done  atomic.Bool // left is 0: the staging file has all the bytes
	ended atomic.Bool // and the journal says so: nothing lies below it
	wrote atomic.Bool // bytes or length are not the drive's any more

	using sync.RWMutex // held shared while c is read
	c     Content      // nil once closed
	why   error        // of reading c then
}

// newLower is the lower of a file of keep bytes that has own granules.
func newLower(c Content, m *granuleMap, keep int64, own []uint64) *lower {
	l := &lower{c: c, m: m, keep: keep, own: own}
	l.count()
	return l
}

// granules is how many of them n bytes take.
func granules(n int64) int { return int((n + granule - 1) / granule) }

func (l *lower) has(g int) bool { return l.own[g/64]>>(g%64)&1 != 0 }

// count sets left. mu is held.
func (l *lower) count() {
	n := granules(l.keep)
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

// mark makes the granules of [from, to) own, the map first. mu is held.
func (l *lower) mark(from, to int) error {
	to = min(to, granules(l.keep))
	for from < to && l.has(from) {
		from++
	}
	if from >= to {
		return nil
	}
	words := make([]uint64, (to-1)/64-from/64+1)
	copy(words, l.own[from/64:])
	for g := from; g < to; g++ {
		words[g/64-from/64] |= 1 << (g % 64)
	}
	if l.m != nil {
		if err := l.m.setWords(from/64, words); err != nil {
			return err
		}
	}
	for i, w := range words {
		l.left -= bits.OnesCount64(w &^ l.own[from/64+i])
		l.own[from/64+i] = w
	}
	l.done.Store(l.left == 0)
	return nil
}

// shrink makes keep smaller. mu is held.
func (l *lower) shrink(keep int64) error {
	if keep >= l.keep {
		return nil
	}
	l.keep = keep
	l.count()
	if l.m == nil {
		return nil
	}
	return l.m.setKeep(keep)
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
		if own {
			k, err = f.ReadAt(p[n:n+k], at)
		}
		l.mu.RUnlock()
		if !own {
			k, err = l.below(ctx, p[n:n+k], at)
			if err == errNothingBelow && l.done.Load() { // all was put in meanwhile
				err = nil
				continue
			}
		}
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// below reads all of p from what lies under the file, and waits for what is not here.
func (l *lower) below(ctx context.Context, p []byte, off int64) (int, error) {
	l.using.RLock()
	defer l.using.RUnlock()
	if l.c == nil {
		return 0, l.why
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

// writeAt writes p to the staging file f. It may wait for the bytes around p. Of a write that fails, what it returns is there, and
// nothing else.
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
	if e := l.mark(granules(off), int((off+int64(n))/granule)); e != nil {
		return 0, e
	}
	at := off + int64(n)
	if g := int(at / granule); err != nil && at < l.keep && !l.has(g) { // what it has of this granule does not count
		n = int(max(0, int64(g)*granule-off))
	}
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
	return l.shrink(size)
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
			if err == errNothingBelow && l.done.Load() {
				continue
			}
			return err
		}
		l.mu.Lock()
		err := l.fill(f, p, from)
		l.mu.Unlock()
		if err != nil {
			return fmt.Errorf("filling a staging file: %w", err)
		}
	}
}

// fill writes those granules of p, which begins with the granule from, that are not own, makes them so, and leaves the file's time of
// modification. mu is held.
func (l *lower) fill(f *os.File, p []byte, from int) error {
	start := int64(from) * granule
	if start >= l.keep {
		return nil
	}
	p = p[:min(int64(len(p)), l.keep-start)]
	if k, own := l.stretch(start, len(p)); own && k == len(p) {
		return nil // somebody else was faster: whoever writes may do so past mu by now, and the time is theirs
	}
	fd := int(f.Fd())
	var was unix.Stat_t
	if err := unix.Fstat(fd, &was); err != nil {
		return err
	}
	err := error(nil)
	for at := 0; at < len(p) && err == nil; {
		k, own := l.stretch(start+int64(at), len(p)-at)
		if !own {
			_, err = f.WriteAt(p[at:at+k], start+int64(at))
		}
		at += k
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, was.Mtim}
	if err := errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0)); err != nil {
		return err
	}
	return l.mark(from, granules(start+int64(len(p))))
}

// sync makes the staging file's bytes durable, and what is own of them.
func (l *lower) sync(f *os.File) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.RLock()
	m, keep, own := l.m, l.keep, append([]uint64(nil), l.own...)
	l.mu.RUnlock()
	if err := f.Sync(); err != nil || m == nil {
		return err
	}
	return m.commit(keep, own)
}

// close lets go of what lies below, once nobody reads it: why is what who comes later is told. It does not wait.
func (l *lower) close(why error) {
	if l == nil {
		return
	}
	go func() {
		l.using.Lock()
		defer l.using.Unlock()
		if l.c == nil {
			return
		}
		l.c.Close()
		l.c, l.why = nil, why
		l.syncing.Lock()
		defer l.syncing.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.m.f.Close()
		l.m = nil
	}()
}

// lies reports whether the staging file alone does not have all the bytes.
func (l *lower) lies() bool { return l != nil && !l.done.Load() }

// holed reports whether holes of the staging file may mean what lies under them.
func (l *lower) holed() bool { return l != nil && !l.ended.Load() }
