package vfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stage is what a node has that the drive has not: a staging file, or for other kinds under a local-only name the
// record alone. Its fields are guarded by fs.mu.
type stage struct {
	fs   *FS
	node *Node
	path string // of the staging file; "" for what has none

	rec        record   // as it stands in the journal
	dead       bool     // no longer in the journal; the file stays for open handles
	writers    int      // handles open for writing
	fresh      bool     // must become a version even if nobody writes
	base       fileStat // the staging file when it last equalled the drive
	unfinished bool     // see FS.Unfinished
	inDir      bool     // the staging file's name is known to be on the disk
	passed     bool     // the kernel has had the staging file to write to by itself
	lower      *lower   // what lies under the holes of the staging file; nil for most

	opened time.Time          // since when it is open for writing, or of the last checkpoint
	first  time.Time          // of the closes that are not a version yet
	copied time.Time          // the last version of a file that nobody has open, and that is mapped
	due    time.Time          // when to commit; zero: not before the next close
	cancel context.CancelFunc // ends the fetching under way
	busy   bool               // with the committer
	size   int64              // of the staging file, when it became busy
	tries  int
	fails  int
	err    error // of the last attempt

	asked    uint64 // grows with each call that waits for it to be committed, also while it is open
	answered uint64 // what asked was when the bytes of the last version were taken, or when nothing was to be done
}

// awaited reports whether somebody waits for a commit that takes what the file is from now on. fs.mu is held.
func (st *stage) awaited() bool { return st.asked != st.answered }

// copyLimit is the size up to which nobody wonders about a copy; renaming something larger to a local-only name
// leaves it in the drive.
const copyLimit = 64 << 20

// goneSuffix is added to the name of a staging file whose node was removed, for replay to know.
const goneSuffix = ".gone"

func (st *stage) stat() (fileStat, error) { return statPath(st.path) }

// stageStat is stat of n's stage. Where the kernel has the staging file's descriptor the path need not be walked. fs.mu is held.
func (n *Node) stageStat() (fileStat, error) {
	if b := n.backs; b != nil && b.c == nil && b.f.Name() == n.stage.path {
		return statFile(b.f)
	}
	return n.stage.stat()
}

// changed reports whether the staging file differs from what the drive has. fs.mu is held.
func (st *stage) changed() bool {
	if st.fresh {
		return true
	}
	now, err := st.stat()
	if err == nil && st.lower.holed() { // what is put in changes ctime
		return st.lower.wrote.Load() || !now.mtime.Equal(st.base.mtime)
	}
	return err != nil || now.size != st.base.size || !now.mtime.Equal(st.base.mtime) || !now.ctime.Equal(st.base.ctime)
}

// newStageFile makes an empty staging file.
func (fs *FS) newStageFile(id stageID) (*os.File, error) {
	f, err := openFile(fs.stagePath(id), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making a staging file: %w", err)
	}
	return f, nil
}

func (fs *FS) stagePath(id stageID) string { return filepath.Join(fs.dir, id.String()) }

// lockStage keeps the file's stage from being committed, dropped or begun by anybody else until the returned
// function is called. It ends a sealing under way, and with hurry the wait of an opener for bytes, who then begins anew. Whoever holds
// the names of a directory is in a hurry.
func (n *Node) lockStage(ctx context.Context, hurry bool) (unlock func(), err error) {
	if n.kind != File {
		return func() {}, nil
	}
	if n.wmu.tryLock() {
		return n.wmu.unlock, nil
	}
	ctx, end := patient(ctx)
	defer end()
	if err := n.wmu.lock(ctx, hurry); err != nil {
		return nil, err
	}
	return n.wmu.unlock, nil
}

// withStage runs do with the node's stage, which begins with the first keep bytes if there is none, locked. While bytes are waited
// for, those in a hurry go first.
func (n *Node) withStage(ctx context.Context, hurry bool, keep int64, do func(*stage) error) error {
	for again := false; ; again = true {
		unlock, err := n.lockStage(ctx, hurry)
		if err != nil {
			return err
		}
		if again && n.Unlinked() {
			unlock()
			return ErrStale
		}
		waiting, end := n.wmu.waiting(ctx, false)
		st, err := n.stageFor(waiting, keep)
		asked := waiting.Err() != nil
		end()
		if err == nil {
			err = do(st)
			asked = false
		}
		unlock()
		if !asked || ctx.Err() != nil {
			return err
		}
		hurry = false // so that two in a hurry do not stop each other for ever
	}
}

