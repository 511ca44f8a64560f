package vfs

import (
	"encoding/binary"
	"sync"
	"time"
)

// Node is a file, a directory or a symlink: what a kernel calls an inode. It keeps its number through renames and
// commits; when others give a file new bytes, a new Node with the next generation takes its place, and whoever has
// the old one open goes on reading the old bytes.
type Node struct {
	fs   *FS
	ino  uint64
	gen  uint64
	kind Kind
	past *past // part of .pear: read-only, never in the tables

	ns  sync.RWMutex // of a directory: the names in it. Changes hold it; lookups and listings share it
	wmu stageLock    // of a file: held while staging begins and while it is committed or dropped

	// All below is guarded by fs.mu.

	dir      *Node  // where it is; nil for the root and for what was removed
	name     string //
	key      NodeID // info.ID, while inDrive
	info     Info   // the drive's, while inDrive
	inDrive  bool
	stage    *stage // bytes or a whole node that the drive does not have
	rev      *rev   // of a file: what its bytes are now
	unlinked bool
	stale    bool // replaced by the next generation
	touched  time.Time
	setting  int    // changes of its attributes that are on their way into the drive
	crossed  bool   // the drive showed other times meanwhile
	checked  uint64 // fs.age: the drive shows this node, as info says, under its name

	kids   map[string]*Node  // of a directory: the children somebody knows
	none   absent            // the name that was last looked up in vain
	linger map[string]*stage // entries whose removal waits

	roll     *roll     // nil: the drive has to be asked for each name
	missed   int       // names that were asked for in vain since the roll was last called
	rollNext time.Time // not before then

	listing  *listing // what else the drive shows in it; nil: it has to be asked for each name
	looked   int      // names that the drive was asked for since
	listNext int      // not before so many

	data   uint64   // grows when bytes change
	opens  int      // handles
	cached int      // of them, through the page cache
	passes int      // of them, passthrough, and closed ones that the kernel may still know
	backs  *backing // what passthrough handles share
	pins   int      // front ends that remember the node

	grew time.Time // of the last close after which a file of more than passSize was longer than the drive had it
}

// absent is a name that was not there.
type absent struct {
	name        string
	told, epoch uint64 // of the file system then
}

// rev is one state of a file's bytes. A new one begins when the file is opened for writing; committing does not
// change it.
type rev struct {
	path  string // staging file, while there is one
	lower *lower // what lies under it; it never changes
	info  Info   // the drive's entry, without
}

// Attr is what stat tells.
type Attr struct {
	Ino, Gen uint64
	Kind     Kind
	Size     int64
	Blocks   int64 // of 512 bytes
	Perm     uint32
	MTime    time.Time
	Links    uint32
}

// newNode makes a node with a number of its own.
func (fs *FS) newNode(k Kind) *Node {
	return &Node{fs: fs, ino: fs.inos.Add(1) | 1<<62, gen: fs.gens.Add(1), kind: k}
}

// driveNode makes the node of an entry of the drive. Its number is the same in every process.
func (fs *FS) driveNode(info Info) *Node {
	return &Node{fs: fs, ino: inoOf(info.ID), gen: fs.gens.Add(1), kind: info.Kind}
}

func inoOf(id NodeID) uint64 {
	if id == (NodeID{}) {
		return 1
	}
	return binary.LittleEndian.Uint64(id[:])>>2 | 2
}

// Ino is the node's number: never 0, 1 only for the root, the same while the node is known.
func (n *Node) Ino() uint64 { return n.ino }

// Gen grows when the node is replaced by another one with its number.
func (n *Node) Gen() uint64 { return n.gen }

// Kind is what the node is.
func (n *Node) Kind() Kind { return n.kind }

