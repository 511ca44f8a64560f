package tree

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// placed is an operation of an Edit and the number of the node that it is on.
type placed struct {
	num uint32
	rec *record
}

// Landing is where the operations of an Edit came to stand.
type Landing struct {
	Pos     Pos // Index counts for nothing
	Entry   key.Hash
	Author  key.DeviceID
	Wall    int64
	Closure Clock // of the entry, as Apply is given it
}

// Land is Apply for an edit's own operations, once they are an entry: it writes to the rows that the edit began with what the edit
// has derived already, with the places, ids and times that its operations now have. The edit is over then. ok is false, and nothing
// was written, when the edit cannot know that Apply would come to the same; the rows must be as they were when it began.
//
// It comes to the same because an operation without a place is newer than all others, has a number of its own for its core and a
// name of its own for what it creates. If the entry is newer than all that the edit has met (and its contexts are within its
// closure), then putting the real ones in their stead changes nothing about which is older, which is on what, and which names which.
func (e *Edit) Land(l Landing) (c Changes, ok bool, err error) {
	if err := e.Derive(); err != nil {
		return c, false, err
	}
	if !e.mayLand(l) {
		return c, false, nil
	}
	base, err := readMeta(e.base)
	if err != nil || base.maxDir >= l.Pos.Lamport {
		return c, false, err
	}
	m, changed := e.merge, e.changed.Join(e.merge.changes())
	s := &lander{e: e, to: e.base, entry: l.Entry, wall: l.Wall, ids: map[NodeID]NodeID{}}
	for _, row := range []byte{rowCore, rowCoreID} {
		for k, v := range e.rows.top.Scan([]byte{row}, nil) {
			if err := s.put(k, v); err != nil {
				return c, true, err
			}
		}
	}
	into := &merger{rows: e.base, cores: m.cores, meta: m.meta}
	s.at.core, err = into.coreNum(l.Pos.Core, l.Author)
	if err != nil {
		return c, true, err
	}
	s.at.lamport, s.at.seq = l.Pos.Lamport, l.Pos.Seq
	copy(s.at.tie[:], l.Entry[:])
	if into.meta.maxDir == pending {
		into.meta.maxDir = l.Pos.Lamport
	}
	if err = s.nodes(base.nodes); err == nil {
		err = s.rows()
	}
	if err != nil {
		return c, true, err
	}
	if into.meta != base {
		err = into.meta.write(e.base)
	}
	e.ops, e.merge = nil, nil
	return s.changes(changed), true, err
}

// mayLand reports whether what the edit has derived is what Apply would.
func (e *Edit) mayLand(l Landing) bool {
	m := e.merge
	if m == nil || e.torn || e.sweep != nil || l.Pos.Core != e.self || m.newest >= l.Pos.Lamport {
		return false
	}
	for i := range e.ops {
		o := &e.ops[i]
		if !o.Line.IsZero() || o.Raw != nil { // the line may be the tag of a copy that the edit itself has made
			return false
		}
		for _, c := range o.contexts() {
			for _, r := range c {
				if !r.Core.IsZero() && r.Core != l.Pos.Core && l.Closure != nil && r.Hi.Seq >= l.Closure.Length(r.Core) {
					return false
				}
			}
		}
	}
	return true
}

// contexts are all contexts of an operation.
func (o *Op) contexts() [7]Context {
	return [...]Context{o.Covers, o.Carries, o.Seen, o.Heads, o.Sweep, o.Beside, o.Places}
}

// lander writes the rows of an Edit with the places that its operations have come to have.
type lander struct {
	e     *Edit
	to    Rows
	at    at // of the entry
	entry key.Hash
	wall  int64
	ids   map[NodeID]NodeID // of what the edit has created
	key   []byte            // scratch
	enc   enc               // the same
}

func (s *lander) put(k, v []byte) error {
	if v == nil {
		return s.to.Delete(k)
	}
	return s.to.Put(k, v)
}

// nodes writes the rows of operations and of nodes, of which there were known before: sort by sort, since neighbours in a table are
// quick to write.
func (s *lander) nodes(known uint32) error {
	m := s.e.merge
	for _, p := range m.placed {
		s.record(p.rec)
		s.key = appendOp(s.key[:0], p.num, p.rec.at)
		s.enc.reset()
		p.rec.appendTo(&s.enc)
		if err := s.to.Put(s.key, s.enc.b); err != nil {
			return err
		}
	}
	slices.SortFunc(m.drafts, func(a, b *node) int { return cmp.Compare(a.num, b.num) })
	for _, n := range m.drafts {
		s.node(n)
		if n.num < known {
			continue
		}
		s.key = append(append(s.key[:0], rowNode), n.id[:]...)
		s.enc.b = binary.BigEndian.AppendUint32(s.enc.b[:0], n.num)
		if err := s.to.Put(s.key, s.enc.b); err != nil {
			return err
		}
	}
	for _, n := range m.drafts {
		if n.before == n.home && n.num < known {
			continue
		}
		s.key = appendNum(s.key[:0], rowHome, n.num)
		s.enc.b = n.appendHome(s.enc.b[:0])
		if err := s.to.Put(s.key, s.enc.b); err != nil {
			return err
		}
	}
	for _, n := range m.drafts {
		if n.before != n.home && n.before.row != 0 {
			s.key = n.before.appendKey(s.key[:0], n.num)
			if err := s.to.Delete(s.key); err != nil {
				return err
			}
		}
		if n.home.row == 0 {
			continue
		}
		s.key = n.home.appendKey(s.key[:0], n.num)
		s.enc.reset()
		n.appendTo(&s.enc)
		if err := s.to.Put(s.key, s.enc.b); err != nil {
			return err
		}
	}
	return nil
}

