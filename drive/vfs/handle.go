package vfs

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Handle is an open file. It reads what the node's bytes are, also those that another handle writes.
type Handle struct {
	n      *Node
	write  bool
	pass   bool // the kernel has a descriptor
	kernel bool // it could have had: the kernel knows the inode by one way or the other

	mu  sync.RWMutex // guards what follows; held shared while bytes are read
	rev *rev         // what f or c are of
	f   *os.File
	c   Content
}

// backing is what all passthrough handles of a node share.
type backing struct {
	f       *os.File // to read: the kernel opens the file for each program in the way that the program has opened it
	c       Content  // owns f, or nil
	follows bool     // begun by who writes: whoever joined sees what is written here later, too
}

func (b *backing) close() {
	if b.c != nil {
		b.c.Close()
	} else {
		b.f.Close()
	}
}

// choose decides between passthrough and the page cache: the kernel wants one way at a time for an inode. fs.mu is
// held.
func (h *Handle) choose(flags OpenFlags) {
	n := h.n
	h.kernel = flags&Passthrough != 0
	if !h.kernel || n.cached > 0 {
		n.cached++
		return
	}
	if n.passes == 0 {
		f, c, size := h.own()
		if f == nil || !h.write && (size <= passSize || n.grows()) && !n.leftMapped(f) {
			n.cached++
			return
		}
		if h.write { // or the file would look written to for as long as any reader has it
			r, err := reopen(f)
			if err != nil {
				n.cached++
				return
			}
			f.Close()
			f = r
		}
		n.backs = &backing{f: f, c: c, follows: h.write}
		h.f, h.c, h.rev = nil, nil, nil // lent to the node; a read by this way opens anew
	}
	n.passes++
	h.pass = true
	if h.write {
		n.stage.passed = true
	}
}

// grows reports whether somebody here makes the file longer now and then. Who reads such a file is to see that go on, and by passthrough he
// would not: he reads the blob, and the writer has another inode. fs.mu is held.
func (n *Node) grows() bool { return !n.grew.IsZero() && time.Since(n.grew) < growsFor }

// leftMapped reports whether a mapping is left of somebody to whom the kernel gave the staging file f: what it writes is not in the page
// cache. fs.mu is held.
func (n *Node) leftMapped(f *os.File) bool { return n.stage != nil && n.stage.passed && mapped(f) }

// own returns the file that holds all the bytes from its start, who owns it, and for a handle that only reads its size.
func (h *Handle) own() (f *os.File, c Content, size int64) {
	if h.f != nil {
		if h.rev.lower.lies() {
			return nil, nil, 0
		}
		if h.write { // whatever its size is
			return h.f, nil, 0
		}
		if s, err := statFile(h.f); err == nil {
			return h.f, nil, s.size
		}
		return nil, nil, 0
	}
	if h.c == nil {
		return nil, nil, 0
	}
	f, off, ok := h.c.Local()
	if !ok || off != 0 {
		return nil, nil, 0
	}
	fi, err := f.Stat()
	if err != nil || fi.Size() != h.rev.info.Bytes.Size {
		return nil, nil, 0
	}
	return f, h.c, fi.Size()
}

// PassthroughFd is a descriptor, open for reading, of a file that holds the node's bytes, when the kernel shall use that directly: it opens
// the file again for each program.
func (h *Handle) PassthroughFd() (int, bool) {
	if !h.pass {
		return -1, false
	}
	h.n.fs.mu.Lock()
	defer h.n.fs.mu.Unlock()
	if h.n.backs == nil {
		return -1, false
	}
	return int(h.n.backs.f.Fd()), true
}

// Writes reports whether the handle is open for writing.
func (h *Handle) Writes() bool { return h.write }

// Node is what the handle is of.
func (h *Handle) Node() *Node { return h.n }

