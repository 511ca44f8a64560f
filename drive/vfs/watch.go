package vfs

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Event tells a front end what its caches may have wrong: an entry (Dir and Name), or a node's attributes and
// bytes (Node).
type Event struct {
	Dir  *Node
	Name string
	Node *Node
}

// Front is a front end that is told about changes which others make.
type Front struct{ f *front }

type front struct {
	fn func(Event)

	mu    sync.Mutex // guards queue and gone
	cond  *sync.Cond
	queue []Event
	gone  bool
	done  chan struct{}
}

// Notify calls fn for every change that did not come through the returned front, one after another, from a
// goroutine of its own that holds no lock: fn may wait for the kernel, which may wait for any operation.
func (fs *FS) Notify(fn func(Event)) *Front {
	f := &front{fn: fn, done: make(chan struct{})}
	f.cond = sync.NewCond(&f.mu)
	fs.mu.Lock()
	fs.fronts[f] = struct{}{}
	fs.mu.Unlock()
	go f.run()
	return &Front{f}
}

// Stop ends the notifications.
func (f *Front) Stop(fs *FS) {
	fs.mu.Lock()
	delete(fs.fronts, f.f)
	fs.mu.Unlock()
	f.f.stop()
	<-f.f.done
}

func (f *front) stop() {
	f.mu.Lock()
	f.gone = true
	f.cond.Signal()
	f.mu.Unlock()
}

func (f *front) run() {
	defer close(f.done)
	for {
		f.mu.Lock()
		for len(f.queue) == 0 && !f.gone {
			f.cond.Wait()
		}
		if f.gone {
			f.mu.Unlock()
			return
		}
		q := f.queue
		f.queue = nil
		f.mu.Unlock()
		for _, e := range q {
			f.fn(e)
		}
	}
}

type frontContext struct {
	context.Context
	f *front
}

type frontKey struct{}

func (c frontContext) Value(k any) any {
	if k == (frontKey{}) {
		return c.f
	}
	return c.Context.Value(k)
}

// Context marks what is done with ctx as coming through the front end, which is then not told about it.
func (f *Front) Context(ctx context.Context) context.Context { return frontContext{ctx, f.f} }

// note queues an event for every front end but the one in ctx (which may be nil). fs.mu is held.
func (fs *FS) note(ctx context.Context, e Event) {
	var from *front
	if ctx != nil {
		from, _ = ctx.Value(frontKey{}).(*front)
	}
	for f := range fs.fronts {
		if f == from {
			continue
		}
		f.mu.Lock()
		f.queue = append(f.queue, e)
		f.cond.Signal()
		f.mu.Unlock()
	}
}

// changeQueue collects the drive's changes until somebody has time for them.
type changeQueue struct {
	mu     sync.Mutex // guards the rest
	cond   *sync.Cond
	dirs   map[NodeID]bool
	nodes  map[NodeID]bool
	all    bool
	closed bool
}

func (q *changeQueue) init() {
	q.cond = sync.NewCond(&q.mu)
	q.dirs, q.nodes = map[NodeID]bool{}, map[NodeID]bool{}
}

func (q *changeQueue) add(c Change) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range c.Dirs {
		q.dirs[d] = true
	}
	for _, n := range c.Nodes {
		q.nodes[n] = true
	}
	q.all = q.all || c.All
	q.cond.Signal()
}

func (q *changeQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.cond.Signal()
}

func (q *changeQueue) take() (dirs, nodes map[NodeID]bool, all, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.dirs)+len(q.nodes) == 0 && !q.all && !q.closed {
		q.cond.Wait()
	}
	dirs, nodes, all = q.dirs, q.nodes, q.all
	q.dirs, q.nodes, q.all = map[NodeID]bool{}, map[NodeID]bool{}, false
	return dirs, nodes, all, !q.closed
}

// followDrive brings what is known in line with the drive whenever that changes.
func (fs *FS) followDrive() {
	defer fs.wg.Done()
	for {
		dirs, nodes, all, ok := fs.changes.take()
		if !ok {
			return
		}
		for _, d := range fs.affected(dirs, nodes, all) {
			d.refresh()
		}
	}
}