// rows writes the other rows, but for those of cores and the counters.
func (s *lander) rows() error {
	for k, v := range s.e.rows.top.Scan(nil, nil) {
		var err error
		switch k[0] {
		case rowMeta, rowCore, rowCoreID, rowOp, rowVisible, rowHidden: // elsewhere
		default:
			err = s.other(k, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// other writes the rows of which there are few.
func (s *lander) other(k, v []byte) error {
	s.key = append(s.key[:0], k...)
	k = s.key
	switch k[0] {
	case rowTrash:
		if l := k[1:9]; binary.BigEndian.Uint64(l) == ^uint64(pending) {
			binary.BigEndian.PutUint64(l, ^s.at.lamport)
		}
	case rowDirs:
		g, err := decodeLogged(k, v)
		if err != nil {
			return err
		}
		g.at = s.own(g.at)
		s.placement(&g.to)
		s.placement(&g.prev)
		k, v = logKey(g.at), g.encode()
	case rowMark:
		m, ok := readMark(k, v)
		if !ok {
			return errCorrupt
		}
		k, v = markKey(s.own(m.at)), markRow(s.entry, s.wall, m.label)
	case rowDelete, rowSweep, rowCrossed:
		return s.seat(k, v)
	}
	return s.put(k, v)
}

// seat writes the rows about removals.
func (s *lander) seat(k, v []byte) error {
	a, ok := readSeat(k)
	if !ok {
		return errCorrupt
	}
	k = seatKey(k[0], s.own(a))
	d := dec{b: v}
	var e enc
	switch {
	case v == nil || k[0] == rowDelete:
		return s.put(k, v)
	case k[0] == rowSweep:
		e.uint(d.uint())
		sweep := d.set()
		s.set(sweep)
		e.set(sweep)
	default:
		n := d.length(1)
		e.uint(uint64(n))
		for range n {
			e.at(s.own(d.at()))
		}
	}
	if d.err != nil {
		return d.err
	}
	return s.to.Put(k, e.b)
}

// own gives the place of an operation.
func (s *lander) own(a at) at {
	if a.lamport != pending {
		return a
	}
	out := s.at
	out.index = a.index
	return out
}

// id gives the id of a node.
func (s *lander) id(id NodeID) NodeID {
	if _, ok := id.local(); !ok {
		return id
	}
	out, ok := s.ids[id]
	if !ok {
		out = id.Resolve(s.entry)
		s.ids[id] = out
	}
	return out
}

func (s *lander) stamp(t *stamp) {
	if t.at.lamport == pending {
		*t = stamp{s.own(t.at), s.entry, s.wall}
	}
}

func (s *lander) placement(p *placement) { s.stamp(&p.stamp) }

func (s *lander) set(g set) {
	for i := range g {
		if r := &g[i]; r.core == pendingCore {
			*r = ranged{s.at.core, Spot{s.at.seq, r.lo.Index}, Spot{s.at.seq, r.hi.Index}}
		}
	}
}

func (s *lander) record(r *record) {
	r.at, r.entry, r.wall, r.prev = s.own(r.at), s.entry, s.wall, s.id(r.prev)
	for _, g := range [...]set{r.covers, r.carries, r.seen, r.heads, r.sweep, r.places} {
		s.set(g)
	}
}

func (s *lander) node(n *node) {
	n.id = s.id(n.id)
	n.last = s.own(n.last)
	s.stamp(&n.created)
	s.stamp(&n.died)
	s.placement(&n.place)
	if n.trashed == pending {
		n.trashed = s.at.lamport
	}
	n.attrs.modeAt, n.attrs.timeAt = s.own(n.attrs.modeAt), s.own(n.attrs.timeAt)
	if i := slices.IndexFunc(n.touched, func(t touch) bool { return t.core == pendingCore }); i >= 0 {
		last := Spot{s.at.seq, n.touched[i].last.Index}
		n.touched = slices.DeleteFunc(n.touched, func(t touch) bool { return t.core == pendingCore })
		n.touch(at{core: s.at.core, seq: last.Seq, index: last.Index})
	}
	for i := range n.heads {
		h := &n.heads[i]
		if h.at.lamport == pending {
			h.at, h.entry, h.wall = s.own(h.at), s.entry, s.wall
			h.origin = origin{core: s.at.core, wall: s.wall}
		}
		for j := range h.asserts {
			h.asserts[j] = s.own(h.asserts[j])
		}
	}
}

// changes is what the edit has changed, under the ids that everybody knows.
func (s *lander) changes(c Changes) Changes {
	for _, ids := range [...][]NodeID{c.Dirs, c.Nodes, c.Joined} {
		for i := range ids {
			ids[i] = s.id(ids[i])
		}
	}
	for i := range c.Names {
		c.Names[i].Dir = s.id(c.Names[i].Dir)
	}
	return c
}
