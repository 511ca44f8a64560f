package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mountFile  = 256 << 20 // bytes of the file that is read and written
	mountBlock = 4 << 10   // of small reads and overwrites
	smallCount = 10_000    // small files made, looked at, opened and removed: one stall is not to be half of a figure
	gitCount   = 10_000    // files of the git tree
	listCount  = 100_000   // files of the tree that is listed
)

// mountTask is work that is done in a directory: run prepares it and returns what the clock said; or there are calls.
type mountTask struct {
	name  string
	unit  string
	run   func(ctx context.Context, s *site) (rate, error)
	calls *calls
}

// calls is something that is done with each of smallCount files and leaves nothing to be done later, so that both sites can do some of it
// in turn. A call takes as long as waking the other process and being woken do, above all, and in a virtual machine that lies between 15
// and 40 µs for seconds on end, as its host thinks right: of two sites that came one after the other the ratio was anything.
type calls struct {
	prepare func(s *site) (dir string, err error) // makes the files 0, 1, 2 ... in dir
	call    func(name string) error
}

func mountTasks() []mountTask {
	return []mountTask{
		{name: "first sequential read, of what was put there and is not in memory", unit: "B", run: readCold},
		{name: "warm sequential read", unit: "B", run: readWarm},
		{name: "warm random reads of 4 KiB", unit: "ops", run: readRandom},
		{name: "large write", unit: "B", run: writeLarge},
		{name: "overwrites of 4 KiB", unit: "ops", run: overwrite},
		{name: "create+write+close of small files", unit: "files", run: onSmall(nil, makeSmall)},
		{name: "stat, of what nobody has looked at there", unit: "ops", calls: &calls{makeTaken, stat}},
		{name: "stat, first", unit: "ops", calls: &calls{inPlace(makeAsked), stat}},
		{name: "stat, again", unit: "ops", run: onSmall(makeStatted, each(stat))},
		{name: "open+read+close", unit: "ops", calls: &calls{inPlace(makeAsked), readSmall}},
		{name: "unlink", unit: "ops", run: onSmall(makeAsked, each(os.Remove))},
		{name: "git status of 10,000 files", unit: "files", run: gitStatus},
		{name: "ls -lR of 100,000 files", unit: "files", run: listTree},
		{name: "cp -a of the Go source", unit: "files", run: copyTree},
		{name: "rm -r of the Go source", unit: "files", run: removeTree},
		{name: "git clone of the Go commands", unit: "files", run: cloneTree},
	}
}

func settled(s *site, name string, n int64) error {
	if err := randomFile(name, n); err != nil {
		return err
	}
	return s.settle()
}

// readCold reads a file that came past the mount, and of which neither the mount nor the disk below it has anything in memory.
func readCold(ctx context.Context, s *site) (r rate, err error) {
	src, err := s.source("taken")
	if err != nil {
		return r, err
	}
	if err := randomFile(filepath.Join(src, "file"), mountFile); err != nil {
		return r, err
	}
	if err := errors.Join(s.take(src), s.settle(), forget(filepath.Dir(s.dir))); err != nil {
		return r, err
	}
	return readFile(filepath.Join(s.dir, "taken", "file"))
}

