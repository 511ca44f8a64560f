package vfs

import "errors"

// Place is a name in a directory of the drive; an empty Name is the directory as a whole.
type Place struct {
	Dir  NodeID
	Name string
}

// Watcher is a [Drive] that tells of its changes.
type Watcher interface {
	// Watch calls fn after each change with the places where something came, went or changed, from the goroutine that
	// made or received it, and never inside a transaction. fn returns quickly.
	Watch(fn func([]Place)) (cancel func())
}

// Watch calls fn after each change of the drive, whoever made it, for every place in a directory that a front end may
// remember; name is empty for the directory as a whole. What is only in staging so far is told of when it is recorded.
// fn is called by whoever made the change, perhaps with names of the directory locked: it must not look anything up.
// A drive that is no [Watcher] is silent.
func (fs *FS) Watch(fn func(dir *Node, name string)) (cancel func()) {
	w, ok := fs.drive.(Watcher)
	if !ok {
		return func() {}
	}
	return w.Watch(func(places []Place) {
		dirs := make([]*Node, len(places))
		fs.mu.Lock()
		for i, p := range places {
			dirs[i] = fs.byKey[p.Dir]
		}
		fs.mu.Unlock()
		for i, p := range places {
			if dirs[i] != nil {
				fn(dirs[i], p.Name)
			}
		}
	})
}

// listen begins to hear of changes of the drive, so that what was seen of it need not be looked at again before. A drive
// tells of a change when it is made, before whoever made it goes on.
func (fs *FS) listen() {
	w, ok := fs.drive.(Watcher)
	if !ok {
		fs.deaf, fs.unwatch = true, func() {}
		return
	}
	fs.listings.most = maxListed
	fs.listings.lister, _ = fs.drive.(Lister)
	fs.unwatch = w.Watch(func(places []Place) {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.told++
		for _, p := range places {
			dir := fs.byKey[p.Dir]
			switch {
			case dir == nil, p.Name == "":
				// Nobody knows the directory, or it is shown as one with another that somebody knows, from now on or before; then
				// everything below it may be another.
				fs.age++
			default:
				dir.hear(p.Name)
				dir.strike(p.Name)
				if c := dir.kids[p.Name]; c != nil {
					c.checked = 0
					fs.lookNow(c.stage)
				}
			}
		}
	})
}

// seen notes that the drive shows n under its name just as n.info says, if no change was told of since told was read.
// Conflict copies change their names with others': they are looked at each time. fs.mu is held.
func (n *Node) seen(told uint64) {
	if fs := n.fs; !fs.deaf && fs.told == told && n.stage == nil && !n.info.Conflict {
		n.checked = fs.age
	}
}

// Ghost returns a removed, empty node of the kind with a number of its own, pinned: something to take away.
func (fs *FS) Ghost(k Kind) *Node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.newNode(k)
	n.unlinked, n.pins, n.rev = true, 1, &rev{}
	return n
}

// Gone reports whether what the node was is nowhere in the drive any more, and nothing of it is in staging.
func (n *Node) Gone() bool {
	n.fs.mu.Lock()
	id, inDrive, staged, stale := n.info.Node, n.inDrive, n.stage != nil, n.stale
	n.fs.mu.Unlock()
	if staged || stale {
		return false
	}
	if !inDrive {
		return true
	}
	_, err := n.fs.drive.Path(id)
	return errors.Is(err, errNotExist)
}
