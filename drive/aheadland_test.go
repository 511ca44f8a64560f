package drive_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// reopen opens a box's directory again.
func (b *box) reopen() *box {
	b.t.Helper()
	return open(b.t, b.dir, b.dev, func(st room.Storage, tree *drive.TreeView) (*room.Room, error) { return room.Open(st, b.dev, tree) })
}

// backup copies the directory of a box, which is closed for that.
func (b *box) backup() (dir string, again *box) {
	b.t.Helper()
	dir = b.t.TempDir()
	b.close()
	if err := os.CopyFS(dir, os.DirFS(b.dir)); err != nil {
		b.t.Fatal(err)
	}
	return dir, b.reopen()
}

// restored opens a backup whose own logs may lack their end. Writing is held back until release is called.
func (b *box) restored(dir string) (r *box, release func()) {
	b.t.Helper()
	r = open(b.t, dir, b.dev, func(st room.Storage, tree *drive.TreeView) (*room.Room, error) {
		r, err := room.Open(st, b.dev, tree)
		if err == nil {
			if !r.Restored() {
				b.t.Error("the room does not notice")
			}
			release = r.HoldWrites()
		}
		return r, err
	})
	b.t.Cleanup(release)
	return r, release
}

// file is what is put off, as it is on the disk.
func (b *box) file() []byte {
	b.t.Helper()
	path, _ := b.Ahead().Synced()
	data, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// A backup is made while something is put off, the device goes on, its disk dies, the backup is restored. Members have this device's log
// with the entry that was made of it: it is not done a second time on top of what came after.
func TestAheadOfABackup(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.put("draft", "x")
	dir, a := a.backup()
	a.Ahead().Hold()
	a.ahead(func(w *drive.Batch) error { return w.Move("draft", "final") })
	a.ahead(func(w *drive.Batch) error { return w.Symlink("link", "final", drive.Attrs{}) })
	putOff := a.file()
	a.ahead(func(w *drive.Batch) error { return w.Symlink("more", "final", drive.Attrs{}) })
	a.flush()
	a.write(func(w *drive.Batch) error { return w.Move("final", "really final") })
	a.write(func(w *drive.Batch) error { return errors.Join(w.Remove("link"), w.Remove("more")) })
	meet(t, a, b)
	want := b.listing(b.Now())
	a.close()

	if err := os.WriteFile(filepath.Join(dir, "staging", "ahead", "changes"), putOff, 0o600); err != nil {
		t.Fatal(err)
	}
	r, release := a.restored(dir)
	r.Ahead().Hold()
	meet(t, r, b)
	if err := r.room.Recovered(); err != nil {
		t.Fatal(err)
	}
	release()
	// What is done now belongs to another batch.
	r.ahead(func(w *drive.Batch) error { return w.Symlink("new", "really final", drive.Attrs{}) })
	r.flush()
	meet(t, r, b)
	if got := b.listing(b.Now()); got != "Lrwxrwxrwx new 12\n"+want {
		t.Errorf("after the restored backup was connected there is\n%sbefore there was\n%s", got, want)
	}
	if got := r.seen(); got != b.listing(b.Now()) {
		t.Errorf("there is seen\n%s", got)
	}
}

// The file was replaced, and that may not survive a power failure: then nothing is acknowledged any more, and what was stays.
func TestAheadCannotSyncItsDirectory(t *testing.T) {
	a := create(t)
	a.Ahead().Hold()
	a.write(func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) })
	x := map[string][]byte{"user.x": make([]byte, tree.MaxXattr)}
	broken := errors.New("broken")
	mend := drive.SyncDir(func(*os.File) error { return broken })
	defer mend()
	mkdir := func(name string) error {
		return a.Ahead().Write(t.Context(), func(w *drive.Batch) error { return w.Mkdir(name, drive.Attrs{}) })
	}
	var failed error
	for range 200 { // until the file is worth rewriting
		if failed = a.Ahead().Write(t.Context(), func(w *drive.Batch) error { return w.SetAttr("d", drive.Attrs{Xattrs: x}) }); failed != nil {
			break
		}
		a.flush()
	}
	if !errors.Is(failed, broken) {
		t.Errorf("writing when the file was replaced and its directory could not be synced: %v", failed)
	}
	mend()
	if err := mkdir("lost"); err == nil {
		t.Error("a change is acknowledged that a power failure may take back")
	}
	if _, err := a.Write(t.Context(), func(w *drive.Batch) error { return w.Mkdir("kept", drive.Attrs{}) }); err != nil {
		t.Errorf("writing to the log: %v", err)
	}
	next := a.again(a.file())
	if err := next.Ahead().Write(t.Context(), func(w *drive.Batch) error { return w.Mkdir("on", drive.Attrs{}) }); err != nil {
		t.Errorf("after the next start: %v", err)
	}
}

