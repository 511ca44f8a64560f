package drive_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive"
)

func (b *box) trashed() (paths []string) {
	b.t.Helper()
	list, err := b.Trash(b.t.Context(), 0)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, t := range list {
		if t.Deleted.IsZero() || t.By != b.dev.ID() || t.Deletion.IsNow() {
			b.t.Errorf("%s: deleted %v by %s in %s", t.Path, t.Deleted, t.By, t.Deletion)
		}
		paths = append(paths, t.Path)
	}
	return paths
}

func TestTrash(t *testing.T) {
	b := create(t)
	b.change(func(w *drive.Batch) error {
		return errors.Join(w.Mkdir("dir", drive.Attrs{}), w.Mkdir("dir/sub", drive.Attrs{}), w.Mkdir("stays", drive.Attrs{}))
	})
	_, first := b.bytesAt("dir/sub/file", 5000, 1)
	b.bytesAt("stays/early", 100, 2)
	_, last := b.bytesAt("stays/early", 200, 3)
	if got := b.trashed(); len(got) != 0 {
		t.Errorf("trash %q", got)
	}
	b.change(func(w *drive.Batch) error { return w.Remove("stays/early") })
	if _, err := b.RemoveAll(t.Context(), "dir"); err != nil {
		t.Fatal(err)
	}
	if got := b.trashed(); !slices.Equal(got, []string{"dir", "stays/early"}) {
		t.Errorf("trash %q", got)
	}
	if list, err := b.Trash(t.Context(), 1); err != nil || len(list) != 1 || list[0].Path != "dir" {
		t.Errorf("the last one: %v, %v", list, err)
	}

	if _, err := b.Undelete(t.Context(), "stays/early"); err != nil {
		t.Fatal(err)
	}
	b.reads(drive.Version{}, "stays/early", last, true)
	if _, err := b.Undelete(t.Context(), "dir/sub/file"); err != nil { // out of a directory that went with it
		t.Fatal(err)
	}
	b.reads(drive.Version{}, "dir/sub/file", first, true)
	if _, err := b.Undelete(t.Context(), "stays/early"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("what is there: %v", err)
	}
	if _, err := b.Undelete(t.Context(), "never"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what never was: %v", err)
	}
}

// What comes and goes within one entry was shown nowhere, and has no path to bring it back to.
func TestTrashLeavesOutWhatWasNeverShown(t *testing.T) {
	b := create(t)
	b.bytesAt("old", 3000, 1)
	b.change(func(w *drive.Batch) error {
		return errors.Join(w.Mkdir("dir", drive.Attrs{}), w.Symlink("dir/link", "to", drive.Attrs{}), w.Mkdir("dir/sub", drive.Attrs{}),
			w.Remove("dir/link"), w.Remove("dir/sub"), w.Remove("old"))
	})
	if got := b.trashed(); !slices.Equal(got, []string{"old"}) {
		t.Errorf("trash %q", got)
	}
	b.change(func(w *drive.Batch) error {
		return errors.Join(w.Symlink("link", "to", drive.Attrs{}), w.Remove("link"))
	})
	if got := b.trashed(); !slices.Equal(got, []string{"old"}) {
		t.Errorf("trash %q", got)
	}
}

