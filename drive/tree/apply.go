package tree

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// Apply takes operations into the rows and takes others out. What the rows hold
// afterwards depends only on the set of operations that were added and not
// removed: neither on the order nor on how they came in batches. Operations that
// are already there, or not there, are passed over. An operation that
// DecodeOps would not have given is an error, and then the rows are of no use.
//
// It keeps the nodes that the batch touches in memory: some thousand operations
// at a time are quick and small.
func Apply(rows Rows, add, remove []Placed) (Changes, error) {
	m, err := newMerger(rows, newCores(rows))
	if err != nil {
		return Changes{}, err
	}
	if err := m.apply(add, remove); err != nil {
		return Changes{}, fmt.Errorf("merging operations: %w", err)
	}
	return m.changes(), nil
}

// A merger is one Apply, or all that an [Edit] does: round after round it takes in operations and brings the rows up to date.
// Nobody else may change the rows meanwhile.
type merger struct {
	rows  Rows
	meta  meta
	cores *cores
	nodes map[uint32]*node // as the rows have them between two rounds
	nums  map[NodeID]uint32
	voids *voidSet // now; nil: not looked yet
	fold  folder

	pending *overlay // the rows, if it is an Edit's: operations have no place yet, and are checked
	placed  []placed // operations of an Edit: see Land
	drafts  []*node  // that it has changed
	newest  uint64   // lamport that all in the nodes met so far is not beyond, operations without a place apart

	// Of one round.
	work     []*node // the nodes that have something to be done about
	log      placementLog
	recross  map[uint32]bool // directories whose removals and moves must be compared anew
	sweepsIn bool            // a removal with a sweep came or went
	open     []nameKey       // names that something happened under

	key  []byte       // scratch
	enc  enc          // the same
	made []nameChange // for names, some at a time

	// Of all rounds.
	names   map[nameKey]*nameChange
	dirs    map[uint32]bool
	changed map[uint32]bool
	joined  map[NodeID]bool
}

type nameKey struct {
	dir  uint32
	name string
}

// nameChange is what happened to a name in a directory in this round.
type nameChange struct {
	open bool
	dirs bool     // a directory came or went
	left []NodeID // directories that went
}

func newMerger(rows Rows, c *cores) (*merger, error) {
	m := &merger{rows: rows, cores: c, nodes: map[uint32]*node{}, nums: map[NodeID]uint32{},
		recross: map[uint32]bool{}, names: map[nameKey]*nameChange{}, dirs: map[uint32]bool{},
		changed: map[uint32]bool{}, joined: map[NodeID]bool{}}
	var err error
	if m.meta, err = readMeta(rows); err != nil {
		return nil, err
	}
	m.fold = folder{cores: m.cores, void: func(a at) bool { return m.voids.void(a) }}
	return m, nil
}

// apply is one round, of operations in any order.
func (m *merger) apply(add, remove []Placed) error {
	sorted := make([]*Placed, len(add))
	for i := range add {
		sorted[i] = &add[i]
	}
	slices.SortStableFunc(sorted, func(a, b *Placed) int { return a.Pos.Compare(b.Pos) })
	return m.round(sorted, remove)
}

// round takes in operations in their order, and takes others out.
func (m *merger) round(add []*Placed, remove []Placed) error {
	if m.voids == nil {
		now, err := voids(m.rows, m.cores, nil)
		if err != nil {
			return err
		}
		m.voids = now
	}
	meta, before := m.meta, m.voids
	m.log = placementLog{m: m}
	m.sweepsIn = false
	clear(m.recross)
	for i := range remove {
		if err := m.remove(&remove[i]); err != nil {
			return err
		}
	}
	for _, p := range add {
		if err := m.add(p); err != nil {
			return fmt.Errorf("operation %d of entry %s: %w", p.ID.Index, p.ID.Entry.Short(), err)
		}
	}
	if err := m.sweep(before); err != nil {
		return err
	}
	if err := m.log.run(); err != nil {
		return err
	}
	if err := m.refold(); err != nil {
		return err
	}
	if err := m.settle(); err != nil {
		return err
	}
	m.work = m.work[:0]
	if err := m.indexNames(); err != nil {
		return err
	}
	if m.meta != meta {
		return m.meta.write(m.rows)
	}
	return nil
}

// mark notes that something is to be done about a node before the round ends.
func (m *merger) mark(n *node) {
	if !n.marked {
		n.marked = true
		m.work = append(m.work, n)
	}
}

// node returns a node by its number.
func (m *merger) node(num uint32) (*node, error) {
	n, err := m.look(num)
	if err == nil {
		m.newest = max(m.newest, n.newest)
	}
	return n, err
}

