package tree

import (
	"encoding/binary"
	"errors"
)

// Conflicts lists every entry that is shown under a name that nobody gave it, each with the directory
// that it is in. It reads an index, not the tree.
func (v *View) Conflicts() ([]Entry, error) {
	if v.past != nil {
		return v.walkConflicts()
	}
	var out []Entry
	seen := map[NodeID]bool{}
	take := func(list []Entry) {
		for _, e := range list {
			if k := e.ID; e.Conflict && !seen[k] {
				seen[k] = true
				out = append(out, e)
			}
		}
	}
	done := map[uint32]bool{}
	lost, err := v.children(nowhere, nil)
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		root, err := v.list([]uint32{0})
		if err != nil {
			return nil, err
		}
		take(root)
		done[0] = true
	}
	for k := range v.rows.Scan([]byte{rowConflict}, nil) {
		dir, name := binary.BigEndian.Uint32(k[1:]), string(k[5:])
		n, err := v.node(dir)
		if err != nil {
			return nil, err
		}
		if err := v.unionConflicts(n, name, take); errors.Is(err, ErrTooDeep) {
			continue // nobody sees that far down
		} else if err != nil {
			return nil, err
		}
		if done[dir] {
			continue
		}
		members, err := v.union(n)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			done[m] = true
		}
		list, err := v.list(members)
		if err != nil {
			return nil, err
		}
		take(list)
	}
	return out, nil
}

// unionConflicts looks for conflicts below directories that are displayed as one: there the index, which goes by
// single directories, does not tell.
func (v *View) unionConflicts(dir *node, name string, take func([]Entry)) error {
	parents, err := v.union(dir)
	if err != nil {
		return err
	}
	nodes, err := v.gather(parents, &name)
	if err != nil {
		return err
	}
	return v.overlaps(nodes, take)
}

func (v *View) overlaps(nodes []*node, take func([]Entry)) error {
	var members []uint32
	for _, n := range nodes {
		if n.kind() == Dir {
			members = append(members, n.num)
		}
	}
	if len(members) < 2 {
		return nil
	}
	list, err := v.list(members)
	if err != nil {
		return err
	}
	take(list)
	for _, e := range list {
		if e.Kind != Dir || len(e.Members) < 2 {
			continue
		}
		var below []*node
		for _, id := range e.Members {
			n, err := v.byID(id)
			if err != nil {
				return err
			}
			below = append(below, n)
		}
		if err := v.overlaps(below, take); err != nil {
			return err
		}
	}
	return nil
}

// walkConflicts finds the conflicts of an earlier version, by looking everywhere.
func (v *View) walkConflicts() ([]Entry, error) {
	var out []Entry
	work := []Entry{v.Root()}
	for len(work) > 0 {
		list, err := v.List(work[0])
		if err != nil {
			return nil, err
		}
		work = work[1:]
		for _, e := range list {
			if e.Conflict {
				out = append(out, e)
			}
			if e.Kind == Dir {
				work = append(work, e)
			}
		}
	}
	return out, nil
}
