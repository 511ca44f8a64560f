package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
)

// liar makes operations that no Edit would: positions that do not follow from what their author knew, contexts that
// speak of anything (and know some of it), placements in circles, operations on nodes that are created later. Rows must still
// come to the same state in every order of arrival, the one that the oracle finds.
func liar(s source, n int) []Placed {
	var out []Placed
	var nodes []NodeID
	seqs := [3]uint64{}
	names := []string{"a", "b"}
	for i := range n {
		core := s.pick(3)
		if s.pick(3) > 0 {
			seqs[core]++
		}
		entry := key.Sum([]byte{byte(i), byte(core), 77})
		p := Placed{Pos: Pos{Lamport: uint64(1 + s.pick(2*n)), Core: coreOf(core), Seq: seqs[core], Index: uint32(s.pick(3))}, Author: deviceOf(core)}
		p.ID = OpID{entry, p.Pos.Index}
		if s.pick(2) == 0 {
			p.Closure = closure{uint64(s.pick(n)), uint64(s.pick(n)), uint64(s.pick(n))}
		}
		set := func() (c Context) {
			for range s.pick(3) {
				lo := uint64(s.pick(int(seqs[0]+seqs[1]+seqs[2]) + 1))
				c = append(c, Range{Core: coreOf(s.pick(3)), Lo: Spot{lo, uint32(s.pick(2))}, Hi: Spot{lo + uint64(s.pick(4)), uint32(2 + s.pick(2))}})
			}
			return c
		}
		parent := Root
		node := Root
		if len(nodes) > 0 {
			node = nodes[s.pick(len(nodes))]
			if d := nodes[s.pick(len(nodes))]; d.Kind() == Dir && s.pick(4) > 0 {
				parent = d
			}
		}
		name := names[s.pick(len(names))]
		dir := node.Kind() == Dir
		switch t := s.pick(8); {
		case len(nodes) == 0 || t < 3:
			k := []Kind{Dir, Dir, File}[s.pick(3)]
			p.Op = Op{Type: OpCreate, Node: NodeOf(p.ID, k), Parent: parent, Name: name}
			if k == File {
				p.Op.Content = content(fmt.Sprint(s.pick(4)))
			}
			nodes = append(nodes, p.Op.Node)
		case t < 5:
			p.Op = Op{Type: OpMove, Node: node, Parent: parent, Name: name}
			if parent == node {
				p.Op.Parent = Root
			}
			if dir {
				p.Op.Seen = set()
			} else {
				p.Op.Carries = set()
			}
		case t < 6:
			p.Op = Op{Type: OpDelete, Node: node, Seen: set()}
			if dir {
				p.Op.Sweep = set()
			} else {
				p.Op.Heads = set()
			}
		case dir:
			p.Op = Op{Type: OpKeep, Node: node}
		case t < 7:
			p.Op = Op{Type: OpWrite, Node: node, Content: content(fmt.Sprint(s.pick(4))), Covers: set()}
			if s.pick(3) == 0 {
				p.Op.Line = tagOf(out[s.pick(len(out))].ID)
			}
		default:
			p.Op = Op{Type: OpAside, Node: node, Beside: set(), Places: append(set(), Range{Core: coreOf(0), Hi: Spot{Seq: 3}})}
		}
		out = append(out, p)
	}
	return out
}

func liarTrial(s source, n int) error {
	ops := liar(s, n)
	gone := s.pick(len(ops)/2 + 1)
	var first string
	for range 3 {
		order := slices.Clone(ops)
		for i := range order {
			j := i + s.pick(len(order)-i)
			order[i], order[j] = order[j], order[i]
		}
		rows := NewMem()
		for len(order) > 0 {
			k := 1 + s.pick(min(5, len(order)))
			var remove []Placed
			for range s.pick(3) {
				remove = append(remove, ops[s.pick(len(ops))])
			}
			if _, err := Apply(rows, order[:k], remove); err != nil {
				return err
			}
			order = order[k:]
		}
		if _, err := Apply(rows, ops, nil); err != nil { // what was taken out comes back
			return err
		}
		if err := agrees(Now(rows), ops); err != nil {
			return err
		}
		if _, err := Apply(rows, nil, ops[:gone]); err != nil {
			return err
		}
		if err := agrees(Now(rows), ops[gone:]); err != nil {
			return fmt.Errorf("without the first %d: %w", gone, err)
		}
		h, err := StateHash(rows)
		if err != nil {
			return err
		}
		if first == "" {
			first = h.String()
		} else if first != h.String() {
			return fmt.Errorf("two orders of arrival, two states")
		}
		if err := sound(rows); err != nil {
			return err
		}
	}
	return nil
}

