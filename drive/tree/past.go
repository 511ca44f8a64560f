package tree

// past is what a View of an earlier version works out: every node's operations
// within the version's closure, folded, and the placements of directories replayed.
// A node that is spoken of in the closure while its create, which counts, is not (only a liar does
// that) is not looked for among those without a place.
type past struct {
	v       *View
	clock   Clock
	fold    folder
	ready   bool
	crossed bool                 // some deletes are void, then or now
	places  map[uint32]placement // of directories that the log speaks of
	logged  map[uint32]bool      // whose create is in the log
	folded  map[uint32]*node
	visible map[uint32]bool
}

// maxFolded bounds the nodes that a view of the past keeps.
const maxFolded = 1 << 16

func newPast(v *View, c Clock) *past {
	p := &past{v: v, clock: c}
	p.fold.cores = v.cores
	p.forget()
	return p
}

func (p *past) forget() {
	p.folded, p.visible = map[uint32]*node{}, map[uint32]bool{}
}

func (p *past) includes(a at) bool { return a.seq < p.clock.Length(p.v.cores.get(a.core).id) }

// prepare finds the void deletes and replays the placements of directories, once.
func (p *past) prepare() error {
	if p.ready {
		return nil
	}
	s, err := voids(p.v.rows, p.v.cores, p.includes)
	if err != nil {
		return err
	}
	p.fold.void = s.void
	for range p.v.rows.Scan([]byte{rowCrossed}, nil) {
		p.crossed = true
		break
	}
	log, err := readLog(p.v.rows, p.v.cores, at{}, p.includes)
	if err != nil {
		return err
	}
	p.places, p.logged = map[uint32]placement{}, map[uint32]bool{}
	for _, g := range log {
		if g.create {
			p.logged[g.num] = true
		}
	}
	p.ready = true
	for _, g := range log {
		ok, err := legal(g, p.place)
		if err != nil {
			return err
		}
		if ok {
			p.places[g.num] = g.to
		}
	}
	p.forget() // what was folded meanwhile had places that were not final
	return nil
}

// place is where a directory is, as far as the log was replayed.
func (p *past) place(num uint32) (placement, error) {
	if to, ok := p.places[num]; ok {
		return to, nil
	}
	n, err := p.summary(num)
	if err != nil {
		return placement{}, err
	}
	return n.place, nil
}

// summary folds the operations on a node. A directory is where it was created, or where
// the log put it.
func (p *past) summary(num uint32) (*node, error) {
	if n, ok := p.folded[num]; ok {
		return n, nil
	}
	now, err := readNode(p.v.rows, num)
	if err != nil {
		return nil, err
	}
	return p.summarize(now)
}

// unchanged reports whether a node is now what it was then: nothing has been done to it since.
func (p *past) unchanged(n *node) bool {
	if p.crossed || n.count == 0 || n.kind() == Dir && (n.places > 1 || n.logged || n.created.at.isZero()) {
		return false
	}
	for _, t := range n.touched {
		if t.last.Seq >= p.clock.Length(p.v.cores.get(t.core).id) {
			return false
		}
	}
	return true
}

// summarize makes of what a node is now what it was then.
func (p *past) summarize(now *node) (*node, error) {
	num := now.num
	if n, ok := p.folded[num]; ok {
		return n, nil
	}
	if p.unchanged(now) {
		if to, ok := p.places[num]; ok && now.kind() == Dir {
			now.place = to
		}
		p.keep(now)
		return now, nil
	}
	n := &node{num: num, id: now.id}
	recs, err := records(p.v.rows, p.v.cores, num, p.includes)
	if err != nil {
		return nil, err
	}
	p.fold.fold(n, recs)
	if n.kind() == Dir {
		for _, r := range recs {
			if r.typ == OpCreate && !p.logged[num] {
				n.place = placement{ok: true, dir: r.parent, name: r.name, stamp: r.stamp()}
			}
		}
		if to, ok := p.places[num]; ok {
			n.place = to
		}
	}
	p.keep(n)
	return n, nil
}

func (p *past) keep(n *node) {
	if len(p.folded) >= maxFolded {
		p.forget()
	}
	p.folded[n.num] = n
}

func (p *past) node(num uint32) (*node, error) {
	if err := p.prepare(); err != nil {
		return nil, err
	}
	n, err := p.summary(num)
	if err != nil {
		return nil, err
	}
	visible, err := p.shows(n)
	n.home.row = shown(visible)
	return n, err
}

// shown is the sort of row that a node has.
func shown(visible bool) byte {
	if visible {
		return rowVisible
	}
	return rowHidden
}

// shows reports whether a node is visible.
func (p *past) shows(n *node) (bool, error) {
	if n.alive || n.kind() != Dir {
		return n.alive, nil
	}
	if is, ok := p.visible[n.num]; ok {
		return is, nil
	}
	found := false
	err := p.placed(n.num, nil, func(c *node) (bool, error) {
		var err error
		found, err = p.shows(c)
		return !found, err
	})
	if err == nil {
		p.visible[n.num] = found
	}
	return found, err
}

// placed calls fn with every node placed in a directory, and called name if that is given, until
// fn returns false.
func (p *past) placed(dir uint32, name *string, fn func(*node) (bool, error)) error {
	if err := p.prepare(); err != nil {
		return err
	}
	seen := map[uint32]bool{}
	for _, row := range []byte{rowVisible, rowHidden, rowEver, rowOrphan} {
		prefix := numKey(row, dir)
		if name != nil {
			prefix = namePrefix(row, dir, *name)
		}
		if row == rowOrphan {
			if prefix = []byte{row}; dir != nowhere {
				continue
			}
		}
		for k, b := range p.v.rows.Scan(prefix, nil) {
			num := numOf(k)
			if seen[num] || num == 0 {
				continue
			}
			seen[num] = true
			n, err := p.candidate(num, k, b)
			if err != nil {
				return err
			}
			if n.place.ok != (dir != nowhere) || n.place.ok && (n.place.dir != dir || name != nil && n.place.name != *name) {
				continue
			}
			if more, err := fn(n); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// candidate reads a node that may have been somewhere. The row that lists it now is its own.
func (p *past) candidate(num uint32, k, b []byte) (*node, error) {
	if k[0] != rowVisible && k[0] != rowHidden {
		return p.summary(num)
	}
	now, err := decodeNode(k, b)
	if err != nil {
		return nil, err
	}
	return p.summarize(now)
}

func (p *past) children(dir uint32, name *string) ([]*node, error) {
	var out []*node
	err := p.placed(dir, name, func(n *node) (bool, error) {
		visible, err := p.shows(n)
		if n.home.row = shown(visible); visible {
			out = append(out, n)
		}
		return true, err
	})
	return out, err
}
