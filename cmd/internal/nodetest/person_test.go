package nodetest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// absent is what a file that is not there is taken to hold.
const absent = "\x00absent"

// person works in a directory, in steps that he has acknowledged as durable, and knows what must be there after the power fails.
type person struct {
	t       *testing.T
	rnd     *rand.Rand
	dir     string
	failing *atomic.Bool // the power is being taken away: errors are expected, and success means nothing

	n     int                 // step
	may   map[string][]string // what each file may hold: one thing, or two while a step is under way
	torn  string              // a file that is being written for the first time, which may hold a part of what it shall
	home  int                 // the name of the directory that moves
	moves bool                // it is about to
	did   []string            // the last steps
}

func newPerson(t *testing.T, dir string, rnd *rand.Rand, failing *atomic.Bool) *person {
	return &person{t: t, rnd: rnd, dir: dir, failing: failing, may: map[string][]string{}}
}

// errCut is the end of a step that came to its end when the power was being taken away. The kernel may have called durable by then what it has thrown
// away: a sync that waits for a transaction of the disk's journal while the file system is shut down finds it gone, and takes it
// for written (jbd2_complete_transaction; about one shutdown in forty of a disk that six programs write to and sync). No machine without power says so.
var errCut = errors.New("the power is gone")

// sure is what a sync said, if that can be trusted.
func (p *person) sure(err error) error {
	if err == nil && p.failing.Load() {
		return errCut
	}
	return err
}

// work goes on until a step fails.
func (p *person) work() {
	for {
		if err := p.step(); err != nil {
			if !p.failing.Load() {
				p.t.Errorf("%s, step %d: %v", filepath.Base(p.dir), p.n, err)
			}
			return
		}
	}
}

func (p *person) step() error {
	if p.n++; p.n == 1 {
		if err := os.MkdirAll(filepath.Join(p.dir, "home 0"), 0o755); err != nil {
			return err
		}
		return p.sure(syncFile(p.dir))
	}
	name := fmt.Sprint("file ", p.rnd.IntN(6))
	content := strings.Repeat(fmt.Sprintf("%s in step %d\n", name, p.n), 1+p.rnd.IntN(2000))
	switch p.rnd.IntN(8) {
	case 0:
		p.does("removes %s", name)
		return p.remove(name)
	case 1:
		p.does("moves home %d", p.home)
		return p.move()
	case 2, 3:
		name = fmt.Sprint("new ", p.n)
		p.does("creates %s", name)
		return p.create(name, content)
	default:
		p.does("saves %s (%d bytes)", name, len(content))
		return p.save(name, content)
	}
}

// does remembers what is about to be done, for whoever reads of a failure.
func (p *person) does(format string, args ...any) {
	p.did = append(p.did[max(0, len(p.did)-30):], fmt.Sprintf("%d "+format, append([]any{p.n}, args...)...))
}

// save replaces a file in the way editors do.
func (p *person) save(name, content string) error {
	next := filepath.Join(p.dir, "."+name+".next")
	if err := writeSynced(next, content); err != nil {
		return err
	}
	p.may[name] = append(p.holds(name), content)
	if err := os.Rename(next, filepath.Join(p.dir, name)); err != nil {
		return err
	}
	if err := p.sure(syncFile(p.dir)); err != nil {
		return err
	}
	p.may[name] = []string{content}
	return nil
}

func (p *person) create(name, content string) error {
	p.torn, p.may[name] = name, []string{absent, content}
	if err := p.sure(writeSynced(filepath.Join(p.dir, name), content)); err != nil {
		return err
	}
	p.torn, p.may[name] = "", []string{content}
	return nil
}

func (p *person) remove(name string) error {
	before := p.holds(name)
	p.may[name] = append(before, absent)
	err := os.Remove(filepath.Join(p.dir, name))
	if errors.Is(err, fs.ErrNotExist) && before[0] == absent {
		return nil
	}
	if err != nil {
		return err
	}
	if err := p.sure(syncFile(p.dir)); err != nil {
		return err
	}
	p.may[name] = []string{absent}
	return nil
}

// move renames a directory.
func (p *person) move() error {
	p.moves = true
	if err := os.Rename(p.homeAt(p.home), p.homeAt(p.home+1)); err != nil {
		return err
	}
	if err := p.sure(syncFile(p.dir)); err != nil {
		return err
	}
	p.home, p.moves = p.home+1, false
	return nil
}

func (p *person) homeAt(i int) string { return filepath.Join(p.dir, fmt.Sprint("home ", i)) }

// holds is what a file holds for certain.
func (p *person) holds(name string) []string {
	if len(p.may[name]) == 0 {
		return []string{absent}
	}
	return p.may[name][:1:1]
}

// check compares the directory with what may be there, and goes on from what is.
func (p *person) check(round int) {
	p.t.Helper()
	for name, may := range p.may {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		got := string(b)
		if errors.Is(err, fs.ErrNotExist) {
			got = absent
		} else if err != nil {
			p.t.Errorf("round %d: %v", round, err)
			continue
		}
		torn := name == p.torn && strings.HasPrefix(may[1], got)
		if !slices.Contains(may, got) && !torn {
			p.t.Errorf("round %d: %s/%s holds %s; it may hold %s; before: %q", round, filepath.Base(p.dir), name, brief(got), brief(may...), p.did)
		}
		p.may[name] = []string{got}
	}
	p.torn = ""
	p.checkHome(round)
}

func (p *person) checkHome(round int) {
	p.t.Helper()
	if p.n < 2 {
		p.n = 0 // the first step is taken again
		return
	}
	there := func(i int) bool { fi, err := os.Stat(p.homeAt(i)); return err == nil && fi.IsDir() }
	here, next := there(p.home), there(p.home+1)
	if here == next || next && !p.moves {
		found, err := filepath.Glob(filepath.Join(p.dir, "home *"))
		p.t.Errorf("round %d: %s: home %d is to be there, or the next: %v; there are %q, %v; before: %q", round, filepath.Base(p.dir), p.home, p.moves, found, err, p.did)
	}
	if next {
		p.home++
	}
	p.moves = false
}

func brief(contents ...string) string {
	var b strings.Builder
	for _, c := range contents {
		first, _, _ := strings.Cut(c, "\n")
		fmt.Fprintf(&b, "%q (%d bytes) ", first, len(c))
	}
	return b.String()
}

// writeSynced writes a file and returns when that is durable.
func writeSynced(path, content string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// syncFile makes a file or a directory durable.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
