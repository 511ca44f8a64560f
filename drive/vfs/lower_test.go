package vfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
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

// stagingFile is the only staging file of a file system.
func stagingFile(t *testing.T, fs *vfs.FS) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(fs.StagingDir(), "????????????????????????????????"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

// mended is a file system over which a file lies that has a few new bytes, and does not get the others before the drive is near again.
type mended struct {
	d    *vfstest.Mem
	fs   *vfs.FS
	want []byte
	away atomic.Bool
}

func newMended(t *testing.T, staging string) *mended {
	m := &mended{d: vfstest.NewMem(t.TempDir()), want: noise(300_000, 1)}
	have(t, m.d, "f", m.want)
	m.d.Absent = func(context.Context, vfs.Info, int64, int64) error {
		if m.away.Load() {
			return errors.New("nobody has it")
		}
		return nil
	}
	m.fs = lazyFS(t, m.d, staging)
	h := openFor(t, m.fs, "f", vfs.Write)
	copy(m.want[100:], "new")
	if _, err := h.WriteAt(t.Context(), []byte("new"), 100); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Sync(t.Context()), h.Close()); err != nil {
		t.Fatal(err)
	}
	return m
}

// leave ends the process.
func (m *mended) leave() {
	m.away.Store(true)
	leave(m.fs)
	m.away.Store(false)
}

// is checks that the file is as it should be, and what becomes of it.
func (m *mended) is(t *testing.T, fs *vfs.FS) {
	t.Helper()
	h := openFor(t, fs, "f", 0)
	if got := whole(t, h, len(m.want)); !bytes.Equal(got, m.want) {
		t.Error("the file is another")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if !bytes.Equal(content(t, m.d, "f"), m.want) {
		t.Error("the version that came of it is another")
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(fs.StagingDir(), "????????????????????????????????*"))
		if err == nil && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("in the staging directory are %q, %v", left, err)
		}
	}
}

