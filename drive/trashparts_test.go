package drive_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive"
)

// What was removed step by step, leaves first, each step an entry, is one removal; what went at the same time elsewhere is another.
func TestTrashOfMany(t *testing.T) {
	b := create(t)
	change := func(fn func(w *drive.Batch) error) { t.Helper(); b.change(fn) }
	for _, dir := range []string{"tree", "tree/sub", "other"} {
		change(func(w *drive.Batch) error { return w.Mkdir(dir, drive.Attrs{}) })
	}
	for i := range 6 {
		b.bytesAt(fmt.Sprintf("tree/%d", i), 3000, uint64(i))
		b.bytesAt(fmt.Sprintf("tree/sub/%d", i), 3000, uint64(10+i))
		b.bytesAt(fmt.Sprintf("other/%d", i), 3000, uint64(20+i))
	}
	for i := range 6 {
		change(func(w *drive.Batch) error {
			return errors.Join(w.Remove(fmt.Sprintf("tree/sub/%d", i)), w.Remove(fmt.Sprintf("other/%d", i)))
		})
	}
	// The directory that stands there later is older: it is met after what was in it.
	change(func(w *drive.Batch) error { return w.Mkdir("late", drive.Attrs{}) })
	change(func(w *drive.Batch) error { return w.Move("tree", "late/tree") })
	for i := range 6 {
		change(func(w *drive.Batch) error { return w.Remove(fmt.Sprintf("late/tree/%d", i)) })
	}
	change(func(w *drive.Batch) error {
		return errors.Join(w.Remove("late/tree/sub"), w.Remove("late/tree"), w.Remove("late"))
	})
	want := []string{"late"}
	for i := 5; i >= 0; i-- { // when they went, there was no such directory
		want = append(want, fmt.Sprintf("other/%d", i), fmt.Sprintf("tree/sub/%d", i))
	}
	if got := b.trashed(); !slices.Equal(sortedPairs(got), sortedPairs(want)) {
		t.Errorf("trash %q, want %q", got, want)
	}
	if list, err := b.Trash(t.Context(), 2); err != nil || len(list) != 2 || list[0].Path != "late" {
		t.Errorf("the last two: %v, %v", list, err)
	}
	if _, err := b.Undelete(t.Context(), "late"); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if _, err := b.Now().Stat(fmt.Sprintf("late/tree/%d", i)); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.Undelete(t.Context(), "other/3"); err != nil {
		t.Fatal(err)
	}
	if got := b.trashed(); slices.Contains(got, "other/3") || slices.Contains(got, "late") {
		t.Errorf("what is back is in the trash: %q", got)
	}
}

// A directory that came and went within one entry was shown nowhere: what was moved into it before it went has nobody who stands for it.
func TestTrashOfWhatWasMovedIntoNothing(t *testing.T) {
	b := create(t)
	b.bytesAt("file", 3000, 1)
	b.change(func(w *drive.Batch) error {
		return errors.Join(w.Mkdir("dir", drive.Attrs{}), w.Move("file", "dir/file"), w.Remove("dir/file"), w.Remove("dir"))
	})
	if got := b.trashed(); !slices.Equal(got, []string{"file"}) {
		t.Errorf("trash %q", got)
	}
}

// sortedPairs sorts what follows the first in pairs, which went in one entry each.
func sortedPairs(list []string) []string {
	list = slices.Clone(list)
	for part := range slices.Chunk(list[min(1, len(list)):], 2) {
		slices.Sort(part)
	}
	return list
}

// What was written in a directory while it was being removed comes back with it.
func TestUndeleteOfWhatCameMeanwhile(t *testing.T) {
	b := create(t)
	b.change(func(w *drive.Batch) error { return w.Mkdir("dir", drive.Attrs{}) })
	_, early := b.bytesAt("dir/early", 3000, 1)
	b.bytesAt("dir/changed", 3000, 2)
	b.change(func(w *drive.Batch) error { return w.Remove("dir/early") })
	_, late := b.bytesAt("dir/late", 3000, 3)
	_, changed := b.bytesAt("dir/changed", 3000, 4)
	if _, err := b.RemoveAll(t.Context(), "dir"); err != nil {
		t.Fatal(err)
	}
	if got := b.trashed(); !slices.Equal(got, []string{"dir"}) {
		t.Errorf("trash %q", got)
	}
	if _, err := b.Undelete(t.Context(), "dir"); err != nil {
		t.Fatal(err)
	}
	b.reads(drive.Version{}, "dir/early", early, true)
	b.reads(drive.Version{}, "dir/late", late, true)
	b.reads(drive.Version{}, "dir/changed", changed, true)
	if got := b.trashed(); len(got) != 0 {
		t.Errorf("trash %q", got)
	}
}
