package vfs

import (
	"context"
	"fmt"
	"math"
	"os"
)

// complete puts in what is missing and says so in the journal: from then on the staging file is a file as any other. The node's stage is
// locked, so fetch comes before.
func (st *stage) complete(ctx context.Context) error {
	l := st.lower
	if !l.holed() {
		return nil
	}
	f, err := openFile(st.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening a staging file: %w", err)
	}
	defer f.Close()
	if err := l.putIn(ctx, f, 0, math.MaxInt); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // before the journal: after a power failure its holes would be zeroes
		return fmt.Errorf("syncing a staging file: %w", err)
	}
	st.fs.mu.Lock()
	err = st.update(func(r *record) { r.Base = nil })
	synced := st.rec.Synced
	st.fs.mu.Unlock()
	if err == nil && synced { // holes made from here on are zeroes, also after a power failure
		err = st.fs.journal.sync()
	}
	if err != nil {
		return err
	}
	l.ended.Store(true)
	l.close(errNothingBelow)
	return nil
}

// fetch puts in what is missing and waits for what is not here. Nothing is locked.
func (st *stage) fetch(ctx context.Context) error {
	if !st.lower.lies() {
		return nil
	}
	st.fs.mu.Lock()
	f, err := openFile(st.path, os.O_RDWR, 0)
	st.fs.mu.Unlock()
	if err != nil {
		return fmt.Errorf("opening a staging file: %w", err)
	}
	defer f.Close()
	return st.lower.putIn(ctx, f, 0, math.MaxInt)
}

// resize changes the staging file's length: beyond it nothing lies below any more. The node's stage is locked.
func (st *stage) resize(size int64) error {
	l := st.lower
	if !l.holed() {
		return os.Truncate(st.path, size)
	}
	l.mu.RLock()
	shorter := size < l.keep
	l.mu.RUnlock()
	if err := l.truncate(st.path, size); err != nil {
		return err
	}
	st.fs.mu.Lock()
	synced := st.rec.Synced
	st.fs.mu.Unlock()
	if !shorter || !synced {
		return nil
	}
	// The file may grow again: after a power failure what it grows by must not be what lay there once.
	f, err := openFile(st.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return l.sync(f)
}

// lowerOf brings back what an earlier process left below a record's staging file.
func (fs *FS) lowerOf(ctx context.Context, r record, sameBoot bool) (*lower, error) {
	if r.Base == nil {
		return nil, nil
	}
	f, err := os.Open(fs.stagePath(r.ID))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	c, err := fs.drive.OpenRef(ctx, r.Base.Ref)
	if err != nil {
		return nil, err
	}
	m, keep, own, err := openMap(f, r.Base.Keep, sameBoot)
	if err != nil {
		c.Close()
		return nil, err
	}
	l := newLower(c, m, keep, own)
	l.wrote.Store(true) // that it was not, nobody knows
	if err = l.shrink(fi.Size()); err == nil && !sameBoot {
		err = m.setWords(0, own)
	}
	if err == nil {
		err = l.sync(f) // so that both halves are what is believed from now on
	}
	if err != nil {
		l.close(errNothingBelow)
		return nil, err
	}
	return l, nil
}

// leave makes what was staged survive the machine's next start when the file system closes before it is part of the drive.
func (st *stage) leave() error {
	if st.path == "" || st.dead {
		return nil
	}
	if err := st.fs.syncStage(st, nil); err != nil {
		return err
	}
	l := st.lower
	if !l.holed() {
		return nil
	}
	defer l.close(ErrUnmounted)
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.m == nil {
		return nil
	}
	if err := l.m.setClean(); err != nil {
		return err
	}
	return l.m.commit(l.keep, l.own)
}