// Attr returns the node's attributes, without the network.
func (n *Node) Attr() (Attr, error) {
	if n.past != nil {
		return n.past.attr(n), nil
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.attr()
}

// attr is Attr for holders of fs.mu.
func (n *Node) attr() (Attr, error) {
	a := Attr{Ino: n.ino, Gen: n.gen, Kind: n.kind, Links: 1}
	if n.unlinked {
		a.Links = 0
	}
	switch {
	case n.stage != nil && n.kind == File:
		st, err := n.stageStat()
		if err != nil {
			return a, err
		}
		a.Size, a.MTime, a.Perm = st.size, st.mtime, n.perm()
		a.Blocks = st.blocks
		if n.stage.lower.lies() {
			a.Blocks = (a.Size + 511) / 512
		}
		return a, nil
	case n.stage != nil:
		r := &n.stage.rec
		a.Size, a.MTime, a.Perm = int64(len(r.Target)), time.Unix(0, r.MTime), r.Perm
	default:
		a.Size, a.MTime, a.Perm = n.info.Bytes.Size, n.info.MTime, n.info.Perm
		if n.kind == Symlink {
			a.Size = int64(len(n.info.Target))
		}
	}
	a.Blocks = (a.Size + 511) / 512
	switch n.kind {
	case Symlink:
		a.Perm = 0o777
	case Dir:
		a.Links = 2
		if n.unlinked {
			a.Links = 0
		}
		a.Size, a.Blocks = 4096, 8
		if n.touched.After(a.MTime) {
			a.MTime = n.touched
		}
	}
	return a, nil
}

// perm is the permission bits of a file that has a stage or not. fs.mu is held.
func (n *Node) perm() uint32 {
	if n.stage != nil && (!n.inDrive || n.stage.rec.SetPerm) {
		return n.stage.rec.Perm
	}
	return n.info.Perm
}

// Readlink returns a symlink's target.
func (n *Node) Readlink() (string, error) {
	if n.kind != Symlink {
		return "", ErrName
	}
	if n.past != nil {
		return n.past.info.Target, nil
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if n.stage != nil {
		return n.stage.rec.Target, nil
	}
	return n.info.Target, nil
}

// Path is where the node is, from the root, without a leading slash; ok is false for one that was removed.
func (n *Node) Path() (path string, ok bool) {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.path()
}

func (n *Node) path() (string, bool) {
	if n == n.fs.root {
		return "", true
	}
	var p string
	for m := n; m != n.fs.root; m = m.dir {
		if m.dir == nil || m.unlinked {
			return p, false
		}
		if p == "" {
			p = m.name
		} else {
			p = m.name + "/" + p
		}
	}
	return p, true
}

// Unlinked reports whether the node was removed: it will never be looked up again.
func (n *Node) Unlinked() bool {
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.unlinked
}

// Pin keeps the node known while a front end remembers it; Unpin lets it go.
func (n *Node) Pin() {
	n.fs.mu.Lock()
	n.pins++
	n.fs.mu.Unlock()
}

// Unpin takes back one Pin.
func (n *Node) Unpin() {
	n.fs.mu.Lock()
	n.pins--
	n.release()
	n.fs.mu.Unlock()
}

// release forgets the node if nobody needs it. fs.mu is held.
func (n *Node) release() {
	if st := n.stage; n.unlinked && n.kind == File && st != nil && st.dead && n.pins+n.opens+n.passes == 0 {
		st.lower.close(errNothingBelow)
		n.fs.removeGone(st)
		n.stage, n.rev = nil, &rev{info: n.info}
	}
	for n != nil && n != n.fs.root && n.pins == 0 && n.opens == 0 && n.passes == 0 &&
		(n.stage == nil || n.stage.dead && n.unlinked && n.kind != File) && len(n.kids) == 0 && len(n.linger) == 0 && n.past == nil {
		dir := n.dir
		if dir != nil && dir.kids[n.name] == n {
			delete(dir.kids, n.name)
		}
		if n.inDrive && n.fs.byKey[n.key] == n {
			delete(n.fs.byKey, n.key)
		}
		n.dir = nil
		n.dropListing(n.listing)
		n = dir
	}
}

// place puts n at name in dir. fs.mu is held.
func (n *Node) place(dir *Node, name string) {
	if n.dir != nil && n.dir.kids[n.name] == n {
		delete(n.dir.kids, n.name)
	}
	if dir.kids == nil {
		dir.kids = map[string]*Node{}
	}
	n.dir, n.name, n.unlinked = dir, name, false
	dir.kids[name] = n
}

// displace takes n from where it is. fs.mu is held.
func (n *Node) displace() {
	if n.dir != nil && n.dir.kids[n.name] == n {
		delete(n.dir.kids, n.name)
	}
	n.unlinked = true
}

// leaveDrive forgets which entry of the drive n was. A staged file keeps the attributes that it had there. fs.mu is held.
func (n *Node) leaveDrive() {
	if st := n.stage; n.inDrive && n.kind == File && st != nil && !st.rec.SetPerm {
		st.rec.Perm, st.rec.Xattrs = n.info.Perm, n.info.Xattrs
	}
	if n.inDrive && n.fs.byKey[n.key] == n {
		delete(n.fs.byKey, n.key)
	}
	n.inDrive = false
}

// joinDrive makes n the node of the drive's entry. fs.mu is held.
func (n *Node) joinDrive(info Info) {
	if n.inDrive && n.fs.byKey[n.key] == n {
		delete(n.fs.byKey, n.key)
	}
	n.key, n.info, n.inDrive = info.ID, info, true
	n.fs.byKey[n.key] = n
	n.fs.epoch.Add(1)
}

// local reports whether everything in the directory stays on this machine. fs.mu is held.
func (n *Node) local() bool { return n.kind == Dir && n.stage != nil }

// at returns where in the drive n is, for a batch. ok is false when it is not there. fs.mu is held.
func (n *Node) at() (parent NodeID, name string, ok bool) {
	if !n.inDrive || n.dir == nil || n.unlinked || !n.dir.inDrive {
		return NodeID{}, "", false
	}
	return n.dir.info.Node, n.name, true
}
