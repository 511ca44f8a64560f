package fuse

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/pearbox/pearbox/drive/vfs"
)

// Most who open a small file read all of it at once. So its bytes are put into the page cache before the open is answered, which spares the
// kernel asking for them: a switch of threads there and back.
//
// To put a page there the kernel locks it, and whoever asks this process for a page has it locked until the answer. The package comment tells
// what must never happen: that one waits for the other here. So bytes are given only while no program has the file open but the one that is
// opening it, and no other open is answered meanwhile: nobody can ask for a page then, nor write one. A program that truncates the file by
// its name is answered when no bytes from before are on their way: then the kernel cuts off what it has of them.

// given is what a kernel has of a file's bytes.
type given struct {
	mu    sync.Mutex // guards the rest; held while bytes are given
	opens int        // handles that the kernel has, or that it is about to be told of
	write int        // of them, those that write
	seen  uint64     // the state of the bytes that may be in the page cache; see vfs.Node.DataGen
	asks  bool       // most of them are not there
}

// givenSize is the size of the largest files whose bytes are given; larger ones are opened by passthrough where that is allowed.
const givenSize = 64 << 10

var givenPool = sync.Pool{New: func() any { return new([givenSize + 1]byte) }} // a byte more, to see that there is no more

// opened counts h, of which the kernel is told next, and returns how.
func (n *node) opened(h *vfs.Handle) (flags uint32) {
	g := &n.given
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(h, 1)
	gen := n.n.DataGen()
	keep := g.seen == gen
	g.seen = gen
	switch _, pass := h.PassthroughFd(); {
	case pass:
		g.asks = true // go-fuse has the kernel empty the cache
	case !keep:
		g.asks = false // what is there is dropped, and whoever opens it asks for what he wants
	case g.asks && g.opens == 1 && !h.Writes():
		n.give(h)
		g.asks = false
		keep = n.n.DataGen() == gen
	}
	if keep {
		flags = fuse.FOPEN_KEEP_CACHE
	}
	return flags
}

// created counts the handle that a new file is opened by.
func (n *node) created(h *vfs.Handle) {
	g := &n.given
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count(h, 1)
	g.seen = n.n.DataGen()
	_, g.asks = h.PassthroughFd() // else what is written stays in the cache
}

// give puts all bytes into the page cache, if they are few and here. Should the kernel not take them, it asks for them.
func (n *node) give(h *vfs.Handle) {
	buf := givenPool.Get().(*[givenSize + 1]byte)
	defer givenPool.Put(buf)
	if data, ok := h.Whole(buf[:]); ok && len(data) > 0 {
		n.WriteCache(0, data)
	}
}

// closed takes back opened.
func (n *node) closed(h *vfs.Handle) {
	n.given.mu.Lock()
	defer n.given.mu.Unlock()
	n.given.count(h, -1)
}

// count counts one handle more or less. mu is held.
func (g *given) count(h *vfs.Handle, by int) {
	g.opens += by
	if h.Writes() {
		g.write += by
	}
}

// writing reports whether a program has the file open, or mapped, to write.
func (n *node) writing() bool {
	n.given.mu.Lock()
	defer n.given.mu.Unlock()
	return n.given.write > 0
}

// changed says that the bytes were changed through this mount: what the kernel has cached is right, unless others
// have changed them, too. It is called before the kernel is told of a truncation.
func (n *node) changed() {
	g := &n.given
	g.mu.Lock()
	defer g.mu.Unlock()
	if gen := n.n.DataGen(); g.seen+1 == gen {
		g.seen = gen
	}
}
