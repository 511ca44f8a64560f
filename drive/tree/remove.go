package tree

import (
	"maps"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// A scene is where an entry stands before a command takes it away.
type scene struct {
	entry Entry
	dirs  []uint32        // the members of the displayed directory
	mains map[uint32]at   // of the files behind the entry: what is the file itself
	alike []uint32        // all nodes of the entry's name
	heads map[uint32][]at // behind the entry
}

func (e *Edit) scene(of Entry) (*scene, error) {
	v := e.View()
	s := &scene{entry: of, dirs: rootNums}
	n, err := v.byID(of.Node)
	if err != nil {
		return nil, err
	}
	if of.Kind != Dir {
		if s.heads, err = e.heads(of.Heads); err != nil {
			return nil, err
		}
		if s.mains, err = e.mains(slices.Sorted(maps.Keys(s.heads))); err != nil {
			return nil, err
		}
	}
	if !n.place.ok {
		return s, nil
	}
	if s.dirs, err = v.parents(n); err != nil {
		return nil, err
	}
	nodes, err := v.gather(s.dirs, &n.place.name)
	if err != nil {
		return nil, err
	}
	s.alike = make([]uint32, len(nodes))
	for i, n := range nodes {
		s.alike[i] = n.num
	}
	return s, nil
}

// left ends a command that took the entry away from its name.
func (e *Edit) left(s *scene) error {
	var losers []uint32
	if s.entry.Name == s.entry.Base { // it held the name
		for _, num := range s.alike {
			n, err := e.View().node(num)
			if err != nil {
				return err
			}
			if n.place.ok && slices.Contains(s.dirs, n.place.dir) && n.place.name == s.entry.Base {
				losers = append(losers, num)
			}
		}
	}
	if err := e.setAside(s.mains, losers); err != nil {
		return err
	}
	return e.keep(s)
}

// keep makes the parent stay that was shown only because of the entry.
func (e *Edit) keep(s *scene) error {
	v := e.View()
	dirs := make([]*node, 0, 1)
	for _, num := range s.dirs {
		n, err := v.node(num)
		if err != nil {
			return err
		}
		if n.num == 0 || n.visible() {
			return nil
		}
		dirs = append(dirs, n)
	}
	parent, err := v.dirEntry(dirs)
	if err != nil {
		return err
	}
	_, err = e.emit(Op{Type: OpKeep, Node: parent.Node})
	return err
}

// Remove removes a file, a symlink or an empty directory.
func (e *Edit) Remove(from Entry) error {
	return e.do("remove", from.Name, func() error { return e.remove(from) })
}

func (e *Edit) remove(from Entry) error {
	s, err := e.scene(from)
	if err != nil {
		return err
	}
	if from.Kind == Dir {
		err = e.removeDir(from)
	} else {
		err = e.deleteHeads(s.heads)
	}
	if err != nil {
		return err
	}
	return e.left(s)
}

// removeDir deletes the members of an empty directory.
func (e *Edit) removeDir(dir Entry) error {
	v := e.View()
	members, err := v.members(dir)
	if err != nil {
		return err
	}
	for _, num := range members {
		if num == 0 {
			return ErrNotDir // nobody can remove the root
		}
		if anyVisible(v.rows, num) {
			return ErrNotEmpty
		}
	}
	for _, num := range members {
		if err := e.deleteDir(num); err != nil {
			return err
		}
	}
	return nil
}

// deleteDir deletes one directory. Its sweep is the deletes of its children that this edit, or the removal
// that it goes on with, has made.
func (e *Edit) deleteDir(num uint32) error {
	v := e.View()
	n, err := v.node(num)
	if err != nil {
		return err
	}
	sweep, err := e.swept(v, num)
	if err != nil {
		return err
	}
	_, err = e.emit(Op{Type: OpDelete, Node: n.id, Seen: v.context(n.known()), Sweep: v.context(sweep)})
	return err
}

// maxSwept bounds how many removed children are looked at.
const maxSwept = 1 << 16

func (e *Edit) swept(v *View, num uint32) (set, error) {
	var ats []at
	local, _, err := v.cores.num(key.CoreID{})
	if err != nil {
		return nil, err
	}
	if ats, err = e.sweptBefore(v, num); err != nil {
		return nil, err
	}
	for _, k := range e.gone[num] {
		ats = append(ats, at{lamport: pending, core: local, index: k})
	}
	var s set
	for _, a := range ats {
		if i := len(s) - 1; i >= 0 && s[i].core == a.core && s[i].hi.Seq == a.seq && a.index == s[i].hi.Index+1 {
			s[i].hi = a.spot()
			continue
		}
		if len(s) == MaxRanges {
			break
		}
		s = append(s, ranged{a.core, a.spot(), a.spot()})
	}
	return s, nil
}

// sweptBefore finds the deletes that earlier entries of the removal made.
func (e *Edit) sweptBefore(v *View, num uint32) (ats []at, err error) {
	own, known, err := v.cores.num(e.self)
	if err != nil || !known || e.sweep == nil {
		return nil, err
	}
	looked := 0
	for k, b := range v.rows.Scan(numKey(rowHidden, num), nil) {
		c, err := v.decode(k, b)
		if err != nil {
			return nil, err
		}
		if died := c.died.at; died.lamport != pending && died.core == own && died.seq >= *e.sweep && !died.isZero() {
			ats = append(ats, died)
		}
		if looked++; looked >= maxSwept {
			break
		}
	}
	slices.SortFunc(ats, v.cores.compare)
	return ats, nil
}

// RemoveAll removes an entry and everything below it. With more than fits one entry it removes
// from the leaves up as much as fits and reports more: append the operations, then
// go on in another Edit with SweepFrom set to the first one's place in its core.
func (e *Edit) RemoveAll(from Entry) (more bool, err error) {
	err = e.do("remove", from.Name, func() (err error) {
		more, err = e.removeAll(from)
		return err
	})
	return more, err
}

func (e *Edit) removeAll(from Entry) (more bool, err error) {
	if from.Kind != Dir {
		return false, e.remove(from)
	}
	members, err := e.View().members(from)
	if err != nil {
		return false, err
	}
	s, err := e.scene(from)
	if err != nil {
		return false, err
	}
	for _, num := range members {
		if more, err = e.removeTree(num); err != nil || more {
			return more, err
		}
	}
	return false, e.left(s)
}

// spare is how many operations a removal leaves for what has to come at the end of it.
const spare = 64

// removeTree deletes one directory with everything placed in it, leaves first. Of each directory it reads no more children
// than fit the entry, so that a large one that goes in many entries is read once and not once for each.
func (e *Edit) removeTree(num uint32) (more bool, err error) {
	type level struct {
		num      uint32
		children []*node
	}
	var open []level // from num down to the directory that is being emptied
	enter := func(num uint32) error {
		children, err := e.View().firstChildren(num, nil, MaxOps)
		open = append(open, level{num, children})
		return err
	}
	if err := enter(num); err != nil {
		return false, err
	}
	for len(open) > 0 {
		if len(e.ops) >= MaxOps-spare {
			return true, nil
		}
		last := &open[len(open)-1]
		switch {
		case len(last.children) == 0:
			err = e.deleteDir(last.num)
			open = open[:len(open)-1]
		case last.children[0].kind() == Dir:
			num := last.children[0].num
			last.children = last.children[1:]
			err = enter(num)
		default:
			n := last.children[0]
			last.children = last.children[1:]
			err = e.deleteHeads(map[uint32][]at{n.num: displayed(n)})
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
