package vfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Entry is one name in a directory.
type Entry struct {
	Name string
	Kind Kind
	Ino  uint64

	info Info  // of the drive
	node *Node // or a node that is not (only) in the drive
}

// Lookup finds a child by name: fs.ErrNotExist. The node comes pinned, as from everything that returns one.
func (n *Node) Lookup(ctx context.Context, name string) (*Node, error) {
	if n.past != nil {
		return n.past.lookup(ctx, n, name)
	}
	if n.kind != Dir {
		return nil, ErrNotDir
	}
	if len(name) > MaxName {
		return nil, ErrNameLong
	}
	if n == n.fs.root && name == PastName {
		return n.fs.pastRoot(), nil
	}
	n.ns.RLock()
	defer n.ns.RUnlock()
	return n.lookup(name)
}

// patience is how often the drive is read again because something was recorded meanwhile, before others have to wait.
const patience = 8

// lookup is Lookup for holders of n.ns.
func (n *Node) lookup(name string) (*Node, error) {
	fs := n.fs
	for try := 0; ; try++ {
		fs.mu.Lock()
		if c, err := n.known(name); c != nil || err != nil {
			fs.mu.Unlock()
			return c, err
		}
		if c, ok := n.listed(name); ok {
			c.pins++
			fs.mu.Unlock()
			return c, nil
		}
		id, epoch, told := n.info.Node, fs.epoch.Load(), fs.told
		if try < patience {
			fs.mu.Unlock()
		}
		info, err := fs.drive.Lookup(id, name)
		if try < patience {
			fs.mu.Lock()
			if fs.epoch.Load() != epoch {
				fs.mu.Unlock()
				continue
			}
		}
		var c *Node
		read, limit := false, 0
		if errors.Is(err, errNotExist) && !fs.deaf {
			n.none = absent{name, told, epoch}
			read = n.miss()
		}
		if err == nil {
			c = fs.adopt(n, info)
			c.seen(told)
			c.pins++
			limit = n.asked()
		}
		fs.mu.Unlock()
		if read {
			n.readRoll()
		}
		if limit > 0 {
			n.readListing(limit)
		}
		return c, err
	}
}

// known answers a lookup from what is here and not in the drive. Both results nil: the drive knows. fs.mu is held.
func (n *Node) known(name string) (*Node, error) {
	if n.unlinked {
		return nil, errNotExist
	}
	if c := n.kids[name]; c != nil && c.stage != nil {
		c.pins++
		return c, nil
	}
	if n.linger[name] != nil || n.local() {
		return nil, errNotExist
	}
	if n.lacks(name) || n.none == (absent{name, n.fs.told, n.fs.epoch.Load()}) { // whoever makes a file has just asked for it
		return nil, errNotExist
	}
	if c := n.kids[name]; c != nil && c.inDrive && c.checked == n.fs.age {
		c.pins++
		return c, nil
	}
	return nil, nil
}

// adopt brings the table in line with what the drive displays, and returns the entry's node. fs.mu is held.
func (fs *FS) adopt(dir *Node, info Info) *Node {
	n := fs.byKey[info.ID]
	if n == nil {
		n = fs.driveNode(info)
		fs.replaceKid(dir, info.Name, n)
		n.joinDriveQuietly(info)
		n.rev = &rev{info: info}
		return n
	}
	if n == fs.root {
		return n
	}
	if n.dir != dir || n.name != info.Name {
		fs.replaceKid(dir, info.Name, n)
	}
	if n.stage != nil {
		return n // its own bytes are newer; committing them decides
	}
	moved := fs.timesKept && n.kind == File && !n.info.MTime.Equal(info.MTime)
	if moved && n.setting > 0 { // as this process is about to have it, most likely: what is set next must not go to a node that is replaced
		moved, n.crossed = false, true
	}
	if n.info.Bytes != info.Bytes || n.info.Target != info.Target || moved {
		return fs.supersede(n, info)
	}
	n.info = info
	if n.rev != nil && n.kind == File && n.rev.path == "" {
		n.rev.info = info
	}
	return n
}

func (n *Node) joinDriveQuietly(info Info) {
	n.key, n.info, n.inDrive = info.ID, info, true
	n.fs.byKey[n.key] = n
}

// replaceKid puts n at name in dir, where another node may be known that the drive no longer shows there.
func (fs *FS) replaceKid(dir *Node, name string, n *Node) {
	if old := dir.kids[name]; old != nil && old != n {
		if old.stage == nil {
			old.displace()
			old.leaveDrive()
		}
	}
	n.place(dir, name)
}

