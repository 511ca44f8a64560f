package fuse

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

// bench is a mount for a test.
type bench struct {
	dir string
	mem *vfstest.Mem
	fs  *vfs.FS
	m   *Mounted
}

func need(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
}

func logger(t testing.TB) *slog.Logger {
	if os.Getenv("PEARBOX_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return nil
}

func start(t testing.TB, opts Options) *bench {
	t.Helper()
	need(t)
	base := t.TempDir()
	b := &bench{dir: filepath.Join(base, "mnt")}
	for _, d := range []string{"mnt", "blobs", "staging"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.mem = vfstest.NewMem(filepath.Join(base, "blobs"))
	var err error
	opts.Log = logger(t)
	opts.Debug = os.Getenv("PEARBOX_TEST_LOG") == "all"
	b.fs, err = vfs.New(t.Context(), vfs.Options{Drive: b.mem, Staging: filepath.Join(base, "staging"), Log: opts.Log})
	if err != nil {
		t.Fatal(err)
	}
	b.m, err = Mount(context.Background(), b.dir, b.fs, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		if err := b.m.Unmount(ctx); err != nil {
			t.Errorf("unmounting: %v", err)
			b.m.Detach()
		}
		b.m.Wait()
		if err := b.fs.Close(ctx, nil); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return b
}

// otherwise are those of go-fuse's tests that want something else than this file system gives: two make hard links,
// which are refused, and one wants a process's locks to conflict with each other (go-fuse skips it, too).
var otherwise = map[string]bool{"Link": true, "LinkUnlinkRename": true, "FcntlFlockLocksFile": true}

func TestPosix(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			for name, fn := range posixtest.All {
				if otherwise[name] {
					continue
				}
				t.Run(name, func(t *testing.T) {
					b := start(t, Options{Cached: mode == "cached"})
					fn(t, b.dir)
				})
			}
		})
	}
}

func TestHardLinksAreRefused(t *testing.T) {
	b := start(t, Options{})
	if err := os.WriteFile(b.dir+"/a", []byte("a"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Link(b.dir+"/a", b.dir+"/b"); err != unix.EPERM {
		t.Errorf("link: got %v, want EPERM", err)
	}
}