// look is node for somebody who only shows it: what comes of the merge does not depend on it.
func (m *merger) look(num uint32) (*node, error) {
	if n, ok := m.nodes[num]; ok {
		return n, nil
	}
	n, err := readNode(m.rows, num)
	if err != nil {
		return nil, err
	}
	m.keep(n)
	return n, nil
}

// keep takes a node that was read from the rows.
func (m *merger) keep(n *node) { m.nodes[n.num], m.nums[n.id] = n, n.num }

// nodeOf returns a node by its id; one that nothing has spoken of yet gets a number.
func (m *merger) nodeOf(id NodeID) (*node, error) {
	if num, ok := m.nums[id]; ok {
		return m.node(num)
	}
	if _, local := id.local(); !local { // only an Edit itself speaks of local ones
		num, ok, err := nodeNum(m.rows, id)
		if err != nil {
			return nil, err
		}
		if ok {
			return m.node(num)
		}
	}
	num := m.meta.nodes
	if num == nowhere {
		return nil, fmt.Errorf("%w: nodes", ErrTooMany)
	}
	m.meta.nodes++
	n := &node{num: num, id: id, dirty: true, isNew: true}
	m.nodes[num], m.nums[id] = n, num
	m.mark(n)
	if m.pending != nil {
		return n, nil
	}
	return n, m.rows.Put(nodeKey(id), be32(num))
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(make([]byte, 0, 4), n) }

// coreNum returns the number of a core; a new one gets a number.
func (m *merger) coreNum(id key.CoreID, author key.DeviceID) (uint32, error) {
	n, ok, err := m.cores.num(id)
	if err != nil {
		return 0, err
	}
	if ok {
		if r := m.cores.get(n); r.author.IsZero() && !author.IsZero() {
			return n, m.putCore(n, id, author)
		}
		return n, nil
	}
	n = m.meta.cores
	m.meta.cores++
	m.cores.nums[id] = n
	if err := m.rows.Put(append([]byte{rowCoreID}, id[:]...), be32(n)); err != nil {
		return 0, err
	}
	return n, m.putCore(n, id, author)
}

func (m *merger) putCore(n uint32, id key.CoreID, author key.DeviceID) error {
	m.cores.set(n, coreRow{id, author})
	return m.rows.Put(numKey(rowCore, n), append(id[:], author[:]...))
}

func (m *merger) at(p *Placed) (at, error) {
	if m.pending != nil {
		return at{lamport: pending, core: pendingCore, index: p.Pos.Index}, nil
	}
	core, err := m.coreNum(p.Pos.Core, p.Author)
	a := at{lamport: p.Pos.Lamport, core: core, seq: p.Pos.Seq, index: p.Pos.Index}
	copy(a.tie[:], p.ID.Entry[:])
	return a, err
}

// set turns a context into what rows keep of it: what it says about what the author knew.
func (m *merger) set(p *Placed, own uint32, c Context) (set, error) {
	var out set
	for _, r := range c {
		core, lo, hi := own, r.Lo, r.Hi
		if r.Core.IsZero() {
			lo.Seq, hi.Seq = p.Pos.Seq, p.Pos.Seq
		} else if r.Core != p.Pos.Core {
			if p.Closure != nil {
				n := p.Closure.Length(r.Core)
				if lo.Seq >= n {
					continue
				}
				if hi.Seq >= n {
					hi = Spot{n - 1, MaxOps - 1}
				}
			}
			var err error
			if core, err = m.coreNum(r.Core, key.DeviceID{}); err != nil {
				return nil, err
			}
		}
		out = append(out, ranged{core, lo, hi})
	}
	return out, nil
}

// record turns an operation into its row.
func (m *merger) record(p *Placed, a at) (*record, error) {
	op := &p.Op
	r := &record{at: a, entry: p.ID.Entry, wall: p.Wall, typ: op.Type, name: op.Name, content: op.Content,
		target: op.Target, prev: op.Prev, line: op.Line, attrs: op.Attrs}
	if r.isPlace() {
		known := m.meta.nodes
		parent, err := m.nodeOf(op.Parent)
		if err != nil {
			return nil, err
		}
		if r.parent = parent.num; m.meta.nodes > known {
			if err := m.orphan(parent); err != nil {
				return nil, err
			}
		}
	}
	if op.From != nil {
		core, err := m.coreNum(op.From.Core, key.DeviceID{})
		if err != nil {
			return nil, err
		}
		r.from = &payloadAt{core, op.From.Seq}
	}
	places := op.Places
	heads := op.Heads
	if op.Type == OpAside {
		heads = op.Beside
	}
	for _, c := range []struct {
		to   *set
		from Context
	}{{&r.covers, op.Covers}, {&r.carries, op.Carries}, {&r.seen, op.Seen}, {&r.heads, heads}, {&r.sweep, op.Sweep}, {&r.places, places}} {
		var err error
		if *c.to, err = m.set(p, a.core, c.from); err != nil {
			return nil, err
		}
	}
	r.sweep = slices.DeleteFunc(r.sweep, func(g ranged) bool { return g.core != a.core })
	return r, nil
}

