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

// unusual makes those entries of a displayed directory that can have a name that nobody gave them, with the entries that share their base,
// named and sorted as in the listing. Of a single directory it reads the index of such names and the nodes that have them, not everything else;
// where the index does not tell, of unions, in the past, and of a root with recovered nodes, it is the whole listing.
// The entries placed under the name also (nil: none) are always among them.
func (v *View) unusual(members []uint32, also *string) ([]Entry, error) {
	if v.past != nil || len(members) != 1 {
		return v.list(members)
	}
	dir := members[0]
	if dir == 0 {
		lost, err := v.firstChildren(nowhere, nil, 1)
		if err != nil {
			return nil, err
		}
		if len(lost) > 0 {
			return v.list(members)
		}
	}
	names := map[string]bool{}
	for k := range v.rows.Scan(numKey(rowConflict, dir), nil) {
		names[string(k[5:])] = true
	}
	if also != nil {
		names[*also] = true
	}
	var lines []line
	for name := range names {
		more, err := v.called(dir, name)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return v.named(lines, func(name string) (bool, error) {
		more, err := v.called(dir, name)
		return len(more) > 0 && more[0].holds, err
	})
}

// called makes the entries of one name in one directory.
func (v *View) called(dir uint32, name string) ([]line, error) {
	nodes, err := v.children(dir, &name)
	if err != nil {
		return nil, err
	}
	return v.group(name, nodes)
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
	// A work list, not a recursion: somebody who makes up operations can nest directories without end.
	for work := [][]*node{nodes}; len(work) > 0; {
		members := dirsAmong(work[0])
		if work = work[1:]; len(members) < 2 {
			continue
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
			work = append(work, below)
		}
	}
	return nil
}

// dirsAmong returns the numbers of the directories among nodes.
func dirsAmong(nodes []*node) (out []uint32) {
	for _, n := range nodes {
		if n.kind() == Dir {
			out = append(out, n.num)
		}
	}
	return out
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
