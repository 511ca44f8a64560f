package store

import (
	"os"
)

// The reserve is a file of reserveSize allocated bytes. When the disk is full,
// it is given up so that entries which remove things can still be written;
// blobs and packs never get it. It comes back when there is space again.
const (
	reserveSize = 4 << 20
	reserveWhen = 64 << 20 // free bytes at which it is made
)

func (s *Room) makeReserve() {
	path := s.path("reserve")
	if fi, err := os.Stat(path); err == nil && onDisk(fi) >= reserveSize {
		return
	}
	if free, err := freeSpace(s.dir); err != nil || free < reserveWhen {
		return
	}
	// Bytes that compress to nothing reserve nothing, hence allocation; where that does not work there is no reserve.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if err := reserveRange(f, 0, reserveSize); err != nil {
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
