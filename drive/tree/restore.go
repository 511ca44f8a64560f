package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Restoring says more about what a restore does.
type Restoring struct {
	// Removed, if not nil, makes what is there now and was not then go, and is told of it: by a path below the entry that is restored,
	// "" for what has its own name and is of another kind. Otherwise it stays.
	Removed func(path string)
}

// Restore brings back what the view then shows as of: the bytes, attributes and place of a file, or of
// a directory and everything below it. A node that is removed comes back as itself; where it was moved
// away or another has its place, that one gets the bytes, or a new node does. fs.ErrExist when a file has the place of a directory, or a directory that of a file.
func (e *Edit) Restore(then *View, of Entry, o Restoring) error {
	more, err := e.RestoreSome(then, of, o)
	if err == nil && more {
		err = fmt.Errorf("restore %s: %w", of.Name, ErrTooMany)
	}
	return err
}

// RestoreSome is Restore for more than fits one entry: when it reports more, append the operations and call
// it again in another Edit; what is restored already is passed over. With Restoring.Removed that one has
// SweepFrom set, as for RemoveAll.
func (e *Edit) RestoreSome(then *View, of Entry, o Restoring) (more bool, err error) {
	err = e.do("restore", of.Name, func() error {
		r := restorer{e: e, then: then, Restoring: o}
		if of.Node == Root && of.Kind == Dir {
			err := r.children(of, e.View().Root())
			more = r.full
			return err
		}
		parent, err := r.parent(of)
		if err != nil {
			return err
		}
		err = r.entry(of, parent)
		more = r.full
		return err
	})
	return more, err
}

type restorer struct {
	Restoring
	e    *Edit
	then *View
	at   []string // names from the entry that is restored down to the directory at hand
	full bool
}

// remove takes away what is there now and was not then.
func (r *restorer) remove(now Entry, path ...string) error {
	r.Removed(strings.Join(append(slices.Clone(r.at), path...), "/"))
	more, err := r.e.removeAll(now)
	r.full = r.full || more
	return err
}

// clear takes away what a directory has now under names that it did not have then.
func (r *restorer) clear(then []Entry, now Entry) error {
	names := make(map[string]bool, len(then))
	for _, c := range then {
		names[c.Name] = true
	}
	list, err := r.e.View().List(now)
	if err != nil {
		return err
	}
	for _, c := range list {
		if names[c.Name] {
			continue
		}
		if r.full = r.full || len(r.e.ops) >= MaxOps-spare; r.full {
			return nil
		}
		if err := r.remove(c, c.Name); err != nil {
			return err
		}
	}
	return nil
}

// parent finds the directory that the entry was in, and makes it be there.
func (r *restorer) parent(of Entry) (Entry, error) {
	if of.Placed.IsZero() {
		return r.e.View().Root(), nil
	}
	return r.directory(of.Parent)
}

// directory finds a directory. Where it is removed, it is the one that has its name now; where nothing has, it comes back.
func (r *restorer) directory(id NodeID) (Entry, error) {
	v := r.e.View()
	n, err := v.byID(id)
	if err != nil {
		return Entry{}, err
	}
	if n.visible() {
		return r.e.directory(id)
	}
	if n.place.ok {
		in, err := v.id(n.place.dir)
		if err != nil {
			return Entry{}, err
		}
		up, err := r.directory(in)
		if err != nil {
			return Entry{}, err
		}
		now, err := r.e.target(up, n.place.name)
		if err != nil {
			return Entry{}, err
		}
		if now != nil && now.Kind != Dir {
			return Entry{}, fmt.Errorf("%s: %w", now.Name, fs.ErrExist)
		}
		if now != nil {
			return *now, nil
		}
		if !slices.Contains(up.Members, in) {
			if err := r.place(id, up, n.place.name); err != nil {
				return Entry{}, err
			}
			return r.e.directory(id)
		}
	}
	if _, err := r.e.emit(Op{Type: OpKeep, Node: id}); err != nil {
		return Entry{}, err
	}
	return r.e.directory(id)
}

// entry restores an entry into a directory of now.
func (r *restorer) entry(of, parent Entry) error {
	if r.full = r.full || len(r.e.ops) >= MaxOps-spare; r.full {
		return nil
	}
	to, err := r.e.target(parent, of.Name)
	if err != nil {
		return err
	}
	if of.ID != of.Node && to != nil && to.ID == of.ID && equalBytes(to, &of) {
		return nil // a copy that is there still; attributes are those of the file
	}
	if to != nil && (to.Kind == Dir) != (of.Kind == Dir) && r.Removed != nil {
		if err := r.remove(*to); err != nil || r.full {
			return err
		}
		to = nil
	}
	if of.Kind == Dir {
		return r.dir(of, parent, to)
	}
	switch {
	case to == nil:
		return r.missing(of, parent)
	case to.Kind == Dir:
		return fmt.Errorf("%s: %w", of.Name, fs.ErrExist)
	case to.Kind != of.Kind:
		if err := r.e.remove(*to); err != nil {
			return err
		}
		return r.missing(of, parent)
	case !equalBytes(to, &of):
		return r.e.write(to.Opened(), of.copied(), r.changed(&of, to))
	}
	a := r.changed(&of, to)
	if to.MTime == of.MTime {
		a.MTime = nil
	}
	if a.empty() {
		return nil
	}
	return r.e.setAttr(to.Node, a)
}

