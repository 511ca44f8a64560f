package vfs

import (
	"bytes"
	"errors"
	"maps"
	"time"
)

// A program that opened a file while somebody wrote to it reads the staging file by passthrough. It is to see what the next writer here
// makes of the file: so the stage goes on after the last writer has closed it and its bytes are part of the drive, until the program closes the
// file or others change it. Then the stage ends, so that it hides nothing, and the program keeps the bytes that it has.

// lent reports whether the stage goes on for such a program. fs.mu is held.
func (st *stage) lent() bool { return st.node.backs != nil && st.node.backs.follows }

// lookLater has the committer look again whether a stage of which the drive has everything may end. fs.mu is held.
func (st *stage) lookLater() {
	st.due, st.answered = time.Now().Add(min(max(time.Since(st.copied), mapQuiet), openQuiet)), st.asked
}

// lookNow has the committer look at a stage at once if it goes on for readers alone: the drive has told of a change of the file. fs.mu is held.
func (fs *FS) lookNow(st *stage) {
	if st == nil || st.writers > 0 || !st.lent() {
		return
	}
	if _, ok := fs.pending[st]; ok && !st.changed() {
		st.due = time.Now()
		fs.wakeFor(st)
	}
}

// overtaken reports whether the drive shows another file, or none, where it showed n as n.info says. fs.mu is held.
func (n *Node) overtaken() bool {
	parent, name, ok := n.at()
	if !ok {
		return false
	}
	i, err := n.fs.drive.Lookup(parent, name)
	if err != nil {
		return errors.Is(err, errNotExist)
	}
	return i.ID != n.key || i.Bytes != n.info.Bytes || i.Perm != n.info.Perm || !i.MTime.Equal(n.info.MTime) ||
		!maps.EqualFunc(i.Xattrs, n.info.Xattrs, bytes.Equal)
}
