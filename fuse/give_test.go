package fuse

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

// gates are those that the reads of a child's gatedDrive go through.
var gates = gateKeeper{shut: map[string]chan struct{}{}, came: map[string]int{}}

type gateKeeper struct {
	mu   sync.Mutex // guards the rest
	shut map[string]chan struct{}
	came map[string]int
}

func (g *gateKeeper) close(name string, shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was := g.shut[name]; was != nil {
		close(was)
		delete(g.shut, name)
	}
	if shut {
		g.shut[name] = make(chan struct{})
	}
}

func (g *gateKeeper) count(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.came[name]
}

func (g *gateKeeper) pass(name string) {
	g.mu.Lock()
	g.came[name]++
	shut := g.shut[name]
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// gatedDrive is a drive whose bytes go through a gate after they were read: "open", "read", and "here" where they are read for somebody who
// does not wait for others.
type gatedDrive struct {
	vfs.Drive
	vfs.Watcher
}

func (d gatedDrive) Open(ctx context.Context, info vfs.Info) (vfs.Content, error) {
	c, err := d.Drive.Open(ctx, info)
	gates.pass("open")
	return gatedContent{c}, err
}

type gatedContent struct{ vfs.Content }

func (c gatedContent) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := c.Content.ReadAtContext(ctx, p, off)
	gates.pass("read")
	return n, err
}

func (c gatedContent) ReadHere(p []byte, off int64) (int, error) {
	n, err := c.Content.ReadHere(p, off)
	gates.pass("here")
	return n, err
}

// gated is a mount of a gatedDrive.
type gated struct{ *bench }

func startGated(t *testing.T, mode string) gated {
	t.Helper()
	return gated{startWith(t, childOptions{Mode: mode, Gated: true})}
}