// write makes a step of the drive that this process wants in the given directories. It takes a moment and is not
// interrupted: half of a rename has no meaning.
func (fs *FS) write(ctx context.Context, fn func(Batch) error, dirs ...NodeID) error {
	fs.mu.Lock()
	for _, d := range dirs {
		fs.own[d] = true
	}
	fs.mu.Unlock()
	return fs.drive.Write(context.WithoutCancel(ctx), fn)
}

// affected lists the known directories that changes concern.
func (fs *FS) affected(dirs, nodes map[NodeID]bool, all bool) []*Node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	set := map[*Node]bool{}
	if all {
		for _, n := range fs.byKey {
			if n.kind == Dir {
				set[n] = true
			}
		}
	} else {
		for id := range dirs {
			if n := fs.byKey[id]; n != nil && n.kind == Dir {
				set[n] = true
			}
		}
		for id := range nodes {
			if n := fs.byKey[id]; n != nil && n.dir != nil {
				set[n.dir] = true
			}
		}
	}
	list := make([]*Node, 0, len(set))
	for n := range set {
		n.pins++
		list = append(list, n)
	}
	return list
}

// listAbove is the number of known names from which one listing is cheaper than many lookups.
const listAbove = 64

// refresh compares the known names of a directory with the drive's, and unpins it.
func (n *Node) refresh() {
	defer n.Unpin()
	n.ns.RLock()
	defer n.ns.RUnlock()
	fs := n.fs
	for try := 0; ; try++ {
		fs.mu.Lock()
		id, epoch := n.info.Node, fs.epoch.Load()
		names := make(map[string]bool, len(n.kids)+len(n.missed))
		for name, c := range n.kids {
			if c.stage == nil {
				names[name] = true
			}
		}
		for name := range n.missed {
			names[name] = true
		}
		if try < 16 {
			fs.mu.Unlock()
		}
		found, err := fs.lookupAll(id, names)
		if try < 16 {
			fs.mu.Lock()
			if fs.epoch.Load() != epoch {
				fs.mu.Unlock()
				continue
			}
		}
		if err == nil {
			n.compare(names, found)
		}
		fs.mu.Unlock()
		if err != nil {
			fs.log.Warn("reading a changed directory", "err", err)
		}
		return
	}
}

func (fs *FS) lookupAll(id NodeID, names map[string]bool) (map[string]Info, error) {
	found := make(map[string]Info, len(names))
	if len(names) > listAbove {
		infos, err := fs.drive.List(id)
		if err != nil && !errors.Is(err, errNotExist) {
			return nil, err
		}
		for _, i := range infos {
			if names[i.Name] {
				found[i.Name] = i
			}
		}
		return found, nil
	}
	for name := range names {
		info, err := fs.drive.Lookup(id, name)
		if errors.Is(err, errNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[name] = info
	}
	return found, nil
}

// compare adopts what the drive shows under the known names, and lets go what it no longer shows. fs.mu is held.
func (n *Node) compare(names map[string]bool, found map[string]Info) {
	fs := n.fs
	if own := n.info.Node; fs.own[own] {
		delete(fs.own, own)
	} else {
		n.touched = time.Now()
		fs.note(nil, Event{Node: n})
	}
	for name := range names {
		c := n.kids[name]
		if c != nil && c.stage != nil {
			continue
		}
		info, ok := found[name]
		switch {
		case ok && n.linger[name] == nil:
			if n.missed[name] {
				delete(n.missed, name)
				fs.note(nil, Event{Dir: n, Name: name})
			}
			if c != nil {
				fs.adopt(n, info)
			}
		case !ok && c != nil:
			c.displace()
			if _, err := fs.drive.Path(c.info.Node); err == nil && !c.info.Conflict {
				c.dir, c.unlinked = nil, false // it is elsewhere now: whoever looks there finds the same node
			} else {
				c.leaveDrive()
			}
			fs.note(nil, Event{Dir: n, Name: name})
			c.release()
		}
	}
}
