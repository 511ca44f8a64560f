package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
)

// Edit turns commands into the operations of one entry. Commands see what the ones before
// them did; nothing is written to the rows, which must not change meanwhile. A command that
// fails has done nothing.
type Edit struct {
	base   Rows
	rows   *overlay
	merge  *merger // into rows
	view   *View   // of rows
	torn   bool    // an operation took effect in part
	failed error   // of View
	self   key.CoreID
	label  func(key.DeviceID) string
	sweep  *uint64 // deletes of the own core from here on belong to the removal that goes on
	ops    []Op
	next   Placed              // scratch
	key    []byte              // the same
	gone   map[uint32][]uint32 // by directory: the deletes here of what is in it
	start  int                 // index of the current command's first operation
	late   late

	changed Changes // as far as Changed has told
}

// NewEdit begins an edit of the tree as it is now. self is the core that the
// entry will be appended to.
func NewEdit(rows Rows, self key.CoreID) *Edit {
	e := &Edit{base: rows, self: self, label: key.DeviceID.Short}
	e.begin()
	return e
}

// begin forgets all that was done.
func (e *Edit) begin() {
	e.rows = newOverlay(e.base)
	e.view, e.merge, e.torn = Now(e.rows), nil, false
	e.view.keeps = true
	e.ops, e.gone, e.late = nil, map[uint32][]uint32{}, late{}
}

// WithNames is View.WithNames for the names that commands are given.
func (e *Edit) WithNames(name func(key.DeviceID) string) *Edit {
	e.label = name
	return e
}

// View is the tree as it will be, with nodes created here under their Local ids.
// It shows what was done up to now and is not to be used after the next command. Where that cannot be derived, the next command fails;
// who does none calls Derive before.
func (e *Edit) View() *View {
	if err := e.Derive(); err != nil {
		e.failed = err
	}
	return e.view.WithNames(e.label)
}

// Ops are the operations so far, for [EncodeOps].
func (e *Edit) Ops() []Op { return e.ops }

// SweepFrom says that this core's deletes from seq on belong to the removal that this edit goes on with.
func (e *Edit) SweepFrom(seq uint64) { e.sweep = &seq }

// do runs a command on something called name and takes back what a failed one has done.
func (e *Edit) do(what, name string, command func() error) error {
	e.start = len(e.ops)
	err := e.Derive()
	if err == nil {
		err = command()
	}
	if err == nil && e.failed != nil {
		err, e.failed = e.failed, nil
	}
	if err == nil {
		return nil
	}
	if again := e.Undo(e.start); again != nil {
		err = errors.Join(err, again)
	}
	if name != "" {
		what += " " + name
	}
	return fmt.Errorf("%s: %w", what, err)
}

// emit adds an operation and lets it take effect. It returns the id of the node that it is on.
func (e *Edit) emit(o Op) (NodeID, error) {
	k := uint32(len(e.ops))
	if k >= MaxOps {
		return o.Node, fmt.Errorf("%w: more than %d operations", ErrTooMany, MaxOps)
	}
	if o.Type == OpCreate {
		o.Node = Local(k, o.Node.Kind())
	}
	e.next = unplaced(k, o)
	p := &e.next
	if err := p.check(); err != nil {
		return o.Node, err
	}
	if err := e.Derive(); err != nil {
		return o.Node, err
	}
	e.late.known = false
	if err := e.apply(p); err != nil {
		e.torn = true
		return o.Node, err
	}
	if len(e.ops) == cap(e.ops) { // they are large: append would copy them twice as often
		e.ops = slices.Grow(e.ops, max(1, len(e.ops)))
	}
	e.ops = append(e.ops, o)
	if o.Type == OpDelete {
		n, err := e.merge.nodeOf(o.Node)
		if err != nil {
			return o.Node, err
		}
		if n.place.ok {
			e.gone[n.place.dir] = append(e.gone[n.place.dir], k)
		}
	}
	return o.Node, nil
}

// unplaced is an operation before its entry has a place.
func unplaced(index uint32, o Op) Placed {
	return Placed{Pos: Pos{Lamport: pending, Index: index}, ID: OpID{Index: index}, Op: o}
}

// apply merges operations, which come in their order, into the rows of this edit.
func (e *Edit) apply(ps ...*Placed) (err error) {
	if e.merge == nil {
		if e.merge, err = newMerger(e.rows, e.view.cores); err != nil {
			return err
		}
		e.merge.pending, e.view.draft = e.rows, e.merge
		e.rows.ops = &e.merge.placed
	}
	if err := e.merge.round(ps, nil); err != nil {
		return fmt.Errorf("merging operations: %w", err)
	}
	return nil
}

func create(k Kind, dir NodeID, name string, a Attrs) Op {
	return Op{Type: OpCreate, Node: NodeID{}.withKind(k), Parent: dir, Name: name, Attrs: a}
}

// directory finds the displayed directory that a node is part of.
func (e *Edit) directory(id NodeID) (Entry, error) {
	if id == Root {
		return Entry{Members: rootIDs, Kind: Dir}, nil // nothing else of it is looked at
	}
	dir, err := e.View().Node(id)
	if err == nil && dir.Kind != Dir {
		err = ErrNotDir
	}
	return dir, err
}

