package vfs

import (
	"context"
	"fmt"
	"os"
	"time"
)

// OpenFlags say how a file is opened.
type OpenFlags uint8

const (
	Write       OpenFlags = 1 << iota // also for writing; every handle reads
	Trunc                             // with Write: cut to nothing first
	Passthrough                       // the front end can hand the kernel a descriptor
)

// passSize is the size up to which cached opens are the faster ones.
const passSize = 64 << 10

// growsFor is how long after somebody made a file longer he is expected to do so again.
const growsFor = time.Hour

// Open opens a file. ErrStale: it was replaced since it was looked up.
func (n *Node) Open(ctx context.Context, flags OpenFlags) (*Handle, error) {
	switch {
	case n.kind == Dir:
		return nil, ErrIsDir
	case n.kind != File:
		return nil, ErrSupport
	case n.past != nil:
		return n.past.open(ctx, n, flags)
	case flags&Write != 0:
		return n.openWrite(ctx, flags)
	}
	n.lookAgain(ctx)
	h := &Handle{n: n}
	n.fs.mu.Lock()
	n.opens++
	n.cached++
	n.fs.mu.Unlock()
	err := h.load(ctx)
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	n.cached--
	if err == nil && n.stale {
		err = ErrStale
	}
	if err != nil {
		n.opens--
		n.release()
		h.closeFiles()
		return nil, err
	}
	h.choose(flags)
	return h, nil
}

// lookAgain looks the node's name up if the drive has told of a change there since that was done last, and makes the node stale if its bytes
// are others now: a kernel that remembers the name has not asked. So whoever opens a file after somebody's write was acknowledged on this
// machine reads that, and edits that.
func (n *Node) lookAgain(ctx context.Context) {
	fs := n.fs
	fs.mu.Lock()
	dir, name := n.dir, n.name
	known := fs.deaf || n.stage != nil || !n.inDrive || n.unlinked || dir == nil || n.checked == fs.age
	fs.mu.Unlock()
	if known {
		return
	}
	if c, err := dir.Lookup(ctx, name); err == nil { // else it goes on as an open file that was removed
		c.Unpin()
	}
}

// openWrite opens for writing: a file that has no staging file gets one, with a copy of the bytes. A blob is never
// opened for writing.
func (n *Node) openWrite(ctx context.Context, flags OpenFlags) (*Handle, error) {
	if err := n.fs.mayChange(); err != nil {
		return nil, err
	}
	n.lookAgain(ctx)
	keep := int64(-1)
	if flags&Trunc != 0 {
		keep = 0
	}
	var h *Handle
	err := n.withStage(ctx, flags&Trunc != 0, keep, func(st *stage) error {
		if flags&Trunc != 0 {
			if err := st.resize(0); err != nil {
				return fmt.Errorf("truncating a staging file: %w", err)
			}
		}
		f, err := openFile(st.path, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("opening a staging file: %w", err)
		}
		n.fs.mu.Lock()
		defer n.fs.mu.Unlock()
		h = n.writeHandle(st, f, flags)
		return nil
	})
	return h, err
}

// stageFor returns the node's stage, beginning one with the first keep bytes if need be. n.wmu is held.
func (n *Node) stageFor(ctx context.Context, keep int64) (*stage, error) {
	fs := n.fs
	fs.mu.Lock()
	st := n.stage
	switch {
	case n.stale, st == nil && n.info.Kind == 0:
		fs.mu.Unlock()
		return nil, ErrStale
	case st == nil && n.passes > 0 && n.unlinked:
		fs.mu.Unlock()
		return nil, ErrSupport
	case st == nil && n.passes > 0:
		// The kernel reads the blob itself through this inode, and would write to it too.
		fs.supersede(n, n.info)
		fs.mu.Unlock()
		return nil, ErrStale
	}
	fs.mu.Unlock()
	if st == nil {
		return n.beginStage(ctx, keep)
	}
	return st, n.unshare(st)
}

// unshare gives the staging file bytes of its own again if sealing gave them to the blob store and recording them
// failed then. n.wmu is held.
func (n *Node) unshare(st *stage) error {
	fs := n.fs
	fs.mu.Lock()
	now, err := st.stat()
	alone := st.writers > 0 || err == nil && now.links == 1
	passes := n.passes
	fs.mu.Unlock()
	if err != nil || alone {
		return err
	}
	tmp := st.path + ".own"
	os.Remove(tmp)
	f, err := openFile(st.path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("opening a staging file: %w", err)
	}
	defer f.Close()
	g, err := snapshot(context.Background(), f, tmp)
	if err != nil {
		return fmt.Errorf("copying a staging file: %w", err)
	}
	defer g.Close()
	if err = os.Chtimes(tmp, now.mtime, now.mtime); err == nil {
		err = g.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, st.path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("copying a staging file: %w", err)
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	st.base = fileStat{}
	n.rev = &rev{path: st.path}
	if passes > 0 {
		fs.supersedeStaged(n)
		return ErrStale
	}
	return nil
}

// supersedeStaged replaces a node that the kernel reads by passthrough by one of the next generation that has its
// stage. fs.mu is held.
func (fs *FS) supersedeStaged(n *Node) {
	m := &Node{fs: fs, ino: n.ino, gen: fs.gens.Add(1), kind: n.kind, rev: n.rev, stage: n.stage, info: n.info}
	m.stage.node = m
	dir, name, key, in := n.dir, n.name, n.key, n.inDrive
	n.leaveDrive()
	n.stale, n.stage, n.rev = true, nil, &rev{info: n.info}
	if in {
		m.key, m.inDrive = key, true
		fs.byKey[key] = m
	}
	if dir != nil {
		m.place(dir, name)
	}
	n.dir = nil
}

// writeHandle makes a handle on an open staging file. fs.mu is held.
func (n *Node) writeHandle(st *stage, f *os.File, flags OpenFlags) *Handle {
	h := &Handle{n: n, write: true, rev: n.rev, f: f}
	n.opens++
	st.writers++
	if flags&Trunc != 0 {
		st.fresh = true
		n.data++
	}
	n.fs.unschedule(st)
	n.fs.watchOpen(st)
	h.choose(flags)
	return h
}
