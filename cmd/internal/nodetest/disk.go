package nodetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"github.com/pearbox/pearbox/drive/store"
)

// Disk is what a node's rooms are written to. It works as any other until it is told to be full, or that the machine stops. Files being
// imported, and the databases, are written past it; it is told of a database's commits, and stops in the middle of one as well. That a
// machine loses its power, and with it what is not synced, is simulated alone: see synced for what that is.
type Disk struct {
	mu      sync.Mutex // guards what follows
	stopsIn int        // operations until the machine stops; below 0: it does not
	torn    bool       // the write under way when it stopped was made in part
	full    bool
	// of a simulated machine; nil for others
	name  string
	trace *trace
	rng   *rand.Rand
	kept  *synced
	boots int // losses of power
}

var _ store.Disk = (*Disk)(nil)

// errStopped is what every operation returns once the machine has stopped.
var errStopped = errors.New("the machine has stopped")

func newDisk() *Disk { return &Disk{stopsIn: -1} }

// simulate makes it the disk of a machine whose life is simulated: operations stand in the trace, let others go first now and then, and
// nothing is synced in truth, since the real machine is not going to stop.
func (d *Disk) simulate(name string, tr *trace, rng *rand.Rand) {
	d.name, d.trace, d.rng, d.kept = name, tr, rng, newSynced()
}

// note puts an operation into the trace.
func (d *Disk) note(what, path string, at, size int64) {
	if d.trace == nil {
		return
	}
	d.trace.note("%s %s %s at %d, %d bytes", d.name, what, filepath.Base(path), at, size)
	d.mu.Lock()
	turns := d.rng.IntN(3)
	d.mu.Unlock()
	for range turns {
		runtime.Gosched()
	}
}

// keep notes that something is synced, or syncs it unless this is a simulation.
func (d *Disk) keep(f *os.File, simulated func(*synced) error) error {
	if d.kept == nil {
		return f.Sync()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return simulated(d.kept)
}

// lose takes the power from the machine, which has stopped: below root nothing but what is synced is there for sure.
func (d *Disk) lose(root string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.boots++
	return (&loss{synced: d.kept, rng: d.rng, keeps: []float64{0, 0.5, 0.9}[d.rng.IntN(3)], root: root}).happen()
}

// replaced tells the disk that what is below root is from elsewhere.
func (d *Disk) replaced(root string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kept == nil {
		return nil
	}
	return d.kept.all(root)
}

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
	d.note("writes", f.Name(), off, int64(len(p)))
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
	d.note("syncs", f.Name(), 0, 0)
	if _, _, err := d.next(); err != nil {
		return err
	}
	return d.keep(f, func(s *synced) error { return s.whole(f) })
}

func (d *Disk) WriteSync(f *os.File, p []byte, off int64) error {
	if _, err := d.WriteAt(f, p, off); err != nil {
		return err
	}
	d.note("syncs", f.Name(), off, int64(len(p)))
	if _, _, err := d.next(); err != nil {
		return err
	}
	return d.keep(f, func(s *synced) error { return s.part(f, p, off) })
}

func (d *Disk) Rename(from, to string) error {
	d.note("renames to", to, 0, 0)
	if _, _, err := d.next(); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d *Disk) SyncDir(dir string) error {
	d.note("syncs directory", dir, 0, 0)
	if _, _, err := d.next(); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.keep(f, func(s *synced) error { return s.directory(dir) }), f.Close())
}

func (d *Disk) Commit(path string, commit func() error) error {
	d.note("commits", path, 0, 0)
	tear, _, err := d.next()
	switch {
	case d.kept == nil && err == nil:
		return commit()
	case d.kept == nil || err != nil && !tear:
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k, kerr := d.kept.at(path)
	if kerr != nil {
		return kerr
	}
	if k.db, k.torn = true, nil; err == nil { // the program alone may have died since it was interrupted
		return commit()
	}
	was, werr := k.content()
	werr = errors.Join(werr, commit())
	is, ierr := k.content()
	if werr = errors.Join(werr, ierr); werr == nil {
		k.torn = interrupted(d.rng, was, is)
	}
	return errors.Join(err, werr)
}

// Boot changes when the machine loses its power.
func (d *Disk) Boot() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("boot %d", d.boots)
}
