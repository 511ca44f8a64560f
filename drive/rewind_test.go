package drive_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive"
)

// TestRewind: whatever was done since, a directory becomes what it was, and what came since is in the trash.
func TestRewind(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 2))
			a := create(t)
			b := join(t, a)
			paths := []string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "b/x"}
			act := func(p *box) {
				at, to := paths[rnd.IntN(len(paths))], paths[rnd.IntN(len(paths))]
				text := strings.Repeat("x", rnd.IntN(20))
				s, err := p.StageBytes(t.Context(), []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				what := rnd.IntN(5)
				_, err = p.Write(t.Context(), func(b *drive.Batch) error {
					switch what {
					case 0:
						return b.Mkdir(at, drive.Attrs{})
					case 1:
						return b.Move(at, to)
					case 2:
						return b.Remove(at)
					}
					return b.Put(at, s, drive.Attrs{})
				})
				_ = err // many cannot be done where things stand, which is as good
			}
			for range 25 {
				act(a)
			}
			then, err := a.Latest()
			if err != nil {
				t.Fatal(err)
			}
			s, err := a.At(then)
			if err != nil {
				t.Fatal(err)
			}
			meet(t, a, b)
			for range 12 { // apart, so that there are conflicts
				act(a)
				act(b)
			}
			meet(t, a, b)
			now := a.listing(a.Now())
			_, removed, err := a.Rewind(t.Context(), "", s)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := a.listing(a.Now()), a.listing(s); got != want {
				t.Fatalf("it was\n%s\nand then\n%s\nand is\n%s", want, now, got)
			}
			for i, err := range s.Walk("") {
				if err == nil && i.Kind == drive.KindFile && a.read(s, i.Path) != a.read(a.Now(), i.Path) {
					t.Errorf("%s has other bytes", i.Path)
				}
			}
			for _, p := range removed {
				if !strings.Contains(now, " "+p+" ") {
					t.Errorf("%q was removed and was not there", p)
				}
			}
			meet(t, a, b)
			if got, want := b.listing(b.Now()), a.listing(s); got != want {
				t.Errorf("another device shows\n%s", got)
			}
		})
	}
}

// TestRewindMuch: what is too much for one entry goes in several, and only what is below the path.
func TestRewindMuch(t *testing.T) {
	a := create(t)
	a.write(func(b *drive.Batch) error { return b.Mkdir("dir", drive.Attrs{}) })
	a.put("dir/old", "old")
	s := a.at(a.put("beside", "beside").String())
	a.put("beside", "changed")
	for d := range 3 {
		a.write(func(b *drive.Batch) error {
			dir := fmt.Sprintf("dir/new%d", d)
			if err := b.Mkdir(dir, drive.Attrs{}); err != nil {
				return err
			}
			for f := range 2000 {
				if err := b.Put(fmt.Sprintf("%s/%d", dir, f), drive.Staged{}, drive.Attrs{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	_, removed, err := a.Rewind(t.Context(), "dir", s)
	if want := []string{"dir/new0", "dir/new1", "dir/new2"}; err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %q, %v", removed, err)
	}
	if got := a.listing(a.Now()); strings.Count(got, "\n") != 3 || a.read(a.Now(), "beside") != "changed" {
		t.Errorf("left is %.500s", got)
	}
}
