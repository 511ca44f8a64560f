package nodetest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/cmd/internal/nodetest"
)

// A hand does what a person does with a room: through the library, or through a mounted folder.
type hand interface {
	do(t *testing.T, command string, args []string)
	walk(t *testing.T, dir string) map[string]string // path below dir to content; directories end in a slash
}

// library is the hand of somebody who uses the library.
type library struct{ *nodetest.Peer }

func (l library) do(t *testing.T, command string, args []string) {
	t.Helper()
	switch command {
	case "write":
		l.Put(args[0], args[1])
	case "mkdir":
		l.Mkdir(args[0])
	case "mv":
		l.Mv(args[0], args[1])
	case "rm":
		l.Rm(args[0])
	case "rm-r":
		l.RmAll(args[0])
	default:
		t.Fatalf("command %q", command)
	}
}

func (l library) walk(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, line := range l.List() {
		rel, ok := strings.CutPrefix(strings.TrimSuffix(line, " !"), dir+"/")
		switch {
		case !ok || rel == "":
		case strings.HasSuffix(rel, "/"):
			out[rel] = ""
		default:
			rel = rel[:strings.LastIndexByte(rel, ' ')] // the size
			out[rel] = l.Cat(dir + "/" + rel)
		}
	}
	return out
}

// folder is the hand of somebody who uses a mount. Each command is part of the drive before the next.
type folder struct {
	*nodetest.Peer
	root string
}

func (f folder) do(t *testing.T, command string, args []string) {
	t.Helper()
	at := func(i int) string { return filepath.Join(f.root, args[i]) }
	var err error
	switch command {
	case "write":
		err = os.WriteFile(at(0), []byte(args[1]), 0o644)
	case "mkdir":
		err = os.MkdirAll(at(0), 0o755)
	case "mv":
		err = os.Rename(at(0), at(1))
	case "rm":
		err = os.Remove(at(0))
	case "rm-r":
		err = os.RemoveAll(at(0))
	default:
		t.Fatalf("command %q", command)
	}
	if err == nil {
		_, _, err = f.Handle().Sync(t.Context(), "", 0, false, nil)
	}
	if err != nil {
		t.Fatalf("%s %q: %v", command, args, err)
	}
}

func (f folder) walk(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	top := filepath.Join(f.root, dir)
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && p == top {
			return nil // it went while we walked
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, p)
		if d.IsDir() {
			out[rel+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var conflictName = regexp.MustCompile(` \(conflict [^)]*\)`)

// show writes a tree in one line: "d/ d/f=1 a={2,3}" when a has the contents 2 and 3, one as the file and one as a conflict copy
// (which of them is which follows from the devices' ids), and "a~=2" for a copy without a file.
func show(tree map[string]string) string {
	contents, held := make(map[string][]string), make(map[string]bool)
	for p, content := range tree {
		plain := conflictName.ReplaceAllString(p, "")
		contents[plain] = append(contents[plain], content)
		held[plain] = held[plain] || plain == p
	}
	var out []string
	for p, c := range contents {
		slices.Sort(c)
		switch {
		case strings.HasSuffix(p, "/"):
			out = append(out, p)
		case !held[p]:
			out = append(out, p+"~="+strings.Join(c, ","))
		case len(c) > 1:
			out = append(out, p+"={"+strings.Join(c, ",")+"}")
		default:
			out = append(out, p+"="+c[0])
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// copyOf finds what a script calls "a~", the one conflict copy of a.
func copyOf(t *testing.T, tree map[string]string, name string) string {
	t.Helper()
	var found []string
	for p := range tree {
		if p != name && conflictName.ReplaceAllString(p, "") == name {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has the copies %q, wants one", name, found)
	}
	return found[0]
}

// play runs a case in a directory of its own. The two are apart except where the script says "share". The world stays the whole test's: its
// nodes log there between the cases too.
func play(t *testing.T, w *nodetest.World, hands map[string]hand, dir string, c twoUsers) {
	meet := func() { w.Together(); w.Converge() }
	meet()
	hands["alice"].do(t, "mkdir", []string{dir})
	share := func() {
		meet()
		for who, h := range hands {
			want := show(library{w.As(who)}.walk(t, dir))
			w.Until(who+" sees "+want, func() bool { return show(h.walk(t, dir)) == want })
		}
	}
	share()
	w.Alone()
	for line := range strings.Lines(c.script) {
		line = strings.TrimSpace(line)
		if line == "share" {
			share()
			w.Alone()
			continue
		}
		who, commands, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		for command := range strings.SplitSeq(commands, "; ") {
			args := strings.Fields(command)
			for i, a := range args[1:] {
				if args[0] == "write" && i == 1 {
					continue // a content
				}
				if name, copied := strings.CutSuffix(a, "~"); copied {
					a = copyOf(t, hands[who].walk(t, dir), name)
				}
				args[i+1] = path.Join(dir, a)
			}
			hands[who].do(t, args[0], args[1:])
		}
	}
	share()
	for _, who := range []string{"alice", "bob"} {
		if got := show(hands[who].walk(t, dir)); got != c.tree {
			t.Errorf("%s shows %q, want %q", who, got, c.tree)
		}
		if got := versions(t, w.As(who), dir, c.history); got != c.history {
			t.Errorf("%s has the history %q, want %q", who, got, c.history)
		}
	}
}

// versions counts the versions of the paths that a history like "a:3 d/f:1 a~:2" names.
func versions(t *testing.T, p *nodetest.Peer, dir, history string) string {
	t.Helper()
	var out []string
	for part := range strings.FieldsSeq(history) {
		name, _, _ := strings.Cut(part, ":")
		real := name
		if plain, copied := strings.CutSuffix(name, "~"); copied {
			real = copyOf(t, library{p}.walk(t, dir), plain)
		}
		list, err := p.Handle().Drive().Revisions(dir + "/" + real)
		if err != nil {
			t.Errorf("history of %s: %v", name, err)
		}
		out = append(out, fmt.Sprintf("%s:%d", name, len(list)))
	}
	return strings.Join(out, " ")
}

// TestCases plays every case through the library.
func TestCases(t *testing.T) {
	w := nodetest.New(t, 30)
	w.Room("alice", "bob")
	hands := map[string]hand{"alice": library{w.As("alice")}, "bob": library{w.As("bob")}}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) { play(t, w, hands, fmt.Sprintf("case%02d", i), c) })
	}
}

// TestCasesMounted plays them through two mounts, with the same outcome: every tenth, or all with PEARBOX_TEST_CASES=all (make cases).
func TestCasesMounted(t *testing.T) {
	w := nodetest.New(t, 31)
	w.Room("alice", "bob")
	hands := make(map[string]hand)
	for _, who := range []string{"alice", "bob"} {
		hands[who] = folder{w.As(who), mount(t, w.As(who), false)}
	}
	for i, c := range cases {
		if i%10 != 0 && os.Getenv("PEARBOX_TEST_CASES") != "all" {
			continue
		}
		t.Run(c.name, func(t *testing.T) { play(t, w, hands, fmt.Sprintf("case%02d", i), c) })
	}
}
