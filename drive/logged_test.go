package drive_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive"
)

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
