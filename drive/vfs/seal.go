package vfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sealed is a stage whose bytes the blob store has.
type sealed struct {
	st   *stage
	imp  Imported
	stat fileStat
	copy string // a snapshot: the stage goes on
	same bool   // the drive's entry has these bytes

	asked uint64 // the stage's, before its bytes were taken
}

// tooSmall is the size up to which a blob store copies bytes into larger files: taking one over saves nothing.
const tooSmall = 64 << 10

// seal imports the stages' bytes. The staging files keep their names until the drive has recorded them: a second
// name, a hard link, is what the blob store takes over.
func (fs *FS) seal(ctx context.Context, sts []*stage) (done []sealed, err error) {
	srcs := make([]Source, 0, len(sts))
	defer func() {
		for _, s := range srcs {
			s.File.Close()
			if s.Path != "" {
				os.Remove(s.Path)
			}
		}
	}()
	for _, st := range sts {
		if err := st.complete(ctx); err != nil {
			return nil, fmt.Errorf("sealing: %w", err)
		}
		f, err := openFile(st.path, os.O_RDONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("sealing: %w", err)
		}
		fs.mu.Lock()
		writers, passes, lent := st.writers, st.node.passes, st.lent()
		d := sealed{st: st, asked: st.asked}
		fs.mu.Unlock()
		src := Source{File: f, Path: st.path + ".seal"}
		maps := mapped(f)
		live := writers > 0 || maps || lent
		if writers == 0 && maps || writers > 0 && passes > 0 {
			d.stat, err = st.beforeMapped(f)
		} else {
			d.stat, err = st.before(live)
		}
		switch {
		case err != nil:
		case live:
			os.Remove(src.Path)
			d.copy = src.Path
			src.File, err = snapshot(ctx, f, src.Path)
		case d.stat.size <= tooSmall:
			src.Path = ""
		default:
			os.Remove(src.Path)
			err = os.Link(st.path, src.Path)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("sealing: %w", err)
		}
		if src.File != f {
			f.Close()
		}
		srcs, done = append(srcs, src), append(done, d)
	}
	imps, err := fs.drive.Import(ctx, srcs)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	for i := range done {
		done[i].imp = imps[i]
	}
	return done, nil
}

// tick is longer than what the kernel's file times are counted in: within it two writes may leave the same time.
const tick = 20 * time.Millisecond

// before returns how the staging file is before its bytes are taken, so that what is written to it from then on shows
// as a change. Of a live one that is written to this very moment no time tells that: nothing equals what is returned.
func (st *stage) before(live bool) (fileStat, error) {
	s, err := st.stat()
	if err != nil || !live || time.Since(s.ctime) > tick {
		return s, err
	}
	time.Sleep(tick)
	if s, err = st.stat(); err == nil && time.Since(s.ctime) <= tick {
		s.ctime = time.Time{}
	}
	return s, err
}

// beforeMapped is before of a file that the kernel may write to through a mapping. A page that such a write has changed keeps the time of
// the first write until the kernel has written it to the disk, whatever else is written to it: so all pages are written first, and the time
// must be older than that. In a file system that has no disk no time tells anything.
func (st *stage) beforeMapped(f *os.File) (s fileStat, err error) {
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	for try := 0; ; try++ {
		begun := time.Now()
		if err = again(func() error { return unix.SyncFileRange(int(f.Fd()), 0, 0, all) }); err != nil {
			return s, fmt.Errorf("writing mapped pages: %w", err)
		}
		if s, err = st.stat(); err != nil {
			return s, err
		}
		mem := inMemory(f)
		if !mem && begun.Sub(s.ctime) > tick {
			return s, nil
		}
		if mem || try > 0 {
			s.ctime = time.Time{} // nothing equals it
			return s, nil
		}
		time.Sleep(tick)
	}
}

// inMemory reports whether the file has no disk that its pages are written to.
func inMemory(f *os.File) bool {
	var s unix.Statfs_t
	err := again(func() error { return unix.Fstatfs(int(f.Fd()), &s) })
	return err == nil && (s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC)
}

// mapped reports whether somebody can still write to the file: through a shared mapping, which outlives close(2)
// and, with passthrough, is on the staging file itself. A read lease is refused while anybody can.
func mapped(f *os.File) bool {
	fd := f.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
	return false
}

// mapped is mapped of the staging file, if that can be told.
func (st *stage) mapped() bool {
	f, err := openFile(st.path, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return mapped(f)
}

// snapshot copies a file that may still be written to.
func snapshot(ctx context.Context, f *os.File, path string) (*os.File, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	g, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if unix.IoctlFileClone(int(g.Fd()), int(f.Fd())) != nil {
		_, err = copyRange(g, f, 0, 0, fi.Size(), sealedPiece)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		g.Close()
		os.Remove(path)
		return nil, err
	}
	return g, nil
}
