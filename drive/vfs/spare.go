package vfs

import (
	"encoding/hex"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Making a file on a disk and removing it again is the dearest part of a small file's way into the drive (ext4 looks at every inode that
// was freed in the last minutes before it gives one out). So the staging files of small files are emptied and used again, and where many
// are made one after another, empty ones are made ahead of whoever waits for them.

const (
	maxSpares  = batchFiles // empty staging files that wait: as many as are recorded together
	aheadAfter = 32         // had to be made while somebody waited, before the first are made ahead
	aheadFirst = 64         // are made ahead then; twice as many each time that they did not do, up to maxSpares
)

// spares are empty staging files that no record knows and nobody has open. The zero value has none.
type spares struct {
	mu      sync.Mutex
	ids     []stageID
	lacked  int  // how often there was none
	ahead   int  // how many there are to be; 0: none are made ahead
	filling bool // they are being made
}

// put keeps a file that is empty; false: there are enough.
func (s *spares) put(id stageID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) >= maxSpares {
		return false
	}
	s.ids = append(s.ids, id)
	return true
}

// take gives one out; fill: the caller is to see to it that more are made.
func (s *spares) take() (id stageID, ok, fill bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok = len(s.ids) > 0; ok {
		last := len(s.ids) - 1
		id, s.ids = s.ids[last], s.ids[:last]
	} else if s.lacked++; s.lacked > aheadAfter {
		s.ahead = min(max(2*s.ahead, aheadFirst), maxSpares)
	}
	fill = !s.filling && len(s.ids) < s.ahead/2
	s.filling = s.filling || fill
	return id, ok, fill
}

// lacks reports whether more are to be made; if not, or when giving up, filling has ended.
func (s *spares) lacks(giveUp bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if giveUp {
		s.ahead = 0
	}
	s.filling = len(s.ids) < s.ahead
	return s.filling
}

// fillSpares makes staging files until there are enough. What keeps it from that is told to whoever needs one next and makes it himself.
func (fs *FS) fillSpares() {
	giveUp := false
	for fs.spares.lacks(giveUp) {
		select {
		case <-fs.quit:
			giveUp = true
			continue
		default:
		}
		id := newStageID()
		f, err := fs.newStageFile(id)
		if giveUp = err != nil; giveUp {
			continue
		}
		f.Close()
		if !fs.spares.put(id) {
			os.Remove(f.Name())
		}
	}
}

// removeSpares removes the files that wait. What a process that was killed leaves of them, the next one uses.
func (fs *FS) removeSpares() {
	for {
		id, ok, _ := fs.spares.take()
		if !ok {
			return
		}
		os.Remove(fs.stagePath(id))
	}
}

// inBackground runs fn, which Close waits for, unless the file system is closed.
func (fs *FS) inBackground(fn func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !fs.closed {
		fs.wg.Go(fn)
	}
}

// emptyStageFile returns an empty staging file for a new record, and the record's id, which is its name.
func (fs *FS) emptyStageFile() (id stageID, f *os.File, err error) {
	for {
		id, ok, fill := fs.spares.take()
		if fill {
			fs.inBackground(fs.fillSpares)
		}
		if !ok {
			break
		}
		path := fs.stagePath(id)
		now := unix.Timespec{Nsec: unix.UTIME_NOW}
		if f, err = openFile(path, os.O_RDWR, 0); err == nil {
			err = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{now, now}, 0)
			if err == nil {
				return id, f, nil
			}
			f.Close()
		}
	}
	id = newStageID()
	f, err = fs.newStageFile(id)
	return id, f, err
}

// leftover is a stage whose record has ended; the zero value is none.
type leftover struct {
	st   *stage
	idle bool // nobody had the file open, nor was about to open it by its path
}

// letGo removes what is left over, or keeps the staging file to be used again if nobody can reach its bytes any more. That the record has
// ended is on the disk. A later record of the same name is there only if the file is empty there, too: both are changes of the disk's
// metadata, which keeps their order. (On a file system that puts single files ahead of its log, as btrfs does on fsync, a power failure can
// leave the old bytes in a file of a name that stays on this machine that nobody synced; files of the drive are set aside then.)
func (fs *FS) letGo(l leftover) {
	switch {
	case l.st == nil:
	case l.idle && l.st.lower == nil:
		fs.spare(l.st.path)
	default:
		l.st.removeFiles()
	}
}

// spare keeps a staging file that no record knows to be used again, if it is small and nobody has it by a descriptor, a mapping or a
// second name, and else removes it.
func (fs *FS) spare(path string) {
	if id, ok := emptied(path); !ok || !fs.spares.put(id) {
		os.Remove(path)
	}
}

// emptied empties a staging file that can be used again.
func emptied(path string) (id stageID, ok bool) {
	id, ok = stageOf(path)
	if !ok {
		return id, false
	}
	f, err := openFile(path, os.O_RDWR, 0)
	if err != nil {
		return id, false
	}
	defer f.Close()
	fi, err := statFile(f)
	if err != nil || fi.size > tooSmall || fi.links != 1 || !alone(f) {
		return id, false
	}
	return id, f.Truncate(0) == nil
}

// alone reports whether nobody else has the file open or mapped: only then is a write lease granted.
func alone(f *os.File) bool {
	fd := f.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		return false
	}
	unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
	return true
}

// stageOf is the record's id that a staging file is called by.
func stageOf(path string) (id stageID, ok bool) {
	name := path[len(path)-min(len(path), 2*len(id)):]
	n, err := hex.Decode(id[:], []byte(name))
	return id, err == nil && n == len(id)
}
