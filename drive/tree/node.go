package tree

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// node is what the operations on a node come to: the summary that its row
// keeps, so that neither reading it nor an operation that arrives in order
// has to look at its history.
type node struct {
	num uint32
	id  NodeID

	count   uint32 // operations on it
	places  uint32 // creates and moves among them
	last    at     // the newest of them
	created stamp
	touched []touch // the last operation of every core
	logged  bool    // directory: its create stands in the placement log
	sweeps  bool    // directory: some delete of it has a sweep
	died    stamp   // the newest delete

	place placement
	alive bool
	heads []head // displayed, oldest first
	attrs register

	home    home
	trashed uint64 // lamport under which it stands in the trash; 0: it does not

	// While changes are made.
	refold, dirty, changed, isNew, marked, drafted bool
	before                                         home   // of what an Edit has changed: where the row is that it began with
	newest                                         uint64 // last.lamport as the row has it
}

// home is where a node's row is.
type home struct {
	row  byte // rowVisible, rowHidden or 0: it has none
	dir  uint32
	name string
}

type stamp struct {
	at    at
	entry key.Hash
	wall  int64
}

type touch struct {
	core uint32
	last Spot
}

// placement is a node's place. Without one (ok false) a visible node is shown in the root.
type placement struct {
	ok    bool
	dir   uint32
	name  string
	stamp stamp
	aside bool // file: others of its name come first
}

// head is a displayed write or create.
type head struct {
	at      at
	entry   key.Hash
	wall    int64
	content *blob.Content
	target  string
	from    *payloadAt
	mtime   *int64
	line    NodeID
	origin  origin // of a conflict copy: what its name tells
	beside  bool
	asserts []at // operations that keep it displayed, oldest first
}

func (h *head) id() OpID { return OpID{h.entry, h.at.index} }

// origin is the write that a conflict copy began with: the one that its line names, if there is one
// among the older operations on the node, or else the head itself.
type origin struct {
	tag  NodeID // zero: the head's own
	core uint32
	wall int64
}

// register is the attributes of a node, each with the operation that set it.
type register struct {
	mode   *uint32
	modeAt at
	mtime  *int64 // set other than by a write
	timeAt at
	xattrs []xattr // by name
}

type xattr struct {
	name  string
	value []byte
}

func (n *node) kind() Kind    { return n.id.Kind() }
func (n *node) visible() bool { return n.home.row == rowVisible || n.num == 0 }

// main is the index of the head that is the file itself, or -1.
func (n *node) main() int {
	for i := len(n.heads) - 1; i >= 0; i-- {
		if n.heads[i].line.IsZero() && !n.heads[i].beside {
			return i
		}
	}
	return -1
}

// plain reports whether the node cannot be the reason of a conflict entry by itself.
func (n *node) plain() bool {
	return n.kind() == Dir || len(n.heads) == 1 && n.main() == 0 && !n.place.aside
}

// knowsAll reports whether the set names every operation on the node so far.
func (n *node) knowsAll(s set) bool {
	for _, t := range n.touched {
		if !slices.ContainsFunc(s, func(r ranged) bool {
			return r.core == t.core && r.lo == Spot{} && t.last.compare(r.hi) <= 0
		}) {
			return false
		}
	}
	return true
}

func (n *node) touch(a at) {
	for i := range n.touched {
		if t := &n.touched[i]; t.core == a.core {
			if t.last.compare(a.spot()) < 0 {
				t.last = a.spot()
			}
			return
		}
	}
	n.touched = append(n.touched, touch{a.core, a.spot()})
}

func (e *enc) stamp(s stamp) {
	e.at(s.at)
	e.entry(s.entry)
	e.int(s.wall)
}

func (d *dec) stamp() stamp { return stamp{d.at(), d.entry(), d.int()} }

func (n *node) encode() []byte {
	e := enc{b: make([]byte, 0, 256)}
	n.appendTo(&e)
	return e.b
}

func (n *node) appendTo(e *enc) {
	r := &n.attrs
	e.raw(n.id[:])
	e.flags(n.logged, n.sweeps, n.alive, n.place.ok, n.place.aside, !n.died.at.isZero(), r.mode != nil, r.mtime != nil, len(r.xattrs) > 0, n.trashed > 0)
	e.uint(uint64(n.count))
	e.uint(uint64(n.places))
	e.at(n.last)
	e.stamp(n.created)
	e.uint(uint64(len(n.touched)))
	for _, t := range n.touched {
		e.uint(uint64(t.core))
		e.spot(t.last)
	}
	if n.place.ok {
		e.stamp(n.place.stamp)
	}
	if !n.died.at.isZero() {
		e.stamp(n.died)
	}
	if n.trashed > 0 {
		e.uint(n.trashed)
	}
	if r.mode != nil {
		e.uint(uint64(*r.mode))
		e.at(r.modeAt)
	}
	if r.mtime != nil {
		e.int(*r.mtime)
		e.at(r.timeAt)
	}
	if len(r.xattrs) > 0 {
		e.uint(uint64(len(r.xattrs)))
		for _, x := range r.xattrs {
			e.string(x.name)
			e.bytes(x.value)
		}
	}
	e.uint(uint64(len(n.heads)))
	for i := range n.heads {
		e.head(&n.heads[i])
	}
}