// changed is what gives an entry of now the attributes of then.
func (r *restorer) changed(of, now *Entry) Attrs {
	a := of.attrs()
	if of.Mode == now.Mode {
		a.Mode = nil
	}
	a.Set = maps.Clone(a.Set)
	for name, v := range now.Xattrs {
		if old, ok := of.Xattrs[name]; !ok {
			a.Remove = append(a.Remove, name)
		} else if string(old) == string(v) {
			delete(a.Set, name)
		}
	}
	slices.Sort(a.Remove)
	return a
}

// missing brings back a file whose name is free.
func (r *restorer) missing(of, parent Entry) error {
	n, err := r.e.View().byID(of.Node)
	if err != nil {
		return err
	}
	if n.visible() || of.Conflict {
		o := of.copied()
		o.Type, o.Node, o.Name, o.Attrs = OpCreate, NodeID{}.withKind(of.Kind), of.Name, of.attrs()
		if o.Prev = of.Node; o.Prev.Kind() != of.Kind {
			o.Prev = Root
		}
		_, err := r.e.create(parent.Node, o)
		return err
	}
	now, err := r.e.View().common(n)
	if err != nil {
		return err
	}
	opened := of.Opened()
	opened.Heads = slices.DeleteFunc(slices.Clone(opened.Heads), func(h Head) bool { return h.Node != of.Node })
	if err := r.e.write(opened, of.copied(), r.changed(&of, &now)); err != nil {
		return err
	}
	return r.place(of.Node, parent, of.Name)
}

// place puts a node that is displayed again where it was.
func (r *restorer) place(id NodeID, parent Entry, name string) error {
	v := r.e.View()
	n, err := v.byID(id)
	if err != nil {
		return err
	}
	o := Op{Type: OpMove, Node: id, Parent: parent.Node, Name: name}
	if n.kind() == Dir {
		o.Seen = v.context(n.known())
	} else {
		o.Carries = v.context(only(displayed(n)...))
	}
	_, err = r.e.emit(o)
	return err
}

func (r *restorer) dir(of, parent Entry, to *Entry) error {
	if to != nil && to.Kind != Dir {
		return fmt.Errorf("%s: %w", of.Name, fs.ErrExist)
	}
	if to == nil {
		n, err := r.e.View().byID(of.Node)
		if err != nil {
			return err
		}
		if n.visible() {
			_, err = r.e.create(parent.Node, create(Dir, parent.Node, of.Name, Attrs{Mode: &of.Mode}))
		} else { // and so parent, which is visible, is not below it
			err = r.place(of.Node, parent, of.Name)
		}
		if err != nil {
			return err
		}
	}
	now, err := r.e.View().Lookup(parent, of.Name)
	if err != nil {
		return err
	}
	if a := r.changed(&of, &now); !a.empty() {
		if a.MTime != nil && *a.MTime == now.MTime {
			a.MTime = nil
		}
		if !a.empty() {
			if err := r.e.setAttr(now.Node, a); err != nil {
				return err
			}
		}
	}
	return r.children(of, now)
}

func (r *restorer) children(of, now Entry) error {
	list, err := r.then.List(of)
	if err != nil {
		return err
	}
	if r.Removed != nil {
		if err := r.clear(list, now); err != nil || r.full {
			return err
		}
	}
	for _, c := range list {
		r.at = append(r.at, c.Name)
		err := r.entry(c, now)
		r.at = r.at[:len(r.at)-1]
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if r.full {
			return nil
		}
	}
	return nil
}

// RestoreContent writes the bytes that p wrote as a new version of its node.
func (e *Edit) RestoreContent(p Placed) error {
	return e.do("restore", "", func() error {
		v := e.View()
		n, err := v.byID(p.Op.Node)
		if err != nil {
			return err
		}
		of, err := v.ContentAt(p)
		if err != nil {
			return err
		}
		opened := Opened{Node: n.id, Heads: of.Heads}
		if i := n.main(); i >= 0 {
			opened.Heads = []Head{v.head(n, &n.heads[i])}
		}
		return e.write(opened, of.copied(), Attrs{MTime: of.attrs().MTime})
	})
}