func (m *merger) add(p *Placed) error {
	if p.Op.Raw != nil {
		return nil
	}
	if m.pending == nil {
		if err := p.check(); err != nil {
			return err
		}
	}
	a, err := m.at(p)
	if err != nil {
		return err
	}
	if p.Op.Type == OpMark {
		return m.putMark(a, p)
	}
	known := m.meta.nodes
	n, err := m.nodeOf(p.Op.Node)
	if err != nil {
		return err
	}
	fresh := m.meta.nodes > known // nothing has spoken of the node before
	m.mark(n)
	if n.count > 0 && m.pending == nil {
		m.key = appendOp(m.key[:0], n.num, a)
		if have, err := m.rows.Get(m.key); err != nil || have != nil {
			return err
		}
	}
	r, err := m.record(p, a)
	if err != nil {
		return err
	}
	if err := m.putOp(n, r); err != nil {
		return err
	}
	newest := n.count == 0 || m.cores.less(n.last, a)
	n.refold = n.refold || n.count == 0 && (r.typ != OpCreate || !fresh) && n.num != 0
	if err := m.index(n, r, newest); err != nil {
		return err
	}
	if r.isPlace() {
		if err := m.addPlace(n, r, fresh); err != nil {
			return err
		}
	}
	n.dirty = true
	if r.typ != OpMove && r.typ != OpKeep && r.typ != OpAside {
		n.changed = true
	}
	if n.refold || !newest || !m.fold.step(n, r) {
		n.refold = true
	}
	return nil
}

// putOp writes the row of an operation.
func (m *merger) putOp(n *node, r *record) error {
	m.key = appendOp(m.key[:0], n.num, r.at)
	if o := m.pending; o != nil {
		m.placed = append(m.placed, placed{n.num, r})
		return o.putOp(m.key, len(m.placed)-1)
	}
	m.enc.reset()
	r.appendTo(&m.enc)
	return m.rows.Put(m.key, m.enc.b)
}

// index keeps the rows for removals of directories.
func (m *merger) index(n *node, r *record, newest bool) error {
	if r.typ == OpDelete {
		if err := m.rows.Put(seatKey(rowDelete, r.at), be32(n.num)); err != nil {
			return err
		}
	}
	if n.kind() != Dir {
		return nil
	}
	if len(r.sweep) > 0 {
		m.sweepsIn = true
		if err := writeSweep(m.rows, n.num, r); err != nil {
			return err
		}
	}
	if (r.typ == OpMove && n.sweeps || len(r.sweep) > 0) && !(newest && !n.refold && n.knowsAll(r.seen)) ||
		n.refold && (r.typ == OpMove || len(r.sweep) > 0) {
		m.recross[n.num] = true
	}
	return nil
}

// addPlace takes in a placement: of a directory into the log, of the others just for lookups in the past.
func (m *merger) addPlace(n *node, r *record, fresh bool) error {
	if n.places > 0 || r.typ != OpCreate || !fresh {
		m.key = appendChild(m.key[:0], rowEver, r.parent, r.name, n.num)
		if err := m.rows.Put(m.key, present); err != nil {
			return err
		}
		if p := n.place; p.ok {
			m.key = appendChild(m.key[:0], rowEver, p.dir, p.name, n.num)
			if err := m.rows.Put(m.key, present); err != nil {
				return err
			}
		}
	}
	if n.kind() != Dir {
		return nil
	}
	return m.log.add(n, r, fresh)
}

// refold makes the summaries anew that could not be brought forward.
func (m *merger) refold() error {
	for _, n := range m.sortedWork() {
		if !n.refold {
			continue
		}
		recs, err := records(m.rows, m.cores, n.num, nil)
		if err != nil {
			return err
		}
		m.fold.fold(n, recs)
		n.refold, n.changed = false, true
		if err := m.orphan(n); err != nil {
			return err
		}
	}
	return nil
}

// sortedWork is the marked nodes by number.
func (m *merger) sortedWork() []*node {
	if len(m.work) > 1 {
		slices.SortFunc(m.work, func(a, b *node) int { return cmp.Compare(a.num, b.num) })
	}
	return m.work
}

// orphan notes a node whose create does not count: at an earlier version it may have no place.
func (m *merger) orphan(n *node) error {
	if n.created.at.isZero() && n.num != 0 {
		return m.rows.Put(numKey(rowOrphan, n.num), present)
	}
	return m.rows.Delete(numKey(rowOrphan, n.num))
}