func (e *enc) head(h *head) {
	e.at(h.at)
	e.entry(h.entry)
	e.int(h.wall)
	e.flags(h.content != nil, h.target != "", h.from != nil, h.mtime != nil, !h.line.IsZero(), h.beside)
	if h.content != nil {
		e.content(h.content)
	}
	if h.target != "" {
		e.string(h.target)
	}
	if h.from != nil {
		e.uint(uint64(h.from.core))
		e.uint(h.from.seq)
	}
	if h.mtime != nil {
		e.int(*h.mtime)
	}
	if !h.line.IsZero() {
		e.raw(h.line[:])
		e.flags(!h.origin.tag.IsZero())
		e.uint(uint64(h.origin.core))
		e.int(h.origin.wall)
	}
	e.uint(uint64(len(h.asserts)))
	for _, a := range h.asserts {
		e.at(a)
	}
}

func (d *dec) head() head {
	h := head{at: d.at(), entry: d.entry(), wall: d.int()}
	var content, target, from, mtime, line bool
	d.flags(&content, &target, &from, &mtime, &line, &h.beside)
	if content {
		h.content = d.content()
	}
	if target {
		h.target = d.string()
	}
	if from {
		h.from = &payloadAt{uint32(d.uint()), d.uint()}
	}
	if mtime {
		v := d.int()
		h.mtime = &v
	}
	h.origin = origin{core: h.at.core, wall: h.wall}
	if line {
		var found bool
		copy(h.line[:], d.raw(16))
		if d.flags(&found); found {
			h.origin.tag = h.line
		}
		h.origin.core, h.origin.wall = uint32(d.uint()), d.int()
	}
	if n := d.length(1); n > 0 {
		h.asserts = make([]at, n)
		for i := range h.asserts {
			h.asserts[i] = d.at()
		}
	}
	return h
}

// decodeNode reads the row of a node; where the row stood says where the node is.
func decodeNode(k, v []byte) (*node, error) {
	n := new(node)
	return n, n.read(&dec{}, k, v)
}

// read is decodeNode into a node that nobody has any more, by a decoder that is not in use: their memory is used again.
func (n *node) read(d *dec, k, v []byte) error {
	dir, name, num, ok := splitChild(k)
	if !ok {
		return errCorrupt
	}
	*n = node{num: num, home: home{k[0], dir, name}, touched: n.touched[:0], heads: n.heads[:0]}
	*d = dec{b: v, ats: d.ats[:0], entries: d.entries[:0]}
	copy(n.id[:], d.raw(16))
	r := &n.attrs
	var died, mode, mtime, xattrs, trashed bool
	d.flags(&n.logged, &n.sweeps, &n.alive, &n.place.ok, &n.place.aside, &died, &mode, &mtime, &xattrs, &trashed)
	n.count, n.places, n.last, n.created = uint32(d.uint()), uint32(d.uint()), d.at(), d.stamp()
	if c := d.length(3); c > 0 {
		n.touched = slices.Grow(n.touched, c)[:c]
		for i := range n.touched {
			n.touched[i] = touch{uint32(d.uint()), d.spot()}
		}
	}
	if n.place.ok {
		n.place.dir, n.place.name, n.place.stamp = dir, name, d.stamp()
	}
	if died {
		n.died = d.stamp()
	}
	if trashed {
		n.trashed = d.uint()
	}
	if mode {
		v := uint32(d.uint())
		r.mode, r.modeAt = &v, d.at()
	}
	if mtime {
		v := d.int()
		r.mtime, r.timeAt = &v, d.at()
	}
	if xattrs {
		r.xattrs = make([]xattr, d.length(2))
		for i := range r.xattrs {
			r.xattrs[i] = xattr{d.string(), bytes.Clone(d.bytes())}
		}
	}
	if c := d.length(5); c > 0 {
		n.heads = slices.Grow(n.heads, c)[:c]
		for i := range n.heads {
			n.heads[i] = d.head()
		}
	}
	n.newest = n.last.lamport
	return d.err
}

// key is the key of the row.
func (h home) key(num uint32) []byte { return childKey(h.row, h.dir, h.name, num) }

func (h home) appendKey(b []byte, num uint32) []byte {
	return appendChild(b, h.row, h.dir, h.name, num)
}

// appendHome appends the row that finds a node by its number.
func (n *node) appendHome(b []byte) []byte {
	b = append(append(b, n.home.row), n.id[:]...)
	b = binary.BigEndian.AppendUint32(b, n.home.dir)
	return append(b, n.home.name...)
}

// nodeNum finds the number of a node; ok is false when nothing has spoken of it.
func nodeNum(rows Rows, id NodeID) (num uint32, ok bool, err error) {
	if id == Root {
		return 0, true, nil
	}
	b, err := rows.Get(nodeKey(id))
	if err != nil || b == nil {
		return 0, false, err
	}
	if len(b) != 4 {
		return 0, false, errCorrupt
	}
	return binary.BigEndian.Uint32(b), true, nil
}

// readNode reads a node by its number.
func readNode(rows Rows, num uint32) (*node, error) {
	b, err := rows.Get(numKey(rowHome, num))
	if err != nil {
		return nil, err
	}
	if b == nil && num == 0 {
		return &node{alive: true}, nil
	}
	if len(b) < 21 {
		return nil, errCorrupt
	}
	dir, name := binary.BigEndian.Uint32(b[17:]), string(b[21:])
	if b[0] == 0 {
		return &node{num: num, id: NodeID(b[1:17])}, nil
	}
	k := home{b[0], dir, name}.key(num)
	v, err := rows.Get(k)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, errCorrupt
	}
	n, err := decodeNode(k, v)
	if num == 0 && n != nil {
		n.alive = true
	}
	return n, err
}
