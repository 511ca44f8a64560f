package nodetest

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"github.com/pearbox/pearbox/drive/store"
)

// Disk is what a node's rooms are written to. It works as any other until it is told to be full, or that the machine stops. Files being
// imported, and the databases that follow the journal, are written past it.
type Disk struct {
	mu      sync.Mutex // guards what follows
	stopsIn int        // operations until the machine stops; below 0: it does not
	torn    bool       // the write under way when it stopped was made in part
	full    bool
}

var _ store.Disk = (*Disk)(nil)

// errStopped is what every operation returns once the machine has stopped.
var errStopped = errors.New("the machine has stopped")

func newDisk() *Disk { return &Disk{stopsIn: -1} }

// StopAfter lets so many more operations succeed. The next one, if it writes, is made in half, and nothing after it reaches the disk. A
// machine that has stopped stays so.
func (d *Disk) StopAfter(operations int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopsIn != 0 {
		d.stopsIn = operations
	}
}

// Works takes back what StopAfter said.
func (d *Disk) Works() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopsIn, d.torn = -1, false
}

// Stopped reports whether the machine has stopped.
func (d *Disk) Stopped() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopsIn == 0
}

// Fill makes a disk on which no file can grow, Free one on which they can again.
func (d *Disk) Fill() { d.setFull(true) }
func (d *Disk) Free() { d.setFull(false) }

// Full reports whether no file can grow.
func (d *Disk) Full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

func (d *Disk) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// next counts an operation. tear: it is the one that is made in part.
func (d *Disk) next() (tear, full bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopsIn == 0 {
		tear, d.torn = !d.torn, true
		return tear, d.full, errStopped
	}
	if d.stopsIn > 0 {
		d.stopsIn--
	}
	return false, d.full, nil
}

func (d *Disk) WriteAt(f *os.File, p []byte, off int64) (int, error) {
	tear, full, err := d.next()
	switch {
	case tear:
		n, werr := f.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(err, werr)
	case err != nil:
		return 0, err
	case full:
		fi, err := f.Stat()
		if err != nil {
			return 0, err
		}
		if fits := fi.Size() - off; fits < int64(len(p)) {
			n, err := f.WriteAt(p[:max(0, fits)], off)
			return n, errors.Join(&os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}, err)
		}
	}
	return f.WriteAt(p, off)
}

func (d *Disk) Sync(f *os.File) error {
	if _, _, err := d.next(); err != nil {
		return err
	}
	return f.Sync()
}

func (d *Disk) WriteSync(f *os.File, p []byte, off int64) error {
	if _, err := d.WriteAt(f, p, off); err != nil {
		return err
	}
	return d.Sync(f)
}

func (d *Disk) Rename(from, to string) error {
	if _, _, err := d.next(); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d *Disk) SyncDir(dir string) error {
	if _, _, err := d.next(); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
