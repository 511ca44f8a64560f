package tree

// A delete of a file that stands alone changes little that a command could meet, and what it changes takes far longer to derive than
// the operation takes to make. So an Edit puts that off until somebody looks, and derives many at once. So it does with a directory in
// which nothing else is left: who removes a tree lists each of its directories, removes what is in there, and then the directory, and
// nobody looks at one again.

// late is the deletes that are among an Edit's operations and have not taken effect in the rows.
type late struct {
	ops   []uint32        // their indices
	nodes map[NodeID]bool // what they are on
	dirs  map[NodeID]bool // where that was
	told  Changes         // what Changed is to say

	dir   uint32 // a directory in which files may stand alone
	known bool   // there is one
}

// RemoveAlone removes what is displayed under a name of a directory if it is a file or a symlink that stands alone: no other node has its
// name, it has no conflict copies, and its directory is alive and shown by itself; or a directory that is alive and shown by itself, if
// this edit has removed everything in there so. It makes the operation that Remove makes then, and puts off what follows from it. It
// reports false, and has done nothing, when there is no such thing: then Remove is for it.
func (e *Edit) RemoveAlone(dir NodeID, name string) (done bool, err error) {
	if e.torn || len(e.ops) >= MaxOps {
		return false, nil
	}
	num, ok, err := e.view.num(dir)
	if err != nil || !ok {
		return false, err
	}
	l, v := &e.late, e.view
	nodes, err := v.children(num, &name)
	if err != nil || len(nodes) != 1 || l.nodes[nodes[0].id] {
		return false, err
	}
	if !l.known || l.dir != num {
		if ok, err := e.standsAlone(num); err != nil || !ok {
			return false, err
		}
		l.dir, l.known = num, true
	}
	n := nodes[0]
	o := Op{Type: OpDelete, Node: n.id, Seen: v.context(n.known())}
	switch {
	case n.alone():
		o.Heads = v.context(only(displayed(n)...))
	case n.kind() == Dir:
		if ok, err := e.emptied(n); err != nil || !ok {
			return false, err
		}
		sweep, err := e.swept(v, n.num)
		if err != nil {
			return false, err
		}
		o.Sweep = v.context(sweep)
	default:
		return false, nil
	}
	k := uint32(len(e.ops))
	p := unplaced(k, o)
	if p.check() != nil {
		return false, nil // Remove says why
	}
	e.ops = append(e.ops, o)
	e.gone[num] = append(e.gone[num], k)
	l.note(k, n.id, dir, name)
	return true, nil
}

// note notes that the operation with index k has taken a node from its place.
func (l *late) note(k uint32, id, dir NodeID, name string) {
	if l.nodes == nil {
		l.nodes, l.dirs = map[NodeID]bool{}, map[NodeID]bool{}
	}
	l.nodes[id], l.dirs[dir] = true, true
	l.ops = append(l.ops, k)
	l.told.Dirs = append(l.told.Dirs, dir)
	l.told.Names = append(l.told.Names, Place{dir, name})
}

// emptied reports whether a directory stands alone and shows nothing but what is put off to be gone.
func (e *Edit) emptied(n *node) (bool, error) {
	if e.sweep != nil {
		return false, nil // what earlier entries have removed belongs to it, too
	}
	if ok, err := e.standsAlone(n.num); err != nil || !ok {
		return false, err
	}
	nodes, err := e.view.children(n.num, nil)
	if err != nil {
		return false, err
	}
	for _, c := range nodes {
		if !e.late.nodes[c.id] {
			return false, nil
		}
	}
	return true, nil
}

// standsAlone reports whether a directory is alive and not shown as one with others.
func (e *Edit) standsAlone(num uint32) (bool, error) {
	n, err := e.view.node(num)
	if err != nil || num != 0 && !n.alive {
		return false, err
	}
	m, err := readMeta(e.rows)
	if err != nil || m.conflicts == 0 {
		return err == nil, err
	}
	for depth := 0; n.num != 0; depth++ {
		if !n.place.ok || depth == MaxDepth {
			return false, nil
		}
		if row, err := e.rows.Get(conflictKey(n.place.dir, n.place.name)); err != nil || row != nil {
			return false, err
		}
		if n, err = e.view.node(n.place.dir); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Late reports whether there are operations that have not taken effect yet: [Edit.ViewOn] is not to be used then, but for what LateIn
// knows not to have changed.
func (e *Edit) Late() bool { return len(e.late.ops) > 0 }

// LateIn reports whether operations that have not taken effect yet change which entries are displayed in a directory, or those entries.
func (e *Edit) LateIn(dir NodeID) bool { return e.late.nodes[dir] || e.late.dirs[dir] }

// Derive lets all operations take effect. Every command does so, but for RemoveAlone, and View does.
func (e *Edit) Derive() error {
	if !e.Late() {
		return nil
	}
	var told Changes // what others have changed is still to be said
	if e.merge != nil {
		told = e.merge.changes()
		e.merge.forget()
	}
	ps := make([]*Placed, len(e.late.ops))
	for i, k := range e.late.ops {
		p := unplaced(k, e.ops[k])
		ps[i] = &p
	}
	e.late = late{told: e.late.told.Join(told), dir: e.late.dir, known: e.late.known}
	if err := e.apply(ps...); err != nil {
		e.torn = true
		return err
	}
	e.changed = e.changed.Join(told).Join(e.merge.changes())
	e.merge.forget()
	return nil
}
