package tree

import (
	"encoding/binary"
	"maps"
	"slices"
)

// settle writes the changed nodes and finds which directories became visible or ceased to be.
func (m *merger) settle() error {
	var dirs []uint32
	for _, n := range m.sortedWork() {
		n.marked = false
		switch {
		case !n.dirty:
		case n.kind() == Dir:
			dirs = append(dirs, n.num)
		default:
			up, err := m.flush(n, n.alive)
			if err != nil {
				return err
			}
			dirs = append(dirs, up...)
		}
	}
	for len(dirs) > 0 {
		n, err := m.node(dirs[len(dirs)-1])
		dirs = dirs[:len(dirs)-1]
		if err != nil {
			return err
		}
		visible := n.num == 0 || n.alive || anyVisible(m.rows, n.num)
		if !n.dirty && visible == n.visible() {
			continue
		}
		up, err := m.flush(n, visible)
		if err != nil {
			return err
		}
		dirs = append(dirs, up...)
	}
	return nil
}

// flush writes a node's row to where it belongs. It returns the directories that may have
// become visible or ceased to be by that.
func (m *merger) flush(n *node, visible bool) (up []uint32, err error) {
	was := n.home
	n.home = home{shown(visible), nowhere, ""}
	if !visible && n.count == 0 {
		n.home = home{}
	} else if n.place.ok {
		n.home.dir, n.home.name = n.place.dir, n.place.name
	}
	if err := m.trash(n); err != nil {
		return nil, err
	}
	moved := was != n.home
	if m.pending != nil {
		err = m.draft(n, was)
	} else {
		err = m.putNode(n, was)
	}
	if err != nil {
		return nil, err
	}
	n.dirty, n.isNew = false, false
	if was.row == rowVisible && n.home.row == rowHidden && n.home.dir != nowhere {
		m.key = appendLast(m.key[:0], n.home.dir, n.home.name)
		if err := m.rows.Put(m.key, be32(n.num)); err != nil {
			return nil, err
		}
	}
	if was.row == rowVisible {
		if up, err = m.note(n, was.dir, was.name, moved, true, up); err != nil {
			return nil, err
		}
	}
	if n.home.row == rowVisible && moved {
		if up, err = m.note(n, n.home.dir, n.home.name, true, false, up); err != nil {
			return nil, err
		}
	}
	if n.changed && n.home.row == rowVisible {
		m.changed[n.num] = true
	}
	return up, nil
}

// draft changes a node of an Edit. Until that lands the node itself is what counts: of its rows there is only the one that lists it,
// without a value.
func (m *merger) draft(n *node, was home) error {
	if !n.drafted {
		n.drafted, n.before = true, was
		m.drafts = append(m.drafts, n)
	}
	if was == n.home {
		return nil
	}
	if was.row != 0 {
		m.key = was.appendKey(m.key[:0], n.num)
		if err := m.rows.Delete(m.key); err != nil {
			return err
		}
	}
	if n.home.row == 0 {
		return nil
	}
	m.key = n.home.appendKey(m.key[:0], n.num)
	return m.rows.Put(m.key, present)
}

// putNode writes the row of a node, and where it is.
func (m *merger) putNode(n *node, was home) error {
	if was != n.home && was.row != 0 {
		m.key = was.appendKey(m.key[:0], n.num)
		if err := m.rows.Delete(m.key); err != nil {
			return err
		}
	}
	if n.home.row != 0 {
		m.key = n.home.appendKey(m.key[:0], n.num)
		m.enc.reset()
		n.appendTo(&m.enc)
		if err := m.rows.Put(m.key, m.enc.b); err != nil {
			return err
		}
	}
	if was == n.home && !n.isNew {
		return nil
	}
	m.key = appendNum(m.key[:0], rowHome, n.num)
	m.enc.b = n.appendHome(m.enc.b[:0])
	return m.rows.Put(m.key, m.enc.b)
}

// note remembers that something happened under a name.
func (m *merger) note(n *node, dir uint32, name string, moved, left bool, up []uint32) ([]uint32, error) {
	if n.num == 0 {
		return up, nil
	}
	k := nameKey{dir, name}
	c := m.names[k]
	if c == nil {
		if len(m.made) == cap(m.made) {
			m.made = make([]nameChange, 0, min(max(4, 2*cap(m.made)), 256))
		}
		m.made = append(m.made, nameChange{})
		c = &m.made[len(m.made)-1]
		m.names[k] = c
	}
	if !c.open {
		c.open = true
		m.open = append(m.open, k)
	}
	if n.kind() == Dir && moved {
		c.dirs = true
		if left {
			c.left = append(c.left, n.id)
		}
	}
	if dir == nowhere {
		m.dirs[0] = true
		return up, nil
	}
	m.dirs[dir] = true
	p, err := m.node(dir)
	if err != nil {
		return up, err
	}
	if moved && !p.alive && p.num != 0 {
		up = append(up, dir)
	}
	return up, nil
}

