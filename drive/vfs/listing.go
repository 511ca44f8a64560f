package vfs

import (
	"math"
	"slices"
	"time"
)

// Looking a name up in the drive takes some ten reads of its tables; listing a directory takes about one for each entry. So after some names
// of one directory were looked up in the drive, the whole of it is listed, and those who look up others find them in memory. The drive tells of
// each change (see listen), and what it tells of is struck from the listing: an entry in it is as good as a node that was checked.

const (
	listAfter = 8                // names of a directory that were looked up in the drive
	listShare = 256              // entries are listed for each: a directory that has more is not listed yet
	listAgain = 4                // of so many entries one was looked up in the drive before a directory is listed once more
	maxListed = 1 << 14          // entries of all listings together; the oldest go first
	listFor   = 30 * time.Second // a listing is kept
)

// Lister is a [Drive] that lists a directory if it is small enough.
type Lister interface {
	// Each calls fn, which keeps what it is given, for each entry of a directory in no particular order. Of a directory of more than about limit
	// entries it reads no more than that, and whole is false.
	Each(dir NodeID, limit int, fn func(*Info)) (whole bool, err error)
}

// listing is what the drive shows in a directory and nobody has looked up yet. Whoever is handed an entry has its node, which is remembered
// in other ways; conflict copies are not in it, since their names change with others'.
type listing struct {
	dir  *Node
	age  uint64 // of the file system
	at   map[string]*Info
	read int         // for how many entries it counts
	end  *time.Timer // forgets it
}

// listings are those of all directories, the oldest first.
type listings struct {
	lister  Lister // nil: there are none
	all     []*listing
	entries int // that they count for
	most    int // of them: maxListed
}

// asked follows a lookup that the drive has answered, and reports for how many entries a listing of n would pay; 0: not now. fs.mu is held.
func (n *Node) asked() (limit int) {
	n.looked++
	if n.fs.listings.lister == nil || n.listing != nil || n.looked < max(n.listNext, listAfter) {
		return 0
	}
	n.listNext = 2 * n.looked // should it have more
	return min(listShare*n.looked, n.fs.listings.most)
}

// readListing lists n. n.ns is held.
func (n *Node) readListing(limit int) {
	fs := n.fs
	fs.mu.Lock()
	id, told, age := n.info.Node, fs.told, fs.age
	fs.mu.Unlock()
	var infos []*Info
	whole, err := fs.listings.lister.Each(id, limit, func(i *Info) { infos = append(infos, i) })
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err == nil && !whole && limit >= fs.listings.most {
		n.listNext = math.MaxInt // it is too large
	}
	if err != nil || !whole || n.listing != nil || n.unlinked || n.info.Node != id || fs.told != told || fs.age != age || fs.closed {
		return
	}
	l := &listing{dir: n, age: age, at: make(map[string]*Info, len(infos))}
	for _, i := range infos {
		if !i.Conflict && n.kids[i.Name] == nil {
			l.at[i.Name] = i
		}
	}
	n.looked, n.listNext = 0, len(infos)/listAgain
	if len(l.at) == 0 {
		return
	}
	l.read = len(infos) + listAfter // what a listing takes by itself
	l.end = time.AfterFunc(listFor, func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		n.dropListing(l)
	})
	fs.listings.keep(l)
}

// keep makes l the listing of its directory. fs.mu is held.
func (ls *listings) keep(l *listing) {
	l.dir.listing = l
	ls.all = append(ls.all, l)
	for ls.entries += l.read; ls.entries > ls.most && len(ls.all) > 1; {
		ls.all[0].dir.dropListing(ls.all[0])
	}
}

// listed hands out the entry of a name, if the listing has it. fs.mu is held.
func (n *Node) listed(name string) (*Node, bool) {
	l := n.listing
	if l == nil {
		return nil, false
	}
	if l.age != n.fs.age {
		n.dropListing(l)
		return nil, false
	}
	info := l.at[name]
	if info == nil {
		return nil, false
	}
	n.strike(name)
	c := n.fs.adopt(n, *info)
	c.seen(n.fs.told)
	return c, true
}

// strike takes a name that something was told of from the listing. fs.mu is held.
func (n *Node) strike(name string) {
	l := n.listing
	if l == nil {
		return
	}
	if delete(l.at, name); len(l.at) == 0 {
		n.dropListing(l)
	}
}

// dropListing forgets l, if it is still n's. fs.mu is held.
func (n *Node) dropListing(l *listing) {
	if l == nil || n.listing != l {
		return
	}
	n.listing = nil
	l.end.Stop()
	ls := &n.fs.listings
	ls.entries -= l.read
	ls.all = slices.DeleteFunc(ls.all, func(o *listing) bool { return o == l })
}

// drop forgets all listings. fs.mu is held.
func (ls *listings) drop() {
	for len(ls.all) > 0 {
		ls.all[0].dir.dropListing(ls.all[0])
	}
}