// Changes that fit an entry one by one do not add up to more than one holds.
func TestAheadTooLargeTogether(t *testing.T) {
	a := create(t)
	a.write(func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) })
	a.Ahead().Hold()
	set := func(from, n int) {
		x := map[string][]byte{}
		for i := range n {
			x[fmt.Sprint("user.", from+i)] = make([]byte, tree.MaxXattr-1<<10)
		}
		a.ahead(func(w *drive.Batch) error { return w.SetAttr("d", drive.Attrs{Xattrs: x}) })
	}
	set(0, 7)
	set(20, 12) // alone it fits
	putOff := a.file()
	a.flush()
	a.write(func(w *drive.Batch) error { return w.Mkdir("e", drive.Attrs{}) })
	if i, err := a.Now().Stat("d"); err != nil || len(i.Xattrs) != 19 {
		t.Errorf("there are %d attributes, %v", len(i.Xattrs), err)
	}
	a.again(putOff)
}

// Bytes that a file is given are not put off, and not forgotten.
func TestAheadOfBytes(t *testing.T) {
	a := create(t)
	a.Ahead().Hold()
	a.ahead(func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) })
	for name, n := range map[string]int{"small": 5, "large": 5000, "empty": 0} {
		s, err := a.StageBytes(t.Context(), make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		a.ahead(func(w *drive.Batch) error { return w.Put("d/"+name, s, drive.Attrs{}) })
		if got := a.read(a.Now(), "d/"+name); len(got) != n {
			t.Errorf("%s has %d bytes", name, len(got))
		}
	}
}

// One name, made at once through a mount and in the log: one of the two is told that it exists.
func TestAheadAndLogMakeOneName(t *testing.T) {
	a := create(t)
	for i := range 40 {
		name := fmt.Sprint("name", i)
		a.ahead(func(w *drive.Batch) error { return w.Symlink("other"+name, "x", drive.Attrs{}) })
		var ahead, log error
		var wg sync.WaitGroup
		wg.Go(func() {
			ahead = a.Ahead().Write(t.Context(), func(w *drive.Batch) error { return w.Symlink(name, "mount", drive.Attrs{}) })
		})
		wg.Go(func() {
			_, log = a.Write(t.Context(), func(w *drive.Batch) error { return w.Symlink(name, "command", drive.Attrs{}) })
		})
		wg.Wait()
		if err := errors.Join(ahead, log); (ahead == nil) == (log == nil) || !errors.Is(err, fs.ErrExist) {
			t.Fatalf("making %s through the mount: %v, in the log: %v", name, ahead, log)
		}
	}
}

// While writing is held back, whoever has waited long enough goes, the drive can be closed, and what was put off stays.
func TestAheadWhileWritesAreHeld(t *testing.T) {
	a := create(t)
	join(t, a)
	dir, a := a.backup()
	a.Ahead().Hold()
	a.ahead(func(w *drive.Batch) error { return w.Mkdir("d", drive.Attrs{}) })
	if err := os.WriteFile(filepath.Join(dir, "staging", "ahead", "changes"), a.file(), 0o600); err != nil {
		t.Fatal(err)
	}
	r, release := a.restored(dir)
	mkdir := func(w *drive.Batch) error { return w.Mkdir("e", drive.Attrs{}) }
	returns := func(what string, want error, fn func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- fn(ctx) }()
		select {
		case err := <-done:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(60 * time.Second):
			release()
			t.Fatalf("%s does not return", what)
		}
	}
	returns("Write", context.DeadlineExceeded, func(ctx context.Context) error { _, err := r.Write(ctx, mkdir); return err })
	returns("Flush", context.DeadlineExceeded, r.Ahead().Flush)
	returns("Ahead.Write", context.DeadlineExceeded, func(ctx context.Context) error { return r.Ahead().Write(ctx, mkdir) })
	if err := r.Writable(); err != nil {
		t.Errorf("Writable: %v", err)
	}
	returns("Close", nil, func(context.Context) error { return r.Drive.Close() })
	if got := r.seen(); got != "drwxr-xr-x d 0\n" {
		t.Errorf("what was put off is\n%s", got)
	}
	if n := len(r.file()); n != len(a.file()) {
		t.Errorf("the file has %d bytes, not %d", n, len(a.file()))
	}
}

// What was put off is done again whenever others write: much of it becomes an entry then.
func TestAheadHurries(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.Ahead().Hold()
	for n := range drive.AheadHurry {
		if n == 1 || n == drive.AheadHurry-1 {
			b.put(fmt.Sprint("his", n), "x")
			send(t, b, a)
			a.seen()
		}
		if a.Ahead().Hurries() {
			t.Fatalf("%d operations are not put off", n)
		}
		a.ahead(func(w *drive.Batch) error { return w.Mkdir(fmt.Sprint(n), drive.Attrs{}) })
	}
	a.seen()
	if a.Ahead().Hurries() {
		t.Error("it hurries although nobody has written")
	}
	b.put("his", "x")
	send(t, b, a)
	if a.seen(); !a.Ahead().Hurries() {
		t.Error("it does not hurry")
	}
	if a.flush(); a.Ahead().Hurries() {
		t.Error("it hurries although nothing is put off")
	}
}
