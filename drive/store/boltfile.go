package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
)

// boltFile reads a bbolt file without trusting it. bbolt itself panics, or
// follows a wrong page, when a page is damaged; a wrong free list even makes it
// overwrite live pages. So the file is looked at here before bbolt opens it.
//
// The format (version 2, native byte order):
//
//	page    id[8] flags[2] count[2] overflow[4], then elements; 1+overflow pages long
//	leaf    flags[4] pos[4] ksize[4] vsize[4]; the key starts pos bytes behind the element, the value behind the key
//	branch  pos[4] ksize[4] page[8]
//	meta    magic[4] version[4] pagesize[4] flags[4] root[8] sequence[8] freelist[8] pages[8] txid[8] fnv64a[8]
//	bucket  the value of a leaf with flag 1: root[8] sequence[8], and a page inline when root is 0
//	free    page ids; when count is 0xffff the first number is the count
type boltFile struct {
	r        io.ReaderAt
	size     int64
	pageSize int64
	meta     boltMeta // zero when both are damaged
	seen     map[uint64]bool
	faults   int
	bad      []error         // the first of them
	broken   map[string]bool // buckets that could not be walked in full
}

type boltMeta struct {
	pageSize             uint32
	root, freelist, high uint64
	txid                 uint64
}

const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	pageHeader   = 16
	elementSize  = 16
	flagBranch   = 1
	flagLeaf     = 2
	flagFreelist = 16
	flagBucket   = 1
	noFreelist   = ^uint64(0)
	maxPage      = 64 << 20 // bytes of one page with its overflow
	maxDepth     = 64
)

var native = binary.NativeEndian

// openBoltFile looks at the meta pages. It fails only when the file cannot be
// read.
func openBoltFile(f *os.File) (*boltFile, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := &boltFile{r: f, size: fi.Size(), pageSize: int64(os.Getpagesize()), seen: map[uint64]bool{}, broken: map[string]bool{}}
	first, ok := b.readMeta(0)
	if ok {
		b.meta, b.pageSize = first, int64(first.pageSize)
	} else {
		b.fault("the first meta page is damaged")
	}
	if second, ok2 := b.readMeta(b.pageSize); !ok2 {
		b.fault("the second meta page is damaged")
	} else if !ok || second.txid > first.txid {
		b.meta = second
	}
	return b, nil
}

func (b *boltFile) fault(format string, args ...any) {
	b.faults++
	if len(b.bad) < 100 {
		b.bad = append(b.bad, fmt.Errorf(format, args...))
	}
}

func (b *boltFile) readMeta(at int64) (m boltMeta, ok bool) {
	p := make([]byte, pageHeader+64)
	if _, err := b.r.ReadAt(p, at); err != nil {
		return m, false
	}
	p = p[pageHeader:]
	h := fnv.New64a()
	h.Write(p[:56])
	if native.Uint32(p) != boltMagic || native.Uint32(p[4:]) != boltVersion || native.Uint64(p[56:]) != h.Sum64() {
		return m, false
	}
	m = boltMeta{pageSize: native.Uint32(p[8:]), root: native.Uint64(p[16:]), freelist: native.Uint64(p[32:]), high: native.Uint64(p[40:]), txid: native.Uint64(p[48:])}
	return m, m.pageSize >= 1024 && m.pageSize <= 1<<24
}

