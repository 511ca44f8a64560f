package tree

import (
	"maps"
	"slices"
)

// Move renames an entry, like rename(2): over a file, or over an empty directory.
func (e *Edit) Move(from Entry, parent NodeID, name string) error {
	return e.do("move", from.Name, func() error {
		dir, err := e.directory(parent)
		if err != nil {
			return err
		}
		to, err := e.target(dir, name)
		if err != nil {
			return err
		}
		if to != nil && to.ID == from.ID && to.Kind == from.Kind {
			return nil
		}
		depth, err := e.depth(dir)
		if err != nil {
			return err
		}
		if depth >= MaxDepth {
			return ErrTooDeep
		}
		if from.Kind == Dir {
			return e.moveDir(from, dir, name, to)
		}
		return e.moveFile(from, dir, name, to)
	})
}

func (e *Edit) moveDir(from, dir Entry, name string, to *Entry) error {
	if from.Node == Root {
		return ErrIntoItself
	}
	if err := e.View().climb(dir.Node, func(up *node) error {
		if slices.Contains(from.Members, up.id) {
			return ErrIntoItself
		}
		return nil
	}); err != nil {
		return err
	}
	if to != nil {
		if to.Kind != Dir {
			return ErrNotDir
		}
		if err := e.removeDir(*to); err != nil {
			return err
		}
	}
	s, err := e.scene(from)
	if err != nil {
		return err
	}
	for _, id := range from.Members {
		v := e.View()
		n, err := v.byID(id)
		if err != nil {
			return err
		}
		if _, err := e.emit(Op{Type: OpMove, Node: id, Parent: dir.Node, Name: name, Seen: v.context(n.known())}); err != nil {
			return err
		}
	}
	return e.left(s)
}

func (e *Edit) moveFile(from, dir Entry, name string, to *Entry) error {
	if to != nil && to.Kind == Dir {
		return ErrIsDir
	}
	if to != nil && to.Kind == from.Kind {
		return e.replace(from, *to)
	}
	if to != nil {
		if err := e.remove(*to); err != nil {
			return err
		}
	}
	s, err := e.scene(from)
	if err != nil {
		return err
	}
	if from.ID != from.Node {
		err = e.moveCopy(s, dir, name)
	} else {
		err = e.moveMain(s, dir, name)
	}
	if err != nil {
		return err
	}
	return e.left(s)
}

// moveMain moves the files behind an entry with all their conflict copies. Of a file that only has a copy behind
// the entry, that copy is deleted: its bytes go along anyway.
func (e *Edit) moveMain(s *scene, dir Entry, name string) error {
	if err := e.part(s); err != nil {
		return err
	}
	copies := map[uint32][]at{}
	for _, id := range s.entry.Members {
		v := e.View()
		n, err := v.byID(id)
		if err != nil {
			return err
		}
		if i := n.main(); i < 0 || !s.entry.shows(n.heads[i].id()) {
			copies[n.num] = s.heads[n.num]
			continue
		}
		o := Op{Type: OpMove, Node: id, Parent: dir.Node, Name: name, Carries: v.context(only(displayed(n)...))}
		if _, err := e.emit(o); err != nil {
			return err
		}
	}
	return e.deleteHeads(copies)
}

// part separates what goes along with a main from what stays: where equal bytes of both are one entry, only
// the file that shows them keeps them. Else they would be two entries afterwards.
func (e *Edit) part(s *scene) error {
	v := e.View()
	var nodes []*node
	files := 0
	for _, num := range s.alike {
		n, err := v.node(num)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
		if n.kind() != Dir {
			files++
		}
	}
	if files < 2 {
		return nil
	}
	lines, err := v.group(s.entry.Base, nodes)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if l.entry.ID == s.entry.ID || l.entry.Kind == Dir {
			continue
		}
		goes := slices.Contains(s.entry.Members, l.entry.Node)
		var hidden []Head
		for _, h := range l.entry.Heads {
			if goes != slices.Contains(s.entry.Members, h.Node) {
				hidden = append(hidden, h)
			}
		}
		heads, err := e.heads(hidden)
		if err != nil {
			return err
		}
		mains, err := e.mains(slices.Sorted(maps.Keys(heads)))
		if err != nil {
			return err
		}
		if err := e.deleteHeads(heads); err != nil {
			return err
		}
		for num, m := range mains {
			if _, ok := s.mains[num]; !ok {
				s.mains[num] = m
			}
		}
	}
	return nil
}

// moveCopy makes a conflict copy a file of its own.
func (e *Edit) moveCopy(s *scene, dir Entry, name string) error {
	o := s.entry.copied()
	o.Type, o.Node, o.Parent, o.Name, o.Prev = OpCreate, NodeID{}.withKind(s.entry.Kind), dir.Node, name, s.entry.Node
	o.Attrs = s.entry.attrs()
	if _, err := e.emit(o); err != nil {
		return err
	}
	return e.deleteHeads(s.heads)
}

// replace renames a file over another: the target's node gets the source's bytes and attributes, so that
// its history goes on, and the source entry goes.
func (e *Edit) replace(from, to Entry) error {
	s, err := e.scene(from)
	if err != nil {
		return err
	}
	a := from.attrs()
	for name := range to.Xattrs {
		if _, ok := from.Xattrs[name]; !ok {
			a.Remove = append(a.Remove, name)
		}
	}
	slices.Sort(a.Remove)
	opened := to.Opened()
	opened.Heads = slices.Clone(opened.Heads)
	for _, h := range from.Heads {
		if h.Node == to.Node {
			opened.Heads = append(opened.Heads, h)
		}
	}
	if err := e.write(opened, from.copied(), a); err != nil {
		return err
	}
	n, err := e.View().byID(to.Node)
	if err != nil {
		return err
	}
	delete(s.heads, n.num)
	if err := e.deleteHeads(s.heads); err != nil {
		return err
	}
	return e.left(s)
}

// copied is an operation that writes the entry's bytes once more.
func (e *Entry) copied() Op {
	o := Op{Content: e.Content, Target: e.Target}
	if e.Content != nil && e.Content.Payload != 0 && !e.PayloadCore.IsZero() {
		o.From = &Source{e.PayloadCore, e.PayloadSeq}
	}
	return o
}

// attrs is what sets the entry's attributes on another node.
func (e *Entry) attrs() Attrs {
	a := Attrs{Mode: &e.Mode, Set: e.Xattrs}
	if e.MTime != 0 {
		a.MTime = &e.MTime
	}
	return a
}
