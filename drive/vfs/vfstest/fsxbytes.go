package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stepBytes reads or changes a file's bytes.
func (s *random) stepBytes(f *randomFile) error {
	switch k := s.r.IntN(50); {
	case k < 15:
		return s.write(f)
	case k < 27:
		return s.read(f)
	case k < 32:
		return s.truncate(f)
	case k < 37:
		return s.mapOnce(f)
	case k < 41:
		return s.allocate(f)
	case k < 45:
		return s.copyRange(f)
	case k < 47:
		return s.append(f)
	case k < 48:
		return s.sync(f)
	default:
		return s.holes(f)
	}
}

func (f *randomFile) grow(size int64) {
	if size > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, size-int64(len(f.data)))...)
	}
}

// part is what the model has of n bytes at off.
func (f *randomFile) part(off, n int64) []byte { return part(f.data, off, n) }

func part(data []byte, off, n int64) []byte {
	size := int64(len(data))
	return data[min(off, size):min(off+n, size)]
}

func (s *random) write(f *randomFile) error {
	fd, err := s.fd(f)
	if err != nil {
		return err
	}
	off, n := s.span(s.Max)
	b := s.bytes(n)
	s.say("write %s %d+%d", f, off, n)
	begun := time.Now()
	if _, err := fd.WriteAt(b, off); err != nil {
		return err
	}
	f.grow(off + n)
	copy(f.data[off:], b)
	f.moved(begun)
	return nil
}

func (s *random) append(f *randomFile) error {
	b := s.bytes(1 + s.r.Int64N(5000))
	s.say("append %d to %s", len(b), f)
	if f.added == nil {
		if f.name == "" {
			return nil
		}
		fd, err := os.OpenFile(s.way(f), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		f.added = fd
	}
	begun := time.Now()
	if _, err := f.added.Write(b); err != nil {
		return err
	}
	f.data = append(f.data, b...)
	f.moved(begun)
	if s.r.IntN(2) == 0 {
		err := f.added.Close()
		f.added = nil
		return err
	}
	return nil
}

func (s *random) read(f *randomFile) error {
	off, n := s.span(s.Max)
	if len(f.reads) > 0 && s.r.IntN(3) == 0 {
		return s.readOn(f, pick(s.r, f.reads), off, n)
	}
	fd, err := s.fd(f)
	if err != nil {
		return err
	}
	if f.name != "" && s.r.IntN(4) == 0 { // by a descriptor of its own
		if fd, err = os.Open(s.way(f)); err != nil {
			return err
		}
		defer fd.Close()
	}
	s.say("read %s %d+%d", f, off, n)
	b := make([]byte, n)
	k, err := fd.ReadAt(b, off)
	if want := f.part(off, n); !bytes.Equal(b[:k], want) {
		return errors.Join(differ(fmt.Sprintf("reading %s at %d", f, off), b[:k], want), err)
	}
	if err != nil && (k == int(n) || err != io.EOF) {
		return err
	}
	return nil
}

func (s *random) truncate(f *randomFile) error {
	size := s.r.Int64N(s.Max)
	switch s.r.IntN(8) {
	case 0, 1:
		size = 0
	case 2:
		size = int64(len(f.data))
	}
	s.say("truncate %s %d -> %d", f, len(f.data), size)
	var err error
	begun := time.Now()
	if len(f.fds) > 0 && (f.name == "" || s.r.IntN(2) == 0) {
		err = pick(s.r, f.fds).Truncate(size)
	} else if f.name != "" {
		err = os.Truncate(s.way(f), size)
	} else {
		return nil
	}
	if err != nil {
		return err
	}
	if size == int64(len(f.data)) {
		f.mayHaveMoved(begun) // ftruncate(2) and truncate(2) differ in that
		return nil
	}
	f.grow(size)
	f.data = f.data[:size:size]
	f.moved(begun)
	return nil
}

// mapOnce writes to a mapping that it makes, or to one that is there.
func (s *random) mapOnce(f *randomFile) error {
	if len(f.maps) > 0 && s.r.IntN(2) == 0 {
		return s.useMap(f, pick(s.r, f.maps))
	}
	fd, err := s.fd(f)
	if err != nil || len(f.data) == 0 {
		return err
	}
	off, n := s.span(int64(len(f.data)))
	s.say("map %s %d+%d", f, off, n)
	m, err := newMapping(fd, off, n, true)
	if err != nil {
		return err
	}
	f.maps = append(f.maps, m)
	if err := s.useMap(f, m); err != nil || len(f.maps) < 3 && s.r.IntN(3) == 0 {
		return err
	}
	return f.unmap(m)
}

func (s *random) allocate(f *randomFile) error {
	fd, err := s.fd(f)
	if err != nil {
		return err
	}
	off, n := s.span(s.Max)
	mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE,
		unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE}[s.r.IntN(5)]
	s.say("fallocate %s mode %d %d+%d", f, mode, off, n)
	begun := time.Now()
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Fallocate(int(fd.Fd()), mode, off, n)
	}
	if err == unix.EOPNOTSUPP {
		return nil
	}
	if err != nil {
		return err
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		f.grow(off + n)
	}
	if mode&^unix.FALLOC_FL_KEEP_SIZE != 0 {
		clear(f.part(off, n))
		f.moved(begun)
	} else {
		f.mayHaveMoved(begun)
	}
	return nil
}