func (b gated) count(name string) int {
	b.t.Helper()
	r, err := b.ask(request{Do: "gated", Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Count
}

// shut has what comes to a gate wait there, until the returned function is called.
func (b gated) shut(name string) (open func()) {
	b.t.Helper()
	set := func(data []byte) {
		if _, err := b.ask(request{Do: "gate", Name: name, Data: data}); err != nil {
			b.t.Error(err)
		}
	}
	set([]byte{1})
	return func() { set(nil) }
}

// arrives waits until as many have come to the gate.
func (b gated) arrives(name string, count int) {
	b.t.Helper()
	if err := within(func() error {
		if n := b.count(name); n < count {
			return fmt.Errorf("%d came to the gate %q, want %d", n, name, count)
		}
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
}

func (b gated) replace(name string, data []byte) {
	b.t.Helper()
	if _, err := b.ask(request{Do: "replace", Name: name, Data: data}); err != nil {
		b.t.Fatal(err)
	}
}

// Small files are read without a request, and what they hold is what was written last, by whomever and in whatever way.
func TestSmallFilesAreGiven(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			b := startGated(t, mode)
			for _, size := range []int{1, 4095, 4096, 4097, givenSize - 1, givenSize} {
				testGiven(t, b, size)
			}
			before := b.count("here")
			large := bytes.Repeat([]byte{1}, givenSize+1)
			b.replace("large", large)
			if got, err := os.ReadFile(b.path("large")); err != nil || !bytes.Equal(got, large) {
				t.Errorf("a larger file: %d bytes, %v", len(got), err)
			}
			if mode == "cached" && b.count("read") == 0 {
				t.Error("a larger file was not read, or reads are not counted")
			}
			if n := b.count("here"); mode == "passthrough" && n != before {
				t.Error("a file that is opened by passthrough was given, too")
			}
		})
	}
}

func testGiven(t *testing.T, b gated, size int) {
	name := fmt.Sprint("file", size)
	reads := b.count("read")
	check := func(what string, fill byte, size int) {
		t.Helper()
		f, err := os.Open(b.path(name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := make([]byte, size+1)
		if n, _ := f.ReadAt(got, 0); n != size || bytes.Count(got[:n], []byte{fill}) != n {
			t.Errorf("%d bytes, %s: %d bytes, the first %d, want %d of %d", size, what, n, got[0], size, fill)
		}
		m, err := unix.Mmap(int(f.Fd()), 0, (size+4095)/4096*4096, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(m)
		if bytes.Count(m[:size], []byte{fill}) != size || bytes.Count(m[size:], []byte{0}) != len(m)-size {
			t.Errorf("%d bytes, %s: a mapping shows other bytes", size, what)
		}
	}
	for fill := range byte(3) {
		b.replace(name, bytes.Repeat([]byte{fill + 1}, size))
		check("by others", fill+1, size)
		given := b.count("here")
		check("once more", fill+1, size)
		if b.count("here") != given {
			t.Errorf("%d bytes were given once more", size)
		}
	}
	if n := b.count("read") - reads; n > 0 {
		t.Errorf("%d bytes were read with %d requests", size, n)
	}
	for fill := range byte(3) { // both ways of writing, and from a copy of what is given
		f, err := os.OpenFile(b.path(name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(bytes.Repeat([]byte{fill + 10}, size), 0)
		if f.Close(); err != nil {
			t.Fatal(err)
		}
		check("written", fill+10, size)
	}
	if err := os.Truncate(b.path(name), int64(size-1)); err != nil {
		t.Fatal(err)
	}
	if size > 1 {
		check("cut", 12, size-1)
	}
	b.sync()
	if size > 1 {
		check("in the drive", 12, size-1)
	}
	others := bytes.Repeat([]byte{20}, size)
	b.replace(name, others)
	if err := within(func() error { // the kernel may tell late that the writers have closed it
		got, err := os.ReadFile(b.path(name))
		if err != nil || !bytes.Equal(got, others) {
			return fmt.Errorf("%d bytes, by others again: %d bytes, %v", size, len(got), err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A file that is truncated while its bytes are being given ends where it was cut.
func TestTruncatedWhileGiven(t *testing.T) {
	b := startGated(t, "passthrough")
	old := bytes.Repeat([]byte{1}, 100)
	b.replace("file", old)
	if _, err := os.Stat(b.path("file")); err != nil {
		t.Fatal(err)
	}
	open := b.shut("here")
	opened := make(chan *os.File, 1)
	go func() {
		f, err := os.Open(b.path("file"))
		if err != nil {
			t.Error(err)
		}
		opened <- f
	}()
	b.arrives("here", 1)
	cut := make(chan error, 1)
	go func() { cut <- os.Truncate(b.path("file"), 10) }()
	select {
	case err := <-cut:
		cut <- err
	case <-time.After(300 * time.Millisecond): // it waits: then nothing can be seen
	}
	open()
	f := <-opened
	defer f.Close()
	if err := <-cut; err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(old); n != 10 {
		t.Errorf("it has %d bytes, %v, want 10", n, err)
	}
	if got, err := os.ReadFile(b.path("file")); err != nil || !bytes.Equal(got, old[:10]) {
		t.Errorf("it has %d bytes, %v, want 10", len(got), err)
	}
}

// While bytes are given to the kernel no other open is answered, and while somebody has the file open none are given: whoever has it open may
// ask for a page, and then the kernel would have one wait for the other.
func TestNothingIsGivenWhileOpen(t *testing.T) {
	b := startGated(t, "passthrough")
	b.replace("file", []byte("bytes"))
	open := b.shut("here")
	opened := make(chan *os.File, 2)
	begin := func() {
		f, err := os.Open(b.path("file"))
		if err != nil {
			t.Error(err)
		}
		opened <- f
	}
	go begin()
	b.arrives("here", 1)
	go begin()
	b.arrives("open", 2)
	select {
	case <-opened:
		t.Error("an open was answered while bytes were given")
	case <-time.After(100 * time.Millisecond):
	}
	open()
	files := []*os.File{<-opened, <-opened}

	if n := b.count("here"); n != 1 {
		t.Errorf("bytes were given %d times, want once", n)
	}
	for _, f := range files {
		f.Close()
	}
}

// What a program has written and the kernel still has in its cache is not covered by what was there before.
func TestNothingIsGivenOverWrites(t *testing.T) {
	b := startGated(t, "cached")
	b.replace("file", []byte("before"))
	w, err := os.OpenFile(b.path("file"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const want = "after!"
	if _, err := w.WriteAt([]byte(want), 0); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(b.path("file")); err != nil || string(got) != want {
		t.Errorf("somebody else reads %q, %v, want %q", got, err, want)
	}
	if n := b.count("here"); n > 0 {
		t.Errorf("bytes were given %d times while somebody writes", n)
	}
}
