package tree

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"
)

// A shape is a history without what the commands are: who gave each and which of those before it he knew. There are some ten thousand shapes
// for a billion of histories, so that what can be told of a history by its shape costs nothing.
//
// Each history is made once, in an order of its commands in which nobody's comes before another's that it could also come behind: the last is,
// of those that nobody knows, the one by the last replica.
type shape struct {
	authors []int
	knows   []uint8 // of each command: those before it that its author knew, as bits
	next    map[grown]*shape
	wanted  bool // a history with all commands begins with this, and none that is like it is looked at instead
}

// grown is a command more.
type grown struct {
	author int
	knows  uint8
}

// shapes makes all shapes of some replicas and commands. If alike is set, those are wanted only that do not become less by other names for the
// replicas from first on.
func shapes(replicas, commands, first int, alike bool) *shape {
	var others [][]int
	if alike {
		others = permutations(replicas, first)
	}
	s := &shape{}
	s.grow(replicas, commands, others, ranksOf(replicas))
	return s
}

// ranksOf gives the places of the replicas in the order of their cores.
func ranksOf(replicas int) []int {
	ranks := make([]int, replicas)
	for i := range ranks {
		for j := range ranks {
			if core, other := coreOf(i), coreOf(j); string(other[:]) < string(core[:]) {
				ranks[i]++
			}
		}
	}
	return ranks
}

// permutations are all of n numbers that leave those below first in their places.
func permutations(n, first int) (out [][]int) {
	var fill func(p []int)
	fill = func(p []int) {
		if len(p) == n {
			out = append(out, slices.Clone(p))
		}
		for i := first; i < n; i++ {
			if !slices.Contains(p, i) {
				fill(append(slices.Clip(p), i))
			}
		}
	}
	var p []int
	for i := range first {
		p = append(p, i)
	}
	fill(p)
	return out
}

func (s *shape) grow(replicas, commands int, others [][]int, ranks []int) {
	if len(s.authors) == commands {
		s.wanted = s.least(others, ranks)
		return
	}
	s.next = map[grown]*shape{}
	for _, g := range s.growths(replicas) {
		c := &shape{authors: append(slices.Clip(s.authors), g.author), knows: append(slices.Clip(s.knows), g.knows)}
		c.grow(replicas, commands, others, ranks)
		if c.wanted {
			s.next[g], s.wanted = c, true
		}
	}
}

// growths are the ways to go on.
func (s *shape) growths(replicas int) (out []grown) {
	for set := range uint8(1) << len(s.authors) {
		if !s.closed(set) {
			continue
		}
		last := -1 // of the authors of those that nobody knows, but for the new one
		known := uint8(0)
		for _, knew := range s.knows {
			known |= knew
		}
		own := make([]bool, replicas)
		for k, author := range s.authors {
			if set>>k&1 == 0 {
				own[author] = true
				if known>>k&1 == 0 {
					last = max(last, author)
				}
			}
		}
		for i := range replicas {
			if !own[i] && i > last {
				out = append(out, grown{i, set})
			}
		}
	}
	return out
}

// closed reports whether the set has all that somebody in it knew.
func (s *shape) closed(set uint8) bool {
	for k, knew := range s.knows {
		if set>>k&1 != 0 && knew&^set != 0 {
			return false
		}
	}
	return true
}

// least reports whether no other names for the replicas make less of the shape.
func (s *shape) least(others [][]int, ranks []int) bool {
	for _, p := range s.likenesses(others, ranks) {
		if slices.Compare(s.code(p), s.code(permutations(len(p), len(p))[0])) < 0 {
			return false
		}
	}
	return true
}

// likenesses are those of the other names for the replicas with which everything is the same but for the names. These count for nothing but
// where two commands of the same time are compared.
func (s *shape) likenesses(others [][]int, ranks []int) (out [][]int) {
	times := make([]int, len(s.authors))
	for k, knew := range s.knows {
		for j := range s.knows {
			if knew>>j&1 != 0 {
				times[k] = max(times[k], times[j]+1)
			}
		}
	}
	for _, p := range others {
		same := true
		for k, a := range s.authors {
			for j, b := range s.authors[:k] {
				same = same && (times[k] != times[j] || (ranks[a] < ranks[b]) == (ranks[p[a]] < ranks[p[b]]))
			}
		}
		if same {
			out = append(out, p)
		}
	}
	return out
}

// code tells of each replica, by its other name, how many commands it gave and how many of whose it knew at each.
func (s *shape) code(names []int) []int {
	out := make([]int, 0, (len(names)+1)*len(s.authors)+len(names))
	by := make([]uint8, len(names))
	for k, a := range s.authors {
		by[names[a]] |= 1 << k
	}
	for a := range names {
		out = append(out, bits.OnesCount8(by[a]))
		for k := range s.authors {
			if by[a]>>k&1 == 0 {
				continue
			}
			for b := range names {
				out = append(out, bits.OnesCount8(s.knows[k]&by[b]))
			}
		}
	}
	return out
}

// told is the least code of the shapes that are like this one.
func (s *shape) told(others [][]int, ranks []int) string {
	least := s.code(permutations(len(ranks), len(ranks))[0])
	for _, p := range s.likenesses(others, ranks) {
		if c := s.code(p); slices.Compare(c, least) < 0 {
			least = c
		}
	}
	return fmt.Sprint(least)
}

// TestShapes compares the shapes with those that come about when anybody goes on who knows anything: none is missing but those that
// are like one that is there, and none is there twice. Where somebody had heard of the last replica, and one between them had heard of
// nobody, a shape was missing.
func TestShapes(t *testing.T) {
	for _, c := range []struct{ replicas, commands, first int }{{2, 4, 0}, {2, 4, 1}, {3, 3, 0}, {3, 3, 1}, {3, 4, 1}} {
		others, ranks := permutations(c.replicas, c.first), ranksOf(c.replicas)
		got, want := map[string]int{}, map[string]bool{}
		var leaves func(s *shape)
		leaves = func(s *shape) {
			if len(s.authors) == c.commands {
				got[s.told(others, ranks)]++
			}
			for _, n := range s.next {
				leaves(n)
			}
		}
		leaves(shapes(c.replicas, c.commands, c.first, true))
		var plainly func(s shape)
		plainly = func(s shape) {
			if len(s.authors) == c.commands {
				want[s.told(others, ranks)] = true
				return
			}
			for i := range c.replicas {
				own := uint8(0)
				for k, author := range s.authors {
					own |= uint8(order(author == i)) << k
				}
				for set := range uint8(1) << len(s.authors) {
					if s.closed(set) && own&^set == 0 {
						plainly(shape{authors: append(slices.Clip(s.authors), i), knows: append(slices.Clip(s.knows), set)})
					}
				}
			}
		}
		plainly(shape{})
		missing, more := 0, 0
		for told := range want {
			missing += order(got[told] == 0)
		}
		for told, n := range got {
			more += order(n > 1 || !want[told])
		}
		if missing+more > 0 {
			t.Errorf("%v: of %d shapes %d are missing, and %d are there that should not or are there twice", c, len(want), missing, more)
		}
	}
}