// forget has the kernel drop what it has in memory of the files on the disk below top.
func forget(top string) error {
	var disk unix.Stat_t
	if err := unix.Stat(top, &disk); err != nil {
		return err
	}
	return filepath.WalkDir(top, func(name string, e iofs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(name, &st)
		}
		switch {
		case errors.Is(err, iofs.ErrNotExist): // a node tidies up
			return nil
		case err != nil:
			return err
		case st.Dev != disk.Dev: // a mount
			return iofs.SkipDir
		case !e.Type().IsRegular():
			return nil
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

func readWarm(ctx context.Context, s *site) (r rate, err error) {
	name := filepath.Join(s.dir, "file")
	if err := settled(s, name, mountFile); err != nil {
		return r, err
	}
	if _, err := readFile(name); err != nil {
		return r, err
	}
	return readFile(name)
}

func readFile(name string) (rate, error) {
	buf := make([]byte, 1<<20)
	return clock(mountFile, func() error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		return err
	})
}

// blocks does fn at offsets in a fixed random order.
func blocks(n int, fn func(off int64) error) (rate, error) {
	r := mathrand.New(mathrand.NewPCG(1, 1))
	return clock(float64(n), func() error {
		for range n {
			if err := fn(r.Int64N(mountFile/mountBlock) * mountBlock); err != nil {
				return err
			}
		}
		return nil
	})
}

func readRandom(ctx context.Context, s *site) (r rate, err error) {
	name := filepath.Join(s.dir, "file")
	if err := settled(s, name, mountFile); err != nil {
		return r, err
	}
	f, err := os.Open(name)
	if err != nil {
		return r, err
	}
	defer f.Close()
	if _, err := io.Copy(struct{ io.Writer }{io.Discard}, f); err != nil {
		return r, err
	}
	buf := make([]byte, mountBlock)
	return blocks(200_000, func(off int64) error {
		_, err := f.ReadAt(buf, off)
		return err
	})
}

// writeLarge ends with fsync: the disk's speed is the measure.
func writeLarge(ctx context.Context, s *site) (r rate, err error) {
	buf := make([]byte, 1<<20)
	rand.Read(buf)
	return clock(mountFile, func() error {
		f, err := os.Create(filepath.Join(s.dir, "file"))
		if err != nil {
			return err
		}
		defer f.Close()
		for range mountFile / len(buf) {
			if _, err := f.Write(buf); err != nil {
				return err
			}
		}
		return f.Sync()
	})
}

func overwrite(ctx context.Context, s *site) (r rate, err error) {
	name := filepath.Join(s.dir, "file")
	if err := settled(s, name, mountFile); err != nil {
		return r, err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return r, err
	}
	defer f.Close()
	buf := make([]byte, mountBlock)
	if _, err := f.WriteAt(buf, 0); err != nil { // what the first write costs is another matter
		return r, err
	}
	return blocks(50_000, func(off int64) error {
		_, err := f.WriteAt(buf, off)
		return err
	})
}

// onSmall times work on a directory of small files that prepare has made.
func onSmall(prepare, work func(s *site) error) func(context.Context, *site) (rate, error) {
	return func(ctx context.Context, s *site) (r rate, err error) {
		if prepare != nil {
			if err := prepare(s); err != nil {
				return r, err
			}
		}
		return clock(smallCount, func() error { return work(s) })
	}
}

func each(fn func(name string) error) func(*site) error {
	return func(s *site) error {
		for i := range smallCount {
			if err := fn(filepath.Join(s.dir, fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	}
}

func makeSmall(s *site) error {
	return each(func(name string) error { return os.WriteFile(name, []byte(name), 0o644) })(s)
}

func makeSettled(s *site) error {
	if err := makeSmall(s); err != nil {
		return err
	}
	return s.settle()
}

// makeAsked makes files whose names and attributes the kernel asks for again. Without the wait it would answer for as many itself as were
// made within the last second, which depends on how fast a site makes files and settles, and not on how fast it answers.
func makeAsked(s *site) error {
	if err := makeSettled(s); err != nil {
		return err
	}
	time.Sleep(remembered + remembered/10)
	return nil
}

func makeStatted(s *site) error {
	if err := makeAsked(s); err != nil {
		return err
	}
	return each(stat)(s)
}

// makeTaken makes files that come past the mount.
func makeTaken(s *site) (dir string, err error) {
	src, err := s.source("taken")
	if err != nil {
		return "", err
	}
	if err := makeSmall(&site{dir: src}); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, "taken"), errors.Join(s.take(src), s.settle())
}

// inPlace is prepare for files in the site itself.
func inPlace(prepare func(*site) error) func(*site) (string, error) {
	return func(s *site) (string, error) { return s.dir, prepare(s) }
}

func stat(name string) error {
	_, err := os.Stat(name)
	return err
}

func readSmall(name string) error {
	_, err := os.ReadFile(name)
	return err
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out[:min(len(out), 500)])
	}
	return nil
}

// makeTree makes n small files in top, a hundred to a directory.
func makeTree(top string, n int) error {
	for i := range n {
		dir := filepath.Join(top, fmt.Sprint(i/100))
		if i%100 == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(dir), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func gitStatus(ctx context.Context, s *site) (r rate, err error) {
	if err := makeTree(s.dir, gitCount); err != nil {
		return r, err
	}
	if err := s.settle(); err != nil {
		return r, err
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"status", "--short"}} {
		if err := command(ctx, "git", append([]string{"-C", s.dir}, args...)...); err != nil {
			return r, err
		}
	}
	if err := s.settle(); err != nil {
		return r, err
	}
	return clock(gitCount, func() error { return command(ctx, "git", "-C", s.dir, "status", "--short") })
}

// listTree lists a tree that nobody has looked at there.
func listTree(ctx context.Context, s *site) (r rate, err error) {
	src, err := s.source("tree")
	if err != nil {
		return r, err
	}
	if err := errors.Join(makeTree(src, listCount), s.take(src), s.settle()); err != nil {
		return r, err
	}
	out, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return r, err
	}
	defer out.Close()
	return clock(listCount, func() error {
		ls := exec.CommandContext(ctx, "ls", "-lR", s.dir)
		ls.Stdout = out
		return ls.Run()
	})
}

func copyTree(ctx context.Context, s *site) (r rate, err error) {
	src := filepath.Join(runtime.GOROOT(), "src")
	n, err := countFiles(src)
	if err != nil {
		return r, err
	}
	return clock(n, func() error { return command(ctx, "cp", "-a", src, filepath.Join(s.dir, "src")) })
}

func removeTree(ctx context.Context, s *site) (r rate, err error) {
	made, err := copyTree(ctx, s)
	if err == nil {
		err = s.settle()
	}
	if err != nil {
		return r, err
	}
	return clock(made.amount, func() error { return command(ctx, "rm", "-r", filepath.Join(s.dir, "src")) })
}

// cloneTree clones a repository with one pack, which lies on the disk.
func cloneTree(ctx context.Context, s *site) (r rate, err error) {
	src := filepath.Join(runtime.GOROOT(), "src", "cmd")
	n, err := countFiles(src)
	if err != nil {
		return r, err
	}
	repo := filepath.Join(filepath.Dir(s.dir), "repository")
	if _, err := os.Stat(repo); err != nil { // else the other site's
		if err := makeRepository(ctx, repo, src); err != nil {
			return r, err
		}
	}
	return clock(n, func() error { return command(ctx, "git", "clone", "-q", repo, filepath.Join(s.dir, "clone")) })
}

// makeRepository makes a repository of the files in src, with one pack.
func makeRepository(ctx context.Context, repo, src string) error {
	there := []string{"-C", src, "--git-dir", filepath.Join(repo, ".git"), "--work-tree", src, "-c", "user.name=bench", "-c", "user.email=bench@localhost"}
	for _, args := range [][]string{
		{"init", "-q", repo},
		append(slices.Clip(there), "add", "."),
		append(slices.Clip(there), "commit", "-q", "-m", "all"),
		{"-C", repo, "repack", "-adq"},
	} {
		if err := command(ctx, "git", args...); err != nil {
			return err
		}
	}
	return nil
}