func (s *random) copyRange(f *randomFile) error {
	g := pick(s.r, s.files)
	src, err := s.fd(f)
	if err != nil || len(f.data) == 0 {
		return err
	}
	dst, err := s.fd(g)
	if err != nil {
		return err
	}
	from, n := s.span(int64(len(f.data)))
	to := s.r.Int64N(s.Max)
	if f == g && from < to+n && to < from+n {
		return nil
	}
	s.say("copy_file_range %s %d+%d -> %s %d", f, from, n, g, to)
	in, out := from, to
	begun := time.Now()
	k, err := 0, error(unix.EINTR)
	for err == unix.EINTR { // the runtime's own signals end the wait for bytes that are not here
		k, err = unix.CopyFileRange(int(src.Fd()), &in, int(dst.Fd()), &out, int(n), 0)
	}
	if err != nil {
		return err
	}
	if k == 0 {
		return fmt.Errorf("copy_file_range copied nothing of %d bytes", n)
	}
	g.grow(to + int64(k))
	copy(g.data[to:], f.data[from:from+int64(k)])
	g.moved(begun)
	return nil
}

func (s *random) sync(f *randomFile) error {
	if len(f.fds) == 0 {
		return nil
	}
	s.say("fsync %s", f)
	err := f.fds[0].Sync()
	f.settles()
	return err
}

// rewrite opens the file with O_TRUNC, and perhaps goes on with that descriptor.
func (s *random) rewrite(f *randomFile) error {
	b := s.bytes(s.r.Int64N(s.Max))
	s.say("rewrite %s with %d", f, len(b))
	begun := time.Now()
	fd, err := os.OpenFile(s.way(f), os.O_RDWR|os.O_TRUNC|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.fds = append(f.fds, fd)
	f.data = nil
	f.moved(begun)
	if fi, err := fd.Stat(); err != nil || fi.Size() != 0 {
		return fmt.Errorf("opened with O_TRUNC, %s has %d bytes, %v", f, fi.Size(), err)
	}
	begun = time.Now()
	if _, err := fd.Write(b); err != nil {
		return err
	}
	f.data = b
	f.moved(begun)
	if s.r.IntN(2) == 0 {
		return f.closeOne(len(f.fds) - 1)
	}
	return nil
}

// holes walks the file by SEEK_DATA and SEEK_HOLE: nothing but zeroes may be where no data is.
func (s *random) holes(f *randomFile) error {
	file, err := s.fd(f)
	if err != nil {
		return err
	}
	s.say("holes of %s", f)
	fd, size := int(file.Fd()), int64(len(f.data))
	for at := int64(0); at < size; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			data, err = size, nil
		}
		if err != nil || data < at || data > size {
			return fmt.Errorf("SEEK_DATA from %d of %d: %d, %v", at, size, data, err)
		}
		if hole := f.data[at:data]; len(bytes.Trim(hole, "\x00")) > 0 {
			return fmt.Errorf("%s has a hole from %d to %d, where there are bytes", f, at, data)
		}
		if data == size {
			break
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		if err != nil || hole <= data || hole > size {
			return fmt.Errorf("SEEK_HOLE from %d of %d: %d, %v", data, size, hole, err)
		}
		at = hole
	}
	if at, err := unix.Seek(fd, size, unix.SEEK_DATA); err != unix.ENXIO {
		return fmt.Errorf("SEEK_DATA at the end, %d: %d, %v", size, at, err)
	}
	return nil
}
