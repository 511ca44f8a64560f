package fuse

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

// silent is what a child's silentDrive is told.
var silent = struct {
	reads atomic.Int32
	over  chan struct{}
}{over: make(chan struct{})}

// silentDrive is a drive whose bytes are with a peer who promises them and never delivers.
type silentDrive struct{ vfs.Drive }

func (d silentDrive) Open(context.Context, vfs.Info) (vfs.Content, error) {
	return silentContent{}, nil
}

type silentContent struct{}

func (silentContent) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	silent.reads.Add(1)
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-silent.over:
		return 0, fmt.Errorf("fetching: %w", syscall.EHOSTUNREACH) // as wire.ErrNobody says it
	}
}

func (silentContent) ReadHere(p []byte, off int64) (int, error) { return 0, syscall.EHOSTUNREACH }

func (silentContent) Local() (*os.File, int64, bool) { return nil, 0, false }
func (silentContent) Close() error                   { return nil }

// While bytes do not come everything that needs none of them answers, who waits for them can be stopped, and when they are
// given up the reader is told why.
func TestSilentPeer(t *testing.T) {
	b := startWith(t, childOptions{Silent: true})
	if _, err := b.ask(request{Do: "replace", Name: "file", Data: make([]byte, 1<<20)}); err != nil {
		t.Fatal(err)
	}
	read := func() (cat *exec.Cmd, said *strings.Builder, ended chan error) {
		t.Helper()
		said, ended = new(strings.Builder), make(chan error, 1)
		cat = exec.Command("cat", b.path("file"))
		cat.Env, cat.Stderr = append(os.Environ(), "LC_ALL=C"), said
		if err := cat.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { ended <- cat.Wait() }()
		return cat, said, ended
	}
	wait := func(what string, ended chan error) error {
		t.Helper()
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s still waits", what)
			return nil
		}
	}
	first, _, firstEnded := read()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		r, err := b.ask(request{Do: "reads"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Count > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no read came")
		}
	}
	answers := make(chan error, 1)
	go func() { answers <- statEverything(b.dir) }()
	if err := wait("what needs no bytes", answers); err != nil {
		t.Error(err)
	}
	if err := first.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := wait("an interrupted reader", firstEnded); err == nil {
		t.Error("an interrupted reader ended well")
	}

	_, said, ended := read()
	if _, err := b.ask(request{Do: "give up"}); err != nil {
		t.Fatal(err)
	}
	if err := wait("a reader whose bytes were given up", ended); err == nil || !strings.Contains(said.String(), "No route to host") {
		t.Errorf("a reader whose bytes were given up: %v, %q", err, said)
	}
}

// statEverything is ls, stat and df.
func statEverything(dir string) error {
	es, err := os.ReadDir(dir)
	if err != nil || len(es) != 1 {
		return fmt.Errorf("ls: %v, %w", es, err)
	}
	if i, err := os.Stat(dir + "/file"); err != nil || i.Size() != 1<<20 {
		return fmt.Errorf("stat: %v, %w", i, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("df: %w", err)
	}
	return os.WriteFile(dir+"/other", []byte("written meanwhile"), 0o644)
}

// A program that waits for the bytes of a file that it opened for writing stops neither who lists the directory nor who removes the
// file, and can be stopped itself.
func TestSilentPeerOfAWriter(t *testing.T) {
	b := startWith(t, childOptions{Mode: "cached", Silent: true})
	for _, name := range []string{"file", "other"} {
		b.must(request{Do: "replace", Name: name, Data: make([]byte, 200_000)})
	}
	begin := func(script string) (*exec.Cmd, chan error) {
		t.Helper()
		cmd, ended := exec.Command("sh", "-c", script), make(chan error, 1)
		cmd.Dir = b.dir
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { ended <- cmd.Wait() }()
		return cmd, ended
	}
	end := func(what string, ended chan error) error {
		t.Helper()
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s still waits", what)
			return nil
		}
	}
	reads := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
			r, err := b.ask(request{Do: "reads"})
			if err != nil {
				t.Fatal(err)
			}
			if r.Count >= n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("no read came")
			}
		}
	}
	_, opened := begin("exec 3>>file")
	reads(1)
	if _, removed := begin("exec rm file"); end("rm of what somebody waits for", removed) != nil {
		t.Error("rm failed")
	}
	if err := end("who opened what was removed", opened); err != nil {
		t.Logf("the opener was told so: %v", err) // or made a new file
	}
	writer, opened := begin("exec 3>>other")
	reads(2)
	if err := os.Rename(b.path("other"), b.path("moved")); err != nil {
		t.Error(err)
	}
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := end("a writer who was killed", opened); err == nil {
		t.Error("a writer who was killed ended well")
	}
	if es, err := os.ReadDir(b.dir); err != nil || len(es) == 0 {
		t.Errorf("ls: %v, %v", es, err)
	}
	b.must(request{Do: "give up"})
}

// Unmounting by force does not wait until a file can become a version whose bytes nobody sends.
func TestForceDoesNotWaitForBytes(t *testing.T) {
	b := startWith(t, childOptions{Mode: "cached", Silent: true})
	b.must(request{Do: "replace", Name: "file", Data: make([]byte, 3<<20)})
	if err := os.Truncate(b.path("file"), 2<<20); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := b.ask(request{Do: "force"})
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("unmounting by force does not end")
	}
	if mounted(b.dir) {
		t.Error("it is mounted still")
	}
	b.kill() // an end in order would say that the file is not committed
}
