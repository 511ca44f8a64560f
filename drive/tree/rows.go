package tree

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// The first byte of every key. The package comment has the table.
const (
	rowMeta     = 'm'
	rowCore     = 'C'
	rowCoreID   = 'c'
	rowNode     = 'n'
	rowHome     = 'p'
	rowVisible  = 'v'
	rowHidden   = 'h'
	rowEver     = 'e'
	rowOp       = 'o'
	rowDirs     = 'd'
	rowDelete   = 'x'
	rowSweep    = 'w'
	rowCrossed  = 'y'
	rowConflict = 'k'
	rowTrash    = 'z'
	rowMark     = 'M'
	rowOrphan   = 'f'
	rowLast     = 'l'
)

// schema is the version of the rows. Other versions are refused: rows are derived and made again.
const schema = 1

// nowhere is the parent of nodes without a placement.
const nowhere = ^uint32(0)

var present = []byte{1}

// Keys are made anew, or appended to what a caller uses again and again.

func numKey(row byte, n uint32) []byte { return appendNum(make([]byte, 0, 1+4), row, n) }

func appendNum(b []byte, row byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, row), n)
}

// numKeyFor is numKey with room for more behind it.
func numKeyFor(row byte, n uint32, more int) []byte {
	return appendNum(make([]byte, 0, 1+4+more), row, n)
}

func nodeKey(id NodeID) []byte { return append([]byte{rowNode}, id[:]...) }

// namePrefix begins the keys of the nodes that are called name in a directory.
func namePrefix(row byte, parent uint32, name string) []byte {
	return appendName(make([]byte, 0, 1+4+len(name)+1+4), row, parent, name)
}

func appendName(b []byte, row byte, parent uint32, name string) []byte {
	return append(append(appendNum(b, row, parent), name...), 0)
}

func childKey(row byte, parent uint32, name string, num uint32) []byte {
	return binary.BigEndian.AppendUint32(namePrefix(row, parent, name), num)
}

func appendChild(b []byte, row byte, parent uint32, name string, num uint32) []byte {
	return binary.BigEndian.AppendUint32(appendName(b, row, parent, name), num)
}

// splitChild takes the key of a child apart.
func splitChild(k []byte) (parent uint32, name string, num uint32, ok bool) {
	if len(k) < 10 || k[len(k)-5] != 0 {
		return 0, "", 0, false
	}
	return binary.BigEndian.Uint32(k[1:]), string(k[5 : len(k)-5]), binary.BigEndian.Uint32(k[len(k)-4:]), true
}

// lastKey is the row of the node that was the last to leave a name. It is a hint for create.prev: what it says may
// depend on the order of arrival.
func appendLast(b []byte, dir uint32, name string) []byte {
	return append(appendNum(b, rowLast, dir), name...)
}

func opKey(num uint32, a at) []byte { return appendOp(make([]byte, 0, 1+4+atSize), num, a) }

func appendOp(b []byte, num uint32, a at) []byte { return appendAt(appendNum(b, rowOp, num), a, true) }

// seatSize is what the keys of seatKey have behind the core.
const seatSize = 8 + 2 + 8 + 8

// seatKey orders operations by core; for deletes, sweeps and crossed moves.
func seatKey(row byte, a at) []byte {
	b := numKeyFor(row, a.core, seatSize)
	b = binary.BigEndian.AppendUint64(b, a.seq)
	b = binary.BigEndian.AppendUint16(b, uint16(a.index))
	b = append(b, a.tie[:]...)
	return binary.BigEndian.AppendUint64(b, a.lamport)
}

func readSeat(k []byte) (a at, ok bool) {
	if len(k) != 1+4+seatSize {
		return a, false
	}
	a.core = binary.BigEndian.Uint32(k[1:])
	a.seq = binary.BigEndian.Uint64(k[5:])
	a.index = uint32(binary.BigEndian.Uint16(k[13:]))
	copy(a.tie[:], k[15:])
	a.lamport = binary.BigEndian.Uint64(k[23:])
	return a, true
}

// meta is what the table knows about itself.
type meta struct {
	nodes, cores uint32 // how many have numbers; node 0 is the root
	maxDir       uint64 // no directory placement in the log is newer
	conflicts    uint32 // how many names have conflict entries
}

func readMeta(rows Rows) (meta, error) {
	m := meta{nodes: 1}
	b, err := rows.Get([]byte{rowMeta})
	if err != nil || b == nil {
		return m, err
	}
	d := dec{b: b}
	if v := d.uint(); v != schema {
		return m, fmt.Errorf("%w: schema %d", errCorrupt, v)
	}
	m = meta{uint32(d.uint()), uint32(d.uint()), d.uint(), uint32(d.uint())}
	return m, d.err
}

func (m meta) write(rows Rows) error {
	var e enc
	e.uint(schema)
	e.uint(uint64(m.nodes))
	e.uint(uint64(m.cores))
	e.uint(m.maxDir)
	e.uint(uint64(m.conflicts))
	return rows.Put([]byte{rowMeta}, e.b)
}

