package fuse

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

// node is the kernel's view of a vfs.Node: one for each, for as long as the kernel remembers it.
type node struct {
	fs.Inode
	m *Mounted
	n *vfs.Node

	looked uint64 // how often it was handed out; guarded by m.mu
	given  given
}

var (
	_ fs.NodeLookuper       = (*node)(nil)
	_ fs.NodeGetattrer      = (*node)(nil)
	_ fs.NodeAccesser       = (*node)(nil)
	_ fs.NodeSetattrer      = (*node)(nil)
	_ fs.NodeCreater        = (*node)(nil)
	_ fs.NodeMkdirer        = (*node)(nil)
	_ fs.NodeMknoder        = (*node)(nil)
	_ fs.NodeSymlinker      = (*node)(nil)
	_ fs.NodeLinker         = (*node)(nil)
	_ fs.NodeTmpfiler       = (*node)(nil)
	_ fs.NodeReadlinker     = (*node)(nil)
	_ fs.NodeUnlinker       = (*node)(nil)
	_ fs.NodeRmdirer        = (*node)(nil)
	_ fs.NodeRenamer        = (*node)(nil)
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeOpendirHandler = (*node)(nil)
	_ fs.NodeStatfser       = (*node)(nil)
	_ fs.NodeGetxattrer     = (*node)(nil)
	_ fs.NodeSetxattrer     = (*node)(nil)
	_ fs.NodeListxattrer    = (*node)(nil)
	_ fs.NodeRemovexattrer  = (*node)(nil)
	_ fs.NodeCopyFileRanger = (*node)(nil)
	_ fs.NodeOnForgetter    = (*node)(nil)
)

func newNode(m *Mounted, vn *vfs.Node) *node {
	return &node{m: m, n: vn, given: given{asks: true}}
}

// inode hands vn to the kernel. It takes over the pin that vn came with.
func (m *Mounted) inode(ctx context.Context, vn *vfs.Node) *fs.Inode {
	id := fs.StableAttr{Mode: modeOf(vn.Kind()), Ino: vn.Ino(), Gen: vn.Gen()}
	if vn.Past() {
		return m.root.NewInode(ctx, newNode(m, vn), id)
	}
	in, known := m.numbered(ctx, vn, id)
	if known {
		vn.Unpin()
	}
	return in
}

// numbered is vn as go-fuse knows it; known reports whether it did before.
func (m *Mounted) numbered(ctx context.Context, vn *vfs.Node, id fs.StableAttr) (in *fs.Inode, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock() // after a panic, too: who changes the drive asks for it
	nd := m.nodes[vn]
	if known = nd != nil; !known {
		nd = newNode(m, vn)
		m.nodes[vn] = nd
	}
	nd.looked++
	return m.root.NewInode(ctx, nd, id), known // with the lock, or two at once would give the node two numbers
}

// OnForget is called when the kernel has forgotten the node, which a lookup may be about to hand out again.
func (n *node) OnForget() {
	if n.n.Past() || n == n.m.root {
		return
	}
	if n.n.Unlinked() {
		n.m.mu.Lock()
		mine := n.m.nodes[n.n] == n
		if mine {
			delete(n.m.nodes, n.n)
		}
		n.m.mu.Unlock()
		if mine {
			n.n.Unpin()
		}
		return
	}
	n.m.mu.Lock()
	n.m.forgotten = append(n.m.forgotten, forgotten{n, n.looked, time.Now()})
	n.m.mu.Unlock()
}

type forgotten struct {
	n      *node
	looked uint64
	at     time.Time
}

// forgetAfter is longer than any lookup takes.
const forgetAfter = 10 * time.Second