func TestLiars(t *testing.T) {
	n, seed := effort(400)
	for i := range uint64(n) {
		s := plain{rand.New(rand.NewPCG(seed, i))}
		if err := liarTrial(s, 4+int(i%20)); err != nil {
			for _, p := range liar(plain{rand.New(rand.NewPCG(seed, i))}, 4+int(i%20)) {
				t.Logf("%c lamport %d %d.%d type %d node %.6s in %.6s %q seen %s carries %s covers %s heads %s sweep %s beside %s places %s line %.6s", 'A'+slices.Index([]key.CoreID{coreOf(0), coreOf(1), coreOf(2)}, p.Pos.Core), p.Pos.Lamport, p.Pos.Seq, p.Pos.Index,
					p.Op.Type, p.Op.Node, p.Op.Parent, p.Op.Name, told(p.Op.Seen), told(p.Op.Carries), told(p.Op.Covers), told(p.Op.Heads), told(p.Op.Sweep), told(p.Op.Beside), told(p.Op.Places), p.Op.Line)
			}
			t.Fatalf("history %d: %v", i, err)
		}
	}
}

func told(c Context) string {
	s := ""
	for _, r := range c {
		s += fmt.Sprintf("%c%v-%v ", 'A'+slices.Index([]key.CoreID{coreOf(0), coreOf(1), coreOf(2)}, r.Core), r.Lo, r.Hi)
	}
	return s
}

// Directories that somebody has nested without end cost nobody else more than what he sent.
func TestBottomlessDirectories(t *testing.T) {
	rows := NewMem()
	core := key.CoreID{1}
	parent := Root
	nodes := []NodeID{parent}
	var batch []Placed
	for i := range 3 * maxClimb {
		id := OpID{Entry: key.Sum(binary.BigEndian.AppendUint32(nil, uint32(i)))}
		n := NodeOf(id, Dir)
		batch = append(batch, Placed{Pos: Pos{Lamport: uint64(i + 1), Core: core, Seq: uint64(i)}, ID: id,
			Op: Op{Type: OpCreate, Node: n, Parent: parent, Name: "d"}})
		if parent = n; len(batch) == MaxOps || i == 3*maxClimb-1 {
			if _, err := Apply(rows, batch, nil); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
		nodes = append(nodes, n)
	}
	defer debug.SetMaxStack(debug.SetMaxStack(1 << 20)) // nothing goes down by recursion
	v := Now(rows)
	for depth, want := range map[int]error{1: nil, 2: nil, MaxDepth: nil, maxClimb: nil, maxClimb + 2: ErrTooDeep, 3 * maxClimb: ErrTooDeep} {
		e, err := v.Node(nodes[depth])
		if !errors.Is(err, want) || err == nil && e.Node != nodes[depth] {
			t.Errorf("depth %d: %v, %v", depth, e.Node, err)
		}
		p, err := v.Path(nodes[depth])
		if !errors.Is(err, want) || err == nil && len(p) != 2*depth-1 {
			t.Errorf("depth %d: a path of %d bytes, %v", depth, len(p), err)
		}
	}
	if all, err := v.Conflicts(); err != nil || len(all) != 0 {
		t.Errorf("conflicts %v, %v", all, err)
	}
}

// What an honest edit takes over from the contexts of somebody who claims to know everything can be written down and read by all.
func TestCopiedClaims(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.reps[0], w.reps[1]
	a.run("create f 1")
	w.share()
	f := b.entry("f")
	b.ok(b.post([]Op{{Type: OpWrite, Node: f.Node, Content: content("2"), Covers: Context{{Core: coreOf(0), Hi: Spot{1 << 60, MaxOps - 1}}}}}))
	w.share()
	a.run("write f 3")
	w.share()
	for _, r := range w.reps {
		r.ok(r.check())
		if got := r.show(); got != "f=3" {
			t.Error(got)
		}
	}
}
