package fuse

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

// notRemembered is how long the kernel may believe what is said to the child alone; zero would be the default.
const notRemembered = time.Nanosecond

// errNoChild: the child cannot be started; it is tried again with the next change.
var errNoChild = errors.New("there is no process to repeat changes of others")

// hopeless reports an error that will be there the next time, too.
func hopeless(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EACCES) ||
		errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTDIR)
}

// child is what the kernel knows under a name, or nil.
func (n *node) child(name string) *node {
	if in := n.GetChild(name); in != nil {
		return in.Operations().(*node)
	}
	return nil
}

// do has the child repeat x.
func (e *echoes) do(x *echo) error {
	q := echoRequest{Op: x.op, Mount: []byte(e.m.dir), Dev: e.dev, Name: []byte(x.at.name), Perm: 0o600}
	dir, ok := x.at.dir.n.Path()
	if !ok {
		return unix.ENOTDIR
	}
	q.Dir = []byte(dir)
	switch x.op {
	case echoRename:
		to, ok := x.to.dir.n.Path()
		if !ok {
			return unix.ENOTDIR
		}
		q.To, q.As = []byte(to), []byte(x.to.name)
	case echoSymlink:
		target, err := x.node.Readlink()
		if err != nil {
			return err
		}
		q.Text = []byte(target)
	case echoUnlink, echoRmdir:
		if x.gone = x.before.n.Gone(); !x.gone {
			x.ghost = e.m.fsys.Ghost(x.before.n.Kind())
			defer x.ghost.Unpin()
		}
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	if err := e.revive(); err != nil {
		return err
	}
	e.active.Store(x)
	defer e.active.Store(nil)
	broken, err := e.child.do(q)
	if broken {
		e.bury()
	}
	return err
}

// revive starts the child if there is none. turn is held.
func (e *echoes) revive() error {
	select {
	case <-e.quit:
		return errNoChild
	default:
	}
	if e.child != nil {
		return nil
	}
	if time.Since(e.tried) < echoRevive {
		return errNoChild
	}
	e.tried = time.Now()
	c, err := startEcho(e.argv)
	if err != nil {
		e.m.log.Warn("programs that watch folders will not hear of changes of others", "err", err)
		return err
	}
	e.child = c
	e.tid.Store(c.tid)
	return nil
}

// bury ends the child. Its number may be another's from now on. turn is held.
func (e *echoes) bury() {
	if e.child != nil {
		e.tid.Store(0)
		e.child.end()
		e.child = nil
	}
}

// echoFrom tells whether the child makes a request, and what it is to do.
func (m *Mounted) echoFrom(ctx context.Context) (x *echo, child bool) {
	e := m.echoes.Load()
	if e == nil {
		return nil, false
	}
	c, ok := fuse.FromContext(ctx)
	if tid := e.tid.Load(); !ok || tid == 0 || c.Pid != tid {
		return nil, false
	}
	if x = e.active.Load(); x == nil {
		return nil, false // it does nothing unasked: should it have died, another thread may have its number
	}
	return x, true
}

// lookup answers the child as if x had not happened yet. done is false where that makes no difference.
func (x *echo) lookup(ctx context.Context, n *node, name string, out *fuse.EntryOut) (in *fs.Inode, errno syscall.Errno, done bool) {
	k := echoKey{n, name}
	if x.op == echoRename && k == x.to {
		out.SetEntryTimeout(notRemembered)
		return nil, syscall.ENOENT, true
	}
	if k != x.at {
		return nil, 0, false
	}
	show := func(vn *vfs.Node) (*fs.Inode, syscall.Errno, bool) {
		vn.Pin()
		in, errno := n.entry(ctx, vn, out)
		out.SetEntryTimeout(notRemembered)
		return in, errno, true
	}
	x.looked.Store(true)
	switch x.op {
	case echoMkdir:
		if n.GetChild(name) != nil {
			return nil, 0, false
		}
		fallthrough
	case echoMknod, echoSymlink:
		out.SetEntryTimeout(notRemembered)
		return nil, syscall.ENOENT, true
	case echoUnlink, echoRmdir:
		if x.gone {
			return show(x.before.n)
		}
		return show(x.ghost)
	case echoRename:
		return show(x.node)
	case echoModify:
		if n.child(name) == x.before { // who watches the old file hears of it, too
			return show(x.before.n)
		}
	}
	return nil, 0, false
}

// made answers the child's creation of what is there.
func (x *echo) made(ctx context.Context, op echoOp, n *node, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if x.op != op || x.at != (echoKey{n, name}) {
		return nil, syscall.EPERM
	}
	vn, err := n.n.Lookup(ctx, name)
	if err != nil {
		return nil, n.m.errno(err)
	}
	if vn != x.node {
		vn.Unpin()
		return nil, syscall.EBUSY
	}
	return n.entry(ctx, vn, out)
}

// removed answers the child's removal of what is not there. What the kernel removes has to be that, too: it knows when
// it has just asked, or when nothing else could have been meant.
func (x *echo) removed(op echoOp, n *node, name string) syscall.Errno {
	switch {
	case x.op != op || x.at != (echoKey{n, name}):
		return syscall.EPERM
	case x.looked.Load(), x.gone && n.child(name) == x.before:
		return 0
	}
	return syscall.EBUSY
}

func (x *echo) renamed(ctx context.Context, n *node, name string, to *node, newName string, flags uint32) syscall.Errno {
	if x.op != echoRename || x.at != (echoKey{n, name}) || x.to != (echoKey{to, newName}) || flags != renameNoReplace {
		return syscall.EPERM
	}
	vn, err := to.n.Lookup(ctx, newName)
	if err != nil {
		return n.m.errno(err)
	}
	defer vn.Unpin()
	if vn != x.node {
		return syscall.EBUSY
	}
	return 0
}
