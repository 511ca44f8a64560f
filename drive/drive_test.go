package drive_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/tree"
)

func TestFilesOfEverySize(t *testing.T) {
	a := create(t)
	b := join(t, a)
	want := make(map[string]string)
	for _, n := range []int{0, 1, 2048, 2049, 64 << 10, 64<<10 + 1, 1<<20 + 3, 5 << 20} {
		data := make([]byte, n)
		rand.Read(data)
		name := fmt.Sprintf("file-%d", n)
		want[name] = string(data)
		a.put(name, string(data))
	}
	meet(t, a, b)
	for name, data := range want {
		if got, err := b.Now().Stat(name); err != nil || got.Size != int64(len(data)) {
			t.Errorf("%s on the other device before its bytes came: size %d, %v", name, got.Size, err)
		}
	}
	if f, _, err := b.Now().Open(t.Context(), "file-2049"); err != nil {
		t.Error(err)
	} else if n, err := f.ReadAt(make([]byte, 10), 0); n != 0 || !errors.Is(err, drive.ErrNotHere) {
		t.Errorf("reading bytes that are nowhere: %d, %v", n, err)
	}
	copyBlobs(t, a, b)
	for _, d := range []*box{a, b} {
		for name, data := range want {
			if got := d.read(d.Now(), name); got != data {
				t.Errorf("%s: %d bytes differ from the %d written", name, len(got), len(data))
			}
		}
	}
}

func TestEveryEarlierMoment(t *testing.T) {
	a := create(t)
	big := strings.Repeat("0123456789abcdef", 10_000)
	v1 := a.put("doc", "one")
	v2 := a.put("doc", big)
	a.write(func(b *drive.Batch) error { return b.Mark("before the move") })
	v3 := a.write(func(b *drive.Batch) error {
		return errors.Join(b.MkdirAll("deep/er", drive.Attrs{}), b.Move("doc", "deep/er/doc"))
	})
	v4 := a.write(func(b *drive.Batch) error { return b.Remove("deep/er/doc") })
	check := func(d *box) {
		t.Helper()
		for _, c := range []struct{ at, path, want string }{
			{v1.String(), "doc", "one"},
			{v2.String()[:12], "doc", big},
			{"before the move", "doc", big},
			{v3.String(), "deep/er/doc", big},
		} {
			if got := d.read(d.at(c.at), c.path); got != c.want {
				t.Errorf("%s at %.12s has %d bytes, wants %d", c.path, c.at, len(got), len(c.want))
			}
		}
		if _, err := d.at(v4.String()).Stat("deep/er/doc"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the removed file at the version that removed it: %v", err)
		}
		if _, err := d.at(v3.String()).Stat("doc"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the old name after the move: %v", err)
		}
	}
	check(a)
	b := join(t, a)
	copyBlobs(t, a, b)
	then := a.at(v3.String())
	if _, err := a.Restore(t.Context(), "deep/er/doc", then); err != nil {
		t.Fatal(err)
	}
	if got := a.read(a.Now(), "deep/er/doc"); got != big {
		t.Error("what was restored has other bytes")
	}
	meet(t, a, b)
	copyBlobs(t, a, b)
	check(b)
	for _, bad := range []string{"nothing-like-it", "ffffffff", "1-ago", "2026-13-45"} {
		if _, err := a.Resolve(t.Context(), bad); !errors.Is(err, drive.ErrVersion) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Resolve(%q): %v", bad, err)
		}
	}
}

func TestTimes(t *testing.T) {
	a := create(t)
	b := join(t, a)
	if got := a.listing(a.at("1h-ago")); got != "" {
		t.Errorf("an hour before there was anything:\n%s", got)
	}
	a.put("first", "1")
	for text, want := range map[string]string{"0001-01-01": "", "107000000000000d-ago": "", "9999-12-31": "-rw-r--r-- first 1\n"} { // beyond what nanoseconds reach
		if got := a.listing(a.at(text)); got != want {
			t.Errorf("at %s:\n%s", text, got)
		}
	}
	a.write(func(w *drive.Batch) error { return w.Remove("first") })
	// Apart from each other: no single entry knows both files, and a time names both.
	a.put("from-a", "a")
	b.put("from-b", "b")
	meet(t, a, b)
	mid := time.Now()
	a.put("later", "x")
	for _, d := range []*box{a, b} {
		s := d.at(mid.Format(time.RFC3339Nano))
		want := "-rw-r--r-- from-a 1\n-rw-r--r-- from-b 1\n"
		if got := d.listing(s); got != want {
			t.Errorf("at the time between:\n%s", got)
		}
		if _, err := d.At(s.Version()); err != nil {
			t.Errorf("the moment's own id: %v", err)
		}
		if got := d.at(s.Version().String()[:16]); got.Version() != s.Version() {
			t.Error("the moment's id, shortened, is another moment")
		}
	}
}

