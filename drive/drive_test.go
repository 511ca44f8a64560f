package drive_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/tree"
)

// box is one device's side of a room, over a real store.
type box struct {
	*drive.Drive
	t     *testing.T
	dir   string
	dev   *key.Device
	store *store.Room
	room  *room.Room
}

func open(t *testing.T, dir string, dev *key.Device, start func(st room.Storage, tree *drive.TreeView) (*room.Room, error)) *box {
	t.Helper()
	st, err := store.OpenRoom(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tree := drive.NewTree()
	r, err := start(st, tree)
	if err != nil {
		t.Fatal(err)
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: st.Blobs(), Ahead: filepath.Join(st.Blobs().Staging(), "ahead")})
	if err != nil {
		t.Fatal(err)
	}
	b := &box{Drive: d, t: t, dir: dir, dev: dev, store: st, room: r}
	t.Cleanup(b.close)
	return b
}

func (b *box) close() {
	if b.store == nil {
		return
	}
	b.Drive.Close()
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
	b.store = nil
}

func device(t *testing.T) *key.Device {
	t.Helper()
	dev, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func create(t *testing.T) *box {
	t.Helper()
	dev := device(t)
	return open(t, t.TempDir(), dev, func(st room.Storage, tree *drive.TreeView) (*room.Room, error) {
		r, _, err := room.Create(st, dev, "test room", "alice", tree)
		return r, err
	})
}

// join lets a second device into a's room.
func join(t *testing.T, a *box) *box {
	t.Helper()
	link, err := a.room.Invite(t.Context(), room.InviteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dev := device(t)
	b := open(t, t.TempDir(), dev, func(st room.Storage, tree *drive.TreeView) (*room.Room, error) {
		return room.Join(st, dev, link, "bob", tree)
	})
	meet(t, a, b)
	if got := b.room.Status().Standing; got != room.Admitted {
		t.Fatalf("bob's standing is %v", got)
	}
	return b
}

// meet exchanges entries until neither has anything new for the other.
func meet(t *testing.T, a, b *box) {
	t.Helper()
	for quiet := 0; quiet < 2; {
		if send(t, a, b)+send(t, b, a) > 0 {
			quiet = 0
		} else {
			quiet++
		}
	}
}

func send(t *testing.T, from, to *box) (sent int) {
	t.Helper()
	return give(t, from.room, to.room, func(room.CoreInfo) bool { return true })
}

// give lets a room receive what another one has of some cores.
func give(t *testing.T, from, to *room.Room, some func(room.CoreInfo) bool) (sent int) {
	t.Helper()
	held := make(map[key.CoreID]uint64)
	for _, c := range to.Cores(room.AccessMember) {
		held[c.ID] = c.Length
	}
	for _, c := range from.Cores(room.AccessMember) {
		for at := held[c.ID]; at < c.Head.Length && some(c); {
			tail, err := from.ReadTail(c.ID, at, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if err := to.Receive(t.Context(), from.Self(), c, tail); err != nil {
				t.Fatalf("receiving %v: %v", c.Kind, err)
			}
			at += uint64(len(tail.Blocks))
			sent++
		}
	}
	return sent
}

// copyBlobs gives to every blob that from holds, as replication would.
func copyBlobs(t *testing.T, from, to *box) {
	t.Helper()
	for i, err := range from.Now().Walk("") {
		if err != nil {
			t.Fatal(err)
		}
		if i.Content == nil {
			continue
		}
		for _, p := range i.Content.Parts {
			src, err := from.Blobs().Serve(p.CID)
			if err != nil {
				continue // from does not hold it
			}
			dst, err := to.Blobs().Begin(p.Ref())
			if err != nil {
				t.Fatal(err)
			}
			for off := int64(0); off < p.Size; off += 1 << 20 {
				n := int(min(1<<20, p.Size-off))
				f, err := src.ReadFrame(off, n, make([]byte, n))
				if err != nil {
					t.Fatal(err)
				}
				if err := dst.Write(f); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(dst.Close(), src.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (b *box) write(fn func(*drive.Batch) error) drive.Version {
	b.t.Helper()
	v, err := b.Write(b.t.Context(), fn)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func (b *box) put(path, text string) drive.Version {
	b.t.Helper()
	s, err := b.StageBytes(b.t.Context(), []byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.write(func(w *drive.Batch) error { return w.Put(path, s, drive.Attrs{}) })
}

func (b *box) read(s *drive.Snapshot, path string) string {
	b.t.Helper()
	f, _, err := s.Open(b.t.Context(), path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f.Reader(b.t.Context()))
	if err != nil {
		b.t.Fatalf("reading %s: %v", path, err)
	}
	return string(data)
}

func (b *box) at(text string) *drive.Snapshot {
	b.t.Helper()
	v, err := b.Resolve(b.t.Context(), text)
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := b.At(v)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// listing is the whole tree as text, one line an entry.
func (b *box) listing(s *drive.Snapshot) string {
	b.t.Helper()
	var out strings.Builder
	for i, err := range s.Walk("") {
		if err != nil {
			b.t.Fatal(err)
		}
		if i.Path != "" {
			fmt.Fprintf(&out, "%s %s %d\n", i.Mode(), i.Path, i.Size)
		}
	}
	return out.String()
}

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

// Who may do nothing with a file is shown so; what nobody has set is as usual.
func TestModes(t *testing.T) {
	a := create(t)
	none := uint32(0)
	a.write(func(w *drive.Batch) error {
		return errors.Join(w.Put("none", drive.Staged{}, drive.Attrs{Perm: &none}), w.Put("usual", drive.Staged{}, drive.Attrs{}),
			w.Mkdir("closed", drive.Attrs{Perm: &none}), w.Mkdir("dir", drive.Attrs{}), w.Symlink("link", "to", drive.Attrs{}))
	})
	for p, want := range map[string]uint32{"none": 0, "usual": 0o644, "closed": 0, "dir": 0o755, "link": 0o777, "": 0o755} {
		if i, err := a.Now().Stat(p); err != nil || i.Perm != want {
			t.Errorf("%q has mode %o, %v, want %o", p, i.Perm, err, want)
		}
	}
}

// A file's time that nanoseconds do not reach becomes the nearest that they do, and not one of another century.
func TestFarTimes(t *testing.T) {
	a := create(t)
	for year, want := range map[int]int{1: 1677, 1970: 1970, 9999: 2262} {
		at, name := time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC), fmt.Sprint(year)
		a.write(func(w *drive.Batch) error { return w.Put(name, drive.Staged{}, drive.Attrs{MTime: &at}) })
		if i, err := a.Now().Stat(name); err != nil || i.MTime.UTC().Year() != want {
			t.Errorf("a file of %d is of %v, %v", year, i.MTime, err)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"5m-ago":                   now.Add(-5 * time.Minute),
		"90s-ago":                  now.Add(-90 * time.Second),
		"3d-ago":                   now.AddDate(0, 0, -3),
		"2026-11-30T10:00:00Z":     time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC),
		"@GMT-2026.11.30-10.00.00": time.Date(2026, 11, 30, 10, 0, 0, 999999999, time.UTC),
		"2026-11-30":               time.Date(2026, 11, 30, 23, 59, 59, 999999999, time.Local),
	} {
		if got, ok := drive.ParseTime(text, now); !ok || !got.Equal(want) {
			t.Errorf("%s is %v, wants %v", text, got, want)
		}
	}
	for _, text := range []string{"", "ago", "-ago", "-5m-ago", "xd-ago", "1.5d-ago", "yesterday", "2026-02-30"} {
		if got, ok := drive.ParseTime(text, now); ok {
			t.Errorf("%q is a time: %v", text, got)
		}
	}
}

func TestLogSaysWhatHappened(t *testing.T) {
	a := create(t)
	a.write(func(b *drive.Batch) error { return b.Mkdir("d", drive.Attrs{}) })
	a.put("d/f", "one")
	a.put("other", "x")
	a.put("d/f", "two!")
	a.write(func(b *drive.Batch) error { return b.Move("d", "e") })
	a.write(func(b *drive.Batch) error { return b.Remove("e/f") })
	lines := func(path string) (out []string) {
		for l, err := range a.Log(t.Context(), drive.LogOptions{Path: path}) {
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range l.Edits {
				s := e.What + " " + e.Path
				if e.From != "" {
					s += " from " + e.From
				}
				out = append(out, s)
			}
		}
		return out
	}
	for path, want := range map[string][]string{
		"":      {"delete e/f", "move e from d", "write d/f", "create other", "create d/f", "create d"},
		"other": {"create other"},
		"e":     {"delete e/f", "move e from d", "create d"},
		"e/f":   {"delete e/f"},
		"d":     {"move e from d", "write d/f", "create d/f", "create d"},
	} {
		if got := lines(path); !slices.Equal(got, want) {
			t.Errorf("the history of %q is\n%s\nwants\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// twoVersions makes a drive in which two versions of doc.txt stand beside each other, and says what the conflict copy is called.
func twoVersions(t *testing.T) (a *box, copied string) {
	t.Helper()
	a = create(t)
	a.put("doc.txt", "base")
	b := join(t, a)
	a.put("doc.txt", "by alice")
	b.put("doc.txt", "by bob")
	meet(t, a, b)
	list, err := a.Conflicts()
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	return a, list[0].Path
}

// Of two versions of one file that stand beside each other the log names the one that was removed.
func TestLogNamesTheVersionThatWent(t *testing.T) {
	a, copied := twoVersions(t)
	remove := func(p string) {
		t.Helper()
		a.write(func(w *drive.Batch) error { return w.Remove(p) })
		for l, err := range a.Log(t.Context(), drive.LogOptions{}) {
			if err != nil || len(l.Edits) != 1 || l.Edits[0].What != "delete" || l.Edits[0].Path != p {
				t.Errorf("after the removal of %q the log says %+v, %v", p, l.Edits, err)
			}
			break
		}
	}
	remove(copied)
	remove("doc.txt")
}

func TestRevisions(t *testing.T) {
	a := create(t)
	for _, text := range []string{"1", "22", "333"} {
		a.put("f", text)
	}
	revs, err := a.Revisions("f")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range revs {
		f, err := a.OpenContent(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f.Reader(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(data))
	}
	if want := []string{"333", "22", "1"}; !slices.Equal(got, want) {
		t.Errorf("the versions are %q, wants %q", got, want)
	}
}

func TestDiff(t *testing.T) {
	a := create(t)
	a.write(func(b *drive.Batch) error {
		return errors.Join(b.MkdirAll("dir/sub", drive.Attrs{}), b.Mkdir("gone", drive.Attrs{}))
	})
	for _, p := range []string{"same", "edited", "removed", "dir/a", "dir/sub/b", "gone/x", "mode"} {
		a.put(p, "text of "+p)
	}
	from, err := a.Latest()
	if err != nil {
		t.Fatal(err)
	}
	a.put("edited", "other")
	a.put("new", "n")
	perm := uint32(0o600)
	a.write(func(b *drive.Batch) error {
		return errors.Join(b.Remove("removed"), b.Move("dir", "moved"), b.SetAttr("mode", drive.Attrs{Perm: &perm}))
	})
	a.put("moved/sub/c", "c")
	if _, err := a.RemoveAll(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	s, err := a.At(from)
	if err != nil {
		t.Fatal(err)
	}
	diff, err := a.Diff(t.Context(), "", s, a.Now())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range diff {
		got = append(got, strings.TrimSpace(d.What+" "+d.Path+" "+d.From))
	}
	want := []string{"changed edited", "removed gone", "removed gone/x", "attr mode", "moved moved dir", "added moved/sub/c", "added new", "removed removed"}
	if !slices.Equal(got, want) {
		t.Errorf("differences:\n%s\nwants\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestApartAndTogether(t *testing.T) {
	a := create(t)
	a.put("doc", "base")
	a.put("fate", "base")
	a.write(func(b *drive.Batch) error {
		return errors.Join(b.Mkdir("x", drive.Attrs{}), b.Mkdir("y", drive.Attrs{}), b.Mkdir("d", drive.Attrs{}))
	})
	b := join(t, a)
	a.put("doc", "by alice")
	b.put("doc", "by bob")
	a.write(func(w *drive.Batch) error { return w.Remove("fate") })
	b.put("fate", "edited")
	a.write(func(w *drive.Batch) error { return w.Move("d", "renamed") })
	b.put("d/added", "new")
	a.write(func(w *drive.Batch) error { return w.Move("x", "y/x") })
	b.write(func(w *drive.Batch) error { return w.Move("y", "x/y") })
	meet(t, a, b)
	if la, lb := a.listing(a.Now()), b.listing(b.Now()); la != lb {
		t.Fatalf("alice sees\n%s\nbob sees\n%s", la, lb)
	}
	ha, err := a.StateHash()
	hb, err2 := b.StateHash()
	if err != nil || err2 != nil || ha != hb {
		t.Errorf("state hashes %v %v, %v %v", ha, hb, err, err2)
	}
	texts := make(map[string]bool)
	for i, err := range b.Now().Walk("") {
		if err != nil {
			t.Fatal(err)
		}
		if i.Kind == drive.KindFile {
			texts[b.read(b.Now(), i.Path)] = true
		}
	}
	for _, want := range []string{"by alice", "by bob", "edited", "new"} {
		if !texts[want] {
			t.Errorf("%q is not in the tree:\n%s", want, b.listing(b.Now()))
		}
	}
	conflicts, err := b.Conflicts()
	if err != nil || len(conflicts) != 1 || !strings.HasPrefix(conflicts[0].Path, "doc (conflict ") {
		t.Errorf("conflicts: %v, %v", conflicts, err)
	}
	if got := b.read(b.Now(), "renamed/added"); got != "new" {
		t.Errorf("renamed/added holds %q", got)
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