// record is an operation as its row keeps it: cores and the parent as local numbers.
type record struct {
	at      at
	entry   key.Hash
	wall    int64
	typ     Type
	parent  uint32
	name    string
	content *blob.Content
	target  string
	from    *payloadAt
	prev    NodeID
	line    NodeID
	covers  set // write
	carries set // move of a file
	seen    set // move of a directory, delete
	heads   set // delete of a file, aside
	sweep   set // delete of a directory
	places  set // aside
	attrs   Attrs
}

// payloadAt is a Source with the core as a local number.
type payloadAt struct {
	core uint32
	seq  uint64
}

func (r *record) id() OpID { return OpID{r.entry, r.at.index} }

func (r *record) stamp() stamp { return stamp{r.at, r.entry, r.wall} }

// isHead reports whether the operation gives a file bytes (or a link a target).
func (r *record) isHead(k Kind) bool { return r.typ == OpWrite || r.typ == OpCreate && k != Dir }

// places reports whether the operation puts its node somewhere.
func (r *record) isPlace() bool { return r.typ == OpCreate || r.typ == OpMove }

func (r *record) encode() []byte {
	e := enc{b: make([]byte, 0, 320)}
	r.appendTo(&e)
	return e.b
}

func (r *record) appendTo(e *enc) {
	e.hash(r.entry)
	e.int(r.wall)
	e.uint(uint64(r.typ))
	a := &r.attrs
	e.flags(r.isPlace(), r.content != nil, r.target != "", r.from != nil, !r.prev.IsZero(), !r.line.IsZero(),
		a.Mode != nil, a.MTime != nil, len(a.Set)+len(a.Remove) > 0, len(r.covers)+len(r.carries)+len(r.seen)+len(r.heads)+len(r.sweep)+len(r.places) > 0)
	if r.isPlace() {
		e.uint(uint64(r.parent))
		e.string(r.name)
	}
	if r.content != nil {
		e.content(r.content)
	}
	if r.target != "" {
		e.string(r.target)
	}
	if r.from != nil {
		e.uint(uint64(r.from.core))
		e.uint(r.from.seq)
	}
	if !r.prev.IsZero() {
		e.raw(r.prev[:])
	}
	if !r.line.IsZero() {
		e.raw(r.line[:])
	}
	if a.Mode != nil {
		e.uint(uint64(*a.Mode))
	}
	if a.MTime != nil {
		e.int(*a.MTime)
	}
	if len(a.Set)+len(a.Remove) > 0 {
		e.uint(uint64(len(a.Set)))
		for _, k := range sortedKeys(a.Set) {
			e.string(k)
			e.bytes(a.Set[k])
		}
		e.uint(uint64(len(a.Remove)))
		for _, k := range a.Remove {
			e.string(k)
		}
	}
	if sets := [...]set{r.covers, r.carries, r.seen, r.heads, r.sweep, r.places}; true {
		n := 0
		for _, s := range sets {
			n += len(s)
		}
		if n > 0 {
			for _, s := range sets {
				e.set(s)
			}
		}
	}
}

func decodeRecord(a at, b []byte) (*record, error) {
	d := dec{b: b}
	r := &record{at: a, entry: d.hash(), wall: d.int(), typ: Type(d.uint())}
	var place, content, target, from, prev, line, mode, mtime, xattrs, sets bool
	d.flags(&place, &content, &target, &from, &prev, &line, &mode, &mtime, &xattrs, &sets)
	if place {
		r.parent, r.name = uint32(d.uint()), d.string()
	}
	if content {
		r.content = d.content()
	}
	if target {
		r.target = d.string()
	}
	if from {
		r.from = &payloadAt{uint32(d.uint()), d.uint()}
	}
	if prev {
		copy(r.prev[:], d.raw(16))
	}
	if line {
		copy(r.line[:], d.raw(16))
	}
	if mode {
		v := uint32(d.uint())
		r.attrs.Mode = &v
	}
	if mtime {
		v := d.int()
		r.attrs.MTime = &v
	}
	if xattrs {
		if n := d.length(2); n > 0 {
			r.attrs.Set = make(map[string][]byte, n)
			for range n {
				k := d.string()
				r.attrs.Set[k] = slices.Clone(d.bytes())
			}
		}
		for range d.length(1) {
			r.attrs.Remove = append(r.attrs.Remove, d.string())
		}
	}
	if sets {
		for _, s := range [...]*set{&r.covers, &r.carries, &r.seen, &r.heads, &r.sweep, &r.places} {
			*s = d.set()
		}
	}
	return r, d.err
}

func sortedKeys(m map[string][]byte) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// records reads a node's operations that keep admits (nil: all), oldest first.
func records(rows Rows, c *cores, num uint32, keep func(at) bool) ([]*record, error) {
	prefix := numKey(rowOp, num)
	var out []*record
	for k, v := range rows.Scan(prefix, nil) {
		a, ok := readAt(k[len(prefix):], true)
		if !ok {
			return nil, errCorrupt
		}
		if keep != nil && !keep(a) {
			continue
		}
		r, err := decodeRecord(a, v)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b *record) int { return c.compare(a.at, b.at) })
	return out, nil
}

// readRecord reads one operation; nil when it is not there.
func readRecord(rows Rows, num uint32, a at) (*record, error) {
	b, err := rows.Get(opKey(num, a))
	if err != nil || b == nil {
		return nil, err
	}
	return decodeRecord(a, b)
}