// load opens what the node's bytes are now, if that is not open already.
func (h *Handle) load(ctx context.Context) error {
	fs := h.n.fs
	for try := 0; ; try++ {
		fs.mu.Lock()
		r := h.n.rev
		path, info := r.path, r.info
		fs.mu.Unlock()
		if path == "" && info.Kind == 0 {
			return ErrStale // removed before it was in the drive, and nobody had it open
		}
		h.mu.Lock()
		if h.rev == r && (h.f != nil || h.c != nil) {
			h.mu.Unlock()
			return nil
		}
		err := h.reopen(ctx, path, info)
		if err == nil {
			h.rev = r
		}
		h.mu.Unlock()
		if err == nil || path == "" || !errors.Is(err, errNotExist) || try > 3 {
			return err
		}
		// committed in between: the drive has it
	}
}

// reopen opens a staging file or the drive's bytes. h.mu is held.
func (h *Handle) reopen(ctx context.Context, path string, info Info) error {
	var f *os.File
	var c Content
	var err error
	if path != "" {
		mode := os.O_RDONLY
		if h.write {
			mode = os.O_RDWR
		}
		f, err = openFile(path, mode, 0)
	} else {
		c, err = h.n.fs.drive.Open(ctx, info)
	}
	if err != nil {
		return err
	}
	h.closeFiles()
	h.f, h.c = f, c
	return nil
}

func (h *Handle) closeFiles() {
	if h.f != nil {
		h.f.Close()
	}
	if h.c != nil {
		h.c.Close()
	}
	h.f, h.c = nil, nil
}

// current locks h.mu shared with the node's present bytes open, or fails.
func (h *Handle) current(ctx context.Context) error {
	for {
		h.mu.RLock()
		if h.n.past != nil {
			return nil
		}
		h.n.fs.mu.Lock()
		r := h.n.rev
		h.n.fs.mu.Unlock()
		if h.rev == r && (h.f != nil || h.c != nil) {
			return nil
		}
		h.mu.RUnlock()
		if err := h.load(ctx); err != nil {
			return err
		}
	}
}

// ReadAt reads len(p) bytes, or fewer where the file ends. It waits for absent bytes until ctx ends.
func (h *Handle) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	for {
		if err := h.current(ctx); err != nil {
			return 0, err
		}
		n, err := h.read(ctx, p, off)
		h.mu.RUnlock()
		if err == io.EOF {
			err = nil
		}
		if err != errNothingBelow {
			return n, err
		}
	}
}

// read is ReadAt with h.mu held shared, after current.
func (h *Handle) read(ctx context.Context, p []byte, off int64) (int, error) {
	switch {
	case h.f == nil:
		return h.c.ReadAtContext(ctx, p, off)
	case h.rev.lower.lies():
		return h.rev.lower.readAt(ctx, h.f, p, off)
	}
	return h.f.ReadAt(p, off)
}

// Whole reads all bytes of a file that is no longer than buf, if it can do so without waiting for anybody.
func (h *Handle) Whole(buf []byte) (data []byte, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.n.fs.mu.Lock()
	now := h.n.past != nil || h.rev == h.n.rev
	h.n.fs.mu.Unlock()
	if !now {
		return nil, false
	}
	var n int
	var err error
	switch {
	case h.f != nil && !h.rev.lower.lies():
		n, err = h.f.ReadAt(buf, 0)
	case h.f == nil && h.c != nil:
		n, err = h.c.ReadHere(buf, 0)
	default:
		return nil, false
	}
	return buf[:n], err == io.EOF // else there is more
}

// Segment returns a descriptor and an offset in it at which the bytes from off on can be read right now, for front ends that splice; ok is
// false when there is none.
func (h *Handle) Segment(off int64) (f *os.File, at int64, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.f != nil && !h.rev.lower.lies() {
		return h.f, off, true
	}
	return nil, 0, false
}

// writing returns the staging file, with h.mu held shared.
func (h *Handle) writing(ctx context.Context) error {
	if !h.write {
		return ErrBadHandle
	}
	return h.current(ctx)
}

// WriteAt writes p to the staging file: it survives this process when WriteAt returns.
func (h *Handle) WriteAt(ctx context.Context, p []byte, off int64) (int, error) {
	if err := h.writing(ctx); err != nil {
		return 0, err
	}
	defer h.mu.RUnlock()
	return h.put(ctx, p, off)
}

