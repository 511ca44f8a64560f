package vfstest

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors and mappings: several of a file at a time, also of files that have lost their names.

// reading is a descriptor that only reads. It may be left behind with the bytes of one moment: that at which the file is opened to write
// while nobody here has it so.
type reading struct {
	fd   *os.File
	then [][]byte // the bytes of those moments that it may have been left with
	old  bool     // it has shown bytes that are no more
}

// reached takes note of what f has now that nobody has it open to write, for readers that the next writer may leave behind.
func (f *randomFile) reached() {
	if len(f.fds) > 0 || f.added != nil || slices.ContainsFunc(f.maps, func(m *mapping) bool { return m.write }) {
		return
	}
	for _, r := range f.reads {
		if !r.old && !bytes.Equal(r.then[len(r.then)-1], f.data) {
			r.then = append(r.then, slices.Clone(f.data))
		}
	}
}

// mapping is a part of a file, mapped shared.
type mapping struct {
	mem   []byte
	start int64 // of mem in the file
	write bool
}

// String names the file in what is said about it.
func (f *randomFile) String() string {
	if f.name == "" {
		return "one that is lost"
	}
	return f.name
}

// stepOpen opens and closes.
func (s *random) stepOpen(f *randomFile) error {
	if len(s.lost) > 0 && s.r.IntN(6) == 0 {
		g := pick(s.r, s.lost)
		s.say("close one that is lost")
		err := g.keeps("lost")
		g.close()
		s.lost = without(s.lost, g)
		return err
	}
	switch k := s.r.IntN(12); {
	case k < 2:
		s.say("close all of %s", f)
		f.close()
	case k < 4:
		if len(f.fds) > 0 {
			s.say("close one of %s", f)
			return f.closeOne(s.r.IntN(len(f.fds)))
		}
	case k < 6 && len(f.reads) < 2:
		return s.openToRead(f)
	case k < 8 && len(f.maps) < 3:
		return s.keepMap(f)
	case k < 9 && len(f.maps) > 0:
		s.say("unmap one of %s", f)
		return f.unmap(pick(s.r, f.maps))
	case k < 10:
		return s.exclusive(f)
	default:
		s.say("open %s", f)
		fd, err := os.OpenFile(s.way(f), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f.fds = append(f.fds, fd)
		if len(f.fds) > 4 {
			return f.closeOne(0)
		}
	}
	return nil
}

// fd returns one of the descriptors that read and write, a new one if there is none.
func (s *random) fd(f *randomFile) (*os.File, error) {
	if len(f.fds) == 0 {
		if f.name == "" {
			return nil, fmt.Errorf("%s has no descriptor", f)
		}
		fd, err := os.OpenFile(s.way(f), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		f.fds = append(f.fds, fd)
	}
	return pick(s.r, f.fds), nil
}

func (f *randomFile) closeOne(i int) error {
	err := f.fds[i].Close()
	f.fds = append(f.fds[:i:i], f.fds[i+1:]...)
	return err
}

// close closes and unmaps all of a file.
func (f *randomFile) close() {
	for _, m := range f.maps {
		unix.Munmap(m.mem)
	}
	for _, r := range f.reads {
		r.fd.Close()
	}
	for _, fd := range f.fds {
		fd.Close()
	}
	if f.added != nil {
		f.added.Close()
	}
	f.maps, f.reads, f.fds, f.added = nil, nil, nil, nil
	f.settles()
}

func (s *random) closeAll() {
	for _, f := range append(s.files, s.lost...) {
		f.close()
	}
	s.lost = nil
}

// lose says that f has no name any more: it goes on for as long as it is open.
func (s *random) lose(f *randomFile) error {
	err := f.keeps("removed or replaced")
	s.files = without(s.files, f)
	f.name = ""
	if len(f.fds) == 0 || len(s.lost) > 2 || err != nil {
		f.close()
		return err
	}
	s.lost = append(s.lost, f)
	return nil
}

func without[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(y T) bool { return x == y })
}

// keeps checks that everything of f that is open reads its bytes, whatever has become of the name.
func (f *randomFile) keeps(what string) error {
	for _, fd := range f.fds {
		got := make([]byte, len(f.data))
		if k, err := fd.ReadAt(got, 0); !bytes.Equal(got[:k], f.data) {
			return fmt.Errorf("%w (%v)", differ("reading what was "+what, got[:k], f.data), err)
		}
	}
	for _, m := range f.maps {
		if got, want := m.shows(f); m.write && !bytes.Equal(got, want) {
			return differ("a map of what was "+what, got, want)
		}
	}
	return nil
}

func (s *random) openToRead(f *randomFile) error {
	s.say("open %s to read", f)
	fd, err := os.Open(s.way(f))
	if err != nil {
		return err
	}
	f.reads = append(f.reads, &reading{fd: fd, then: [][]byte{slices.Clone(f.data)}})
	return nil
}

// readOn reads by a descriptor that has been there for a while.
func (s *random) readOn(f *randomFile, r *reading, off, n int64) error {
	s.say("read %s by an older descriptor %d+%d", f, off, n)
	b := make([]byte, n)
	k, err := r.fd.ReadAt(b, off)
	got, want := b[:k], f.part(off, n)
	if bytes.Equal(got, want) && !r.old {
		return nil
	}
	if s.Behind {
		left := slices.DeleteFunc(slices.Clone(r.then), func(then []byte) bool { return !bytes.Equal(got, part(then, off, n)) })
		if len(left) > 0 {
			r.then, r.old = left, true
			return nil
		}
	}
	return fmt.Errorf("%w (%v)", differ(fmt.Sprintf("reading %s at %d by an older descriptor", f, off), got, want), err)
}

func newMapping(fd *os.File, off, n int64, write bool) (*mapping, error) {
	start, prot := off&^4095, unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	mem, err := unix.Mmap(int(fd.Fd()), start, int(off+n-start), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	return &mapping{mem, start, write}, nil
}

// shows returns what the mapping shows of the file as long as it is, and what it should.
func (m *mapping) shows(f *randomFile) (got, want []byte) {
	want = f.part(m.start, int64(len(m.mem)))
	return m.mem[:len(want)], want
}

// keepMap maps a part of a file and leaves it so. The descriptor may be closed before.
func (s *random) keepMap(f *randomFile) error {
	fd, err := s.fd(f)
	if err != nil || len(f.data) == 0 {
		return err
	}
	off, n := s.span(int64(len(f.data)))
	write := s.r.IntN(3) > 0
	s.say("map %s %d+%d and keep it; to write: %v", f, off, n, write)
	m, err := newMapping(fd, off, n, write)
	if err != nil {
		return err
	}
	f.maps = append(f.maps, m)
	return nil
}

// useMap reads by a mapping, and writes a part of it.
func (s *random) useMap(f *randomFile, m *mapping) error {
	got, want := m.shows(f)
	s.say("use the map of %s at %d+%d, %d bytes of it", f, m.start, len(m.mem), len(got))
	if !bytes.Equal(got, want) {
		return differ(fmt.Sprintf("map of %s at %d", f, m.start), got, want)
	}
	if !m.write || len(got) == 0 {
		return nil
	}
	off, n := s.span(int64(len(got)))
	begun := time.Now()
	b := s.bytes(n)
	copy(got[off:], b)
	copy(want[off:], b)
	f.movesSomeTime(begun)
	if s.r.IntN(2) == 0 {
		return unix.Msync(m.mem, unix.MS_SYNC)
	}
	return nil
}

func (f *randomFile) unmap(m *mapping) error {
	f.maps = without(f.maps, m)
	err := unix.Munmap(m.mem)
	if len(f.maps) == 0 {
		f.settles()
	}
	return err
}

// remount closes all there is and has the directory unmounted and mounted again.
func (s *random) remount() error {
	s.say("remount")
	for _, f := range s.files { // what is read after it must be what was read before
		if err := s.stat(f); err != nil {
			return err
		}
	}
	s.closeAll()
	if err := s.Remount(); err != nil {
		return err
	}
	return s.everything()
}