// trash keeps the list of removed nodes, and of files that were removed in part: one of several versions beside each other.
func (m *merger) trash(n *node) error {
	var want uint64
	if n.home.row == rowHidden || n.home.row == rowVisible && n.kind() != Dir {
		want = n.died.at.lamport
	}
	if want == n.trashed {
		return nil
	}
	if n.trashed > 0 {
		if err := m.rows.Delete(trashKey(n.trashed, n.num)); err != nil {
			return err
		}
	}
	if n.trashed = want; want == 0 {
		return nil
	}
	return m.rows.Put(trashKey(want, n.num), present)
}

func trashKey(lamport uint64, num uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{rowTrash}, ^lamport), num)
}

// indexNames keeps the index of names that several nodes have, or that a node with
// conflict copies has.
func (m *merger) indexNames() error {
	for _, k := range m.open {
		c := m.names[k]
		left, moved := c.left, c.dirs
		*c = nameChange{}
		if k.dir == nowhere {
			continue
		}
		now, err := m.named(k)
		if err != nil {
			return err
		}
		if moved && len(now.dirs)+len(left) > 1 {
			for _, id := range slices.Concat(now.dirs, left) {
				m.joined[id] = true
			}
		}
		if err := m.putConflict(k, now.count > 1 || !now.plain); err != nil {
			return err
		}
	}
	m.open = m.open[:0]
	return nil
}

// namesakes is what there is of one name.
type namesakes struct {
	count int
	plain bool     // none is the reason of a conflict entry by itself
	dirs  []NodeID // the directories
}

func (m *merger) named(k nameKey) (namesakes, error) {
	s := namesakes{plain: true}
	if m.pending != nil {
		if rows, ok := m.pending.named(rowVisible, k.dir, k.name); ok {
			for _, p := range rows {
				if err := s.add(m, p.k, p.v); err != nil {
					return s, err
				}
			}
			return s, nil
		}
	}
	return m.allNamed(k)
}

func (m *merger) allNamed(k nameKey) (namesakes, error) {
	s := namesakes{plain: true}
	for key, v := range m.rows.Scan(namePrefix(rowVisible, k.dir, k.name), nil) {
		if err := s.add(m, key, v); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *namesakes) add(m *merger, k, v []byte) error {
	n := m.nodes[numOf(k)]
	if n == nil {
		var err error
		if n, err = decodeNode(k, v); err != nil {
			return err
		}
	}
	s.count++
	s.plain = s.plain && n.plain()
	if n.kind() == Dir {
		s.dirs = append(s.dirs, n.id)
	}
	return nil
}

func (m *merger) putConflict(k nameKey, conflict bool) error {
	if !conflict && m.meta.conflicts == 0 {
		return nil
	}
	row := conflictKey(k.dir, k.name)
	have, err := m.rows.Get(row)
	switch {
	case err != nil:
		return err
	case conflict && have == nil:
		m.meta.conflicts++
		return m.rows.Put(row, present)
	case !conflict && have != nil:
		m.meta.conflicts--
		return m.rows.Delete(row)
	}
	return nil
}

func conflictKey(dir uint32, name string) []byte { return append(numKey(rowConflict, dir), name...) }

// forget lets changes begin anew.
func (m *merger) forget() {
	clear(m.names)
	clear(m.dirs)
	clear(m.changed)
	clear(m.joined)
}

// changes says what the merge changed.
func (m *merger) changes() Changes {
	var c Changes
	id := func(num uint32) NodeID {
		if n := m.nodes[num]; n != nil {
			return n.id
		}
		return Root
	}
	for _, num := range slices.Sorted(maps.Keys(m.dirs)) {
		c.Dirs = append(c.Dirs, id(num))
	}
	for k := range m.names {
		if k.dir != nowhere {
			c.Names = append(c.Names, Place{id(k.dir), k.name})
		}
	}
	for _, num := range slices.Sorted(maps.Keys(m.changed)) {
		c.Nodes = append(c.Nodes, id(num))
	}
	for n := range m.joined {
		c.Joined = append(c.Joined, n)
	}
	slices.SortFunc(c.Names, func(a, b Place) int {
		if a.Dir != b.Dir {
			return compareIDs(a.Dir, b.Dir)
		}
		return compareStrings(a.Name, b.Name)
	})
	slices.SortFunc(c.Joined, compareIDs)
	return c
}
