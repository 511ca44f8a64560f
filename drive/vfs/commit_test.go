package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/vfs/vfstest"
)

func newFS(t *testing.T, d vfs.Drive, staging string) *vfs.FS {
	t.Helper()
	fs, err := vfs.New(t.Context(), vfs.Options{Drive: d, Staging: staging, Policy: vfs.Policy{
		NewQuiet: time.Millisecond, Quiet: time.Millisecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close(context.Background(), nil) })
	return fs
}

// content is what the drive has, past the file system.
func content(t *testing.T, d vfs.Drive, name string) []byte {
	t.Helper()
	info, err := d.Lookup(vfs.NodeID{}, name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Open(t.Context(), info)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, info.Bytes.Size)
	if n, err := c.ReadAtContext(t.Context(), b, 0); n < len(b) {
		t.Fatal(err)
	}
	return b
}

func syncAll(t *testing.T, fs *vfs.FS) {
	t.Helper()
	if err := fs.Sync(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
}

// What a shared mapping writes after everybody has closed the file becomes part of the drive, even if the file looked
// unchanged when it was closed.
func TestMappedFileIsNotDropped(t *testing.T) {
	d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
	fs := newFS(t, d, staging)
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Repeat([]byte("a"), 4096)
	if _, err := h.WriteAt(t.Context(), old, 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if h, err = fs.OpenFile(t.Context(), "f", vfs.Write, false, 0); err != nil {
		t.Fatal(err)
	}
	// the kernel maps the staging file itself when it has it by passthrough
	st, _, ok := h.Segment(0)
	if !ok {
		t.Fatal("no staging file")
	}
	f, err := os.OpenFile(st.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, len(old), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs) // nothing to say yet
	mem[0] = 'b'
	if err := unix.Msync(mem, unix.MS_SYNC); err != nil {
		t.Fatal(err)
	}
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	if got := content(t, d, "f"); got[0] != 'b' {
		t.Errorf("the drive has %q", got[:4])
	}
}

// What is written while a file is sealed that is still open becomes part of the drive with the next commit.
func TestWriteWhileSealed(t *testing.T) {
	d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
	fs := newFS(t, d, staging)
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		if _, err := h.WriteAt(t.Context(), []byte(s), 0); err != nil {
			t.Error(err)
		}
	}
	write("one")
	d.Fail = func(op string) error {
		if op == "import" {
			write("two")
		}
		return nil
	}
	syncAll(t, fs)
	if got := content(t, d, "f"); string(got) != "one" {
		t.Errorf("the drive has %q", got)
	}
	d.Fail = nil
	syncAll(t, fs)
	if got := content(t, d, "f"); string(got) != "two" {
		t.Errorf("the drive has %q", got)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file that is open for writing while it is renamed belongs to the drive from then on, or no longer, as its name says.
func TestRenamedWhileOpen(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := newFS(t, d, t.TempDir())
	for _, name := range []string{"came~", "went"} {
		h, err := fs.OpenFile(t.Context(), name, vfs.Write, true, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if _, err := h.WriteAt(t.Context(), []byte(name), 0); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"came~": "came", "went": "went~"} {
		if err := fs.Root().Rename(t.Context(), from, fs.Root(), to, false); err != nil {
			t.Fatal(err)
		}
	}
	syncAll(t, fs)
	if got := content(t, d, "came"); string(got) != "came~" {
		t.Errorf("what came has %q", got)
	}
	if i, err := d.List(vfs.NodeID{}); err != nil || len(i) != 1 {
		t.Errorf("the drive has %v, %v", i, err)
	}
}

// The author of a version says which bytes it has. One who lies about it must not make what is saved here vanish.
func TestSaveOverALie(t *testing.T) {
	real, err := vfstest.OpenReal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { real.Close() })
	mine := bytes.Repeat([]byte("mine "), 20_000)
	theirs := bytes.Repeat([]byte("junk "), 20_000)
	s, err := real.StageBytes(t.Context(), theirs)
	if err != nil {
		t.Fatal(err)
	}
	s.Content.Plain = blob.Sum(mine)
	if _, err := real.Write(t.Context(), func(b *drive.Batch) error { return b.Put("f", s, drive.Attrs{}) }); err != nil {
		t.Fatal(err)
	}
	d := vfs.Over(real.Drive)
	fs := newFS(t, d, t.TempDir())
	save := func(b []byte) {
		h, err := fs.OpenFile(t.Context(), "f", vfs.Write|vfs.Trunc, true, 0o644)
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
	save(mine)
	if got := content(t, d, "f"); !bytes.Equal(got, mine) {
		t.Fatalf("the drive has %q…", got[:10])
	}
	before, err := real.Revisions("f")
	if err != nil {
		t.Fatal(err)
	}
	save(mine) // the truth this time: nothing new
	if after, err := real.Revisions("f"); err != nil || len(after) != len(before) {
		t.Errorf("%d versions became %d, %v", len(before), len(after), err)
	}
}

// Imports are let go of once it is decided about them: saved, saved again with equal bytes, over another, and in vain.
func TestImportsAreLetGo(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := newFS(t, d, t.TempDir())
	save := func(name, text string) {
		t.Helper()
		h, err := fs.OpenFile(t.Context(), name, vfs.Write, true, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteAt(t.Context(), []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	save("f", "one")
	syncAll(t, fs)
	save("f", "one")
	syncAll(t, fs)
	save("f.new", "two")
	if err := fs.Rename(t.Context(), "f.new", "f", false); err != nil {
		t.Fatal(err)
	}
	syncAll(t, fs)
	failed := make(chan struct{}, 100)
	d.Fail = func(op string) error {
		if op == "write" {
			failed <- struct{}{}
			return errors.New("not now")
		}
		return nil
	}
	save("f", "three")
	<-failed
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fs.Close(ctx, nil)
	for deadline := time.Now().Add(time.Minute); d.Held.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d imports are held", d.Held.Load())
		}
	}
}

// slow is a drive in which something happens while a directory is listed.
type slow struct {
	*vfstest.Mem
	listed func()
}

func (s *slow) List(dir vfs.NodeID) ([]vfs.Info, error) {
	infos, err := s.Mem.List(dir)
	if fn := s.listed; fn != nil {
		s.listed = nil
		fn()
	}
	return infos, err
}

// A file that becomes part of the drive just while its directory is listed is listed.
func TestListWhileRecorded(t *testing.T) {
	d := &slow{Mem: vfstest.NewMem(t.TempDir())}
	fs := newFS(t, d, t.TempDir())
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	d.listed = func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		syncAll(t, fs)
	}
	l, err := fs.Root().OpenDir(t.Context())
	if err != nil || len(l.Entries) != 1 || l.Entries[0].Name != "f" {
		t.Errorf("%+v, %v", l, err)
	}
}

// stuck is a drive whose imports take for ever.
type stuck struct {
	*vfstest.Mem
	began chan struct{}
}

func (s stuck) Import(ctx context.Context, files []vfs.Source) ([]vfs.Imported, error) {
	close(s.began)
	<-ctx.Done()
	return nil, ctx.Err()
}

// A close that is not to wait any longer does not wait for what is being sealed; the next opening goes on with it.
func TestCloseDoesNotWaitForSeals(t *testing.T) {
	d, staging := vfstest.NewMem(t.TempDir()), t.TempDir()
	s := stuck{d, make(chan struct{})}
	fs := newFS(t, s, staging)
	h, err := fs.OpenFile(t.Context(), "f", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("a"), 2<<20)
	if _, err := h.WriteAt(t.Context(), want, 0); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	<-s.began
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fs.Close(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("closing: %v", err)
	}
	fs = newFS(t, d, staging)
	syncAll(t, fs)
	if got := content(t, d, "f"); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came through", len(got))
	}
}

// A program renames its temporary file, whose name stays on this machine, over the file that it replaces, and writes on: what it writes is
// recorded while it has the file open, and when it has closed it, and so is what comes later.
func TestRenamedFromALocalNameWhileOpen(t *testing.T) {
	d := vfstest.NewMem(t.TempDir())
	fs := slowFS(t, d, t.TempDir())
	save(t, fs, "file", "old")
	syncAll(t, fs)
	h, err := fs.OpenFile(t.Context(), "file.part", vfs.Write, true, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	recorded := func(want string) {
		t.Helper()
		syncAll(t, fs)
		if got := string(content(t, d, "file")); got != want {
			t.Errorf("Sync has returned, and the drive has %q, want %q", got, want)
		}
	}
	write := func(s string) {
		t.Helper()
		if _, err := h.WriteAt(t.Context(), []byte(s), 0); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	rename(t, fs, "file.part", "file")
	write("FIRST and more")
	recorded("FIRST and more")
	write("Last")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	recorded("LastT and more")
	save(t, fs, "file", "saved later")
	recorded("saved later")
}
