package tree

import (
	"slices"
)

// A placementLog replays the placements of directories in their order, since
// whether one makes a cycle depends on all before it.
//
// Creates stay out of it: nothing that is older than a create can speak of its
// node, so a new directory may as well have been where it was created all
// along. Only when a liar's operation, or one that came back after its cause had
// been removed, does speak of it is the create replayed in its turn
// (node.logged). So what is undone and redone when a move of a directory arrives
// late is the later moves of directories, and nothing else.
type placementLog struct {
	m    *merger
	in   []*logged
	out  map[at]bool
	base map[uint32]at // nodes whose create is to be taken from under their moves
	from at            // the oldest of all these
	any  bool
}

// logged is one placement in the log.
type logged struct {
	at      at
	num     uint32
	create  bool
	to      placement
	applied bool
	prev    placement // before it was applied
}

func logKey(a at) []byte { return appendAt([]byte{rowDirs}, a, false) }

func (e *enc) placement(p placement) {
	e.flags(p.ok)
	if p.ok {
		e.uint(uint64(p.dir))
		e.string(p.name)
		e.stamp(p.stamp)
	}
}

func (d *dec) placement() (p placement) {
	if d.flags(&p.ok); p.ok {
		p.dir, p.name, p.stamp = uint32(d.uint()), d.string(), d.stamp()
	}
	return p
}

func (g *logged) encode() []byte {
	var e enc
	e.uint(uint64(g.num))
	e.flags(g.create, g.applied)
	e.placement(g.to)
	e.placement(g.prev)
	return e.b
}

func decodeLogged(k, v []byte) (*logged, error) {
	a, ok := readAt(k[1:], false)
	d := dec{b: v}
	g := &logged{at: a, num: uint32(d.uint())}
	d.flags(&g.create, &g.applied)
	g.to, g.prev = d.placement(), d.placement()
	if !ok {
		return nil, errCorrupt
	}
	return g, d.err
}

// readLog reads the placements of the log that are at least as new as from and that keep admits (nil: all), in their order.
func readLog(rows Rows, c *cores, from at, keep func(at) bool) ([]*logged, error) {
	var out []*logged
	start := logKey(from)
	if from.lamport != pending { // the keys of one lamport are in the order of local numbers
		start = start[:9]
	}
	for k, v := range rows.Scan([]byte{rowDirs}, start) {
		g, err := decodeLogged(k, v)
		if err != nil {
			return nil, err
		}
		if !c.less(g.at, from) && (keep == nil || keep(g.at)) {
			out = append(out, g)
		}
	}
	slices.SortStableFunc(out, func(a, b *logged) int { return c.compare(a.at, b.at) })
	return out, nil
}

func (l *placementLog) reach(a at) {
	if !l.any || l.m.cores.less(a, l.from) {
		l.from, l.any = a, true
	}
}

func (l *placementLog) enter(n *node, r *record) {
	l.reach(r.at)
	l.in = append(l.in, &logged{at: r.at, num: n.num, create: r.typ == OpCreate,
		to: placement{ok: true, dir: r.parent, name: r.name, stamp: r.stamp()}})
	delete(l.out, r.at)
}

// add takes in a placement of the directory n.
func (l *placementLog) add(n *node, r *record, fresh bool) error {
	parent, err := l.m.node(r.parent)
	if err != nil {
		return err
	}
	for _, spoken := range []*node{n, parent} {
		c := spoken.created.at
		if spoken.logged || c.isZero() || !l.m.cores.less(r.at, c) {
			continue
		}
		if err := l.takeIn(spoken); err != nil {
			return err
		}
	}
	if r.typ == OpCreate && fresh {
		n.place = placement{ok: true, dir: r.parent, name: r.name, stamp: r.stamp()}
		return nil
	}
	n.logged = n.logged || r.typ == OpCreate
	l.enter(n, r)
	return nil
}

// takeIn puts the create of a node into the log.
func (l *placementLog) takeIn(n *node) error {
	r, err := readRecord(l.m.rows, n.num, n.created.at)
	if err != nil || r == nil {
		return err
	}
	l.m.mark(n)
	n.logged, n.dirty = true, true
	l.enter(n, r)
	l.unbase(n, r.at)
	return nil
}