// supersede replaces a file whose bytes others changed by the node of the next generation. fs.mu is held.
func (fs *FS) supersede(n *Node, info Info) *Node {
	m := &Node{fs: fs, ino: n.ino, gen: fs.gens.Add(1), kind: n.kind, rev: &rev{info: info}, grew: n.grew}
	dir, name := n.dir, n.name
	n.leaveDrive()
	n.stale = true
	if dir != nil {
		m.place(dir, name)
	}
	n.dir = nil
	m.joinDriveQuietly(info)
	return m
}

// List lists the directory, sorted by name. It never waits for the network.
func (n *Node) List(ctx context.Context) ([]Entry, error) {
	d, err := n.OpenDir(ctx)
	if err != nil {
		return nil, err
	}
	return d.Entries, nil
}

// DirHandle is a listing of one moment, with what is needed to look its entries up cheaply.
type DirHandle struct {
	Entries []Entry

	dir   *Node
	epoch uint64
	told  uint64
}

// OpenDir lists the directory.
func (n *Node) OpenDir(ctx context.Context) (*DirHandle, error) {
	if n.past != nil {
		es, err := n.past.list(ctx, n)
		return &DirHandle{Entries: es, dir: n}, err
	}
	if n.kind != Dir {
		return nil, ErrNotDir
	}
	n.ns.RLock()
	defer n.ns.RUnlock()
	fs := n.fs
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d := &DirHandle{dir: n, epoch: fs.epoch.Load(), told: fs.told}
	if n.unlinked {
		return d, nil
	}
	var infos []Info
	for try := 0; !n.local(); try++ {
		id := n.info.Node
		// What is recorded while the drive is read would be missing: not in the drive yet, and staged no more. Under a flood of
		// such changes they have to wait for one listing.
		patient := try < patience
		if patient {
			fs.mu.Unlock()
		}
		var err error
		infos, err = fs.drive.List(id)
		if patient {
			fs.mu.Lock()
		}
		if err != nil && !errors.Is(err, errNotExist) {
			return nil, fmt.Errorf("listing a directory: %w", err)
		}
		if fs.epoch.Load() == d.epoch {
			break
		}
		d.epoch, d.told = fs.epoch.Load(), fs.told
	}
	d.Entries = make([]Entry, 0, len(infos)+8)
	own := false
	for name, c := range n.kids {
		if c.stage != nil {
			d.Entries = append(d.Entries, Entry{Name: name, Kind: c.kind, Ino: c.ino, node: c})
			own = true
		}
	}
	for _, i := range infos {
		c := n.kids[i.Name]
		if c != nil && c.stage != nil || n.linger[i.Name] != nil {
			continue
		}
		if k := fs.byKey[i.ID]; k != nil && k.stage != nil && k.dir == n {
			continue // being renamed by others while it is edited here
		}
		e := Entry{Name: i.Name, Kind: i.Kind, info: i, Ino: inoOf(i.ID)}
		if c != nil {
			e.Ino = c.ino
		}
		d.Entries = append(d.Entries, e)
	}
	if own {
		slices.SortFunc(d.Entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	}
	return d, nil
}

// Node finds the node of an entry of the listing as it is now.
func (d *DirHandle) Node(ctx context.Context, e Entry) (*Node, error) {
	if d.dir.past != nil || e.node != nil {
		return d.dir.Lookup(ctx, e.Name)
	}
	n, fs := d.dir, d.dir.fs
	n.ns.RLock()
	defer n.ns.RUnlock()
	fs.mu.Lock()
	known := fs.byKey[e.info.ID]
	old := fs.epoch.Load() != d.epoch || fs.told != d.told // changes of this process, and those of others
	if old || n.unlinked || n.linger[e.Name] != nil || known != nil && known.info.Bytes != e.info.Bytes {
		fs.mu.Unlock()
		return n.lookup(e.Name)
	}
	defer fs.mu.Unlock()
	if c := n.kids[e.Name]; c != nil && c.stage != nil {
		c.pins++
		return c, nil
	}
	c := fs.adopt(n, e.info)
	c.seen(d.told)
	c.pins++
	return c, nil
}

// home is how a record says that something is in n. fs.mu is held.
func (n *Node) home() (parent NodeID, under stageID) {
	if n.local() {
		return NodeID{}, n.stage.rec.ID
	}
	return n.info.Node, stageID{}
}

// changed follows a change of the names in n by this process. fs.mu is held.
func (n *Node) changed() {
	n.touched = time.Now()
	n.fs.epoch.Add(1)
}
