package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// Disk is how the bytes of journals, packs, blobs and sidecars reach the disk;
// the databases write their own files, and it is told of that. Tests and
// simulations put one in place that fails, is full, writes short, or loses what
// is not synced. Its methods may be called at once.
type Disk interface {
	WriteAt(f *os.File, p []byte, off int64) (int, error)
	Sync(f *os.File) error // data and what is needed to read it back
	// WriteSync is WriteAt, and Sync of what was written.
	WriteSync(f *os.File, p []byte, off int64) error
	Rename(from, to string) error
	SyncDir(dir string) error
	// Commit runs commit, which writes and syncs the database at path. It is in part there, at most, when commit did not return nil.
	Commit(path string, commit func() error) error
	// Boot names the running boot of the machine: what was not synced in another one may be anything. "" when nobody knows.
	Boot() string
}

// osDisk is the real one.
type osDisk struct{}

var _ Disk = osDisk{}

func (osDisk) WriteAt(f *os.File, p []byte, off int64) (int, error) { return f.WriteAt(p, off) }
func (osDisk) Sync(f *os.File) error                                { return dataSync(f) }
func (osDisk) WriteSync(f *os.File, p []byte, off int64) error      { return writeSync(f, p, off) }
func (osDisk) Rename(from, to string) error                         { return os.Rename(from, to) }
func (osDisk) Commit(_ string, commit func() error) error           { return commit() }
func (osDisk) Boot() string                                         { return bootID() }

func (osDisk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeThenSync is WriteSync in two steps.
func writeThenSync(d Disk, f *os.File, p []byte, off int64) error {
	if _, err := d.WriteAt(f, p, off); err != nil {
		return err
	}
	return d.Sync(f)
}

// aligned reports whether p, which is not empty, begins where a write past the
// page cache may.
func aligned(p []byte) bool { return uintptr(unsafe.Pointer(&p[0]))%directAlign == 0 }

// alignedBytes returns n zeroes that a write past the page cache may begin with.
func alignedBytes(n int) []byte { return align(make([]byte, n+directAlign), n) }

// align returns n bytes of b, which has directAlign more, that a write past the page cache may begin with.
func align(b []byte, n int) []byte {
	at := -int(uintptr(unsafe.Pointer(&b[0]))) & (directAlign - 1)
	return b[at : at+n : at+n]
}

// spaceError makes a full disk recognisable: ErrNoSpace and ENOSPC both match.
func spaceError(err error) error {
	if err == nil || errors.Is(err, ErrNoSpace) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// writeNew makes the file path with the given bytes, durably: temporary name,
// sync, rename, sync of the directory.
func writeNew(d Disk, path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	_, err = d.WriteAt(f, b, 0)
	if err == nil {
		err = d.Sync(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.Rename(tmp, path)
	}
	if err == nil {
		err = d.SyncDir(filepath.Dir(path))
	}
	return spaceError(err)
}

// makeDir makes a directory and syncs its parent; an existing one is fine.
func makeDir(d Disk, dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return spaceError(err)
	}
	return d.SyncDir(filepath.Dir(dir))
}

// remove deletes a file; a missing one is fine.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
