package tree

// Each calls fn for each entry that List lists, in the order of the names, but for those that nobody gave. Of a directory of more than about
// limit entries it reads no more than that, and whole is false. The entry is another one after fn has returned; what it points to is not.
func (v *View) Each(dir Entry, limit int, fn func(*Entry)) (whole bool, err error) {
	members, err := v.members(dir)
	if err != nil {
		return false, err
	}
	if single, err := v.single(members); err != nil || !single {
		return v.eachOf(members, limit, fn)
	}
	l := lister{v: v, dir: members[0], fn: fn}
	for k, b := range v.rows.Scan(numKey(rowVisible, members[0]), nil) {
		if limit--; limit < 0 {
			return false, nil
		}
		if err := l.row(k, b); err != nil {
			return false, err
		}
	}
	if err := l.flush(); err != nil {
		return false, err
	}
	return true, l.unnamed()
}

// single reports whether a listing is made of the rows of one directory, name by name.
func (v *View) single(members []uint32) (bool, error) {
	if v.past != nil || len(members) != 1 {
		return false, nil
	}
	if members[0] != 0 {
		return true, nil
	}
	lost, err := v.firstChildren(nowhere, nil, 1)
	return len(lost) == 0, err
}

// eachOf is Each of any directory, by way of the whole listing.
func (v *View) eachOf(members []uint32, limit int, fn func(*Entry)) (whole bool, err error) {
	var nodes []*node
	for _, m := range members {
		more, err := v.firstChildren(m, nil, limit+1-len(nodes))
		if err != nil {
			return false, err
		}
		if nodes = append(nodes, more...); len(nodes) > limit {
			return false, nil
		}
	}
	entries, err := v.display(members, nodes)
	if err != nil {
		return false, err
	}
	for i := range entries {
		fn(&entries[i])
	}
	return true, nil
}

// lister makes the entries of a directory while its rows are read. Nearly every name is one node's, which is done with before the next
// but one is read: nodes and entries are large, and making one of each for every row was most of a listing.
type lister struct {
	v     *View
	dir   uint32
	fn    func(*Entry)
	out   Entry   // for fn
	same  []*node // of one name, the last that was read
	spare *node   // that nobody has
	d     dec
	waits []line // that get a name when all others are known
}

func (l *lister) row(k, b []byte) error {
	n, err := l.node(k, b)
	if err != nil || n.num == 0 {
		return err
	}
	if len(l.same) > 0 && l.same[0].place.name != n.place.name {
		if err := l.flush(); err != nil {
			return err
		}
	}
	l.same = append(l.same, n)
	return nil
}

func (l *lister) node(k, b []byte) (*node, error) {
	if l.drafted(numOf(k)) {
		return l.v.draft.nodes[numOf(k)], nil
	}
	n := l.spare
	if l.spare = nil; n == nil {
		n = new(node)
	}
	return n, n.read(&l.d, k, b)
}

func (l *lister) drafted(num uint32) bool { return l.v.draft != nil && l.v.draft.nodes[num] != nil }

// flush hands out the entries of one name.
func (l *lister) flush() (err error) {
	nodes := l.same
	l.same = nodes[:0]
	if len(nodes) == 0 {
		return nil
	}
	n := nodes[0]
	switch {
	case len(nodes) > 1 || n.kind() != Dir && !n.alone():
		return l.group(n.place.name, nodes)
	case n.kind() == Dir:
		if l.out, err = l.v.dirEntry(nodes); err != nil {
			return err
		}
	default:
		if err := l.v.plainEntry(&l.out, n.place.name, n); err != nil {
			return err
		}
	}
	if !l.drafted(n.num) {
		l.spare = n
	}
	l.fn(&l.out)
	return nil
}

func (l *lister) group(name string, nodes []*node) error {
	lines, err := l.v.group(name, nodes)
	if err != nil {
		return err
	}
	for i := range lines {
		if !lines[i].holds {
			l.waits = append(l.waits, lines[i])
			continue
		}
		l.out = lines[i].entry
		l.fn(&l.out)
	}
	return nil
}

// unnamed hands out the entries that nobody has given a name.
func (l *lister) unnamed() error {
	if len(l.waits) == 0 {
		return nil
	}
	entries, err := l.v.named(l.waits, func(name string) (bool, error) {
		lines, err := l.v.called(l.dir, name)
		return len(lines) > 0 && lines[0].holds, err
	})
	if err != nil {
		return err
	}
	for i := range entries {
		l.fn(&entries[i])
	}
	return nil
}
