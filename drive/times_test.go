package drive_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive"
)

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