// Of versions that stand beside each other each is in the trash when it goes alone, under the name that it had, and comes back to that.
func TestTrashHasConflictCopies(t *testing.T) {
	for _, which := range []string{"copy", "plain"} {
		b, p := twoVersions(t)
		if which == "plain" {
			p = "doc.txt"
		}
		text := b.read(b.Now(), p)
		b.change(func(w *drive.Batch) error { return w.Remove(p) })
		if got := b.trashed(); !slices.Equal(got, []string{p}) {
			t.Errorf("%s: trash %q", which, got)
		}
		if _, err := b.Undelete(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if got := b.read(b.Now(), p); got != text {
			t.Errorf("%s: %q is back", which, got)
		}
	}
}

// So is each of several that go one after the other, whatever becomes of the rest.
func TestTrashHasEachConflictCopy(t *testing.T) {
	a := create(t)
	a.put("doc.txt", "base")
	all := []*box{a, join(t, a), join(t, a), join(t, a)}
	for i, b := range all {
		b.put("doc.txt", fmt.Sprint("version ", i))
	}
	for range 2 {
		for _, b := range all[1:] {
			meet(t, a, b)
		}
	}
	list, err := a.Now().List("")
	if err != nil || len(list) != len(all) {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	texts := map[string]string{}
	var want []string // the last removed first
	for _, i := range list {
		texts[i.Name] = a.read(a.Now(), i.Name)
		want = slices.Insert(want, 0, i.Name)
	}
	for k, i := range list {
		a.change(func(w *drive.Batch) error { return w.Remove(i.Name) })
		if got := a.trashed(); !slices.Equal(got, want[len(want)-1-k:]) {
			t.Errorf("after removing %d: trash %q, want %q", k+1, got, want[len(want)-1-k:])
		}
	}
	for k, name := range want {
		if _, err := a.Undelete(t.Context(), name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := a.read(a.Now(), name); got != texts[name] {
			t.Errorf("%s is %q, not %q", name, got, texts[name])
		}
		if got := a.trashed(); !slices.Equal(got, want[k+1:]) {
			t.Errorf("%d are back: trash %q, want %q", k+1, got, want[k+1:])
		}
	}
}

// A version that somebody edited while it was removed is there, and so is what was renamed over another file: neither is in the trash.
func TestTrashLeavesOutWhatIsThere(t *testing.T) {
	b := create(t)
	b.put("kept.txt", "base")
	b.put("new.txt", "new")
	b.put("old.txt", "old")
	other := join(t, b)
	b.change(func(w *drive.Batch) error { return w.Remove("kept.txt") })
	other.put("kept.txt", "edited")
	b.change(func(w *drive.Batch) error { return w.Move("new.txt", "old.txt") })
	meet(t, b, other)
	if got := b.trashed(); len(got) != 0 {
		t.Errorf("trash %q", got)
	}
}

// The last deletion of several counts, and a directory comes back whole.
func TestUndeleteDirectory(t *testing.T) {
	b := create(t)
	var want []byte
	for i := range 2 {
		b.change(func(w *drive.Batch) error { return w.Mkdir("dir", drive.Attrs{}) })
		for k := range 3 {
			_, want = b.bytesAt(fmt.Sprintf("dir/%d", k), 3000, uint64(10*i+k))
		}
		if _, err := b.RemoveAll(t.Context(), "dir"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Undelete(t.Context(), "dir"); err != nil {
		t.Fatal(err)
	}
	list, err := b.Now().List("dir")
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	b.reads(drive.Version{}, "dir/2", want, true)
}

// A directory that is too much for one entry comes back whole as well, and is one thing in the trash.
func TestUndeleteLargeDirectory(t *testing.T) {
	b := create(t)
	const dirs, files = 10, 1000
	for i := range dirs {
		b.change(func(w *drive.Batch) error {
			if i == 0 {
				if err := w.Mkdir("large", drive.Attrs{}); err != nil {
					return err
				}
			}
			if err := w.Mkdir(fmt.Sprintf("large/%d", i), drive.Attrs{}); err != nil {
				return err
			}
			for k := range files {
				if err := w.Put(fmt.Sprintf("large/%d/%d", i, k), drive.Staged{}, drive.Attrs{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.change(func(w *drive.Batch) error { return w.Mkdir("other", drive.Attrs{}) })
	b.change(func(w *drive.Batch) error { return w.Remove("other") })
	before, err := b.Latest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.RemoveAll(t.Context(), "large"); err != nil {
		t.Fatal(err)
	}
	entries := 0
	for l, err := range b.Log(t.Context(), drive.LogOptions{Edits: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Version == before {
			break
		}
		entries++
	}
	if entries < 2 {
		t.Fatalf("it went in %d entries: the test needs more files", entries)
	}
	if got := b.trashed(); !slices.Equal(got, []string{"large", "other"}) {
		t.Errorf("trash: %d things, %q", len(got), got[:min(len(got), 5)])
	}
	if _, err := b.Undelete(t.Context(), "large"); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range b.Now().Walk("large") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1+dirs+dirs*files {
		t.Errorf("%d of %d came back", n, 1+dirs+dirs*files)
	}
}
