package vfs

import (
	"hash/maphash"
	"strings"
	"time"
)

// Whoever copies a tree asks of each name whether it is there before he makes it. So the names in a directory are called: of what is not
// on the roll the drive need not be asked. That of a directory just made is empty; others are read when many names were asked for in vain.
//
// A directory that others have made, too, is shown as one with theirs, and what comes into theirs is told of as being there. So the roll of
// one of which that is not known holds no longer than a kernel remembers that a name is not there, and every other just as long as copying
// takes mostly.

const (
	rollFor   = time.Second
	soleFor   = time.Minute // of a directory that was made here, and of the root
	maxRoll   = 1 << 14     // names; a directory of more has no roll
	rollAfter = 16          // names that were asked for in vain
	rollShare = 20          // the part of the time that reading rolls may take

	conflictMark  = " (conflict " // in the names of conflict copies, see drive/tree
	recoveredMark = "recovered-"  // before those of what has no place
)

var rollSeed = maphash.MakeSeed()

// roll has the hashes of all names that a directory may show, and of some that it does not. Conflict copies and what has no place are told
// of as their directory: such names are not called.
type roll struct {
	age   uint64 // of the file system
	until time.Time
	names map[uint64]struct{}
}

// callRoll notes that the drive shows infos in n and nothing else, if no change was told of since told was read. sole says that n is
// not shown as one with another directory. fs.mu is held.
func (n *Node) callRoll(infos []Info, told uint64, sole bool) {
	fs := n.fs
	if fs.deaf || fs.told != told || len(infos) > maxRoll {
		return
	}
	holds := fs.rollFor
	if sole {
		holds = max(holds, soleFor)
	}
	n.roll, n.missed = &roll{fs.age, time.Now().Add(holds), make(map[uint64]struct{}, len(infos))}, 0
	for _, i := range infos {
		n.hear(i.Name)
	}
}

// hear notes that name may be in n from now on. fs.mu is held.
func (n *Node) hear(name string) {
	switch {
	case n.roll == nil:
	case len(n.roll.names) >= maxRoll:
		n.roll = nil
	default:
		n.roll.names[maphash.String(rollSeed, name)] = struct{}{}
	}
}

// lacks reports whether the drive surely shows no such name in n. fs.mu is held.
func (n *Node) lacks(name string) bool {
	r := n.roll
	if r == nil || strings.Contains(name, conflictMark) || strings.HasPrefix(name, recoveredMark) {
		return false
	}
	if r.age != n.fs.age || time.Now().After(r.until) {
		n.roll = nil
		return false
	}
	_, may := r.names[maphash.String(rollSeed, name)]
	return !may
}

// miss follows a lookup in vain, and reports whether to read the roll. fs.mu is held.
func (n *Node) miss() bool {
	n.missed++
	return n.roll == nil && n.missed >= rollAfter && time.Now().After(n.rollNext)
}

// readRoll calls the names that the drive has. n.ns is held.
func (n *Node) readRoll() {
	fs, start := n.fs, time.Now()
	fs.mu.Lock()
	id, told := n.info.Node, fs.told
	fs.mu.Unlock()
	infos, err := fs.drive.List(id)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n.missed, n.rollNext = 0, start.Add(rollShare*time.Since(start))
	if err == nil && n.info.Node == id {
		n.callRoll(infos, told, n == fs.root)
	}
}
