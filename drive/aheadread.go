package drive

import (
	"encoding/binary"
	"slices"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// A provisional id is the number of its batch, the index of the operation that makes the node, aliasMark, a zero byte, and the kind as in
// every id. The first eight bytes tell all of them apart, as those of other ids do. Somebody could make a node whose real id looks like
// one, but not like one of a batch that is open or remembered here: the numbers begin at random.
const (
	aliasMark = "\xff\xfea\xff\xfe\x00"
	aliasBits = 48
)

func alias(batch uint64, id tree.NodeID) (out tree.NodeID) {
	index, ok := id.Index()
	if !ok {
		return id
	}
	binary.BigEndian.PutUint64(out[:], batch<<16|uint64(index))
	copy(out[8:], aliasMark)
	out[15] = id[15]
	return out
}

// parseAlias takes a provisional id apart.
func parseAlias(id tree.NodeID) (batch uint64, index uint32, ok bool) {
	n := binary.BigEndian.Uint64(id[:])
	return n >> 16, uint32(n & 0xffff), string(id[8:14]) == aliasMark && id[14] == 0 && id[15] <= 3
}

// names translates ids between those who use an [Ahead] and a tree.
type names struct {
	batch uint64                      // whose nodes have their Local ids in the tree
	done  []landed                    // batches whose nodes have their real ids
	back  map[tree.NodeID]tree.NodeID // real ids that are still called by their provisional ones
}

// in gives the id in the tree.
func (n names) in(id tree.NodeID) tree.NodeID {
	batch, index, ok := parseAlias(id)
	if !ok {
		return id
	}
	if batch == n.batch {
		return tree.Local(index, id.Kind())
	}
	i, found := slices.BinarySearchFunc(n.done, batch, func(l landed, b uint64) int {
		switch {
		case l.batch < b:
			return -1
		case l.batch > b:
			return 1
		}
		return 0
	})
	if !found {
		return id
	}
	return tree.NodeOf(tree.OpID{Entry: n.done[i].entry, Index: index}, id.Kind())
}

// out gives the id that is told outside.
func (n names) out(id tree.NodeID) tree.NodeID {
	if p, ok := n.back[id]; ok {
		return p
	}
	return alias(n.batch, id)
}

func (n names) all(ids []tree.NodeID) []tree.NodeID {
	if i := slices.IndexFunc(ids, func(id tree.NodeID) bool { return n.out(id) != id }); i < 0 {
		return ids
	}
	ids = slices.Clone(ids)
	for i, id := range ids {
		ids[i] = n.out(id)
	}
	return ids
}

// tell gives an Info the ids that are told outside.
func (n names) tell(i *Info) {
	if n.batch == 0 && n.back == nil {
		return
	}
	e := &i.Entry
	i.Node, e.Node, e.ID, e.Parent, e.Members = n.out(i.Node), n.out(e.Node), n.out(e.ID), n.out(e.Parent), n.all(e.Members)
}

func (n names) changes(c tree.Changes) tree.Changes {
	out := tree.Changes{Dirs: n.all(c.Dirs), Nodes: n.all(c.Nodes), Joined: n.all(c.Joined)}
	for _, p := range c.Names {
		out.Names = append(out.Names, tree.Place{Dir: n.out(p.Dir), Name: p.Name})
	}
	return out
}

// lasting is the real ids of the nodes that the entry made, by their provisional ones.
func (l *landing) lasting() map[tree.NodeID]tree.NodeID {
	out := make(map[tree.NodeID]tree.NodeID)
	for _, o := range l.ops {
		if o.Type == tree.OpCreate {
			out[alias(l.batch, o.Node)] = o.Node.Resolve(*l.entry.Load())
		}
	}
	return out
}

// back is lasting the other way round.
func (l *landing) back() map[tree.NodeID]tree.NodeID {
	out := make(map[tree.NodeID]tree.NodeID)
	for p, id := range l.lasting() {
		out[id] = p
	}
	return out
}

// in reports whether the transaction sees the entry.
func (l *landing) in(tx room.Tx) (bool, error) {
	id := l.entry.Load()
	if id == nil {
		return false, nil
	}
	v, err := tx.Rows(logTable).Get(append([]byte{'i'}, id[:]...))
	return v != nil, err
}

// read runs fn on the tree with what is put off.
func (a *Ahead) read(fn func(v *tree.View, n names) error) error {
	return a.readAt(func(e *tree.Edit, _ names) bool { return e.Late() }, fn)
}

// readDir is read for who looks at what a directory shows.
func (a *Ahead) readDir(dir tree.NodeID, fn func(v *tree.View, n names) error) error {
	return a.readAt(func(e *tree.Edit, n names) bool { return e.LateIn(n.in(dir)) }, fn)
}

// readAt is read where late reports whether the edit does not show yet what fn looks at.
func (a *Ahead) readAt(late func(*tree.Edit, names) bool, fn func(v *tree.View, n names) error) error {
	a.mu.RLock()
	stale, err := a.readOn(late, fn)
	a.mu.RUnlock()
	if !stale || err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.d.room.View(func(tx room.Tx) error {
		if err := a.renew(tx); err != nil {
			return err
		}
		_, err := a.readIn(tx, late, fn)
		return err
	})
}

// renew brings what is put off over the tree as it is in the transaction, unless it is an entry there. mu is held.
func (a *Ahead) renew(tx room.Tx) error {
	if a.edit == nil {
		return nil
	}
	if l := a.landing; l != nil {
		if landed, err := l.in(tx); landed || err != nil {
			return err
		}
	}
	if err := a.onto(tx); err != nil {
		return err
	}
	return a.edit.Derive()
}

// readOn is read, unless the tree has changed below what is put off or does not show all of that yet. mu is held, perhaps shared.
func (a *Ahead) readOn(late func(*tree.Edit, names) bool, fn func(v *tree.View, n names) error) (stale bool, err error) {
	err = a.d.room.View(func(tx room.Tx) error {
		stale, err = a.readIn(tx, late, fn)
		return err
	})
	return stale, err
}

func (a *Ahead) readIn(tx room.Tx, late func(*tree.Edit, names) bool, fn func(v *tree.View, n names) error) (stale bool, err error) {
	n := names{done: a.done}
	if a.edit == nil {
		return false, fn(a.d.view(tx, nil), n)
	}
	turn, err := turnOf(tx)
	if err != nil {
		return false, err
	}
	if turn == a.turn {
		n.batch = a.batch
		if late(a.edit, n) {
			return true, nil
		}
		return false, fn(a.edit.ViewOn(tx.Rows(treeTable)).WithNames(a.d.deviceName), n)
	}
	l := a.landing
	if l == nil {
		return true, nil
	}
	landed, err := l.in(tx)
	if err != nil || !landed {
		return !landed, err
	}
	n.done = append(slices.Clone(n.done), landedAs(l))
	if !l.renamed.Load() {
		n.back = l.back()
	}
	return false, fn(a.d.view(tx, nil), n)
}

func landedAs(l *landing) landed { return landed{l.batch, *l.entry.Load()} }

// Child is [Snapshot.Child] with what is put off.
func (a *Ahead) Child(dir tree.NodeID, name string) (info Info, err error) {
	err = a.readDir(dir, func(v *tree.View, n names) error {
		d, err := node(v, n.in(dir))
		if err != nil {
			return err
		}
		e, err := v.Lookup(d, name)
		info = infoOf(e, "")
		n.tell(&info)
		return err
	})
	return info, pathErr("lookup", name, err)
}

// Each calls fn for each entry of the directory node dir, in the order of the names, but for those that nobody gave. Of a directory of more
// than about limit entries it reads no more than that, and whole is false. The Info is another one after fn has returned; what it points
// to is not. Path is left empty.
func (a *Ahead) Each(dir tree.NodeID, limit int, fn func(*Info)) (whole bool, err error) {
	err = a.readDir(dir, func(v *tree.View, n names) error {
		d, err := node(v, n.in(dir))
		if err != nil {
			return err
		}
		var info Info
		whole, err = v.Each(d, limit, func(e *tree.Entry) {
			info.fill(e, "")
			n.tell(&info)
			fn(&info)
		})
		return err
	})
	return whole, pathErr("list", "node "+dir.String(), err)
}

// Path is [Snapshot.Path] with what is put off.
func (a *Ahead) Path(id tree.NodeID) (p string, err error) {
	err = a.read(func(v *tree.View, n names) (err error) {
		p, err = v.Path(n.in(id))
		return err
	})
	return p, pathErr("path", "node "+id.String(), err)
}

// now is what ids mean where nothing is put off. It is not for use inside a transaction.
func (a *Ahead) now() names {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return names{done: a.done}
}
