package tree

import (
	"io/fs"
	"maps"
	"slices"

	"github.com/pearbox/pearbox/drive/blob"
)

// Write gives a file new bytes in place of those that opened showed. What others wrote
// meanwhile stays beside it. fs.ErrNotExist when nothing of the node is displayed any more.
func (e *Edit) Write(opened Opened, content *blob.Content, a Attrs) error {
	return e.do("write", "", func() error {
		n, err := e.View().byID(opened.Node)
		if err != nil {
			return err
		}
		if n.kind() == Dir {
			return ErrIsDir
		}
		if !n.alive {
			return fs.ErrNotExist
		}
		return e.write(opened, Op{Content: content}, a)
	})
}

// write replaces what was opened: by a write on its node, and by deleting the heads of equal bytes on others.
func (e *Edit) write(opened Opened, o Op, a Attrs) error {
	heads, err := e.heads(opened.Heads)
	if err != nil {
		return err
	}
	mains, err := e.mains(slices.Sorted(maps.Keys(heads)))
	if err != nil {
		return err
	}
	v := e.View()
	n, err := v.byID(opened.Node)
	if err != nil {
		return err
	}
	covers, err := v.ancestry(n, heads[n.num])
	if err != nil {
		return err
	}
	o.Type, o.Node, o.Line, o.Covers, o.Attrs = OpWrite, n.id, opened.Tag, v.context(covers), Attrs{MTime: a.MTime}
	if _, err := e.emit(o); err != nil {
		return err
	}
	if a.MTime = nil; !a.empty() {
		if err := e.setAttr(n.id, a); err != nil {
			return err
		}
	}
	delete(heads, n.num)
	if err := e.deleteHeads(heads); err != nil {
		return err
	}
	return e.setAside(mains, nil)
}

// heads sorts heads by their nodes.
func (e *Edit) heads(hs []Head) (map[uint32][]at, error) {
	v := e.View()
	out := map[uint32][]at{}
	for _, h := range hs {
		num, ok, err := v.num(h.Node)
		if err != nil {
			return nil, err
		}
		a, known, err := v.atOf(h.Pos, h.ID)
		if err != nil {
			return nil, err
		}
		if ok && known {
			out[num] = append(out[num], a)
		}
	}
	return out, nil
}

// deleteHeads removes heads, each node's by one delete.
func (e *Edit) deleteHeads(heads map[uint32][]at) error {
	v := e.View()
	for _, num := range slices.Sorted(maps.Keys(heads)) {
		n, err := v.node(num)
		if err != nil {
			return err
		}
		if _, err := e.emit(Op{Type: OpDelete, Node: n.id, Heads: v.context(only(heads[num]...)), Seen: v.context(n.known())}); err != nil {
			return err
		}
	}
	return nil
}

// mains notes which head of each node is the file itself.
func (e *Edit) mains(nums []uint32) (map[uint32]at, error) {
	v := e.View()
	out := map[uint32]at{}
	for _, num := range nums {
		n, err := v.node(num)
		if err != nil {
			return nil, err
		}
		out[num] = at{}
		if i := n.main(); i >= 0 {
			out[num] = n.heads[i].at
		}
	}
	return out, nil
}

// setAside keeps conflict entries what they are when the entry goes that came before them: no copy becomes
// the file itself (mains is what that was), and no file of losers takes the name that has become free.
func (e *Edit) setAside(mains map[uint32]at, losers []uint32) error {
	if len(mains)+len(losers) == 0 {
		return nil
	}
	v := e.View()
	for _, num := range slices.Sorted(maps.Keys(mains)) {
		n, err := v.node(num)
		if err != nil {
			return err
		}
		i := n.main()
		if i < 0 {
			continue
		}
		if m := n.heads[i].at; m == mains[num] || m.lamport == pending && int(m.index) >= e.start {
			continue
		}
		var beside []at
		for i := range n.heads {
			if h := &n.heads[i]; h.at != mains[num] && h.line.IsZero() && !h.beside {
				beside = append(beside, h.at)
			}
		}
		if _, err := e.emit(Op{Type: OpAside, Node: n.id, Beside: v.context(only(beside...))}); err != nil {
			return err
		}
	}
	for _, num := range losers {
		n, err := v.node(num)
		if err != nil {
			return err
		}
		if n.kind() == Dir || !n.visible() || !n.place.ok || n.place.aside || n.main() < 0 {
			continue
		}
		if _, err := e.emit(Op{Type: OpAside, Node: n.id, Places: v.context(only(n.place.stamp.at))}); err != nil {
			return err
		}
	}
	return nil
}
