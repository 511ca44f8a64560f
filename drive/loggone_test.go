package drive_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive"
)

// stir does something at random to names of a small tree, which may be refused.
func (b *box) stir(s *rand.Rand) {
	b.t.Helper()
	at := func() string {
		p := string(rune('a' + s.IntN(3)))
		for s.IntN(2) == 0 && len(p) < 5 {
			p += "/" + string(rune('a'+s.IntN(3)))
		}
		return p
	}
	p, q := at(), at()
	_, err := b.Write(b.t.Context(), func(w *drive.Batch) error {
		switch s.IntN(5) {
		case 0:
			return w.Mkdir(p, drive.Attrs{})
		case 1:
			return w.Put(p, drive.Staged{}, drive.Attrs{})
		case 2:
			return w.Move(p, q)
		case 3:
			perm := uint32(0o700 + s.IntN(64))
			return w.SetAttr(p, drive.Attrs{Perm: &perm})
		}
		return w.Remove(p)
	})
	var refused *fs.PathError
	if err != nil && !errors.As(err, &refused) {
		b.t.Fatal(err)
	}
}

func (b *box) log(o drive.LogOptions) (all []drive.Logged) {
	b.t.Helper()
	for l, err := range b.Log(b.t.Context(), o) {
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// What the log says of a path at which there is nothing now is what the whole log says that names it, or what was below it.
func TestLogOfWhatIsGone(t *testing.T) {
	looked := 0
	for seed := range uint64(8) {
		s := rand.New(rand.NewPCG(seed, 0))
		b := create(t)
		others := []*box{b, join(t, b)}
		for range 200 {
			others[s.IntN(2)].stir(s)
			if s.IntN(10) == 0 {
				meet(t, b, others[1])
			}
		}
		meet(t, b, others[1])
		if _, err := b.RemoveAll(t.Context(), "a"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		whole := b.log(drive.LogOptions{Edits: 1000})
		gone := map[string]bool{"nosuch": true, "nosuch/below": true}
		for _, l := range whole {
			for _, e := range l.Edits {
				for _, p := range []string{e.Path, e.From} {
					for ; p != "" && p != "."; p = path.Dir(p) {
						if _, err := b.Now().Stat(p); err != nil {
							gone[p] = true
						}
					}
				}
			}
		}
		looked += len(gone)
		for p := range gone {
			in := func(at string) bool { return at == p || strings.HasPrefix(at, p+"/") }
			var want []string
			for _, l := range whole {
				l.Edits = slices.DeleteFunc(slices.Clone(l.Edits), func(e drive.Edited) bool { return !in(e.Path) && !in(e.From) })
				if len(l.Edits) > 0 {
					want = append(want, fmt.Sprint(l.Version, l.Edits))
				}
			}
			var got []string
			for _, l := range b.log(drive.LogOptions{Path: p, Edits: 1000}) {
				got = append(got, fmt.Sprint(l.Version, l.Edits))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("seed %d, %s:\n%s\nwant\n%s", seed, p, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	if looked < 30 {
		t.Errorf("%d paths that are gone are too few", looked)
	}
}

// Of an entry that did much the log numbers what it does not name.
func TestLogNumbersTheRest(t *testing.T) {
	b := create(t)
	b.change(func(w *drive.Batch) error {
		return errors.Join(w.Mkdir("d", drive.Attrs{}), w.Mkdir("d/sub", drive.Attrs{}))
	})
	const files = 30
	each := func(fn func(w *drive.Batch, p string) error) {
		t.Helper()
		b.change(func(w *drive.Batch) error {
			for i := range files {
				if err := errors.Join(fn(w, fmt.Sprintf("d/%d", i)), fn(w, fmt.Sprintf("d/sub/%d", i))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	each(func(w *drive.Batch, p string) error { return w.Put(p, drive.Staged{}, drive.Attrs{}) })
	each(func(w *drive.Batch, p string) error { return w.Remove(p) })
	for _, c := range []struct {
		path string
		want map[string]int
	}{
		{"", map[string]int{"delete d": 26, "delete d/sub": 26, "create d": 26, "create d/sub": 26}},
		{"d", map[string]int{"delete d": 26, "delete d/sub": 26, "create d": 26, "create d/sub": 26}},
		{"d/sub", map[string]int{"delete d/sub": 22, "create d/sub": 22}},
	} {
		got := map[string]int{}
		for _, l := range b.log(drive.LogOptions{Path: c.path, Edits: 8}) {
			if n := len(l.Edits); n > 8 || n < 8 && len(l.Rest) > 0 {
				t.Errorf("%q: %d edits, and more", c.path, n)
			}
			for _, r := range l.Rest {
				got[r.What+" "+r.Dir] += r.Count
			}
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v, want %v", c.path, got, c.want)
		}
	}
}
