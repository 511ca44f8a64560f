package fuse

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/pearbox/pearbox/drive/vfs"
)

// planned is what is to be done about one change, or about the two that a rename makes.
type planned struct {
	changes []*change
	echoes  []*echo
}

// plan compares what the kernel knew with what is there now. The nodes in it are pinned until release.
func (e *echoes) plan(changes []*change) (out []planned, release func()) {
	after := make(map[*change]*vfs.Node, len(changes))
	came := map[*vfs.Node]*change{}
	settled := map[*change]bool{}
	for _, c := range changes {
		if c.name == "" {
			continue
		}
		n, err := c.dir.n.Lookup(context.Background(), c.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			// It may be there: it is not called deleted, only its directory changed.
			e.m.log.Debug("a change of others cannot be looked at", "name", c.name, "err", err)
			settled[c] = true
			out = append(out, planned{[]*change{c}, []*echo{{op: echoAttrib, at: echoKey{c.dir, ""}}}})
		}
		if err != nil {
			continue
		}
		after[c] = n
		if c.before == nil {
			came[n] = c
		}
	}
	release = func() {
		for _, n := range after {
			n.Unpin()
		}
	}
	for _, c := range changes {
		if settled[c] {
			continue
		}
		if to := c.movedTo(after, came); to != nil {
			settled[c], settled[to] = true, true
			x := &echo{op: echoRename, at: c.echoKey, to: to.echoKey, node: after[to], before: c.before}
			out = append(out, planned{[]*change{c, to}, []*echo{x}})
		}
	}
	for _, c := range changes {
		if settled[c] {
			continue
		}
		if x := c.compare(after[c]); len(x) > 0 {
			out = append(out, planned{[]*change{c}, x})
		} else {
			e.drop(c)
		}
	}
	return out, release
}

// movedTo finds the change that c is the other half of, if the kernel can be told of it as a rename: it knows the node
// where it was, and nothing where it is.
func (c *change) movedTo(after map[*change]*vfs.Node, came map[*vfs.Node]*change) *change {
	if c.before == nil || after[c] != nil || c.tries > 0 || c.dir.child(c.name) != c.before {
		return nil
	}
	to := came[c.before.n]
	if to == nil || to.tries > 0 || to.dir.child(to.name) != nil {
		return nil
	}
	return to
}

// compare says what is to be repeated, given what is there now.
func (c *change) compare(after *vfs.Node) []*echo {
	touched := []*echo{{op: echoAttrib, at: c.echoKey}}
	switch {
	case c.name == "":
		return touched
	case after == nil && c.before == nil:
		return nil
	case c.tries == echoTries-1 && after == nil:
		return []*echo{{op: echoAttrib, at: echoKey{c.dir, ""}}}
	case c.tries == echoTries-1:
		return touched
	case c.before == nil && after.Kind() == vfs.Dir && c.dir.child(c.name) != nil:
		return touched // others have seen it already, and may be in it
	case c.before == nil:
		return []*echo{c.make(after)}
	case after == nil:
		return []*echo{c.remove()}
	case after == c.before.n:
		if now, err := after.Attr(); err == nil && sameAttr(now, c.was) {
			return nil
		}
		return touched
	case after.Kind() != c.before.n.Kind():
		return []*echo{c.remove(), c.make(after)}
	case after.Kind() == vfs.File:
		return []*echo{{op: echoModify, at: c.echoKey, node: after, before: c.before}}
	}
	return touched
}

func sameAttr(a, b vfs.Attr) bool {
	return a.Perm == b.Perm && (a.Kind == vfs.Dir || a.Size == b.Size && a.MTime.Equal(b.MTime))
}

func (c *change) make(n *vfs.Node) *echo {
	op := echoMknod
	switch n.Kind() {
	case vfs.Dir:
		op = echoMkdir
	case vfs.Symlink:
		op = echoSymlink
	}
	return &echo{op: op, at: c.echoKey, node: n}
}

func (c *change) remove() *echo {
	op := echoUnlink
	if c.before.n.Kind() == vfs.Dir {
		op = echoRmdir
	}
	return &echo{op: op, at: c.echoKey, before: c.before}
}

// perform repeats one change. What fails is tried again when the kernel asks anew.
func (e *echoes) perform(p planned) {
	var err error
	for _, x := range p.echoes {
		if err = e.do(x); err != nil {
			e.m.log.Debug("a change of others was not repeated", "name", x.at.name, "op", x.op, "err", err)
			break
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range p.changes {
		if c.tries++; err == nil || c.tries == echoTries || hopeless(err) || e.waiting[c.echoKey] != nil {
			e.drop(c)
			continue
		}
		c.due = time.Now().Add(echoAgain)
		e.waiting[c.echoKey] = c
		e.order = append(e.order, c)
	}
}
