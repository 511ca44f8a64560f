package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// stagingFiles lists the staging files by name.
func stagingFiles(t *testing.T, fs *vfs.FS) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(fs.StagingDir(), "????????????????????????????????"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// until waits for what follows a commit.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

func saveMany(t *testing.T, fs *vfs.FS, name string, n int) {
	t.Helper()
	for i := range n {
		save(t, fs, fmt.Sprint(name, i), fmt.Sprint("bytes of ", name, i))
	}
}

// afterKill closes a file system and opens it with the staging files that a process leaves that is killed.
func afterKill(t *testing.T, fs *vfs.FS, d vfs.Drive, staging string) *vfs.FS {
	t.Helper()
	files := stagingFiles(t, fs)
	if err := fs.Close(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left := stagingFiles(t, fs); len(left) > 0 {
		t.Errorf("%d staging files are left by a file system that was closed", len(left))
	}
	for _, path := range files {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return slowFS(t, d, staging)
}

// Staging files of small files are used again, also by the process after one that was killed, and each file has its own bytes and times.
func TestStagingFilesAreUsedAgain(t *testing.T) {
	const n = 20
	d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
	fs := slowFS(t, d, staging)
	saveMany(t, fs, "a", n)
	syncAll(t, fs)
	spared := func() bool { return fs.Spares() == n }
	until(t, "all staging files wait to be used again", spared)
	want := stagingFiles(t, fs)
	for round, name := range []string{"b", "c"} {
		if round == 1 {
			fs = afterKill(t, fs, d, staging)
		}
		saveMany(t, fs, name, n)
		if got := stagingFiles(t, fs); !slices.Equal(got, want) {
			t.Errorf("%q was staged in %d files, not in the %d there were", name, len(got), len(want))
		}
		syncAll(t, fs)
		until(t, "all staging files wait to be used again", spared)
	}
	for _, name := range []string{"a", "b", "c"} {
		for i := range n {
			if got, want := string(content(t, d, fmt.Sprint(name, i))), fmt.Sprint("bytes of ", name, i); got != want {
				t.Errorf("%s%d has %q", name, i, got)
			}
		}
	}
	for _, path := range want {
		if err := os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := fs.OpenFile(t.Context(), "new", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if a, err := h.Node().Attr(); err != nil || a.Size != 0 || a.MTime.Unix() == 1e9 {
		t.Errorf("a new file is %+v, %v", a, err)
	}
}

// Where many files are made one after another, staging files are made ahead; none of those is left when the file system is closed, also if
// that happens while they are made.
func TestStagingFilesAreMadeAhead(t *testing.T) {
	const some, many = 20, 150
	d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
	fs := slowFS(t, d, staging)
	saveMany(t, fs, "a", some)
	if n := len(stagingFiles(t, fs)); n != some {
		t.Errorf("there are %d staging files for %d files", n, some)
	}
	saveMany(t, fs, "b", many)
	until(t, "there are staging files for more", func() bool { return fs.Spares() >= 32 })
	for _, path := range stagingFiles(t, fs) { // as if some had waited for long
		if i, err := os.Stat(path); err == nil && i.Size() == 0 {
			if err := os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	h, err := fs.OpenFile(t.Context(), "new", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := h.Node().Attr(); err != nil || a.Size != 0 || a.MTime.Unix() == 1e9 {
		t.Errorf("a new file is %+v, %v", a, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	saveMany(t, fs, "c", many) // the last take those that wait, and more are being made
	if err := fs.Close(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left := stagingFiles(t, fs); len(left) > 0 {
		t.Errorf("%d staging files are left by a file system that was closed", len(left))
	}
	for name, n := range map[string]int{"a": some, "b": many, "c": many} {
		for i := range n {
			if got, want := string(content(t, d, fmt.Sprint(name, i))), fmt.Sprint("bytes of ", name, i); got != want {
				t.Errorf("%s%d has %q", name, i, got)
			}
		}
	}
}

// A staging file whose bytes somebody can still reach is not used again.
func TestStagingFilesInUse(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	saveMany(t, fs, "f", 2)
	reader := openFor(t, fs, "f0", 0)
	defer reader.Close()
	mapped := openFor(t, fs, "f1", 0)
	st, _, ok := mapped.Segment(0)
	if !ok {
		t.Fatal("no staging file")
	}
	mem, err := unix.Mmap(int(st.Fd()), 0, len("bytes of f1"), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	if err := mapped.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	until(t, "both staging files are removed", func() bool { return len(stagingFiles(t, fs)) == 0 })
	saveMany(t, fs, "other", 5)
	if got, err := reader.Read(t.Context()); err != nil || string(got) != "bytes of f0" {
		t.Errorf("who had f0 open reads %q, %v", got, err)
	}
	if string(mem) != "bytes of f1" {
		t.Errorf("who has f1 mapped sees %q", mem)
	}
}

// What a process that is killed has not let go of yet, though it is part of the drive, is let go of by the next one. After a power failure it
// is set aside: nothing tells then whether the file was used again.
func TestKilledBeforeLettingGo(t *testing.T) {
	const n = 5
	for boot, aside := range map[string]int{"": 0, "another-boot": n} {
		d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
		fs := slowFS(t, d, staging)
		saveMany(t, fs, "a", n)
		syncAll(t, fs)
		until(t, "all staging files wait to be used again", func() bool { return fs.Spares() == n })
		copied := t.TempDir()
		dir := filepath.Join(copied, "mount")
		copyDir(t, fs.StagingDir(), dir)
		for _, path := range stagingFiles(t, fs) {
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), []byte("bytes of one"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if journal, _ := fs.JournalSynced(); boot != "" {
			inBoot(t, filepath.Join(dir, filepath.Base(journal)), boot)
		}
		next := slowFS(t, d, copied)
		if list, err := vfs.ListAside(copied); err != nil || len(list) != aside {
			t.Errorf("boot %q: %d files are set aside, %v; want %d", boot, len(list), err, aside)
		}
		if got := next.Spares(); got != n-aside {
			t.Errorf("boot %q: %d staging files wait to be used again, want %d", boot, got, n-aside)
		}
	}
}