// sweep lets nodes go that the kernel forgot a while ago and that nobody has looked up since.
func (m *Mounted) sweep(all bool) {
	m.mu.Lock()
	var gone []*node
	keep := m.forgotten[:0]
	for _, f := range m.forgotten {
		switch {
		case f.looked != f.n.looked:
		case !all && time.Since(f.at) < forgetAfter:
			keep = append(keep, f)
		case m.nodes[f.n.n] == f.n:
			delete(m.nodes, f.n.n)
			gone = append(gone, f.n)
		}
	}
	clear(m.forgotten[len(keep):])
	m.forgotten = keep
	m.mu.Unlock()
	for _, n := range gone {
		n.n.Unpin()
	}
}

func modeOf(k vfs.Kind) uint32 {
	switch k {
	case vfs.Dir:
		return syscall.S_IFDIR
	case vfs.Symlink:
		return syscall.S_IFLNK
	}
	return syscall.S_IFREG
}

// remembered is how long the kernel may answer from memory before it asks again. It is not told when something
// changes: to drop a name or a page the kernel takes locks that a program holds while it waits for this process, and
// a process that is killed while it waits for such a lock cannot end, nor can the programs that wait for it. Asking
// again takes some microseconds. Below a moment of the past nothing changes.
const (
	remembered     = time.Second
	rememberedPast = time.Hour
)

func (n *node) fill(out *fuse.Attr) syscall.Errno {
	a, err := n.n.Attr()
	if err != nil {
		return n.m.errno(err)
	}
	n.m.fill(a, out)
	return 0
}

func (m *Mounted) fill(a vfs.Attr, out *fuse.Attr) {
	out.Ino = a.Ino
	out.Size = uint64(a.Size)
	out.Blocks = uint64(a.Blocks)
	out.Blksize = 4096
	out.Mode = modeOf(a.Kind) | a.Perm
	out.Nlink = a.Links
	out.Uid, out.Gid = m.opts.UID, m.opts.GID
	t := a.MTime
	out.SetTimes(&t, &t, &t)
}

// entry answers a lookup with vn.
func (n *node) entry(ctx context.Context, vn *vfs.Node, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	a, err := vn.Attr()
	if err != nil {
		vn.Unpin()
		return nil, n.m.errno(err)
	}
	n.m.fill(a, &out.Attr)
	if n.n.Past() && !n.n.Fleeting() {
		out.SetEntryTimeout(rememberedPast)
		out.SetAttrTimeout(rememberedPast)
	}
	return n.m.inode(ctx, vn), 0
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if x, child := n.m.echoFrom(ctx); child {
		if in, errno, done := x.lookup(ctx, n, name, out); done {
			return in, errno
		}
	}
	vn, err := n.n.Lookup(ctx, name)
	if err != nil {
		return nil, n.m.errno(err)
	}
	return n.entry(ctx, vn, out)
}

func (n *node) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.fill(&out.Attr)
}

// Access answers access(2) and chdir(2) where only root gets in and the kernel does not look at permission bits (after each change in
// a directory it would ask for the directory's anew). They bind root in one thing: nobody executes what nobody may.
func (n *node) Access(ctx context.Context, mask uint32) syscall.Errno {
	if mask&unix.X_OK == 0 || n.n.Kind() != vfs.File {
		return 0
	}
	a, err := n.n.Attr()
	if err == nil && a.Perm&0o111 == 0 {
		return syscall.EACCES
	}
	return n.m.errno(err)
}

func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if _, child := n.m.echoFrom(ctx); child {
		return n.touched(in, out)
	}
	if errno := n.m.mayChown(in); errno != 0 {
		return errno
	}
	var set vfs.SetAttr
	if size, ok := in.GetSize(); ok {
		s := int64(size)
		set.Size = &s
	}
	if mode, ok := in.GetMode(); ok {
		set.Perm = &mode
	}
	if t, ok := in.GetMTime(); ok {
		set.MTime = &t
	}
	if err := n.n.SetAttr(ctx, set); err != nil {
		return n.m.errno(err)
	}
	if set.Size != nil {
		n.changed()
	}
	if errno := n.fill(&out.Attr); errno != 0 {
		return errno
	}
	out.SetTimeout(remembered)
	return 0
}