// page reads a page with its overflow.
func (b *boltFile) page(id uint64) ([]byte, error) {
	at := int64(id) * b.pageSize
	if id > uint64(b.size/b.pageSize) || at+b.pageSize > b.size {
		return nil, fmt.Errorf("page %d is behind the end of the file", id)
	}
	p := make([]byte, b.pageSize)
	if _, err := b.r.ReadAt(p, at); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if got := native.Uint64(p); got != id {
		return nil, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	more := int64(native.Uint32(p[12:])) * b.pageSize
	if more == 0 {
		return p, nil
	}
	if more > maxPage || at+b.pageSize+more > b.size {
		return nil, fmt.Errorf("page %d is too long", id)
	}
	p = append(p, make([]byte, more)...)
	if _, err := b.r.ReadAt(p[b.pageSize:], at+b.pageSize); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return p, nil
}

// element is one of a leaf or branch page.
type element struct {
	key, value []byte
	child      uint64
	bucket     bool
}

// elements parses a page; err tells where it stops making sense, what comes
// before is returned.
func elements(p []byte) (els []element, leaf bool, err error) {
	flags, n := native.Uint16(p[8:]), int(native.Uint16(p[10:]))
	leaf = flags == flagLeaf
	if !leaf && flags != flagBranch {
		return nil, false, fmt.Errorf("page %d has the type %#x", native.Uint64(p), flags)
	}
	if !leaf && n == 0 {
		return nil, false, fmt.Errorf("page %d is an empty branch", native.Uint64(p))
	}
	for i := range n {
		at := pageHeader + i*elementSize
		if at+elementSize > len(p) {
			return els, leaf, fmt.Errorf("page %d has too many elements", native.Uint64(p))
		}
		h := p[at:]
		var e element
		pos, ksize, vsize := uint64(native.Uint32(h)), uint64(native.Uint32(h[4:])), uint64(0)
		if leaf {
			e.bucket = native.Uint32(h) == flagBucket
			pos, ksize, vsize = uint64(native.Uint32(h[4:])), uint64(native.Uint32(h[8:])), uint64(native.Uint32(h[12:]))
		} else {
			e.child = native.Uint64(h[8:])
		}
		start := uint64(at) + pos
		if start+ksize+vsize > uint64(len(p)) || pos < elementSize && ksize+vsize > 0 {
			return els, leaf, fmt.Errorf("element %d of page %d is out of bounds", i, native.Uint64(p))
		}
		e.key = p[start : start+ksize : start+ksize]
		e.value = p[start+ksize : start+ksize+vsize : start+ksize+vsize]
		if i > 0 && bytes.Compare(els[i-1].key, e.key) >= 0 {
			return els, leaf, fmt.Errorf("the keys of page %d are out of order", native.Uint64(p))
		}
		els = append(els, e)
	}
	return els, leaf, nil
}

// walk calls fn for each key of each top-level bucket that can be reached.
// What cannot is noted as a fault.
func (b *boltFile) walk(fn func(bucket string, k, v []byte)) {
	if b.meta.high == 0 {
		return
	}
	if int64(b.meta.high)*b.pageSize > b.size {
		b.fault("the file ends before its last page")
	}
	b.tree(b.meta.root, nil, 0, func(e element) {
		if !e.bucket || len(e.value) < 16 {
			b.fault("the root holds something that is no bucket")
			return
		}
		name, before := string(e.key), b.faults
		defer func() { b.broken[name] = b.faults > before }()
		leaf := func(e element) {
			if e.bucket {
				b.fault("bucket %s holds a bucket", name)
				return
			}
			fn(name, e.key, e.value)
		}
		if root := native.Uint64(e.value); root != 0 {
			b.tree(root, nil, 0, leaf)
			return
		}
		if len(e.value) < 16+pageHeader {
			b.fault("bucket %s is cut off", name)
			return
		}
		els, isLeaf, err := elements(slices.Clone(e.value[16:])) // aligned
		if err != nil || !isLeaf {
			b.fault("bucket %s: %v", name, err)
		}
		for _, e := range els {
			leaf(e)
		}
	})
}

// tree visits the leaves below a page, in order.
func (b *boltFile) tree(id uint64, low []byte, depth int, fn func(element)) {
	if b.seen[id] || depth > maxDepth || id < 2 || id >= b.meta.high {
		b.fault("page %d is referred to twice or cannot exist", id)
		return
	}
	p, err := b.page(id)
	if err != nil {
		b.fault("%w", err)
		return
	}
	els, leaf, err := elements(p)
	if err != nil {
		b.fault("%w", err)
	}
	if len(els) > 0 && bytes.Compare(els[0].key, low) < 0 {
		b.fault("page %d holds keys of another place", id)
	}
	for i := range int64(len(p)) / b.pageSize {
		b.seen[id+uint64(i)] = true
	}
	for _, e := range els {
		if leaf {
			fn(e)
		} else {
			b.tree(e.child, e.key, depth+1, fn)
		}
	}
}

// checkFreelist compares the list of free pages with what walk has reached.
func (b *boltFile) checkFreelist() {
	if b.meta.high == 0 || b.meta.freelist == noFreelist {
		return
	}
	ids, err := b.freelist()
	if err != nil {
		b.fault("the list of free pages: %w", err)
		return
	}
	free := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		if id < 2 || id >= b.meta.high || b.seen[id] || free[id] || id == b.meta.freelist {
			b.fault("page %d is listed as free and is not", id)
		}
		free[id] = true
	}
}

func (b *boltFile) freelist() ([]uint64, error) {
	p, err := b.page(b.meta.freelist)
	if err != nil {
		return nil, err
	}
	if native.Uint16(p[8:]) != flagFreelist {
		return nil, errors.New("the page is of another type")
	}
	n, at := uint64(native.Uint16(p[10:])), pageHeader
	if n == 0xffff {
		n, at = native.Uint64(p[at:]), at+8
	}
	if n > uint64(len(p)-at)/8 {
		return nil, errors.New("it is longer than its page")
	}
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = native.Uint64(p[at+8*i:])
	}
	return ids, nil
}

// orphans calls fn for the elements of every leaf page that walk has not
// reached: parts of a tree whose branches are damaged, and older versions of
// pages.
func (b *boltFile) orphans(fn func(k, v []byte)) {
	for id := uint64(2); int64(id+1)*b.pageSize <= b.size; id++ {
		if b.seen[id] {
			continue
		}
		p, err := b.page(id)
		if err != nil || native.Uint16(p[8:]) != flagLeaf {
			continue
		}
		els, _, _ := elements(p) // as far as they make sense
		for _, e := range els {
			if !e.bucket {
				fn(e.key, e.value)
			}
		}
	}
}