// beginStage gives a committed file a staging file with a copy of its first keep bytes (-1: of all). The caller
// holds n.wmu and has found no stage.
func (n *Node) beginStage(ctx context.Context, keep int64) (*stage, error) {
	fs := n.fs
	fs.mu.Lock()
	info := n.info
	r := record{ID: newStageID(), Kind: File, Name: n.name, Node: info.Node, Perm: info.Perm}
	if n.dir != nil {
		r.Parent, r.Under = n.dir.home()
	}
	unlinked := n.unlinked
	if unlinked { // the record alone tells from now on
		r.Xattrs = info.Xattrs
	}
	fs.mu.Unlock()
	r.Opened = fs.drive.Opened(info)
	f, err := fs.newStageFile(r.ID)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st := &stage{fs: fs, node: n, path: f.Name(), rec: r, fresh: keep >= 0 && keep != info.Bytes.Size}
	if keep != 0 {
		err = st.fill(ctx, f, info, keep)
	}
	if err == nil && !st.fresh {
		err = os.Chtimes(st.path, info.MTime, info.MTime)
	}
	if err == nil {
		st.base, err = st.stat()
	}
	if err == nil && !unlinked {
		err = fs.journal.append(put(st.rec))
	}
	if err != nil {
		st.lower.close(errNothingBelow)
		st.removeFiles()
		return nil, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	st.dead = unlinked
	n.stage, n.rev = st, &rev{path: st.path, lower: st.lower}
	return st, nil
}

// dropStage ends n's stage without a version. fs.mu is held, and n.wmu for a file.
func (fs *FS) dropStage(n *Node) error {
	st := n.stage
	if st == nil {
		return nil
	}
	var err error
	if !st.dead {
		err = fs.journal.append(drop(st.rec.ID))
		st.dead = true
	}
	fs.unschedule(st)
	delete(fs.unfinished, st)
	if st.cancel != nil {
		st.cancel()
	}
	delete(fs.byStage, st.rec.ID)
	if n.kind == File && n.unlinked { // it can still be opened and read until the last front end forgets it
		if os.Rename(st.path, st.path+goneSuffix) == nil {
			st.path += goneSuffix
			if n.rev.path != "" {
				n.rev.path = st.path
			}
		}
		return err
	}
	st.lower.close(errNothingBelow)
	st.removeFiles()
	if n.kind == File || n.inDrive {
		n.stage = nil
	}
	if n.kind == File {
		n.rev = &rev{info: n.info}
	}
	return err
}

// removeGone removes the staging file of a removed node and what stands beside it. A power failure may bring back a record that was synced
// until its end is: they go only then, and when that fails replay removes them. fs.mu is held.
func (fs *FS) removeGone(st *stage) {
	if !st.rec.Synced {
		st.removeFiles()
		return
	}
	gone := *st
	go func() {
		if fs.journal.sync() == nil {
			gone.removeFiles()
		}
	}()
}

// removeFiles removes the staging file, if there is one, and what stands beside it.
func (st *stage) removeFiles() {
	if st.path == "" {
		return
	}
	os.Remove(st.path)
	if st.lower != nil {
		os.Remove(strings.TrimSuffix(st.path, goneSuffix) + mapSuffix)
	}
}

// update changes the journal's record of a stage. fs.mu is held.
func (st *stage) update(fn func(*record)) error {
	r := st.rec
	fn(&r)
	if !st.dead {
		if err := st.fs.journal.append(put(r)); err != nil {
			return err
		}
	}
	st.rec = r
	return nil
}

// voiding marks st's record as void once the node is no longer at its place: should the process die between a change
// of the drive and the record's end, replay must not bring the bytes back.
func (fs *FS) voiding(st *stage, p place) error {
	if st == nil {
		return nil
	}
	fs.mu.Lock()
	err := st.update(func(r *record) { r.Void = &p })
	synced := st.rec.Synced
	fs.mu.Unlock()
	if err == nil && synced { // replay after a power failure believes what was synced
		err = fs.journal.sync()
	}
	return err
}

// keepFirst makes what was done in the drive survive a power failure if fsync acknowledged the staged bytes of one of the nodes, nil ones
// aside: what the journal says next of that one rests on it, and may be on the disk at any time.
func (fs *FS) keepFirst(nodes ...*Node) error {
	fs.mu.Lock()
	synced := slices.ContainsFunc(nodes, func(n *Node) bool { return n != nil && n.stage != nil && !n.stage.dead && n.stage.rec.Synced })
	fs.mu.Unlock()
	if !synced {
		return nil
	}
	return fs.drive.Keep()
}

// unvoid takes voiding back, after a change of the drive that failed.
func (fs *FS) unvoid(st *stage) {
	if st == nil {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.logged(st.update(func(r *record) { r.Void = nil }))
}

// logged notes a failure of the journal that nobody can be told of; it refuses whatever comes next.
func (fs *FS) logged(err error) {
	if err != nil {
		fs.log.Error("writing the staging journal", "err", err)
	}
}

// syncStage makes what was written to the staging file survive a power failure, together with its record.
func (fs *FS) syncStage(st *stage, f *os.File) error {
	if f == nil {
		var err error
		if f, err = openFile(st.path, os.O_RDONLY, 0); err != nil {
			if errors.Is(err, errNotExist) {
				return nil // committed meanwhile
			}
			return err
		}
		defer f.Close()
	}
	sync := f.Sync
	if st.lower.holed() {
		sync = func() error { return st.lower.sync(f) }
	}
	if err := sync(); err != nil {
		return fmt.Errorf("syncing a staging file: %w", err)
	}
	if err := fs.drive.Keep(); err != nil { // the directory may be as new
		return err
	}
	fs.mu.Lock()
	inDir := st.inDir
	fs.finished(st)
	var err error
	if !st.rec.Synced {
		err = st.update(func(r *record) { r.Synced = true })
	}
	fs.mu.Unlock()
	if err != nil {
		return err
	}
	if !inDir {
		if err := syncDir(fs.dir); err != nil {
			return fmt.Errorf("syncing the staging directory: %w", err)
		}
		fs.mu.Lock()
		st.inDir = true
		fs.mu.Unlock()
	}
	return fs.journal.sync()
}