// touched answers the child that sets attributes to what they are. With write-back the kernel is about to believe a file's time: it is not to
// be one from before what somebody writes, or has set.
func (n *node) touched(in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if t, ok := in.GetMTime(); ok && n.m.writeback && n.n.Kind() == vfs.File {
		if a, err := n.n.Attr(); err != nil || !a.MTime.Equal(t) || n.writing() {
			return syscall.EBUSY
		}
	}
	return n.fill(&out.Attr)
}

// mayChown allows giving a file to whom it belongs: everything in a mount belongs to one user.
func (m *Mounted) mayChown(in *fuse.SetAttrIn) syscall.Errno {
	if uid, ok := in.GetUID(); ok && uid != m.opts.UID {
		return syscall.EPERM
	}
	if gid, ok := in.GetGID(); ok && gid != m.opts.GID {
		return syscall.EPERM
	}
	return 0
}

func (n *node) Create(ctx context.Context, name string, flags uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if _, child := n.m.echoFrom(ctx); child {
		return nil, nil, 0, syscall.EPERM
	}
	vn, vh, err := n.n.Create(ctx, name, mode, flags&syscall.O_EXCL != 0, n.m.openFlags(flags))
	if err != nil {
		return nil, nil, 0, n.m.errno(err)
	}
	in, errno := n.entry(ctx, vn, out)
	if errno != 0 {
		vh.Close()
		vh.Unpass()
		return nil, nil, 0, errno
	}
	nd := in.Operations().(*node)
	n.m.holds(vh)
	nd.created(vh)
	return in, &handle{n: nd, h: vh}, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Mknod(ctx context.Context, name string, mode, dev uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if mode&syscall.S_IFMT != syscall.S_IFREG && mode&syscall.S_IFMT != 0 {
		return nil, syscall.EPERM
	}
	if x, child := n.m.echoFrom(ctx); child {
		return x.made(ctx, echoMknod, n, name, out)
	}
	vn, vh, err := n.n.Create(ctx, name, mode, true, 0)
	if err != nil {
		return nil, n.m.errno(err)
	}
	vh.Close()
	return n.entry(ctx, vn, out)
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if x, child := n.m.echoFrom(ctx); child {
		return x.made(ctx, echoMkdir, n, name, out)
	}
	defer n.m.own(echoKey{n, name})()
	vn, err := n.n.Mkdir(ctx, name, mode)
	if err != nil {
		return nil, n.m.errno(err)
	}
	return n.entry(ctx, vn, out)
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if x, child := n.m.echoFrom(ctx); child {
		return x.made(ctx, echoSymlink, n, name, out)
	}
	defer n.m.own(echoKey{n, name})()
	vn, err := n.n.Symlink(ctx, name, target)
	if err != nil {
		return nil, n.m.errno(err)
	}
	return n.entry(ctx, vn, out)
}

// Link refuses hard links: the drive has none, and a copy that pretends to be one would lose writes.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// Tmpfile has the kernel answer EOPNOTSUPP to O_TMPFILE: such a file gets its name by a hard link.
func (n *node) Tmpfile(ctx context.Context, flags uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.ENOSYS
}

func (n *node) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	target, err := n.n.Readlink()
	return []byte(target), n.m.errno(err)
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if x, child := n.m.echoFrom(ctx); child {
		return x.removed(echoUnlink, n, name)
	}
	defer n.m.own(echoKey{n, name})()
	return n.m.errno(n.n.Unlink(ctx, name))
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if x, child := n.m.echoFrom(ctx); child {
		return x.removed(echoRmdir, n, name)
	}
	defer n.m.own(echoKey{n, name})()
	return n.m.errno(n.n.Rmdir(ctx, name))
}

