package fuse

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

const (
	echoAfter  = 30 * time.Millisecond     // changes that come together are looked at together
	echoAgain  = remembered + remembered/5 // when the kernel may have remembered too much
	echoRate   = 200                       // operations a second, at most
	echoBurst  = 50                        // at once
	maxEchoes  = 4096                      // names that wait; of more, only their directories are told of
	echoTries  = 3                         // as itself twice, then as something that always can be said
	echoRevive = time.Second               // between two starts of the child
	echoWait   = 30 * time.Second          // for an answer of the child, which is ended then
)

// echoes repeats changes of others through the mount, for inotify.
type echoes struct {
	m    *Mounted
	argv []string
	dev  uint64 // st_dev of the mount

	tid    atomic.Uint32        // the child's thread; 0: there is no child
	active atomic.Pointer[echo] // what the child does now

	mu      sync.Mutex // guards what follows
	waiting map[echoKey]*change
	order   []*change // of waiting, by time
	doing   map[echoKey]int

	turn  sync.Mutex // held while the child does something; an unmount holds it, too
	child *echoChild // guarded by turn
	tried time.Time  // when a child was started; guarded by turn

	kick chan struct{}
	quit chan struct{}
	wg   sync.WaitGroup
	stop func() // watching
}

type echoKey struct {
	dir  *node
	name string
}

// change is a name under which something may have changed.
type change struct {
	echoKey
	before *node // what the kernel knew there; nil: nothing
	was    vfs.Attr
	void   bool // a program in this mount has changed the name since: the kernel told of that
	tries  int
	due    time.Time
}

// echo is one operation of the child.
type echo struct {
	op     echoOp
	at     echoKey
	to     echoKey   // of a rename
	node   *vfs.Node // what is made or renamed
	before *node     // what was there
	gone   bool      // of a removal: what was there is nowhere else now
	ghost  *vfs.Node // of a removal: what is removed if not
	looked atomic.Bool
}

// startEchoes begins to watch. The child is started when there is something to repeat.
func (m *Mounted) startEchoes(argv []string) error {
	var st unix.Stat_t
	if err := unix.Stat(m.dir, &st); err != nil {
		return err
	}
	e := &echoes{m: m, argv: argv, dev: st.Dev, waiting: map[echoKey]*change{}, doing: map[echoKey]int{},
		kick: make(chan struct{}, 1), quit: make(chan struct{})}
	e.stop = m.fsys.Watch(e.changed)
	e.wg.Go(e.run)
	m.mu.Lock()
	ended := m.ended
	if !ended {
		m.echoes.Store(e)
	}
	m.mu.Unlock()
	if ended {
		e.close()
		return unix.ENOTCONN
	}
	return nil
}

func (e *echoes) close() {
	e.stop()
	close(e.quit)
	e.turn.Lock()
	e.bury()
	e.turn.Unlock()
	e.wg.Wait()
	for _, c := range e.order {
		e.drop(c)
	}
}

// changed is called in the middle of whatever changes the drive.
func (e *echoes) changed(dir *vfs.Node, name string) {
	d := e.m.knownNode(dir)
	if d == nil {
		return
	}
	k := echoKey{d, name}
	c := &change{echoKey: k, due: time.Now().Add(echoAfter)}
	if name != "" {
		c.before = e.m.childAt(d, name)
	}
	if c.before != nil {
		c.was, _ = c.before.n.Attr() // a file that cannot be looked at has changed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.doing[k] > 0 || e.waiting[k] != nil {
		return
	}
	if len(e.order) >= maxEchoes {
		whole := echoKey{d, ""}
		if e.waiting[whole] != nil {
			return
		}
		c = &change{echoKey: whole, due: c.due}
	}
	e.put(c)
	e.wake()
}

// put makes c wait. e.mu is held.
func (e *echoes) put(c *change) {
	c.dir.n.Pin()
	if c.before != nil {
		c.before.n.Pin()
	}
	e.waiting[c.echoKey] = c
	e.order = append(e.order, c)
}

func (e *echoes) drop(c *change) {
	c.dir.n.Unpin()
	if c.before != nil {
		c.before.n.Unpin()
	}
}

func (e *echoes) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// knownNode is the node that the kernel knows vn by, or nil.
func (m *Mounted) knownNode(vn *vfs.Node) *node {
	if vn == m.root.n {
		return m.root
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[vn]
}

// own says that a program in this mount is changing names, until done: the kernel tells of that itself.
func (m *Mounted) own(keys ...echoKey) (done func()) {
	e := m.echoes.Load()
	if e == nil {
		return func() {}
	}
	add := func(by int) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, k := range keys {
			if e.doing[k] += by; e.doing[k] == 0 {
				delete(e.doing, k)
			}
			if c := e.waiting[k]; c != nil {
				c.void = true
				delete(e.waiting, k)
			}
		}
	}
	add(1)
	return func() { add(-1) }
}

func (e *echoes) run() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	budget, at := float64(echoBurst), time.Now()
	for {
		due, next := e.due(time.Now())
		plan, release := e.plan(due)
		for i, c := range plan {
			for now := time.Now(); ; now = time.Now() {
				budget, at = min(budget+now.Sub(at).Seconds()*echoRate, echoBurst), now
				if budget >= 1 {
					break
				}
				if !e.sleep(time.Second / echoRate) {
					for _, p := range plan[i:] {
						for _, c := range p.changes {
							e.drop(c)
						}
					}
					release()
					return
				}
			}
			budget--
			e.perform(c)
		}
		release()
		if len(due) > 0 {
			continue
		}
		t.Reset(next)
		select {
		case <-e.quit:
			return
		case <-e.kick:
		case <-t.C:
		}
	}
}

func (e *echoes) sleep(d time.Duration) bool {
	select {
	case <-e.quit:
		return false
	case <-time.After(d):
		return true
	}
}

// due takes out what is to be looked at, and tells when there will be more.
func (e *echoes) due(now time.Time) (due []*change, next time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next = time.Hour
	if slices.ContainsFunc(e.order, func(c *change) bool { return !c.due.After(now) }) {
		now = now.Add(echoAfter) // what came with it, such as the other half of a rename, is not left for later
	}
	keep := e.order[:0]
	for _, c := range e.order {
		if wait := c.due.Sub(now); wait > 0 {
			next = min(next, wait)
			keep = append(keep, c)
			continue
		}
		if c.void {
			e.drop(c)
			continue
		}
		delete(e.waiting, c.echoKey)
		due = append(due, c)
	}
	clear(e.order[len(keep):])
	e.order = keep
	return due, next
}
