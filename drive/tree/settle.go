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
		visible := n.num == 0 || n.alive || m.hasVisible(n.num)
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

func (m *merger) hasVisible(num uint32) bool {
	for range m.rows.Scan(numKey(rowVisible, num), nil) {
		return true
	}
	return false
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
	if m.pending {
		err = m.draft(n, was)
	} else {
		err = m.putNode(n, was)
	}
	if err != nil {
		return nil, err
	}
	n.dirty, n.isNew = false, false
	if was.row == rowVisible && n.home.row == rowHidden && n.home.dir != nowhere {
		if err := m.rows.Put(lastKey(n.home.dir, n.home.name), be32(n.num)); err != nil {
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
		if err := m.rows.Delete(was.key(n.num)); err != nil {
			return err
		}
	}
	if n.home.row == 0 {
		return nil
	}
	return m.rows.Put(n.home.key(n.num), present)
}

// putNode writes the row of a node, and where it is.
func (m *merger) putNode(n *node, was home) error {
	if was != n.home && was.row != 0 {
		if err := m.rows.Delete(was.key(n.num)); err != nil {
			return err
		}
	}
	if n.home.row != 0 {
		if err := m.rows.Put(n.home.key(n.num), n.encode()); err != nil {
			return err
		}
	}
	if was == n.home && !n.isNew {
		return nil
	}
	return m.rows.Put(numKey(rowHome, n.num), n.encodeHome())
}

// note remembers that something happened under a name.
func (m *merger) note(n *node, dir uint32, name string, moved, left bool, up []uint32) ([]uint32, error) {
	if n.num == 0 {
		return up, nil
	}
	k := nameKey{dir, name}
	c := m.names[k]
	if c == nil {
		c = &nameChange{}
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

// trash keeps the list of removed nodes.
func (m *merger) trash(n *node) error {
	var want uint64
	if n.home.row == rowHidden {
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
		count, plain := 0, true
		var dirs []NodeID
		for key, v := range named(m.rows, namePrefix(rowVisible, k.dir, k.name)) {
			n := m.nodes[numOf(key)]
			if n == nil {
				var err error
				if n, err = decodeNode(key, v); err != nil {
					return err
				}
			}
			count++
			plain = plain && n.plain()
			if n.kind() == Dir {
				dirs = append(dirs, n.id)
			}
		}
		if moved && len(dirs)+len(left) > 1 {
			for _, id := range slices.Concat(dirs, left) {
				m.joined[id] = true
			}
		}
		if err := m.putConflict(k, count > 1 || !plain); err != nil {
			return err
		}
	}
	m.open = m.open[:0]
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
