package vfstest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/vfs"
)

// Random does random things to files in a directory and to a model of them in memory, and compares: bytes, names, attributes, links and
// holes, through several descriptors and mappings at a time. It is what fsx does, with names, versions and other people added.
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
	// Alter is like Replace, and changes attributes.
	Alter func(name string, a drive.Attrs) error
	// Elsewhere, if set, lists what somebody else sees who knows of every commit, the root left out.
	Elsewhere func() ([]Seen, error)
	// Remount, if set, unmounts the directory and mounts it again. Nothing in it is open.
	Remount func() error
	Foreign func(name string) bool // entries of the root that are not the test's; nil: there are none
	Others  int                    // of a hundred operations, so many are somebody else's; 0: 3
	Names   int                    // files in play; 0: 3
	// Rare, if more than 1, has only one of so many of the slow operations done, and others instead: what others write and what is waited for
	// until it is part of the drive take a hundred times as long as the rest, nine tenths of a run.
	Rare int
	// Behind says that a file that was opened for reading only may go on showing the bytes it had when somebody opened it for writing later:
	// where the kernel reads them in the blob itself.
	Behind bool
	// Late says that the kernel keeps the times of files itself, and tells of them beside the bytes: what is written may reach the file below a
	// moment after the time did.
	Late bool
}

// randomFile is the model of a file.
type randomFile struct {
	attrs
	name  string // path below Dir; "" once it has none
	data  []byte
	fds   []*os.File // open for reading and writing
	added *os.File   // open for appending; may be nil
	reads []*reading
	maps  []*mapping
}

type random struct {
	Random
	r     *rand.Rand
	umask uint32
	files []*randomFile
	lost  []*randomFile // those that are open and have no name
	links []*randomLink
	dirs  []*randomDir
	log   []string
}

// umask is asked for once: asking changes it for a moment, in which others may run.
var umask = sync.OnceValue(func() uint32 {
	m := unix.Umask(0)
	unix.Umask(m)
	return uint32(m)
})

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
	s := &random{Random: r, r: rand.New(rand.NewPCG(r.Seed, 1)), umask: umask()}
	defer s.closeAll()
	for i := range r.Ops {
		if err := s.step(); err != nil {
			for _, l := range s.log[max(0, len(s.log)-60):] {
				t.Log(l)
			}
			t.Fatalf("seed %d, operation %d: %v", r.Seed, i, err)
		}
	}
	if err := s.everything(); err != nil {
		t.Fatalf("seed %d, at the end: %v", r.Seed, err)
	}
}

func (s *random) say(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

func (s *random) path(name string) string { return filepath.Join(s.Dir, name) }

// step does one thing.
func (s *random) step() error {
	if len(s.files) < s.Names {
		return s.create()
	}
	for _, f := range s.files {
		f.reached()
	}
	f := pick(s.r, s.files)
	if s.Replace != nil && s.r.IntN(100) < s.Others && !s.localOnly(f.name) && s.now() { // such a name nobody else has
		if s.Alter != nil && s.r.IntN(3) == 0 {
			return s.theirAttrs(f)
		}
		return s.theirs(f)
	}
	switch k := s.r.IntN(100); {
	case k < 50:
		if len(s.lost) > 0 && s.r.IntN(8) == 0 {
			f = pick(s.r, s.lost)
		}
		return s.stepBytes(f)
	case k < 62:
		return s.stepOpen(f)
	case k < 76:
		if len(s.lost) > 0 && s.r.IntN(8) == 0 {
			f = pick(s.r, s.lost)
		}
		return s.stepAttrs(f)
	case k < 94:
		return s.stepNames(f)
	case !s.now():
		return s.stepBytes(f)
	default:
		return s.stepSlow(f)
	}
}

// stepSlow does what is waited for, or looks at everything.
func (s *random) stepSlow(f *randomFile) error {
	switch k := s.r.IntN(20); {
	case k < 9 && s.Commit != nil:
		s.say("commit")
		return s.Commit()
	case k < 11 && s.Commit != nil && s.Elsewhere != nil:
		return s.elsewhere()
	case k < 12 && s.Remount != nil:
		return s.remount()
	case k < 15:
		return s.rewrite(f)
	default:
		return s.everything()
	}
}

// now reports whether a slow operation is done.
func (s *random) now() bool { return s.Rare < 2 || s.r.IntN(s.Rare) == 0 }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func (s *random) localOnly(name string) bool { return vfs.LocalOnly(filepath.Base(name)) }

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

// whole compares all bytes of a file that has a name.
func (s *random) whole(f *randomFile) error {
	got, err := os.ReadFile(s.way(f))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, f.data) {
		return differ("the whole of "+f.name, got, f.data)
	}
	return nil
}

// everything compares all there is with the model.
func (s *random) everything() error {
	s.say("look at everything")
	for _, f := range s.files {
		if err := s.whole(f); err != nil {
			return err
		}
		if err := s.stat(f); err != nil {
			return err
		}
	}
	for _, f := range s.lost {
		if err := f.keeps("lost"); err != nil {
			return err
		}
	}
	for _, l := range s.links {
		if err := s.lookLink(l); err != nil {
			return err
		}
	}
	return s.listing()
}