// Flags of renameat2(2).
const (
	renameNoReplace = unix.RENAME_NOREPLACE
	renameExchange  = unix.RENAME_EXCHANGE
)

func (n *node) Rename(ctx context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newParent.(*node)
	if !ok || flags != 0 && flags != renameNoReplace && flags != renameExchange {
		return syscall.EINVAL
	}
	if x, child := n.m.echoFrom(ctx); child {
		return x.renamed(ctx, n, name, to, newName, flags)
	}
	defer n.m.own(echoKey{n, name}, echoKey{to, newName})()
	if flags == renameExchange {
		return n.m.errno(n.n.Exchange(ctx, name, to.n, newName))
	}
	return n.m.errno(n.n.Rename(ctx, name, to.n, newName, flags == renameNoReplace))
}

func (m *Mounted) openFlags(flags uint32) vfs.OpenFlags {
	var f vfs.OpenFlags
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		f |= vfs.Write
		if flags&syscall.O_TRUNC != 0 {
			f |= vfs.Trunc
		}
	}
	if m.passthrough.Load() {
		f |= vfs.Passthrough
	}
	return f
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	vh, err := n.n.Open(ctx, n.m.openFlags(flags))
	if err != nil {
		return nil, 0, n.m.errno(err)
	}
	n.m.holds(vh)
	return &handle{n: n, h: vh}, n.opened(vh), 0
}

func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return &dirHandle{n: n}, 0, 0
}

func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	s, err := n.m.fsys.Space()
	if err != nil {
		return n.m.errno(err)
	}
	out.Blocks, out.Bfree, out.Bavail = s.Blocks, s.Free, s.Available
	out.Files, out.Ffree = s.Files, s.FilesFree
	out.Bsize, out.Frsize, out.NameLen = s.BlockSize, s.BlockSize, vfs.MaxName
	return 0
}

// xattrOut answers a request for bytes in the way of getxattr(2).
func xattrOut(v, dest []byte) (uint32, syscall.Errno) {
	if len(v) > len(dest) {
		return uint32(len(v)), syscall.ERANGE
	}
	return uint32(copy(dest, v)), 0
}

func (n *node) Getxattr(ctx context.Context, attr string, dest []byte) (uint32, syscall.Errno) {
	v, err := n.n.Xattr(ctx, attr)
	if err != nil {
		return 0, n.m.errno(err)
	}
	return xattrOut(v, dest)
}

func (n *node) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	names, err := n.n.Xattrs(ctx)
	if err != nil {
		return 0, n.m.errno(err)
	}
	var b []byte
	for _, name := range names {
		b = append(append(b, name...), 0)
	}
	return xattrOut(b, dest)
}

func (n *node) Setxattr(ctx context.Context, attr string, data []byte, flags uint32) syscall.Errno {
	if _, child := n.m.echoFrom(ctx); child {
		return syscall.EPERM
	}
	const create, replace = 1, 2
	err := n.n.SetXattr(ctx, attr, slices.Clone(data), flags&create != 0, flags&replace != 0)
	return n.m.errno(err)
}

func (n *node) Removexattr(ctx context.Context, attr string) syscall.Errno {
	if _, child := n.m.echoFrom(ctx); child {
		return syscall.EPERM
	}
	return n.m.errno(n.n.RemoveXattr(ctx, attr))
}

func (n *node) CopyFileRange(ctx context.Context, fhIn fs.FileHandle, offIn uint64, out *fs.Inode, fhOut fs.FileHandle, offOut uint64, size uint64, flags uint64) (uint32, syscall.Errno) {
	a, ok := fhIn.(*handle)
	b, ok2 := fhOut.(*handle)
	if !ok || !ok2 {
		return 0, syscall.EBADF
	}
	k, err := vfs.CopyRange(ctx, a.h, int64(offIn), b.h, int64(offOut), int64(min(size, 1<<30)))
	if k > 0 {
		err = nil
	}
	return uint32(k), n.m.errno(err)
}
