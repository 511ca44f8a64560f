package vfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// complete puts in what is missing and says so in the journal: from then on the staging file is a file as any other.
func (st *stage) complete(ctx context.Context) error {
	l := st.lower
	if l == nil || l.ended.Load() {
		return nil
	}
	f, err := os.OpenFile(st.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening a staging file: %w", err)
	}
	defer f.Close()
	if err := l.putIn(ctx, f, 0, math.MaxInt); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // before the journal: after a power failure its holes would be zeroes
		return fmt.Errorf("syncing a staging file: %w", err)
	}
	st.fs.mu.Lock()
	defer st.fs.mu.Unlock()
	if err := st.update(func(r *record) { r.Base = nil }); err != nil {
		return err
	}
	l.ended.Store(true)
	l.close()
	return nil
}

// resize changes the staging file's length, with the journal following: beyond that length nothing lies below it any more.
func (st *stage) resize(size int64) error {
	l := st.lower
	if l == nil {
		return os.Truncate(st.path, size)
	}
	if err := l.truncate(st.path, size); err != nil {
		return err
	}
	st.fs.mu.Lock()
	defer st.fs.mu.Unlock()
	if st.rec.Base == nil || st.rec.Base.Keep <= size {
		return nil
	}
	return st.update(func(r *record) { b := *r.Base; b.Keep = size; r.Base = &b })
}

// keepsHoles reports whether the disk below dir tells holes from data as exactly as is needed here.
func keepsHoles(dir string) bool {
	f, err := os.CreateTemp(dir, "holes.*")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const page = 4096
	if _, err := f.WriteAt(make([]byte, page), granule); err != nil || f.Truncate(2*granule) != nil {
		return false
	}
	hole, err1 := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
	data, err2 := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
	next, err3 := unix.Seek(int(f.Fd()), granule, unix.SEEK_HOLE)
	return err1 == nil && err2 == nil && err3 == nil && hole == 0 && data == granule && next == granule+page
}

// lowerOf brings back what an earlier process left under the holes of a record's staging file.
func (fs *FS) lowerOf(ctx context.Context, r record) (*lower, error) {
	if r.Base == nil {
		return nil, nil
	}
	f, err := os.Open(fs.stagePath(r.ID))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	c, err := fs.drive.OpenRef(ctx, r.Base.Ref)
	if err != nil {
		return nil, err
	}
	l := newLower(c, min(r.Base.Keep, fi.Size()))
	if err := l.survey(f); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// survey marks the granules that an earlier process made the staging file's own.
func (l *lower) survey(f *os.File) error {
	l.torn = map[int]bool{}
	fd := int(f.Fd())
	for at := int64(0); at < l.keep; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		from, to := granules(data), int(hole/granule)
		if hole >= l.keep {
			to = granules(l.keep)
		}
		l.mark(from, to)
		l.torn[int(data/granule)], l.torn[to] = true, true // but where they are own after all
		at = hole
	}
	l.wrote.Store(true) // that it was not, nobody knows
	return nil
}
