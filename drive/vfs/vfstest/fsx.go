package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

// Random does random things to files in a directory and to a model of them in memory, and compares. It is what fsx
// does, with names, versions and other people added.
type Random struct {
	Dir  string
	Seed uint64
	Ops  int
	Max  int64 // largest file; 0: 300 KiB
	// Commit, if set, makes everything written so far part of the drive.
	Commit func() error
	// Replace, if set, has somebody else who knows of every commit give the file of that name new bytes, and returns when
	// the drive here knows of that, whether or not the bytes are here.
	Replace func(name string, data []byte) error
	Others  int // of a hundred operations, so many are somebody else's; 0: 3
	Names   int // files in play; 0: 3
	// Rare, if more than 1, has only one of so many of the slow operations done, and others instead: what others write and what is waited for
	// until it is part of the drive take a hundred times as long as the rest, nine tenths of a run.
	Rare int
}

type randomFile struct {
	name string
	data []byte
	fds  []*os.File // open for reading and writing
}

type random struct {
	Random
	r     *rand.Rand
	files []*randomFile
	log   []string
}

// Run runs the test; a failure tells the seed and the last operations.
func (r Random) Run(t *testing.T) {
	t.Helper()
	if r.Max == 0 {
		r.Max = 300 << 10
	}
	if r.Names == 0 {
		r.Names = 3
	}
	if r.Others == 0 {
		r.Others = 3
	}
	s := &random{Random: r, r: rand.New(rand.NewPCG(r.Seed, 1))}
	defer func() {
		for _, f := range s.files {
			f.close()
		}
	}()
	for i := range r.Ops {
		if err := s.step(); err != nil {
			for _, l := range s.log[max(0, len(s.log)-40):] {
				t.Log(l)
			}
			t.Fatalf("seed %d, operation %d: %v", r.Seed, i, err)
		}
	}
	for _, f := range s.files {
		if err := s.check(f); err != nil {
			t.Fatalf("seed %d, at the end: %v", r.Seed, err)
		}
	}
}

func (f *randomFile) close() {
	for _, fd := range f.fds {
		fd.Close()
	}
	f.fds = nil
}

