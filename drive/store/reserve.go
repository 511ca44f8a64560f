package store

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The reserve is a file of reserveSize allocated bytes, or of a share of what is
// free when it is made, if that is less. When the disk is full,
// it is given up so that entries which remove things can still be written;
// blobs and packs never get it. It comes back when there is space again.
const (
	reserveSize  = 4 << 20
	reserveShare = 8       // of what is free, at most
	reserveMin   = 3 << 19 // less lets hardly any transaction through: see commitMargin

	// commitMargin is what must be free for a transaction, besides some times the bytes that are not yet in the
	// databases: so that a checkpoint seldom finds the disk full.
	commitMargin = 1 << 20
	commitFactor = 4
)

func errFull(dir string, free, need int64) error {
	return fmt.Errorf("%w: %w: %d KiB are free in %s, %d KiB are needed", ErrNoSpace, syscall.ENOSPC, free>>10, dir, need>>10)
}

// spaceForCommit refuses a transaction, of which the arena has the bytes
// already, for whose checkpoint the disk has no room.
func (s *Room) spaceForCommit() error {
	need := s.arena.used
	if f := s.layers.Load().frozen; f != nil {
		need += f.size
	}
	need = commitMargin + commitFactor*need
	if s.plenty.after(need) {
		return nil
	}
	free, err := freeSpace(s.dir)
	if err != nil || free >= need {
		s.plenty = plenty{free: free, seen: time.Now()}
		return nil // unknown counts as enough: the write will tell
	}
	return errFull(s.dir, free, need)
}

// plenty is how much was free at a time, so that not every transaction has to ask.
type plenty struct {
	free int64
	seen time.Time
}

// plentyFor is how long what was free counts, and plentyMore how much of it others may take meanwhile. If they take more, a checkpoint
// finds the disk full.
const (
	plentyFor  = 50 * time.Millisecond
	plentyMore = 256 << 20
)

// after reports whether there is plenty when need bytes are taken.
func (p plenty) after(need int64) bool {
	return p.free-need >= plentyMore && time.Since(p.seen) < plentyFor
}

// makeSpace does what can be done when a transaction found the disk full: a
// checkpoint, then the reserve is given up. It reports whether that may help.
// The leader calls it.
func (s *Room) makeSpace(tries int) bool {
	if tries > 2 || s.Failed() != nil {
		return false
	}
	if l := s.layers.Load(); l.frozen != nil || l.active.tree.Len() > 0 {
		if err := s.checkpoint(); err == nil {
			return true
		}
	}
	return s.releaseReserve()
}

// spaceForBytes refuses to store n bytes of blobs in what the reserve is, or
// has been given up, for.
func (b *Blobs) spaceForBytes(n int64) error {
	free, spare := spaceIn(b.dir)
	if need := n + spare; free < need {
		return errFull(b.dir, free, need)
	}
	return nil
}

// spaceIn is what is free in a room's directory, and what blobs leave of it for entries.
func spaceIn(dir string) (free, spare int64) {
	spare = commitMargin
	if !exists(filepath.Join(dir, "reserve")) {
		spare += reserveSize
	}
	free, err := freeSpace(dir)
	if err != nil {
		return math.MaxInt64, spare // unknown counts as enough: the write will tell
	}
	return free, spare
}

// Full reports whether the disk is so full that no blobs are stored, or no more than a few small ones; free is what is left.
func (s *Room) Full() (free int64, full bool) {
	free, spare := spaceIn(s.dir)
	return free, free < spare+commitMargin
}

// makeReserve makes the reserve, or a small one larger when there is more space.
func (s *Room) makeReserve() {
	path := s.path("reserve")
	var have int64
	if fi, err := os.Stat(path); err == nil {
		have = onDisk(fi)
	}
	if have >= reserveSize {
		return
	}
	free, err := freeSpace(s.dir)
	if err != nil {
		return
	}
	size := min(reserveSize, (have+free)/reserveShare)
	if size < reserveMin || size <= have {
		return
	}
	// Bytes that compress to nothing reserve nothing, hence allocation; where that does not work there is no reserve.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if err := reserveRange(f, 0, size); err != nil {
		s.log.Debug("making the reserve", "err", err)
	}
}

// releaseReserve gives the reserve up; it reports whether there was one.
func (s *Room) releaseReserve() bool {
	path := s.path("reserve")
	fi, err := os.Stat(path)
	if err != nil || onDisk(fi) == 0 {
		return false
	}
	s.log.Warn("the disk is full: giving up the reserve", "dir", s.dir)
	return os.Remove(path) == nil
}
