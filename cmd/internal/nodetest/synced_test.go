package nodetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLosesWhatIsNotSynced takes the power from a disk while nothing that is not synced is there, while all of it is, and while some is.
func TestLosesWhatIsNotSynced(t *testing.T) {
	old, now := strings.Repeat("o", 3*sector), strings.Repeat("n", 2*sector)+"tail"
	synced := map[string]string{"changed": old, "moved": "moved", "replaced": "one", "replaces": "two", "removed": "removed", "dir/new": "new"}
	changed := map[string]string{"changed": now, "there": "moved", "replaced": "two", "dir/new": "new", "other/lost": "lost", "lost": "lost"}
	for seed := range uint64(40) {
		keeps := []float64{0, 1, 0.5, 0.5}[seed%4]
		root := filepath.Join(t.TempDir(), "root")
		d := newDisk()
		d.simulate("disk", &trace{counts: map[string]int{}}, rand.New(rand.NewPCG(seed, 0)))
		do := func(errs ...error) {
			t.Helper()
			for _, err := range errs {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		at := func(name string) string { return filepath.Join(root, name) }
		write := func(name, text string, sync bool) {
			t.Helper()
			f, err := os.OpenFile(at(name), os.O_CREATE|os.O_WRONLY, 0o600)
			do(err)
			_, err = d.WriteAt(f, []byte(text), 0)
			do(err, f.Truncate(int64(len(text))))
			if sync {
				do(d.Sync(f))
			}
			do(f.Close())
		}
		do(os.MkdirAll(at("dir"), 0o700))
		for _, name := range slices.Sorted(maps.Keys(synced)) {
			write(name, synced[name], true)
		}
		do(d.SyncDir(root), d.SyncDir(at("dir")))
		write("changed", now, false)
		write("lost", "lost", false)
		do(d.Rename(at("moved"), at("there")), d.Rename(at("replaces"), at("replaced")), os.Remove(at("removed")))
		do(os.Mkdir(at("other"), 0o700))
		write("other/lost", "lost", false)
		do((&loss{synced: d.kept, rng: d.rng, keeps: keeps, root: root}).happen())
		is := map[string]string{}
		for _, pattern := range []string{"*", "*/*"} {
			names, err := filepath.Glob(at(pattern))
			do(err)
			for _, name := range names {
				if b, err := os.ReadFile(name); err == nil {
					is[strings.TrimPrefix(name, root+"/")] = string(b)
				}
			}
		}
		switch {
		case keeps == 0 && !maps.Equal(is, synced):
			t.Errorf("with nothing kept there is %q", is)
		case keeps == 1 && !maps.Equal(is, changed):
			t.Errorf("with all kept there is %q", is)
		}
		if is["dir/new"] != "new" || (is["moved"] == "moved") == (is["there"] == "moved") || is["replaced"] != "one" && is["replaced"] != "two" ||
			(is["replaced"] == "two") == (is["replaces"] == "two") {
			t.Errorf("seed %d: there is %q", seed, is)
		}
		for at, c := range is["changed"] {
			if c != 'o' && at < len(now) && c != rune(now[at]) && c != 0 {
				t.Errorf("seed %d: byte %d of what was changed is %q", seed, at, c)
			}
		}
	}
}

// TestInterruptedCommit: a database that was being written is as it was, as it was to be, or has pages beyond those that its heads refer to.
func TestInterruptedCommit(t *testing.T) {
	const heads = 8192
	was := slices.Concat([]byte(strings.Repeat("w", heads)), []byte(strings.Repeat("x", 4*sector)))
	is := slices.Concat([]byte(strings.Repeat("v", heads)), []byte(strings.Repeat("y", 6*sector)))
	seen := map[string]bool{}
	for seed := range uint64(200) {
		got := interrupted(rand.New(rand.NewPCG(seed, 0)), slices.Clone(was), slices.Clone(is))
		newHeads, newPages := strings.Contains(string(got[:heads]), "v"), strings.Contains(string(got[heads:]), "y")
		oldPages := strings.Trim(string(got[heads:]), "y") != ""
		if newHeads && oldPages {
			t.Fatalf("seed %d: heads are new before all pages are", seed)
		}
		seen[fmt.Sprint(newHeads, newPages, oldPages)] = true
	}
	if len(seen) < 4 {
		t.Errorf("only %v", seen)
	}
}
