package vfs

import (
	"context"
	"errors"
	"fmt"
)

// Exchange gives two entries each other's names, at once for everybody. What is staged alone becomes part of the drive first if the other
// one is; what stays on this machine changes places only with what does, too (ErrSupport).
func (n *Node) Exchange(ctx context.Context, name string, to *Node, newName string) error {
	fs := n.fs
	if n.past != nil || to.past != nil {
		return ErrReadOnly
	}
	if err := fs.mayChange(); err != nil {
		return err
	}
	if err := errors.Join(n.fetchFirst(ctx, name), to.fetchFirst(ctx, newName)); err != nil {
		return err
	}
	defer fs.lockDirs(n, to)()
	src, err := n.lookup(name)
	if err != nil {
		return err
	}
	defer src.Unpin()
	dst, err := to.lookup(newName)
	if err != nil {
		return err
	}
	defer dst.Unpin()
	switch {
	case src == dst:
		return nil
	case to.within(src) || n.within(dst):
		return ErrLoop
	}
	unlock, err := lockStages(ctx, src, dst)
	if err != nil {
		return err
	}
	defer unlock()
	return exchange{fs, [2]side{{src, n, name, to, newName}, {dst, to, newName, n, name}}}.run(ctx)
}

// side is one of the two that change places.
type side struct {
	node    *Node
	from    *Node
	name    string
	to      *Node
	newName string
}

// exchange has everything locked.
type exchange struct {
	fs    *FS
	sides [2]side
}

func (x exchange) run(ctx context.Context) error {
	fs := x.fs
	fs.mu.Lock()
	a, b := x.sides[0], x.sides[1]
	staged := !a.node.inDrive && !b.node.inDrive
	local := a.local() || b.local()
	fs.mu.Unlock()
	switch {
	case staged:
		return x.inJournal()
	case local:
		return ErrSupport
	}
	for _, s := range x.sides {
		if err := s.record(ctx); err != nil {
			return err
		}
	}
	return x.inDrive(ctx)
}

// local reports whether the node stays on this machine where it is, or would where it goes. fs.mu is held.
func (s side) local() bool {
	st := s.node.stage
	return st != nil && st.rec.Local || s.goesLocal()
}

func (s side) goesLocal() bool { return s.to.local() || LocalOnly(s.newName) }

// record makes what is only staged part of the drive.
func (s side) record(ctx context.Context) error {
	fs := s.node.fs
	fs.mu.Lock()
	st, inDrive := s.node.stage, s.node.inDrive
	fs.mu.Unlock()
	if inDrive {
		return nil
	}
	if err := fs.commitLocked(context.WithoutCancel(ctx), []*stage{st}, false); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !s.node.inDrive {
		return ErrStale // others took the name in this very moment
	}
	return nil
}

func (x exchange) keepFirst() error { return x.fs.keepFirst(x.sides[0].node, x.sides[1].node) }

// inJournal exchanges what the journal alone knows, in one append.
func (x exchange) inJournal() error {
	if err := x.keepFirst(); err != nil { // the directories may be as new
		return err
	}
	synced, err := x.exchangeRecords()
	if err == nil && synced {
		err = x.fs.keep()
	}
	return err
}

// exchangeRecords reports whether fsync has acknowledged one of the two.
func (x exchange) exchangeRecords() (synced bool, err error) {
	fs := x.fs
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var cs [2]change
	for i, s := range x.sides {
		r := s.node.stage.rec
		r.Name, r.Local = s.newName, s.goesLocal()
		r.Parent, r.Under = s.to.home()
		if r.Kind != File && !r.Local {
			return false, ErrSupport
		}
		cs[i], synced = put(r), synced || r.Synced
	}
	if err := fs.journal.append(cs[:]...); err != nil {
		return false, err
	}
	for i, s := range x.sides {
		s.node.stage.rec = *cs[i].Put
		s.place()
		s.node.retimed()
	}
	return synced, nil
}

// place shows the node where it goes. fs.mu is held.
func (s side) place() {
	s.node.place(s.to, s.newName)
	s.to.changed()
}

// inDrive exchanges two entries of the drive, with their stages if they have some.
func (x exchange) inDrive(ctx context.Context) error {
	fs := x.fs
	a := x.sides[0]
	from, to := a.from.id(), a.to.id()
	if err := fs.later(ctx, func(b Batch) error { return b.Exchange(from, a.name, to, a.newName) }); err != nil {
		return err
	}
	fs.mu.Lock()
	told := fs.told
	fs.mu.Unlock()
	var infos [2]Info
	for i, s := range x.sides {
		var err error
		if infos[i], err = fs.drive.Lookup(s.to.id(), s.newName); err != nil {
			return fmt.Errorf("looking at what was just exchanged: %w", err)
		}
	}
	if err := x.keepFirst(); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var err error
	for i, s := range x.sides {
		s.place()
		err = errors.Join(err, s.node.cameTo(s.to, infos[i], told))
	}
	return err
}