// target finds what is displayed under a name: nil when nothing is.
func (e *Edit) target(dir Entry, name string) (*Entry, error) {
	if err := checkName(dir.Node, name); err != nil {
		return nil, err
	}
	v := e.View()
	members, err := v.members(dir)
	if err != nil {
		return nil, err
	}
	if none, err := v.noneNamed(members, name); none || err != nil {
		return nil, err
	}
	found, err := v.lookup(dir, members, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// depth is the number of names in the path of a directory.
func (e *Edit) depth(dir Entry) (int, error) {
	if dir.Node == Root {
		return 0, nil
	}
	depth := 0
	err := e.View().climb(dir.Node, func(*node) error {
		if depth++; depth > MaxDepth {
			return ErrTooDeep
		}
		return nil
	})
	return depth, err
}

func (e *Edit) newName(parent NodeID, name string) (dir Entry, err error) {
	if dir, err = e.directory(parent); err != nil {
		return dir, err
	}
	found, err := e.target(dir, name)
	if err != nil {
		return dir, err
	}
	if found != nil {
		return dir, fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	depth, err := e.depth(dir)
	if err == nil && depth >= MaxDepth {
		err = ErrTooDeep
	}
	return dir, err
}

// create makes a node under a free name.
func (e *Edit) create(parent NodeID, o Op) (id NodeID, err error) {
	dir, err := e.newName(parent, o.Name)
	if err != nil {
		return id, err
	}
	o.Parent = dir.Node
	if o.Prev.IsZero() {
		if o.Prev, err = e.before(dir, o.Name, o.Node.Kind()); err != nil {
			return id, err
		}
	}
	return e.emit(o)
}

// before finds the node that had a place last.
func (e *Edit) before(dir Entry, name string, k Kind) (NodeID, error) {
	v := e.View()
	members, err := v.members(dir)
	if err != nil {
		return Root, err
	}
	for _, m := range members {
		e.key = appendLast(e.key[:0], m, name)
		b, err := v.rows.Get(e.key)
		if err != nil {
			return Root, err
		}
		if len(b) != 4 {
			continue
		}
		n, err := v.node(binary.BigEndian.Uint32(b))
		if err != nil {
			return Root, err
		}
		if n.kind() == k && n.count > 0 && !n.visible() {
			return n.id, nil
		}
	}
	return Root, nil
}

// Mkdir makes a directory; fs.ErrExist.
func (e *Edit) Mkdir(parent NodeID, name string, a Attrs) (id NodeID, err error) {
	err = e.do("mkdir", name, func() error {
		id, err = e.create(parent, create(Dir, parent, name, a))
		return err
	})
	return id, err
}

// Create makes a file; nil content is an empty one. fs.ErrExist.
func (e *Edit) Create(parent NodeID, name string, content *blob.Content, a Attrs) (id NodeID, err error) {
	err = e.do("create", name, func() error {
		o := create(File, parent, name, a)
		o.Content = content
		id, err = e.create(parent, o)
		return err
	})
	return id, err
}

// Symlink makes a symbolic link; fs.ErrExist.
func (e *Edit) Symlink(parent NodeID, name, target string, a Attrs) (id NodeID, err error) {
	err = e.do("symlink", name, func() error {
		o := create(Symlink, parent, name, a)
		o.Target = target
		id, err = e.create(parent, o)
		return err
	})
	return id, err
}

// Mark names the moment.
func (e *Edit) Mark(label string) error {
	return e.do("mark", "", func() error {
		_, err := e.emit(Op{Type: OpMark, Label: label})
		return err
	})
}

// SetAttr changes attributes: of a directory on all its members; of a conflict copy on the file that it is a copy of.
func (e *Edit) SetAttr(of Entry, a Attrs) error {
	return e.do("setattr", of.Name, func() error {
		if a.empty() {
			return nil
		}
		for _, id := range of.Members {
			if of.Kind != Dir && id != of.Node {
				n, err := e.View().byID(id)
				if err != nil {
					return err
				}
				if i := n.main(); i < 0 || of.ID != of.Node || !of.shows(n.heads[i].id()) {
					continue
				}
			}
			if err := e.setAttr(id, a); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *Edit) setAttr(id NodeID, a Attrs) error {
	n, err := e.View().byID(id)
	if err != nil {
		return err
	}
	if len(n.attrs.xattrs)+len(a.Set) > MaxXattrs {
		names := map[string]bool{}
		for _, x := range n.attrs.xattrs {
			names[x.name] = true
		}
		for name := range a.Set {
			names[name] = true
		}
		for _, name := range a.Remove {
			delete(names, name)
		}
		if len(names) > MaxXattrs {
			return fmt.Errorf("%w: more than %d", ErrXattr, MaxXattrs)
		}
	}
	if len(a.Set)+len(a.Remove) > MaxXattrs { // more than one operation may do
		for some := range slices.Chunk(a.Remove, MaxXattrs) {
			if _, err := e.emit(Op{Type: OpAttr, Node: id, Attrs: Attrs{Remove: some}}); err != nil {
				return err
			}
		}
		if a.Remove = nil; a.empty() {
			return nil
		}
	}
	_, err = e.emit(Op{Type: OpAttr, Node: id, Attrs: a})
	return err
}

// shows reports whether a head is behind the entry.
func (e *Entry) shows(id OpID) bool {
	return slices.ContainsFunc(e.Heads, func(h Head) bool { return h.ID == id })
}
