package tree

import (
	"strings"

	"github.com/pearbox/pearbox/drive/key"
)

// Ever is what may ever have had a path, at whichever version, or been below it.
type Ever struct {
	Nodes   map[NodeID]bool
	Entries []key.Hash // with operations on them, each once, in no order
}

// Ever finds the nodes that may ever have had a path or been below it: all that did, and perhaps some that did not. It follows the names that
// nodes were given; ok is false for a path with a name that conflicts may have made, and when it had to read more than limit rows.
func (v *View) Ever(path string, limit int) (e Ever, ok bool, err error) {
	s := everSearch{v: v, left: limit}
	at := []uint32{0}
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if strings.Contains(name, conflictInfix) || strings.HasPrefix(name, recoveredPrefix) {
			return Ever{}, false, nil
		}
		if at, ok = s.named(at, name); !ok {
			return Ever{}, false, nil
		}
	}
	nums, ok := s.below(at)
	if !ok {
		return Ever{}, false, nil
	}
	return s.told(nums)
}

// everSearch counts the rows that may still be read.
type everSearch struct {
	v    *View
	left int
}

// scan adds the nodes that ever were placed under keys that go on from what prefix gives for a sort of row; false: too many.
func (s *everSearch) scan(out []uint32, known map[uint32]bool, prefix func(row byte) []byte) ([]uint32, bool) {
	for _, row := range []byte{rowVisible, rowHidden, rowEver} {
		for k := range s.v.rows.Scan(prefix(row), nil) {
			if s.left--; s.left < 0 {
				return nil, false
			}
			if num := numOf(k); num != 0 && !known[num] {
				known[num] = true
				out = append(out, num)
			}
		}
	}
	return out, true
}

// named finds what was ever placed under a name in any of several directories.
func (s *everSearch) named(dirs []uint32, name string) (out []uint32, ok bool) {
	known := map[uint32]bool{}
	for _, d := range dirs {
		if out, ok = s.scan(out, known, func(row byte) []byte { return namePrefix(row, d, name) }); !ok {
			return nil, false
		}
	}
	return out, true
}

// below adds what was ever placed in nodes, and in those.
func (s *everSearch) below(nodes []uint32) (all []uint32, ok bool) {
	all = nodes
	known := make(map[uint32]bool, len(all))
	for _, num := range all {
		known[num] = true
	}
	for i := 0; i < len(all); i++ {
		if all, ok = s.scan(all, known, func(row byte) []byte { return numKey(row, all[i]) }); !ok {
			return nil, false
		}
	}
	return all, true
}

// told finds the entries that speak of nodes.
func (s *everSearch) told(nums []uint32) (e Ever, ok bool, err error) {
	e.Nodes = make(map[NodeID]bool, len(nums))
	seen := map[key.Hash]bool{}
	for _, num := range nums {
		id, err := s.v.id(num)
		if err != nil {
			return Ever{}, false, err
		}
		e.Nodes[id] = true
		for r, err := range s.v.newest(num) {
			if err != nil {
				return Ever{}, false, err
			}
			if s.left--; s.left < 0 {
				return Ever{}, false, nil
			}
			if !seen[r.entry] {
				seen[r.entry] = true
				e.Entries = append(e.Entries, r.entry)
			}
		}
	}
	return e, true, nil
}