// What a process that died had written into a granule, and not yet said to be the staging file's own, counts for nothing.
func TestLowerHalfPutIn(t *testing.T) {
	staging := t.TempDir()
	m := newMended(t, staging)
	m.leave()
	f, err := os.OpenFile(stagingFile(t, m.fs), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(noise(10_000, 2), 70_000)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	m.is(t, lazyFS(t, m.d, staging))
}

// copyDir copies a directory of files in the way of tools that know no holes.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	es, err := os.ReadDir(from)
	if err == nil {
		err = os.MkdirAll(to, 0o700)
	}
	for _, e := range es {
		if err != nil {
			break
		}
		var b []byte
		b, err = os.ReadFile(filepath.Join(from, e.Name()))
		if errors.Is(err, iofs.ErrNotExist) { // what was let go of is removed a moment later
			err = nil
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), b, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A data directory that was copied after the program ended is as good as the original, holes or not.
func TestLowerCopied(t *testing.T) {
	m := newMended(t, t.TempDir())
	m.leave()
	copied := t.TempDir()
	copyDir(t, m.fs.StagingDir(), filepath.Join(copied, "mount"))
	m.is(t, lazyFS(t, m.d, copied))
}

// One that was copied while the program ran may lack bytes: the file is set aside, with what tells where the rest is.
func TestLowerCopiedInUse(t *testing.T) {
	m := newMended(t, t.TempDir())
	copied := t.TempDir()
	copyDir(t, m.fs.StagingDir(), filepath.Join(copied, "mount"))
	fs := lazyFS(t, m.d, copied)
	h := openFor(t, fs, "f", 0)
	if got := whole(t, h, len(m.want)); !bytes.Equal(got, noise(len(m.want), 1)) {
		t.Error("the file is not what the drive has")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	as, err := filepath.Glob(filepath.Join(fs.StagingDir(), "aside", "*.json"))
	if err != nil || len(as) != 1 {
		t.Fatal(as, err)
	}
	b, err := os.ReadFile(as[0])
	if err != nil {
		t.Fatal(err)
	}
	var about struct {
		Name  string
		Keep  int
		Below []byte
	}
	if err := json.Unmarshal(b, &about); err != nil || about.Name != "f" || about.Keep != len(m.want) || len(about.Below) == 0 {
		t.Errorf("%s, %v", b, err)
	}
	for _, ext := range []string{"", ".map"} {
		if _, err := os.Stat(strings.TrimSuffix(as[0], ".json") + ext); err != nil {
			t.Error(err)
		}
	}

	// It can be listed, put together with what lay below it, and removed.
	list, err := vfs.ListAside(copied)
	if err != nil || len(list) != 1 || list[0].Name != "f" || !list[0].Below || list[0].Size != int64(len(m.want)) {
		t.Fatalf("set aside: %+v, %v", list, err)
	}
	var got bytes.Buffer
	if err := vfs.CopyAside(t.Context(), m.d, copied, list[0].ID, &got); err != nil || !bytes.Equal(got.Bytes(), m.want) {
		t.Errorf("put together it has %d bytes, others than were written: %v", got.Len(), err)
	}
	if err := vfs.RemoveAside(copied, list[0].ID); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(fs.StagingDir(), "aside")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, id := range []string{list[0].ID, "", "..", "../journal"} {
		if err := vfs.RemoveAside(copied, id); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("removing %q: %v", id, err)
		}
	}
}

// Of a file that was written before a power failure and set aside after it, that is put together which was on the disk by then: what the map
// says of later writes is not believed, since their bytes may be anything.
func TestLowerAsideAfterAPowerFailure(t *testing.T) {
	m := newMended(t, t.TempDir())
	const unsynced = 3 << 16
	h := openFor(t, m.fs, "f", vfs.Write)
	if _, err := h.WriteAt(t.Context(), []byte("unsynced"), unsynced); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	dir := filepath.Join(copied, "mount")
	copyDir(t, m.fs.StagingDir(), dir)
	journal, _ := m.fs.JournalSynced()
	journal = filepath.Join(dir, filepath.Base(journal))
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	header, rest, _ := bytes.Cut(b, []byte("\n"))
	b = slices.Concat(header[:bytes.LastIndexByte(header, ' ')+1], []byte("another-boot\n"), rest)
	if err := os.WriteFile(journal, b, 0o600); err != nil {
		t.Fatal(err)
	}
	maps, err := filepath.Glob(filepath.Join(dir, "*.map"))
	if err != nil || len(maps) != 1 {
		t.Fatal(maps, err)
	}
	f, err := os.OpenFile(strings.TrimSuffix(maps[0], ".map"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("left over from another file"), unsynced); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	lazyFS(t, m.d, copied)
	list, err := vfs.ListAside(copied)
	if err != nil || len(list) != 1 || !list[0].Below {
		t.Fatalf("set aside: %+v, %v", list, err)
	}
	var got bytes.Buffer
	if err := vfs.CopyAside(t.Context(), m.d, copied, list[0].ID, &got); err != nil || !bytes.Equal(got.Bytes(), m.want) {
		t.Errorf("put together it has %d bytes, others than were synced: %v", got.Len(), err)
	}
}

// A write that fails halfway, for want of space or at a limit, shows either to readers and in the version or to neither.
func TestLowerHalfWrite(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	old := noise(300_000, 1)
	have(t, d, "f", old)
	fs := lazyFS(t, d, t.TempDir())
	h := openFor(t, fs, "f", vfs.Write)
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit := was
	limit.Cur = 100_000
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	n, err := h.WriteAt(t.Context(), noise(128<<10, 2), 64<<10)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if n != 0 || err == nil {
		t.Errorf("writing beyond the limit: %d, %v", n, err)
	}
	if !bytes.Equal(whole(t, h, len(old)), old) {
		t.Error("readers see what was not written")
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if !bytes.Equal(content(t, d, "f"), old) {
		t.Error("the version has what was not written")
	}
}

// A file system that is closed holds nothing of the drive open, though a staged file still lies over it.
func TestLowerIsLetGo(t *testing.T) {
	m := newMended(t, t.TempDir())
	m.leave()
	for deadline := time.Now().Add(time.Minute); m.d.Opens.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d contents are open", m.d.Opens.Load())
		}
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
