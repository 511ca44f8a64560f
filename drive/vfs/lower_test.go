package vfs_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// lazyFS is a file system that copies no file when it is opened for writing, and records nothing by itself.
func lazyFS(t *testing.T, d vfs.Drive, staging string) *vfs.FS {
	t.Helper()
	fs, err := vfs.New(t.Context(), vfs.Options{Drive: d, Staging: staging, Policy: vfs.Policy{
		NewQuiet: time.Hour, Quiet: time.Hour, Cap: time.Hour, Checkpoint: time.Hour, Whole: 1, Copying: -1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leave(fs) })
	return fs
}

// leave closes a file system and leaves in its staging directory what is not recorded.
func leave(fs *vfs.FS) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fs.Close(ctx, nil)
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// have puts a file into the drive, past any file system.
func have(t *testing.T, d *vfstest.Mem, name string, b []byte) {
	t.Helper()
	fs := newFS(t, d, t.TempDir())
	h, err := fs.OpenFile(t.Context(), name, vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.WriteAt(t.Context(), b, 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
}

func openFor(t *testing.T, fs *vfs.FS, name string, flags vfs.OpenFlags) *vfs.Handle {
	t.Helper()
	h, err := fs.OpenFile(t.Context(), name, flags, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func whole(t *testing.T, h *vfs.Handle, size int) []byte {
	t.Helper()
	b := make([]byte, size+1)
	n, err := h.ReadAt(t.Context(), b, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// Opening a large file for writing reads nothing of it, and a write only what lies around it; closed unwritten it makes no version.
func TestWriteReadsOnlyAround(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	want := noise(40<<20, 1)
	have(t, d, "f", want)
	var read atomic.Int64
	d.Absent = func(ctx context.Context, info vfs.Info, off, n int64) error {
		read.Add(n)
		return nil
	}
	fs, err := vfs.New(t.Context(), vfs.Options{Drive: d, Staging: t.TempDir()}) // with the limits that people have
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close(context.Background(), nil) })
	writes := d.Writes
	if err := openFor(t, fs, "f", vfs.Write).Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if read.Load() != 0 || d.Writes != writes {
		t.Errorf("opening and closing read %d bytes and made %d versions", read.Load(), d.Writes-writes)
	}
	h := openFor(t, fs, "f", vfs.Write)
	copy(want[20<<20+100:], "changed")
	if _, err := h.WriteAt(t.Context(), []byte("changed"), 20<<20+100); err != nil {
		t.Fatal(err)
	}
	if got := read.Load(); got == 0 || got > 64<<10 {
		t.Errorf("a small write read %d bytes", got)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if !bytes.Equal(content(t, d, "f"), want) {
		t.Error("the version that came of it is another")
	}
}

// What is read, and what becomes the version, is what a plain file would be, whatever is done to it in whatever order; also after
// the process ended in between.
func TestLowerLikeAFile(t *testing.T) {
	for seed := range uint64(30) {
		d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
		r := rand.New(rand.NewPCG(seed, 0))
		data := noise(70_000+r.IntN(700_000), seed)
		have(t, d, "f", data)
		if seed%2 == 0 {
			d.Absent = func(context.Context, vfs.Info, int64, int64) error { return nil }
		}
		s := &shadowed{t: t, seed: seed, r: r, fs: lazyFS(t, d, staging), want: bytes.Clone(data)}
		s.h = openFor(t, s.fs, "f", vfs.Write)
		for range 60 {
			if r.IntN(15) == 0 {
				if err := s.h.Close(); err != nil {
					t.Fatal(err)
				}
				leave(s.fs)
				s.fs = lazyFS(t, d, staging)
				s.h = openFor(t, s.fs, "f", vfs.Write)
			}
			s.step()
		}
		s.compare("at the end")
		if err := s.h.Close(); err != nil {
			t.Fatal(err)
		}
		syncAll(t, s.fs)
		if got := content(t, d, "f"); !bytes.Equal(got, s.want) {
			t.Fatalf("seed %d: the version has %d bytes and differs from the %d wanted", seed, len(got), len(s.want))
		}
	}
}

// shadowed is a file and what it should be.
type shadowed struct {
	t    *testing.T
	seed uint64
	r    *rand.Rand
	fs   *vfs.FS
	h    *vfs.Handle
	want []byte
}

func (s *shadowed) step() {
	const limit = 1 << 20
	t := s.t
	off, n := s.r.IntN(limit), s.r.IntN(100_000)
	if s.r.IntN(3) == 0 {
		off, n = off&^0xffff, n&^0xffff
	}
	grow := func(to int) {
		if to > len(s.want) {
			s.want = append(s.want, make([]byte, to-len(s.want))...)
		}
	}
	var err error
	switch op := s.r.IntN(10); op {
	case 0, 1, 2, 3:
		if s.r.IntN(2) == 0 {
			n %= 5000
		}
		if n == 0 {
			return
		}
		b := noise(n, s.r.Uint64())
		grow(off + n)
		copy(s.want[off:], b)
		_, err = s.h.WriteAt(t.Context(), b, int64(off))
	case 4:
		grow(off)
		s.want = s.want[:off:off]
		size := int64(off)
		err = s.h.Node().SetAttr(t.Context(), vfs.SetAttr{Size: &size})
	case 5:
		if n == 0 || s.r.IntN(4) > 0 {
			return
		}
		if off < len(s.want) {
			clear(s.want[off:min(off+n, len(s.want))])
		}
		err = s.h.Allocate(t.Context(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	case 6:
		from := s.r.IntN(len(s.want) + 1)
		if max(from, off)-min(from, off) < n || from+n > len(s.want) || n == 0 {
			return
		}
		for done := 0; done < n && err == nil; {
			var k int64
			k, err = vfs.CopyRange(t.Context(), s.h, int64(from+done), s.h, int64(off+done), int64(n-done))
			done += int(k)
		}
		b := bytes.Clone(s.want[from : from+n])
		grow(off + n)
		copy(s.want[off:], b)
	case 7:
		err = s.h.Sync(t.Context())
	case 8:
		b := make([]byte, n)
		k, rerr := s.h.ReadAt(t.Context(), b, int64(off))
		if err = rerr; err == nil && off <= len(s.want) && !bytes.Equal(b[:k], s.want[off:min(off+n, len(s.want))]) {
			t.Fatalf("seed %d: %d bytes at %d differ", s.seed, n, off)
		}
	default:
		s.compare("in between")
	}
	if err != nil {
		t.Fatalf("seed %d: %v", s.seed, err)
	}
}

func (s *shadowed) compare(when string) {
	s.t.Helper()
	got := whole(s.t, s.h, len(s.want))
	if !bytes.Equal(got, s.want) {
		at := 0
		for at < min(len(got), len(s.want)) && got[at] == s.want[at] {
			at++
		}
		s.t.Fatalf("seed %d, %s: %d bytes, should be %d; they differ from %d on", s.seed, when, len(got), len(s.want), at)
	}
}

// Putting in what lies below does not touch the time that the user gave the file.
func TestLowerKeepsTheTime(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	have(t, d, "f", noise(300_000, 1))
	fs := lazyFS(t, d, t.TempDir())
	h := openFor(t, fs, "f", vfs.Write)
	if _, err := h.WriteAt(t.Context(), []byte("new"), 1000); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := h.Segment(0); ok {
		t.Error("the staging file has all the bytes already")
	}
	want := time.Date(2020, 2, 2, 2, 2, 2, 2, time.UTC)
	if err := h.Node().SetAttr(t.Context(), vfs.SetAttr{MTime: &want}); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if info, err := d.Lookup(vfs.NodeID{}, "f"); err != nil || !info.MTime.Equal(want) {
		t.Errorf("%v, should be %v; %v", info.MTime, want, err)
	}
}

// A file that is longer than what is always copied, and here, is copied when that is soon done: the kernel can have the copy. What is
// copied of another until it is clear that it takes longer is not copied again.
func TestCopiedInTime(t *testing.T) {
	const piece = 16 << 20
	for _, soon := range []bool{true, false} {
		d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
		want := noise(piece+1<<20+1, 1)
		have(t, d, "f", want)
		policy := vfs.Policy{NewQuiet: time.Hour, Quiet: time.Hour, Cap: time.Hour, Checkpoint: time.Hour, Copying: time.Hour}
		if !soon {
			policy.Copying = time.Nanosecond
		}
		open := func() *vfs.FS {
			fs, err := vfs.New(t.Context(), vfs.Options{Drive: d, Staging: staging, Policy: policy})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { leave(fs) })
			return fs
		}
		fs := open()
		h := openFor(t, fs, "f", vfs.Write|vfs.Passthrough)
		if _, pass := h.PassthroughFd(); pass != soon {
			t.Fatalf("done soon: %v; the kernel can have it: %v", soon, pass)
		}
		staged, err := os.ReadFile(stagingFile(t, fs))
		if err != nil || len(staged) != len(want) || !bytes.Equal(staged[:piece], want[:piece]) {
			t.Fatalf("of %d bytes the first %d are not copied; %v", len(staged), piece, err)
		}
		if !soon && len(bytes.Trim(staged[piece:], "\x00")) > 0 {
			t.Error("more was copied than there was time for")
		}
		for _, at := range []int{5, piece - 5, piece + 70_000} {
			copy(want[at:], "changed")
			if _, err := h.WriteAt(t.Context(), []byte("changed"), int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(whole(t, h, len(want)), want) {
			t.Error("the file is another")
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		h.Unpass()
		leave(fs)
		fs = open()
		h = openFor(t, fs, "f", 0)
		if !bytes.Equal(whole(t, h, len(want)), want) {
			t.Error("after a restart the file is another")
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		syncAll(t, fs)
		if !bytes.Equal(content(t, d, "f"), want) {
			t.Error("the version that came of it is another")
		}
	}
}
