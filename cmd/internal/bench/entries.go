package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
)

// entryRows measure what a write costs before any network. One caller waits for one write of the journal, past the page cache and
// through the disk's: about 90 µs here, where the bare database makes two syncs of 115 µs each. The database computes for 50 µs besides,
// a single operation here for about 130: its signature takes 26, the system call 35, the tree 35, the entry 20, the rest is the store and
// what a transaction reads of the room. Making the signature on another core while the tree is written did not help: waking that core
// takes as long. Callers who come together share the signature, the write and what is read of the room. In a batch a mkdir takes about
// 11 µs: the command and its merging 7, writing what was derived 3, the entry 1. A rename or a removal takes half as much again, since it
// looks at the scene of the entry, states what its author has seen, and writes more rows. A checkpoint takes about 7 µs an operation of the
// other core meanwhile.
func entryRows() []row {
	return []row{
		{"mkdir, one caller, each durable: synced commit", "ops", writers(1, 300, mkdirs)},
		{"create, rename, delete, one caller, each durable: synced commit", "ops", writers(1, 150, mixed...)},
		{"mkdir, 64 callers, each durable: synced commit", "ops", writers(64, 100, mkdirs)},
		{"create, rename, delete, 64 callers, each durable: synced commit", "ops", writers(64, 50, mixed...)},
		{"mkdir in batches of 1000: synced commit", "ops", batches(mkdirs)},
		{"mkdir, rename, rmdir in batches of 1000: synced commit", "ops", batches(mkdirs, renames, removes)},
	}
}

// local is a room and its drive in this process.
type local struct {
	*drive.Drive
	store *store.Room
	dev   *key.Device
}

func openLocal(dir string) (*local, error) {
	dev, err := key.NewDevice()
	if err != nil {
		return nil, err
	}
	st, err := store.OpenRoom(dir, store.Options{})
	if err != nil {
		return nil, err
	}
	r, _, err := room.Create(st, dev, "bench", "bench", drive.NewTree())
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	d, err := drive.Open(drive.Options{Room: r, Blobs: st.Blobs()})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &local{Drive: d, store: st, dev: dev}, nil
}

func (l *local) close() error { return errors.Join(l.Drive.Close(), l.store.Close()) }

// writers has callers goroutines do each rounds of changes of each sort, one after the other, each an entry of its own and durable before
// the next. The baseline is one caller's synced commits.
func writers(callers, each int, sorts ...change) func(*bench) (rate, rate, error) {
	return func(b *bench) (work, base rate, err error) {
		if base, err = commits(b); err != nil {
			return work, base, err
		}
		l, err := openLocal(filepath.Join(b.dir, "room"))
		if err != nil {
			return work, base, err
		}
		defer l.close()
		work, err = clock(float64(callers*each*len(sorts)), func() error {
			errs := make([]error, callers)
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					for i := 0; i < each*len(sorts) && errs[c] == nil; i++ {
						_, errs[c] = l.Write(b.ctx, func(w *drive.Batch) error { return sorts[i%len(sorts)](w, c, i/len(sorts), 1) })
					}
				})
			}
			wg.Wait()
			return errors.Join(errs...)
		})
		return work, base, err
	}
}

// change is one sort of change, to n names of a caller or batch, from the one numbered from on.
type change func(w *drive.Batch, by, from, n int) error

// batches writes entries of a thousand changes, of each sort one after the other.
func batches(sorts ...change) func(*bench) (rate, rate, error) {
	return func(b *bench) (work, base rate, err error) {
		if base, err = commits(b); err != nil {
			return work, base, err
		}
		l, err := openLocal(filepath.Join(b.dir, "room"))
		if err != nil {
			return work, base, err
		}
		defer l.close()
		const batch, n = 1000, 20
		work, err = clock(batch*n*float64(len(sorts)), func() error {
			for i := range n {
				for _, change := range sorts {
					if _, err := l.Write(b.ctx, func(w *drive.Batch) error { return change(w, i, 0, batch) }); err != nil {
						return err
					}
				}
			}
			return nil
		})
		return work, base, err
	}
}

// mixed is what becomes of a directory and of a file.
var mixed = []change{mkdirs, renames, removes, creates, renames, removes}

// creates makes empty files.
func creates(w *drive.Batch, by, from, n int) error {
	for k := from; k < from+n; k++ {
		if err := w.Put(fmt.Sprintf("%d-%d", by, k), drive.Staged{}, drive.Attrs{}); err != nil {
			return err
		}
	}
	return nil
}

// mkdirs makes directories.
func mkdirs(w *drive.Batch, by, from, n int) error {
	for k := from; k < from+n; k++ {
		if err := w.Mkdir(fmt.Sprintf("%d-%d", by, k), drive.Attrs{}); err != nil {
			return err
		}
	}
	return nil
}

// renames renames what mkdirs or creates made.
func renames(w *drive.Batch, by, from, n int) error {
	for k := from; k < from+n; k++ {
		if err := w.Move(fmt.Sprintf("%d-%d", by, k), fmt.Sprintf("to %d-%d", by, k)); err != nil {
			return err
		}
	}
	return nil
}

// removes removes what renames left.
func removes(w *drive.Batch, by, from, n int) error {
	for k := from; k < from+n; k++ {
		if err := w.Remove(fmt.Sprintf("to %d-%d", by, k)); err != nil {
			return err
		}
	}
	return nil
}

// commits is a bare database that syncs a small row at a time.
func commits(b *bench) (r rate, err error) {
	db, err := bbolt.Open(filepath.Join(b.dir, "bare.db"), 0o600, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	const n = 300
	return clock(n, func() error {
		for i := range n {
			err := db.Update(func(tx *bbolt.Tx) error {
				rows, err := tx.CreateBucketIfNotExists([]byte("rows"))
				if err != nil {
					return err
				}
				return rows.Put(fmt.Appendf(nil, "%08d", i), make([]byte, 300))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
