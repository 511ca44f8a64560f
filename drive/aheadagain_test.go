package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
)

var errStop = errors.New("enough")

// again opens a drive over a's room with what the file of changes ahead had at some moment: what the next process finds.
func (b *box) again(data []byte) *box {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "changes"), data, 0o600); err != nil {
		b.t.Fatal(err)
	}
	return b.with(dir)
}

// with opens the drive once more, with another directory for what is put off.
func (b *box) with(dir string) *box {
	b.t.Helper()
	d, err := drive.Open(drive.Options{Room: b.room, Blobs: b.Blobs(), Ahead: dir})
	if err != nil {
		b.t.Fatal(err)
	}
	d.Ahead().Hold()
	b.t.Cleanup(func() { d.Close() })
	return &box{Drive: d, t: b.t, room: b.room}
}

// TestAheadSurvives kills the process, as it were, after each step, before and after the steps became an entry.
func TestAheadSurvives(t *testing.T) {
	a := create(t)
	a.put("old", "old")
	a.put("gone", "gone")
	a.Ahead().Hold()
	path, _ := a.Ahead().Synced()
	states := map[int64]string{} // by the length of the file
	file := func() []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	note := func() { states[int64(len(file()))] = a.seen() }
	note()
	stop := a.Ahead().Watch(func(tree.Changes) { note() })
	a.makeSome()
	stop()
	if _, n := a.Ahead().Synced(); n == int64(len(file())) {
		t.Error("everything was synced at once")
	}
	if err := a.Ahead().Keep(); err != nil {
		t.Fatal(err)
	}
	all := file()
	if _, n := a.Ahead().Synced(); n != int64(len(all)) {
		t.Errorf("%d of %d bytes are synced after Keep", n, len(all))
	}
	// Not yet an entry: the next process sees what was done, as far as the file goes.
	want := states[int64(len(file()[:0]))]
	for n := range len(all) + 1 {
		if s, ok := states[int64(n)]; ok {
			want = s
		}
		if _, whole := states[int64(n)]; !whole && n%7 != 0 || n < len("pearbox changes ahead 2\n") {
			continue
		}
		next := a.again(all[:n])
		if got := next.seen(); got != want {
			t.Fatalf("after %d of %d bytes the next process sees\n%swant\n%s", n, len(all), got, want)
		}
	}
	// An entry already, whether the file says so or not, and however much a power failure left of it: nothing is done twice.
	a.flush()
	entries := a.entries()
	for _, n := range []int{len(all) / 2, len(all), len(file())} {
		next := a.again(file()[:n])
		if got := next.seen(); got != made {
			t.Errorf("with %d bytes of the file of an entry there is\n%s", n, got)
		}
		next.flush()
		if got := next.entries(); got != entries {
			t.Errorf("with %d bytes of the file %d more entries were made", n, got-entries)
		}
		next.ahead(func(w *drive.Batch) error { return w.Mkdir(fmt.Sprint("more", n), drive.Attrs{}) })
		next.ahead(func(w *drive.Batch) error { return w.Remove(fmt.Sprint("more", n)) })
	}
	if got := a.listing(a.Now()); got != made {
		t.Errorf("in the end there is\n%s", got)
	}
}

// What looks like an entry of before is not taken for it.
func TestAheadDoesTheSameAgain(t *testing.T) {
	a := create(t)
	a.put("file", "x")
	a.Ahead().Hold()
	chmod := func(perm uint32) {
		a.ahead(func(w *drive.Batch) error { return w.SetAttr("file", drive.Attrs{Perm: &perm}) })
	}
	chmod(0o600)
	a.flush()
	chmod(0o644)
	a.flush()
	chmod(0o600)
	path, _ := a.Ahead().Synced()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := a.again(b)
	if i, err := next.Ahead().Child(tree.Root, "file"); err != nil || i.Perm != 0o600 {
		t.Errorf("after a crash the file has %o, %v", i.Perm, err)
	}
}

// The file is damaged, or of another version: what it may know is not thrown away.
func TestAheadOfAnotherVersion(t *testing.T) {
	a := create(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "changes"), []byte("pearbox changes ahead 7\n..."), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := drive.Open(drive.Options{Room: a.room, Blobs: a.Blobs(), Ahead: dir}); err == nil {
		t.Error("it was opened")
	}
}

func FuzzAhead(f *testing.F) {
	f.Add([]byte("pearbox changes ahead 1\n"))
	f.Add([]byte("pearbox changes ahead 2\n"))
	for _, name := range []string{"batch", "entry"} {
		b, err := os.ReadFile(filepath.Join("testdata", "ahead-"+name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, _, err := drive.ReadAhead(bytes.NewReader(b))
		if err != nil {
			return
		}
		if _, err := tree.EncodeOps(ops); err != nil {
			t.Fatal(err)
		}
	})
}

// A file that grew before its bytes were written ends in zeros after a power failure: what stands before them counts.
func TestAheadEndsInZeros(t *testing.T) {
	for _, name := range []string{"batch", "entry"} {
		b, err := os.ReadFile(filepath.Join("testdata", "ahead-"+name))
		if err != nil {
			t.Fatal(err)
		}
		ops, done, err := drive.ReadAhead(bytes.NewReader(b))
		if err != nil || len(ops)+done == 0 {
			t.Fatalf("%s: %d operations, %d entries, %v", name, len(ops), done, err)
		}
		for _, n := range []int{1, 7, 8, 9, 4096} {
			zOps, zDone, err := drive.ReadAhead(bytes.NewReader(append(slices.Clone(b), make([]byte, n)...)))
			if err != nil || len(zOps) != len(ops) || zDone != done {
				t.Errorf("%s and %d zeros: %d operations, %d entries, %v; want %d and %d", name, n, len(zOps), zDone, err, len(ops), done)
			}
		}
	}
}
