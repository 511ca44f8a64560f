package tree

import (
	"fmt"
	"slices"
	"testing"
)

// The commands of the plain model that are about attributes and symlinks.

// userX is the extended attribute that commands set.
const userX = "user.x"

// made are the attributes of what a command makes.
func (c command) made(mode uint32) attributes {
	if c.value == 0 {
		return attributes{mode: mode}
	}
	return attributes{mode: mode, mtime: 2000 + int64(c.value)}
}

// change is the model of a command that sets an attribute.
func (c command) change(a *attributes) {
	switch c.verb {
	case "chmod":
		a.mode = 0o600 + uint32(c.value)
	case "touch":
		a.mtime = 1000 + int64(c.value)
	case "set":
		a.user = fmt.Sprint(c.value)
	case "unset":
		a.user = ""
	}
}

// attrs are what a command sets.
func (c command) attrs() Attrs {
	a := c.made(0)
	c.change(&a)
	switch {
	case c.verb == "chmod":
		return Attrs{Mode: &a.mode}
	case c.verb == "set":
		return Attrs{Set: map[string][]byte{userX: []byte(a.user)}}
	case c.verb == "unset":
		return Attrs{Remove: []string{userX}}
	case c.value == 0:
		return Attrs{}
	}
	return Attrs{MTime: &a.mtime}
}

// loosen says that something is done to the attributes of the files behind an entry: conflict copies of them have them, too.
func (l listing) loosen(x item) {
	for p, y := range l {
		if y.kind != Dir && len(y.members) > 0 && slices.Contains(x.members, y.members[0]) {
			y.loose = true
			l[p] = y
		}
	}
}

// moreCommands are the commands with those that are about attributes, symlinks and the past, of which there are the restores. What is
// made has a time.
func (l listing) moreCommands(names []string, bytes string, value int, restores []command) []command {
	out := l.commands(names, bytes)
	for i := range out {
		c := &out[i]
		if c.verb == "create" || c.verb == "mkdir" || c.verb == "write" {
			c.value = value
		}
		c.more = l[c.from].kind == Symlink
		if c.verb == "create" {
			out = append(out, command{verb: "link", to: c.to, bytes: bytes, value: value, more: true})
		}
	}
	paths := l.paths()
	for _, p := range paths {
		for _, verb := range []string{"chmod", "touch", "set", "unset"} {
			if verb != "unset" || l[p].user != "" {
				out = append(out, command{verb: verb, from: p, value: value, more: true})
			}
		}
		for _, q := range paths {
			if x, y := l[p].kind, l[q].kind; x != y && x != Dir && y != Dir {
				out = append(out, command{verb: "mv", from: p, to: q, more: true})
			}
		}
	}
	for _, c := range restores {
		c.more = true
		out = append(out, c)
	}
	return out
}

// Of directories that are one, the attributes of one that is alive show: one that shows only for a child goes with the child, and
// then those of another would show.
func TestAttributesOfTheAliveDirectory(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	w.made.MTime = ptr(int64(1))
	a.run("mkdir d")
	w.share()
	w.made.MTime = ptr(int64(2))
	a.run("rm -r d", "mkdir d")
	b.run("create d/f 1")
	w.share()
	for _, c := range []command{{verb: "mv", from: "d/f", to: "g"}, {verb: "rm", from: "d/f"}} {
		a.ok(c.run(w.clone().reps[0]))
	}
}

// Attributes of an entry are set on all that is behind it: who moves the one of these that he knows takes them along, and what is left has them, too.
func TestAttributesOfAllBehind(t *testing.T) {
	for _, c := range []string{"mkdir d", "create d 1", "link d x"} {
		w := newWorld(t, 2)
		a, b := w.reps[0], w.reps[1]
		a.run(c)
		b.run(c)
		a.pull(b)
		a.ok(command{verb: "chmod", from: "d", value: 1}.run(a))
		b.run("mv d e")
		w.share()
		l, err := a.view().listing()
		a.ok(err)
		for _, path := range []string{"d", "e"} {
			if got := l[path]; got.mode != 0o601 {
				t.Errorf("%s, then chmod where both are known: %s is %s %o", c, path, got.kind, got.mode)
			}
		}
	}
}