func (l *placementLog) unbase(n *node, a at) {
	if l.base == nil {
		l.base = map[uint32]at{}
	}
	l.base[n.num] = a
}

func (l *placementLog) remove(n *node, r *record) error {
	l.reach(r.at)
	if r.typ == OpCreate && !n.logged {
		l.unbase(n, r.at)
		return nil
	}
	if r.typ == OpCreate {
		n.logged = false
	}
	if l.out == nil {
		l.out = map[at]bool{}
	}
	l.out[r.at] = true
	return nil
}

// run brings the places of all directories up to date: it takes back what is not older than the first
// change, and replays it with the changes.
func (l *placementLog) run() error {
	if !l.any {
		return nil
	}
	m := l.m
	was := map[uint32]placement{}
	touch := func(n *node) {
		if _, ok := was[n.num]; !ok {
			was[n.num] = n.place
		}
	}
	old, err := l.undo(touch)
	if err != nil {
		return err
	}
	stored := make(map[at]logged, len(old))
	for _, g := range old {
		stored[g.at] = *g
	}
	list := slices.DeleteFunc(old, func(g *logged) bool { return l.out[g.at] })
	for _, g := range l.in {
		if _, ok := stored[g.at]; !ok || l.out[g.at] {
			list = append(list, g)
		}
	}
	for a := range l.out {
		if err := m.rows.Delete(logKey(a)); err != nil {
			return err
		}
		delete(stored, a)
	}
	slices.SortStableFunc(list, func(a, b *logged) int { return m.cores.compare(a.at, b.at) })
	for _, g := range list {
		if err := l.replay(g, touch); err != nil {
			return err
		}
		if have, ok := stored[g.at]; ok && have == *g {
			continue
		}
		m.meta.maxDir = max(m.meta.maxDir, g.at.lamport)
		if err := m.rows.Put(logKey(g.at), g.encode()); err != nil {
			return err
		}
	}
	for num, p := range was {
		if n := m.nodes[num]; n.place != p {
			m.mark(n)
			n.dirty = true
		}
	}
	return nil
}

// undo takes back the placements from the first change on and the creates that were taken in or out. It
// returns the placements that it took back, oldest first.
func (l *placementLog) undo(touch func(*node)) ([]*logged, error) {
	m := l.m
	var old []*logged
	if l.from.lamport <= m.meta.maxDir && !l.newest() {
		var err error
		if old, err = readLog(m.rows, m.cores, l.from, nil); err != nil {
			return nil, err
		}
	}
	for _, g := range slices.Backward(old) {
		n, err := m.node(g.num)
		if err != nil {
			return nil, err
		}
		touch(n)
		if g.applied {
			n.place = g.prev
		}
	}
	for num, a := range l.base {
		n, err := m.node(num)
		if err != nil {
			return nil, err
		}
		touch(n)
		if n.place.ok && n.place.stamp.at == a {
			n.place = placement{}
		}
	}
	return old, nil
}

// newest reports whether the first change is known to be newer than all in the log: an Edit's operations come in their order.
func (l *placementLog) newest() bool {
	return l.m.pending != nil && l.from.lamport == pending && len(l.in) == 1
}

// replay applies one placement, unless it would put a directory into itself.
func (l *placementLog) replay(g *logged, touch func(*node)) error {
	n, err := l.m.node(g.num)
	if err != nil {
		return err
	}
	touch(n)
	legal, err := legal(g, func(num uint32) (placement, error) {
		n, err := l.m.node(num)
		if err != nil {
			return placement{}, err
		}
		return n.place, nil
	})
	if err != nil {
		return err
	}
	if g.applied, g.prev = legal, n.place; legal {
		n.place = g.to
	}
	return nil
}

// legal reports whether a placement makes no cycle, and a move no path that is deeper than MaxDepth.
func legal(g *logged, place func(uint32) (placement, error)) (bool, error) {
	dir := g.to.dir
	for depth := 1; dir != 0; depth++ {
		if dir == g.num || depth >= MaxDepth && !g.create {
			return false, nil
		}
		p, err := place(dir)
		if err != nil {
			return false, err
		}
		if !p.ok {
			break
		}
		dir = p.dir
	}
	return true, nil
}