// put is WriteAt with h.mu held shared, after writing.
func (h *Handle) put(ctx context.Context, p []byte, off int64) (int, error) {
	if u := h.rev.lower; u.lies() {
		return u.writeAt(ctx, h.f, p, off)
	}
	return h.f.WriteAt(p, off)
}

// Allocate is fallocate(2) on the staging file, with all its modes.
func (h *Handle) Allocate(ctx context.Context, mode uint32, off, size int64) error {
	if err := h.complete(ctx); err != nil { // holes made from here on are zeroes
		return err
	}
	if err := h.writing(ctx); err != nil {
		return err
	}
	defer h.mu.RUnlock()
	return again(func() error { return unix.Fallocate(int(h.f.Fd()), mode, off, size) })
}

// complete makes the staging file one that alone has all the bytes.
func (h *Handle) complete(ctx context.Context) error {
	for {
		h.n.fs.mu.Lock()
		st := h.n.stage
		h.n.fs.mu.Unlock()
		if st == nil || !st.lower.holed() {
			return nil
		}
		if err := st.fetch(ctx); err != nil {
			return err
		}
		unlock, err := h.n.lockStage(ctx, false)
		if err != nil {
			return err
		}
		if !st.lower.lies() {
			err = st.complete(ctx)
		}
		unlock()
		if err != nil || !st.lower.holed() {
			return err
		}
	}
}

// Seek is lseek(2) with SEEK_DATA or SEEK_HOLE; bytes that are not here count as data.
func (h *Handle) Seek(ctx context.Context, off int64, whence int) (int64, error) {
	if err := h.current(ctx); err != nil {
		return 0, err
	}
	defer h.mu.RUnlock()
	if h.f != nil && !h.rev.lower.lies() {
		return unix.Seek(int(h.f.Fd()), off, whence)
	}
	size := h.n.size()
	switch {
	case off < 0 || off >= size:
		return 0, unix.ENXIO
	case whence == unix.SEEK_DATA:
		return off, nil
	case whence == unix.SEEK_HOLE:
		return size, nil
	}
	return 0, unix.EINVAL
}

func (n *Node) size() int64 {
	a, err := n.Attr()
	if err != nil {
		return 0
	}
	return a.Size
}

// Sync makes what was written survive a power failure, and with it that the file exists under its name.
func (h *Handle) Sync(ctx context.Context) error { return h.n.Sync(ctx) }

// Sync makes what was written to the node survive a power failure: a file's bytes and the names in a directory.
func (n *Node) Sync(ctx context.Context) error {
	if n.past != nil {
		return nil
	}
	fs := n.fs
	fs.mu.Lock()
	st := n.stage
	fs.mu.Unlock()
	if n.kind != File || st == nil {
		return fs.keep()
	}
	return fs.syncStage(st, nil)
}

// Close closes the handle. After the last one that wrote, the bytes become a version by themselves. A handle that was
// opened with Passthrough counts as the way that the kernel took to the node until Unpass.
func (h *Handle) Close() error {
	h.mu.Lock()
	h.closeFiles()
	h.mu.Unlock()
	n, fs := h.n, h.n.fs
	if n.past != nil {
		return nil
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n.opens--
	if !h.kernel {
		n.cached--
	}
	if st := n.stage; st != nil {
		if h.write {
			n.data++
			st.writers--
			if st.writers == 0 {
				fs.closedWriter(n, st)
			}
		}
	}
	n.release()
	return nil
}

// Unpass says that the front end has forgotten the handle, and the kernel its descriptor. It is called once, after Close;
// of handles that were opened without Passthrough it need not be.
func (h *Handle) Unpass() {
	if !h.kernel {
		return
	}
	n, fs := h.n, h.n.fs
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !h.pass {
		n.cached--
	} else if n.passes--; n.passes == 0 {
		n.backs.close()
		n.backs = nil
	}
	n.release()
}

// DataGen grows whenever the node's bytes change, by whichever front end: one that caches bytes compares it.
func (n *Node) DataGen() uint64 {
	if n.past != nil {
		return 0
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	return n.data
}
