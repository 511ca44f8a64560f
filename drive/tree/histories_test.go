package tree

import (
	"strings"
	"testing"
)

// script runs a history: each line is a replica (A, B, …) and a command, or "share". Contents are
// numbers. Then everybody knows everything and shows want.
func script(t *testing.T, history, want string) *world {
	t.Helper()
	n := 2
	if strings.Contains(history, "C:") {
		n = 3
	}
	w := newWorld(t, n)
	for line := range strings.Lines(history) {
		line = strings.TrimSpace(line)
		who, command, ok := strings.Cut(line, ": ")
		switch {
		case line == "":
		case line == "share":
			w.share()
		case ok && len(who) == 1:
			for c := range strings.SplitSeq(command, "; ") {
				r := w.reps[who[0]-'A']
				if from, ok := strings.CutPrefix(c, "pull "); ok {
					r.pull(w.reps[from[0]-'A'])
				} else {
					r.run(c)
				}
			}
		default:
			t.Fatalf("line %q", line)
		}
		for _, r := range w.reps {
			if err := r.check(); err != nil {
				t.Fatalf("after %q: %v\n%s", line, err, w.history())
			}
		}
	}
	w.share()
	for _, r := range w.reps {
		if err := r.check(); err != nil {
			t.Fatalf("at the end: %v\n%s", err, w.history())
		}
		if got := r.show(); got != want {
			t.Errorf("%c shows %q, want %q\n%s", 'A'+r.num, got, want, w.history())
		}
	}
	return w
}

// The twelve counterexamples that the rules of the package come from. Each showed something wrong under an earlier rule.
func TestHistories(t *testing.T) {
	for _, c := range []struct{ name, history, want string }{
		{"D1 a directory made while another of its name was renamed keeps its name", `
			A: mkdir d; mv d e
			B: mkdir d; create d/f 1`, "d/ d/f=1 e/"},
		{"D1 the same with files", `
			A: create a 1; mv a b
			B: create a 2`, "a=2 b=1"},
		{"D2 old bytes do not come back when a name is used again", `
			A: create a 1; rm a; create a 2`, "a=2"},
		{"D3 a new file does not join a node that shows only as a conflict entry", `
			A: create a 1
			B: create a 2
			share
			A: rm a; create a 3`, "a=3 a~=2"},
		{"D4 removing a file leaves its conflict copy", `
			A: create a 1
			share
			A: write a 2
			B: write a 3
			share
			A: rm a`, "a~=2"},
		{"D4 and removing the copy leaves the file", `
			A: create a 1
			share
			A: write a 2
			B: write a 3
			share
			A: rm a~`, "a=3"},
		{"D5 editing a conflict copy does not swap the names", `
			A: create a 1
			share
			A: write a 2
			B: write a 3
			share
			A: write a~ 4; write a~ 5`, "a=3 a~=5"},
		{"D5 renaming a conflict copy over the file solves the conflict", `
			A: create a 1
			share
			A: write a 2
			B: write a 3
			share
			A: mv a~ a`, "a=2"},
		{"D5 renaming the file over its conflict copy", `
			A: create a 1
			share
			A: write a 2
			B: write a 3
			share
			A: mv a a~`, "a~=3"},
		{"D6 a removed write does not return with a concurrent one", `
			A: create a 1
			share
			A: write a 2; rm a
			B: write a 3`, "a=3"},
		{"D7 a removed file's name is not taken by its rival", `
			A: create a 1
			B: create a 2
			share
			A: rm a`, "a~=2"},
		{"D7 a save by unlink and create does not replace the rival", `
			A: create a 1
			B: create a 2
			share
			A: rm a; create a 3; write a 4`, "a=4 a~=2"},
		{"D8 directories of one name are one, and are renamed as one", `
			A: mkdir d; create d/f 1
			B: mkdir d; create d/g 2
			share
			A: mv d e`, "e/ e/f=1 e/g=2"},
		{"D9 a directory renamed while it is removed keeps what is in it", `
			A: mkdir d; create d/f 1; mkdir d/s; create d/s/g 2
			share
			A: rm -r d
			B: mv d e`, "e/ e/f=1 e/s/ e/s/g=2"},
		{"D10 a directory that shows only for a child stays when the child goes", `
			A: mkdir d; create d/f 1
			share
			B: rm -r d
			A: write d/f 2
			share
			A: rm d/f`, "d/"},
		{"D11 equal bytes show once, and writing one does not bring the other back", `
			A: create a 1
			B: create a 1
			share
			B: write a 2`, "a=2"},
		{"D11 nor does removing one", `
			A: create a 1
			B: create a 1
			share
			A: rm a`, ""},
	} {
		t.Run(c.name, func(t *testing.T) { script(t, c.history, c.want) })
	}
}