func (s *random) say(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

func (s *random) path(name string) string { return filepath.Join(s.Dir, name) }

func (s *random) step() error {
	if len(s.files) < s.Names {
		return s.create()
	}
	f := s.files[s.r.IntN(len(s.files))]
	if s.Replace != nil && s.r.IntN(100) < s.Others && !vfs.LocalOnly(f.name) && s.now() { // such a name nobody else has
		return s.theirs(f)
	}
	k := s.r.IntN(100)
	if slow := 83 <= k && k < 86 || 93 <= k && k < 96; slow && !s.now() {
		k = s.r.IntN(68)
	}
	switch {
	case k < 25:
		return s.write(f)
	case k < 45:
		return s.read(f)
	case k < 52:
		return s.truncate(f)
	case k < 58:
		return s.mapWrite(f)
	case k < 63:
		return s.allocate(f)
	case k < 68:
		return s.copyRange(f)
	case k < 79:
		return s.reopen(f)
	case k < 83:
		return s.rename(f)
	case k < 86:
		return s.replaceByRename(f)
	case k < 89:
		return s.sync(f)
	case k < 91:
		return s.stat(f)
	case k < 93:
		return s.append(f)
	case k < 95 && s.Commit != nil:
		s.say("commit")
		return s.Commit()
	case k < 96:
		return s.remove(f)
	case k < 97:
		return s.rewrite(f)
	default:
		return s.check(f)
	}
}

// now reports whether a slow operation is done.
func (s *random) now() bool { return s.Rare < 2 || s.r.IntN(s.Rare) == 0 }

func (s *random) bytes(n int64) []byte {
	b := make([]byte, n)
	c := byte(s.r.IntN(255) + 1)
	for i := range b {
		b[i] = c + byte(i>>6)
	}
	return b
}

func (s *random) span(limit int64) (off, n int64) {
	off = s.r.Int64N(limit)
	n = 1 + s.r.Int64N(min(limit-off, 70<<10))
	if s.r.IntN(2) == 0 {
		n = 1 + s.r.Int64N(min(limit-off, 300))
	}
	return off, n
}

func (s *random) fd(f *randomFile) (*os.File, error) {
	if len(f.fds) == 0 {
		fd, err := os.OpenFile(s.path(f.name), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		f.fds = append(f.fds, fd)
	}
	return f.fds[s.r.IntN(len(f.fds))], nil
}

func (s *random) create() error {
	f := &randomFile{name: fmt.Sprintf("f%d", s.r.IntN(1<<30))}
	s.say("create %s", f.name)
	fd, err := os.OpenFile(s.path(f.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	f.fds = append(f.fds, fd)
	s.files = append(s.files, f)
	return nil
}

func (f *randomFile) grow(size int64) {
	if size > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, size-int64(len(f.data)))...)
	}
}

func (s *random) write(f *randomFile) error {
	fd, err := s.fd(f)
	if err != nil {
		return err
	}
	off, n := s.span(s.Max)
	b := s.bytes(n)
	s.say("write %s %d+%d", f.name, off, n)
	if _, err := fd.WriteAt(b, off); err != nil {
		return err
	}
	f.grow(off + n)
	copy(f.data[off:], b)
	return nil
}

func (s *random) append(f *randomFile) error {
	b := s.bytes(1 + s.r.Int64N(5000))
	s.say("append %d to %s", len(b), f.name)
	fd, err := os.OpenFile(s.path(f.name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err = fd.Write(b); err == nil {
		f.data = append(f.data, b...)
	}
	return errors.Join(err, fd.Close())
}

func (s *random) read(f *randomFile) error {
	fd, err := s.fd(f)
	if err != nil {
		return err
	}
	if s.r.IntN(4) == 0 { // by a descriptor of its own
		if fd, err = os.Open(s.path(f.name)); err != nil {
			return err
		}
		defer fd.Close()
	}
	off, n := s.span(s.Max)
	s.say("read %s %d+%d", f.name, off, n)
	b := make([]byte, n)
	k, err := fd.ReadAt(b, off)
	want := f.data[min(off, int64(len(f.data))):min(off+n, int64(len(f.data)))]
	if !bytes.Equal(b[:k], want) {
		return differ(fmt.Sprintf("reading %s at %d", f.name, off), b[:k], want)
	}
	if k == int(n) && err != nil {
		return err
	}
	return nil
}

func differ(what string, got, want []byte) error {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	at := func(b []byte) string {
		if i < len(b) {
			return fmt.Sprintf("%x", b[i:min(len(b), i+8)])
		}
		return "nothing"
	}
	return fmt.Errorf("%s: got %d bytes, want %d; at %d there is %s, want %s", what, len(got), len(want), i, at(got), at(want))
}

func (s *random) truncate(f *randomFile) error {
	size := s.r.Int64N(s.Max)
	if s.r.IntN(4) == 0 {
		size = 0
	}
	s.say("truncate %s %d -> %d", f.name, len(f.data), size)
	var err error
	if len(f.fds) > 0 && s.r.IntN(2) == 0 {
		err = f.fds[0].Truncate(size)
	} else {
		err = os.Truncate(s.path(f.name), size)
	}
	if err != nil {
		return err
	}
	f.grow(size)
	f.data = f.data[:size:size]
	return nil
}

func (s *random) mapWrite(f *randomFile) error {
	fd, err := s.fd(f)
	if err != nil || len(f.data) == 0 {
		return err
	}
	off, n := s.span(int64(len(f.data)))
	start := off &^ 4095
	s.say("map %s %d+%d", f.name, off, n)
	m, err := unix.Mmap(int(fd.Fd()), start, int(off+n-start), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(m)
	got, want := m[off-start:], f.data[off:off+n]
	if !bytes.Equal(got, want) {
		return differ(fmt.Sprintf("map of %s at %d", f.name, off), got, want)
	}
	b := s.bytes(n)
	copy(got, b)
	copy(want, b)
	if s.r.IntN(2) == 0 {
		return unix.Msync(m, unix.MS_SYNC)
	}
	return nil
}

func (s *random) allocate(f *randomFile) error {
	fd, err := s.fd(f)
	if err != nil {
		return err
	}
	off, n := s.span(s.Max)
	mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE,
		unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE}[s.r.IntN(5)]
	s.say("fallocate %s mode %d %d+%d", f.name, mode, off, n)
	err = unix.Fallocate(int(fd.Fd()), mode, off, n)
	if err == unix.EOPNOTSUPP {
		return nil
	}
	if err != nil {
		return err
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		f.grow(off + n)
	}
	if mode >= 2 {
		clear(f.data[min(off, int64(len(f.data))):min(off+n, int64(len(f.data)))])
	}
	return nil
}

func (s *random) copyRange(f *randomFile) error {
	g := s.files[s.r.IntN(len(s.files))]
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
	s.say("copy_file_range %s %d+%d -> %s %d", f.name, from, n, g.name, to)
	in, out := from, to
	k, err := unix.CopyFileRange(int(src.Fd()), &in, int(dst.Fd()), &out, int(n), 0)
	if err != nil {
		return err
	}
	g.grow(to + int64(k))
	copy(g.data[to:], f.data[from:from+int64(k)])
	return nil
}

func (s *random) reopen(f *randomFile) error {
	switch s.r.IntN(4) {
	case 0:
		s.say("close all of %s", f.name)
		f.close()
	case 1:
		if len(f.fds) > 0 {
			i := s.r.IntN(len(f.fds))
			s.say("close one of %s", f.name)
			f.fds[i].Close()
			f.fds = append(f.fds[:i:i], f.fds[i+1:]...)
		}
	default:
		s.say("open %s", f.name)
		fd, err := os.OpenFile(s.path(f.name), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f.fds = append(f.fds, fd)
		if len(f.fds) > 4 {
			f.fds[0].Close()
			f.fds = f.fds[1:]
		}
	}
	return nil
}

func (s *random) rename(f *randomFile) error {
	name := fmt.Sprintf("r%d", s.r.IntN(1<<30))
	if s.r.IntN(5) == 0 {
		name += "~" // a local-only name
	}
	s.say("rename %s %s", f.name, name)
	if err := os.Rename(s.path(f.name), s.path(name)); err != nil {
		return err
	}
	f.name = name
	return nil
}

// replaceByRename renames a new file over f: what was open keeps the old bytes and is closed here.
func (s *random) replaceByRename(f *randomFile) error {
	tmp := fmt.Sprintf("tmp%d", s.r.IntN(1<<30))
	b := s.bytes(s.r.Int64N(s.Max))
	s.say("replace %s by %s of %d", f.name, tmp, len(b))
	if err := os.WriteFile(s.path(tmp), b, 0o644); err != nil {
		return err
	}
	if err := os.Rename(s.path(tmp), s.path(f.name)); err != nil {
		return err
	}
	if err := f.keeps("replaced"); err != nil {
		return err
	}
	f.close()
	f.data = b
	return nil
}

func (s *random) sync(f *randomFile) error {
	if len(f.fds) == 0 {
		return nil
	}
	s.say("fsync %s", f.name)
	return f.fds[0].Sync()
}

func (s *random) stat(f *randomFile) error {
	s.say("stat %s", f.name)
	fi, err := os.Stat(s.path(f.name))
	if err != nil {
		return err
	}
	if fi.Size() != int64(len(f.data)) {
		return fmt.Errorf("stat of %s says %d bytes, want %d", f.name, fi.Size(), len(f.data))
	}
	return nil
}

func (s *random) remove(f *randomFile) error {
	s.say("remove %s", f.name)
	if err := os.Remove(s.path(f.name)); err != nil {
		return err
	}
	if err := f.keeps("removed"); err != nil {
		return err
	}
	f.close()
	for i, g := range s.files {
		if g == f {
			s.files = append(s.files[:i:i], s.files[i+1:]...)
			break
		}
	}
	return nil
}

func (s *random) rewrite(f *randomFile) error {
	b := s.bytes(s.r.Int64N(s.Max))
	s.say("rewrite %s with %d", f.name, len(b))
	f.data = b
	return os.WriteFile(s.path(f.name), b, 0o644)
}

func (s *random) check(f *randomFile) error {
	s.say("check %s", f.name)
	return s.whole(f)
}

func (s *random) whole(f *randomFile) error {
	got, err := os.ReadFile(s.path(f.name))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, f.data) {
		return differ("the whole of "+f.name, got, f.data)
	}
	return nil
}
