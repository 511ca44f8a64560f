package drive_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
)

// manyRemoved is a drive in which a directory of files was removed, each directory and file by itself, each of some to an entry.
func manyRemoved(t testing.TB, b *light, dirs, files, each int) {
	t.Helper()
	var steps []func(w *drive.Batch) error
	step := func(fn func(w *drive.Batch) error) { steps = append(steps, fn) }
	step(func(w *drive.Batch) error { return w.Mkdir("tree", drive.Attrs{}) })
	for i := range dirs {
		dir := fmt.Sprintf("tree/dir%d", i)
		step(func(w *drive.Batch) error { return w.Mkdir(dir, drive.Attrs{}) })
		for k := range files {
			step(func(w *drive.Batch) error {
				return w.Put(fmt.Sprintf("%s/file%d", dir, k), drive.Staged{}, drive.Attrs{})
			})
		}
	}
	step(func(w *drive.Batch) error { return w.Put("stays", drive.Staged{}, drive.Attrs{}) })
	for i := range dirs {
		dir := fmt.Sprintf("tree/dir%d", i)
		for k := range files {
			step(func(w *drive.Batch) error { return w.Remove(fmt.Sprintf("%s/file%d", dir, k)) })
		}
		step(func(w *drive.Batch) error { return w.Remove(dir) })
	}
	step(func(w *drive.Batch) error { return w.Remove("tree") })
	for len(steps) > 0 {
		n := min(each, len(steps))
		_, err := b.Write(context.Background(), func(w *drive.Batch) error {
			for _, s := range steps[:n] {
				if err := s(w); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		steps = steps[n:]
	}
}

// BenchmarkRemoved looks at what has become of 27,000 files that were removed.
func BenchmarkRemoved(b *testing.B) {
	l := lightCreate(b)
	manyRemoved(b, l, 90, 300, 500)
	b.Run("trash", func(b *testing.B) {
		for b.Loop() {
			if list, err := l.Trash(b.Context(), 50); err != nil || len(list) != 1 {
				b.Fatal(len(list), err)
			}
		}
	})
	for _, p := range []string{"nosuch", "tree/dir7/file3", "stays", "tree/dir7"} {
		b.Run("log of "+p, func(b *testing.B) {
			for b.Loop() {
				n := 0
				for _, err := range l.Log(b.Context(), drive.LogOptions{Path: p}) {
					if n++; err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	b.Run("census", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Census(b.Context(), time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
