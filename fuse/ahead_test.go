package fuse

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// namespace is what there is, by path: what ls -l would tell.
type namespace map[string]string

func (b *bench) namespace() (namespace, error) {
	all := namespace{}
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == b.dir {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		line := i.Mode().String()
		if i.Mode()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line = "-> " + to
		}
		all[strings.TrimPrefix(path, b.dir+"/")] = line
		return nil
	})
	return all, err
}

func (n namespace) String() string {
	var out strings.Builder
	for _, p := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&out, "%s %s\n", n[p], p)
	}
	return out.String()
}

// under is everything at or below a path.
func (n namespace) under(path string) (all []string) {
	for p := range n {
		if p == path || strings.HasPrefix(p, path+"/") {
			all = append(all, p)
		}
	}
	return all
}

// step does one thing in the mount and returns what there is then.
func (n namespace) step(b *bench, r *rand.Rand, i int) (after namespace, what string, err error) {
	after = maps.Clone(n)
	paths := slices.Sorted(maps.Keys(n))
	pick := func(ok func(string) bool) string {
		var fit []string
		for _, p := range paths {
			if ok(p) {
				fit = append(fit, p)
			}
		}
		if len(fit) == 0 {
			return ""
		}
		return fit[r.IntN(len(fit))]
	}
	isDir := func(p string) bool { return strings.HasPrefix(n[p], "d") }
	in := func(dir string) string { return filepath.Join(dir, fmt.Sprint("n", i)) }
	dir := pick(isDir)
	if r.IntN(4) == 0 || strings.Count(dir, "/") > 3 {
		dir = ""
	}
	switch r.IntN(8) {
	case 0, 1:
		what, after[in(dir)] = "mkdir "+in(dir), "drwxr-xr-x"
		return after, what, os.Mkdir(b.path(in(dir)), 0o755)
	case 2:
		what, after[in(dir)] = "symlink "+in(dir), "-> nowhere"
		return after, what, os.Symlink("nowhere", b.path(in(dir)))
	case 3:
		what, after[in(dir)] = "create "+in(dir), "-rw-r--r--"
		return after, what, os.WriteFile(b.path(in(dir)), []byte(in(dir)), 0o644)
	case 4:
		if p := pick(func(p string) bool { return len(n.under(p)) == 1 }); p != "" {
			delete(after, p)
			return after, "remove " + p, os.Remove(b.path(p))
		}
	case 5, 6:
		p := pick(func(string) bool { return true })
		if p == "" || dir == p || strings.HasPrefix(dir, p+"/") {
			break
		}
		for _, q := range n.under(p) {
			delete(after, q)
			after[in(dir)+strings.TrimPrefix(q, p)] = n[q]
		}
		return after, "rename " + p + " " + in(dir), os.Rename(b.path(p), b.path(in(dir)))
	case 7:
		if p := pick(isDir); p != "" {
			after[p] = "drwx------"
			return after, "chmod " + p, os.Chmod(b.path(p), 0o700)
		}
	}
	return after, "nothing", nil
}

// TestCrashOfNames kills the process that serves the mount while a program makes, renames and removes things one after the
// other. Whatever was acknowledged is there afterwards, and nothing of what came later but the step under way.
func TestCrashOfNames(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", s)
	b := startWith(t, childOptions{Mode: "passthrough", Quick: true})
	r := rand.New(rand.NewPCG(s, 3))
	have := namespace{}
	i := 0
	for round := range *rounds {
		var next namespace
		var log []string
		dead := make(chan struct{})
		go func() {
			defer close(dead)
			time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
			b.cmd.Process.Kill()
		}()
		for own := rand.New(rand.NewPCG(s, uint64(round))); ; i++ {
			after, what, err := have.step(b, own, i)
			log = append(log, what)
			if err != nil {
				next = after
				break
			}
			have = after
		}
		<-dead
		b.kill()
		b.run()
		for _, when := range []string{"after the crash", "when all is committed"} {
			got, err := b.namespace()
			switch {
			case err != nil:
				t.Fatal(err)
			case maps.Equal(got, next):
				have = next
			case !maps.Equal(got, have):
				t.Fatalf("round %d, %s there is\n%snot\n%safter %d steps, the last of them\n%s", round, when, got, have, i,
					strings.Join(log[max(0, len(log)-15):], "\n"))
			}
			next = have
			if round%2 == 0 {
				break
			}
			b.sync()
		}
	}
	b.sync()
	if inDrive := strings.Fields(b.inDrive()); len(inDrive) != len(have) {
		t.Errorf("the drive has %d entries, the mount shows %d", len(inDrive), len(have))
	}
	t.Logf("%d steps", i)
}
