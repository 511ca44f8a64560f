package fuse

import (
	"context"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/drive/vfs"
)

// handle is an open file.
type handle struct {
	n *node
	h *vfs.Handle
}

var (
	_ fs.FileReader          = (*handle)(nil)
	_ fs.FileWriter          = (*handle)(nil)
	_ fs.FileFlusher         = (*handle)(nil)
	_ fs.FileFsyncer         = (*handle)(nil)
	_ fs.FileReleaser        = (*handle)(nil)
	_ fs.FileAllocater       = (*handle)(nil)
	_ fs.FileLseeker         = (*handle)(nil)
	_ fs.FilePassthroughFder = (*handle)(nil)
)

// PassthroughFd is called by go-fuse when it opens the file for the kernel.
func (h *handle) PassthroughFd() (int, bool) { return h.h.PassthroughFd() }

func (h *handle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.h.ReadAt(ctx, dest, off)
	if err != nil {
		return nil, h.n.m.errno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, err := h.h.WriteAt(ctx, data, off)
	return uint32(n), h.n.m.errno(err)
}

// Flush would be called at every close(2), were there something to do: what was written is in the staging file, or the kernel writes
// it before it would ask. After this answer it asks no more.
func (h *handle) Flush(ctx context.Context) syscall.Errno { return syscall.ENOSYS }

func (h *handle) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	return h.n.m.errno(h.h.Sync(ctx))
}

func (h *handle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	return h.n.m.errno(h.h.Allocate(ctx, mode, int64(off), int64(size)))
}

// Lseek tells of holes where the kernel itself works on the file. Of any other it may hold back what was written, or mapped and written: all of
// it counts as data. With write-back it may even know of a greater size, and answers itself once it was told that nobody here does.
func (h *handle) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	if h.n.m.writeback {
		return 0, syscall.ENOSYS
	}
	if _, pass := h.h.PassthroughFd(); !pass {
		return h.n.allData(off, whence)
	}
	at, err := h.h.Seek(ctx, int64(off), int(whence))
	return uint64(at), h.n.m.errno(err)
}

// allData is lseek(2) in a file without holes.
func (n *node) allData(off uint64, whence uint32) (uint64, syscall.Errno) {
	a, err := n.n.Attr()
	switch {
	case err != nil:
		return 0, n.m.errno(err)
	case off >= uint64(a.Size):
		return 0, syscall.ENXIO
	case whence == unix.SEEK_HOLE:
		return uint64(a.Size), 0
	}
	return off, 0
}

func (h *handle) Release(ctx context.Context) syscall.Errno {
	if !h.n.m.letGo(h.h) {
		return 0
	}
	errno := h.n.m.errno(h.h.Close())
	h.n.closed(h.h)
	if h.h.Writes() {
		h.n.changed()
	}
	if c, ok := ctx.(*fuse.Context); ok && c.Cancel != nil {
		h.n.m.released.Store(c.Cancel, h.h)
	} else {
		h.h.Unpass()
	}
	return errno
}

// raw stands between the kernel and go-fuse's bridge to see the moment after a RELEASE: only then has the bridge
// taken the file's descriptor back from the kernel, and only from then on may the inode be opened on another file.
type raw struct {
	fuse.RawFileSystem
	m *Mounted
}

// GetXAttr answers at once for names that no file has an attribute under. EOPNOTSUPP rather than ENODATA has ls(1) ask for access control
// lists and labels of one file instead of each; before the first write to each file the kernel itself asks for security.capability.
func (r raw) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	if !vfs.MayHaveXattr(attr) {
		return 0, fuse.Status(unix.EOPNOTSUPP)
	}
	return r.RawFileSystem.GetXAttr(cancel, header, attr, dest)
}

// Release gives the request a channel of its own, by which handle.Release says which handle it was.
func (r raw) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	own := make(chan struct{})
	r.RawFileSystem.Release(own, in)
	if h, ok := r.m.released.LoadAndDelete((<-chan struct{})(own)); ok {
		h.(*vfs.Handle).Unpass()
	}
}

// dirHandle is an open directory: a listing of the moment it is first read or rewound.
type dirHandle struct {
	n *node

	mu  sync.Mutex // guards the rest
	d   *vfs.DirHandle
	pos int // of the next entry; 0 and 1 are . and ..
}

var (
	_ fs.FileReaddirenter = (*dirHandle)(nil)
	_ fs.FileLookuper     = (*dirHandle)(nil)
	_ fs.FileSeekdirer    = (*dirHandle)(nil)
	_ fs.FileFsyncdirer   = (*dirHandle)(nil)
)

func (d *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.d == nil || d.pos == 0 {
		l, err := d.n.n.OpenDir(ctx)
		if err != nil {
			return nil, d.n.m.errno(err)
		}
		d.d = l
	}
	at := d.pos
	e := &fuse.DirEntry{Off: uint64(at + 1)}
	switch {
	case at == 0:
		e.Name, e.Mode, e.Ino = ".", syscall.S_IFDIR, d.n.n.Ino()
	case at == 1:
		e.Name, e.Mode = "..", syscall.S_IFDIR
	case at-2 < len(d.d.Entries):
		v := &d.d.Entries[at-2]
		e.Name, e.Mode, e.Ino = v.Name, modeOf(v.Kind), v.Ino
	default:
		return nil, 0
	}
	d.pos++
	return e, 0
}

// Lookup is called for the entry that Readdirent returned last.
func (d *dirHandle) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	d.mu.Lock()
	i := d.pos - 3
	var e vfs.Entry
	if d.d != nil && i >= 0 && i < len(d.d.Entries) {
		e = d.d.Entries[i]
	}
	l := d.d
	d.mu.Unlock()
	if e.Name != name {
		return d.n.Lookup(ctx, name, out)
	}
	vn, err := l.Node(ctx, e)
	if err != nil {
		return nil, d.n.m.errno(err)
	}
	return d.n.entry(ctx, vn, out)
}

func (d *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pos = int(off)
	return 0
}

func (d *dirHandle) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	return d.n.m.errno(d.n.n.Sync(ctx))
}