func TestRemoveAndRestoreMoreThanOneEntryHolds(t *testing.T) {
	a := create(t)
	const dirs, files = 5, 1000
	for d := range dirs {
		a.write(func(b *drive.Batch) error {
			dir := fmt.Sprintf("tree/%d", d)
			if err := b.MkdirAll(dir, drive.Attrs{}); err != nil {
				return err
			}
			for f := range files {
				if err := b.Put(fmt.Sprintf("%s/%d", dir, f), drive.Staged{}, drive.Attrs{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	before, err := a.Latest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.RemoveAll(t.Context(), "tree"); err != nil {
		t.Fatal(err)
	}
	if got := a.listing(a.Now()); got != "" {
		t.Errorf("left: %.200s", got)
	}
	s, err := a.At(before)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range s.Walk("tree") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if want := 1 + dirs + dirs*files; n != want {
		t.Errorf("the version before shows %d entries, wants %d", n, want)
	}
	if _, err := a.Restore(t.Context(), "tree", s); err != nil {
		t.Fatal(err)
	}
	if got, want := a.listing(a.Now()), a.listing(s); got != want {
		t.Errorf("what was restored has %d bytes of listing, wants %d", len(got), len(want))
	}
}

func TestImport(t *testing.T) {
	a := create(t)
	dir := a.Blobs().Staging()
	var sources []drive.Source
	var want []string
	for i, n := range []int{0, 10, 3000, 70_000, 70_000} {
		data := bytes.Repeat([]byte{byte(i + 1)}, n)
		if i == 4 {
			data = bytes.Repeat([]byte{4}, n) // equal to the one before
		}
		name := filepath.Join(dir, fmt.Sprintf("import-%d", i))
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		sources = append(sources, drive.Source{File: f, Path: name})
		want = append(want, string(data))
	}
	var told, total int64
	staged, err := a.Import(t.Context(), sources, func(n int64) { told += n })
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		total += int64(len(w))
	}
	if told != total {
		t.Errorf("progress told of %d bytes of %d", told, total)
	}
	a.write(func(b *drive.Batch) error {
		for i, s := range staged {
			if err := b.Put(fmt.Sprint(i), s, drive.Attrs{}); err != nil {
				return err
			}
		}
		return nil
	})
	for i, w := range want {
		if got := a.read(a.Now(), fmt.Sprint(i)); got != w {
			t.Errorf("file %d has %d bytes, wants %d", i, len(got), len(w))
		}
	}
}

func TestWatchAndErrors(t *testing.T) {
	a := create(t)
	n := 0
	cancel := a.Watch(func(c drive.Change) { n += len(c.Dirs) })
	a.put("f", "x")
	if n == 0 {
		t.Error("a watcher heard nothing of a new file")
	}
	cancel()
	n = 0
	a.put("g", "x")
	if n != 0 {
		t.Error("a cancelled watcher was called")
	}
	for name, c := range map[string]struct {
		fn   func(*drive.Batch) error
		want error
	}{
		"mkdir over a file": {func(b *drive.Batch) error { return b.Mkdir("f", drive.Attrs{}) }, fs.ErrExist},
		"remove nothing":    {func(b *drive.Batch) error { return b.Remove("nothing") }, fs.ErrNotExist},
		"put into nothing":  {func(b *drive.Batch) error { return b.Put("no/f", drive.Staged{}, drive.Attrs{}) }, fs.ErrNotExist},
		"put a long name":   {func(b *drive.Batch) error { return b.Put(strings.Repeat("n", 256), drive.Staged{}, drive.Attrs{}) }, nil},
	} {
		v, err := a.Write(t.Context(), c.fn)
		var pe *fs.PathError
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !errors.As(err, &pe) || !v.IsNow() {
			t.Errorf("%s: version %v, error %v", name, v, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := a.Write(ctx, func(*drive.Batch) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("writing with a cancelled context: %v", err)
	}
}

// Many nodes at once are described by what they show, conflict copies included; what is not there is left out.
func TestShown(t *testing.T) {
	a := create(t)
	b := join(t, a)
	a.write(func(w *drive.Batch) error {
		return errors.Join(w.Mkdir("dir", drive.Attrs{}), w.Put("dir/file", drive.Staged{}, drive.Attrs{}), w.Put("gone", drive.Staged{}, drive.Attrs{}))
	})
	meet(t, a, b)
	var ids []tree.NodeID
	for _, p := range []string{"dir/file", "gone", "dir"} {
		info, err := a.Now().Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, info.Node)
	}
	a.put("dir/file", "by alice") // neither knows of the other's version
	b.put("dir/file", "by bob")
	a.write(func(w *drive.Batch) error { return w.Remove("gone") })
	meet(t, a, b)
	got, err := b.Now().Shown(append(ids, tree.NodeID{1}))
	if err != nil || len(got) != 3 {
		t.Fatalf("%d descriptions, %v", len(got), err)
	}
	main, err := b.Now().Stat("dir/file")
	if err != nil {
		t.Fatal(err)
	}
	copies, err := b.Conflicts()
	if err != nil || len(copies) != 1 {
		t.Fatalf("%d conflicts, %v", len(copies), err)
	}
	for i, want := range []drive.Info{main, copies[0]} {
		if g := got[i]; g.Node != want.Node || g.Version != want.Version || g.Size != want.Size || !g.Written.Equal(want.Written) || g.Core != want.Core ||
			g.Seq != want.Seq || g.Content == nil || g.Content.Plain != want.Content.Plain || g.Name != "" || g.Path != "" {
			t.Errorf("version %d: %+v, listed as %+v", i, g, want)
		}
	}
	if !got[2].IsDir() || got[2].Node != ids[2] {
		t.Errorf("the directory: %+v", got[2])
	}
}
