package vfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	iofs "io/fs"
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

// inBoot lets a journal say that it was written in a boot of that name.
func inBoot(t *testing.T, journal, boot string) {
	t.Helper()
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	header, rest, _ := bytes.Cut(b, []byte("\n"))
	b = slices.Concat(header[:bytes.LastIndexByte(header, ' ')+1], []byte(boot+"\n"), rest)
	if err := os.WriteFile(journal, b, 0o600); err != nil {
		t.Fatal(err)
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
	inBoot(t, filepath.Join(dir, filepath.Base(journal)), "another-boot")
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
