package drive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// bytesAt writes a file of n bytes that follow from seed and returns the version.
func (b *box) bytesAt(path string, n int, seed uint64) (drive.Version, []byte) {
	b.t.Helper()
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
	staged, err := b.StageBytes(b.t.Context(), data)
	if err != nil {
		b.t.Fatal(err)
	}
	v, err := b.Write(b.t.Context(), func(w *drive.Batch) error { return w.Put(path, staged, drive.Attrs{}) })
	if err != nil {
		b.t.Fatal(err)
	}
	return v, data
}

func (b *box) change(fn func(w *drive.Batch) error) {
	b.t.Helper()
	if _, err := b.Write(b.t.Context(), fn); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) retain(r room.Retention) {
	b.t.Helper()
	if err := b.room.SetRetention(b.t.Context(), r); err != nil {
		b.t.Fatal(err)
	}
	if got, err := b.room.Retention(); err != nil || got != r {
		b.t.Fatalf("retention %+v, %v", got, err)
	}
}

func (b *box) collect(after time.Duration) drive.Collected {
	b.t.Helper()
	c, err := b.Collect(b.t.Context(), time.Now().Add(after))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// reads looks whether the bytes that a path had at a version are here and right, or else honestly gone.
func (b *box) reads(v drive.Version, path string, want []byte, held bool) {
	b.t.Helper()
	at, err := b.At(v)
	if err != nil {
		b.t.Fatal(err)
	}
	f, info, err := at.Open(b.t.Context(), path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(want))
	_, err = f.ReadAt(got, 0)
	state := b.LocalState(info)
	switch {
	case held && (err != nil || !bytes.Equal(got, want) || state != int64(len(want))):
		b.t.Errorf("%s@%s: %d of %d bytes here, %v", path, v.Short(), state, len(want), err)
	case !held && (!errors.Is(err, drive.ErrNotHere) || state != 0):
		b.t.Errorf("%s@%s should be gone: %d bytes here, %v", path, v.Short(), state, err)
	}
}

// The sizes of a file in a pack and of one of its own.
var gcSizes = []int{5000, 100_000}

func TestCollectKeepsAllByDefault(t *testing.T) {
	b := create(t)
	old, was := b.bytesAt("file", 5000, 1)
	b.bytesAt("file", 5000, 2)
	b.change(func(w *drive.Batch) error { return w.Remove("file") })
	c := b.collect(100 * 365 * 24 * time.Hour)
	if c.Dropped.Blobs != 0 || c.Census[drive.InHistory].Blobs != 1 || c.Census[drive.InTrash].Blobs != 1 || c.Census.Reclaimable() != (drive.Sum{}) {
		t.Errorf("%+v", c)
	}
	b.reads(old, "file", was, true)
}

func TestCollectByCount(t *testing.T) {
	for _, size := range gcSizes {
		b := create(t)
		var vs []drive.Version
		var was [][]byte
		for i := range 5 {
			v, data := b.bytesAt("file", size, uint64(i))
			vs, was = append(vs, v), append(was, data)
		}
		other, data := b.bytesAt("other", size, 9)
		b.retain(room.Retention{Count: 3})
		census, err := b.Census(t.Context(), time.Now())
		if err != nil || census.Reclaimable() != (drive.Sum{Blobs: 2, Bytes: 2 * int64(size)}) || census[drive.Listed].Blobs != 2 {
			t.Errorf("census %+v, %v", census, err)
		}
		b.reads(vs[0], "file", was[0], true) // counting drops nothing
		if c := b.collect(0); c.Dropped.Blobs != 2 || c.Dropped.Bytes != 2*int64(size) || c.Census != census {
			t.Errorf("%+v", c)
		}
		for i := range vs {
			b.reads(vs[i], "file", was[i], i >= 2)
		}
		b.reads(other, "other", data, true)
		if c := b.collect(0); c.Dropped.Blobs != 0 {
			t.Errorf("again: %+v", c)
		}
	}
}

// What counts is when a version ceased to be listed, not when it was written.
func TestCollectByAge(t *testing.T) {
	b := create(t)
	replaced, was := b.bytesAt("file", 5000, 1)
	listed, is := b.bytesAt("file", 5000, 2)
	deleted, gone := b.bytesAt("dir", 5000, 3)
	b.change(func(w *drive.Batch) error { return w.Remove("dir") })
	b.retain(room.Retention{Age: time.Hour})
	b.collect(30 * time.Minute)
	b.reads(replaced, "file", was, true)
	b.reads(deleted, "dir", gone, true)
	b.collect(2 * time.Hour)
	b.reads(replaced, "file", was, false)
	b.reads(deleted, "dir", gone, false)
	b.reads(listed, "file", is, true)
}

func TestCollectBySize(t *testing.T) {
	b := create(t)
	var vs []drive.Version
	var was [][]byte
	for i := range 5 {
		v, data := b.bytesAt("file", 10_000, uint64(i))
		vs, was = append(vs, v), append(was, data)
	}
	b.retain(room.Retention{Bytes: 25_000})
	b.collect(0)
	for i := range vs { // the listed one does not count; of the others the newest two fit
		b.reads(vs[i], "file", was[i], i >= 2)
	}
}

func TestCollectKeepsMarks(t *testing.T) {
	b := create(t)
	before, first := b.bytesAt("file", 5000, 1)
	_, second := b.bytesAt("file", 5000, 2)
	b.change(func(w *drive.Batch) error { return w.Mark("good") })
	after, third := b.bytesAt("file", 5000, 3)
	b.change(func(w *drive.Batch) error { return w.Remove("file") })
	b.retain(room.Retention{Age: time.Second})
	c := b.collect(time.Hour)
	if c.Census[drive.AtMark] != (drive.Sum{Blobs: 1, Bytes: 5000}) || c.Dropped.Blobs != 2 {
		t.Errorf("%+v", c)
	}
	good, err := b.Resolve(t.Context(), "good")
	if err != nil {
		t.Fatal(err)
	}
	b.reads(good, "file", second, true)
	b.reads(before, "file", first, false)
	b.reads(after, "file", third, false)
}

// A version that was restored, moved or is a part of another is listed again under the same blobs.
func TestCollectKeepsWhatIsListedAgain(t *testing.T) {
	b := create(t)
	old, was := b.bytesAt("file", 5000, 1)
	b.bytesAt("file", 5000, 2)
	then, err := b.At(old)
	if err != nil {
		t.Fatal(err)
	}
	v, err := b.Restore(t.Context(), "file", then)
	if err != nil {
		t.Fatal(err)
	}
	moved, data := b.bytesAt("from", 100_000, 3)
	b.change(func(w *drive.Batch) error { return w.Move("from", "to") })
	b.retain(room.Retention{Age: time.Second, Count: 1, Bytes: 1})
	b.collect(time.Hour)
	b.reads(v, "file", was, true)
	b.reads(moved, "from", data, true)
	if i, err := b.Now().Stat("to"); err != nil || b.LocalState(i) != 100_000 {
		t.Errorf("%+v, %v", i, err)
	}
}

// An author whose clock was wrong ages nothing before its time, and does not keep others from ageing.
func TestCollectWithWrongClocks(t *testing.T) {
	b := create(t)
	old, was := b.bytesAt("file", 5000, 1)
	b.bytesAt("file", 5000, 2)
	b.retain(room.Retention{Age: time.Hour})
	b.collect(-48 * time.Hour) // every entry comes from what this clock calls the future
	b.reads(old, "file", was, true)
	b.collect(2 * time.Hour)
	b.reads(old, "file", was, false)
}

func TestCollectUnnamed(t *testing.T) {
	b := create(t)
	data := bytes.Repeat([]byte("given up"), 1000)
	staged, err := b.StageBytes(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if c := b.collect(0); c.Dropped.Blobs != 0 || c.Dropped.Busy != 1 {
		t.Errorf("an import that may still be named: %+v", c)
	}
	b.Blobs().Release(staged.Content)
	if c := b.collect(0); c.Dropped.Blobs != 1 || c.Census[drive.Unnamed].Blobs != 1 {
		t.Errorf("an import that was given up: %+v", c)
	}
}

// Each import is let go once, however often the batch tried to name it: another import of the same bytes keeps them.
func TestCollectSparesTheOtherImport(t *testing.T) {
	b := create(t)
	b.bytesAt("taken", 5000, 1)
	data := bytes.Repeat([]byte("imported twice"), 500)
	var staged [2]drive.Staged
	for i := range staged {
		var err error
		if staged[i], err = b.StageBytes(t.Context(), data); err != nil {
			t.Fatal(err)
		}
	}
	b.change(func(w *drive.Batch) error {
		if _, err := w.CreateAt(tree.Root, "taken", staged[0], drive.Attrs{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("creating what is there: %v", err)
		}
		if _, err := w.CreateAt(tree.Root, "free", staged[0], drive.Attrs{}); err != nil {
			return err
		}
		return w.Put("again", staged[0], drive.Attrs{})
	})
	b.change(func(w *drive.Batch) error { return errors.Join(w.Remove("free"), w.Remove("again")) })
	b.retain(room.Retention{Age: time.Second})
	b.Discard(staged[0])
	if c := b.collect(time.Hour); c.Dropped.Blobs != 0 || c.Dropped.Busy != 1 {
		t.Errorf("%+v", c)
	}
	b.Discard(staged[1])
	if c := b.collect(time.Hour); c.Dropped.Blobs != 1 {
		t.Errorf("afterwards: %+v", c)
	}
}

// What is open stays readable, and is dropped when it is not open any more.
func TestCollectSparesWhatIsOpen(t *testing.T) {
	for _, size := range gcSizes {
		b := create(t)
		old, was := b.bytesAt("file", size, 1)
		at, err := b.At(old)
		if err != nil {
			t.Fatal(err)
		}
		f, _, err := at.Open(t.Context(), "file")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(make([]byte, 10), 0); err != nil {
			t.Fatal(err)
		}
		b.bytesAt("file", size, 2)
		b.retain(room.Retention{Count: 1})
		b.collect(0)
		got := make([]byte, size)
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, was) {
			t.Errorf("%d bytes: reading on: %v", size, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		b.collect(0)
		b.reads(old, "file", was, false)
	}
}

// Writers go on while bytes are dropped, and use again what is just being dropped: nothing that is listed ever lacks its bytes.
func TestCollectWhileWriting(t *testing.T) {
	b := create(t)
	b.retain(room.Retention{Count: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 3 {
		writers.Go(func() {
			for i := range 40 {
				path := fmt.Sprintf("file%d", w)
				v, data := b.bytesAt(path, 3000+w, uint64(i%3)) // the same bytes again and again
				b.reads(v, path, data, true)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := b.Collect(t.Context(), time.Now()); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	writers.Wait()
	cancel()
	<-done
	b.collect(0)
	census, err := b.Census(t.Context(), time.Now())
	if err != nil || census[drive.Listed].Blobs != 3 || census[drive.InHistory].Blobs != 0 {
		t.Errorf("%+v, %v", census, err)
	}
}

func TestCollectLeavesWhatIsInline(t *testing.T) {
	b := create(t)
	old, was := b.bytesAt("file", blob.MaxInline, 1)
	b.bytesAt("file", blob.MaxInline, 2)
	b.retain(room.Retention{Count: 1})
	b.collect(0)
	b.reads(old, "file", was, true)
}

func TestCollectGivesSpaceBack(t *testing.T) {
	b := create(t)
	b.retain(room.Retention{Count: 1})
	for i := range 100 {
		b.bytesAt("file", 10_000, uint64(i))
	}
	before, err := b.store.Space()
	if err != nil {
		t.Fatal(err)
	}
	c := b.collect(0)
	after, err := b.store.Space()
	if err != nil || c.Packs < 900_000 || before.Packs-after.Packs < 900_000 {
		t.Errorf("packs took %d and take %d; %+v, %v", before.Packs, after.Packs, c, err)
	}
	files, err := filepath.Glob(filepath.Join(b.dir, "blobs", "??", "*"))
	if err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "packs")); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
