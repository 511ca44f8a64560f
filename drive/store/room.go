package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/room"
)

// Options of OpenRoom; the zero value works.
type Options struct {
	// Log is told about damage, salvage and repairs.
	Log *slog.Logger
	// Timeout is how long to wait for another process to let go of the room; 0 means one second.
	Timeout time.Duration
	// Disk is what the room is written to; nil means the operating system's.
	Disk Disk
}

// Room is the open store of one room. It is safe for concurrent use.
type Room struct {
	dir   string
	log   *slog.Logger
	wait  time.Duration
	logDB *bolt.DB
	blobs *Blobs

	indexDB    atomic.Pointer[bolt.DB]
	rebuilding sync.RWMutex // held while RebuildIndex replaces indexDB

	queueMu sync.Mutex // guards queue
	queue   []*call
	leader  chan struct{} // holds a token while somebody leads

	// What follows is the leader's.
	journal journal
	seq     uint64 // of the last transaction
	arena   arena  // of the active table
	base    *base  // what transactions read; nil: to be begun
	baseOf  *layers
	spare   []change // empty, for the next transaction
	plenty  plenty

	layers   atomic.Pointer[layers]
	layersMu sync.Mutex    // held while layers is replaced
	flushMu  sync.Mutex    // held while a table is brought into the databases
	thaw     chan struct{} // tells background that a table is frozen

	lifeMu sync.Mutex // guards what follows
	idle   *sync.Cond
	users  int
	closed bool
	failed error // why nothing more is written

	opened  Opened
	commits commitStats
	// Between openLog and restore: what the journal alone has, and whether index.db is new.
	replay       []transaction
	withoutIndex bool

	// step is told how far opening, a salvage or a checkpoint is; tests look at the files then, or make it fail.
	step func(name string) error

	stop chan struct{}
	bg   sync.WaitGroup
}

var (
	_ room.Storage   = (*Room)(nil)
	_ room.Relocator = (*Room)(nil)
)

// indexMeta is the store's own table in index.db. The space keeps it apart
// from everybody else's.
const indexMeta = " store"

// Addresses reserved for the mappings, not memory: growing beyond them makes a
// writer wait for every reader, and while it waits no reader can begin, so that
// a View inside a View would wait for ever.
const (
	mapSize   = min(64<<30, math.MaxInt>>2)
	allocSize = 4 << 20 // bytes by which log.db grows, with one sync
)

// OpenRoom opens or makes the store of a room in dir. A damaged log.db is
// salvaged: see Opened.
func OpenRoom(dir string, opts Options) (*Room, error) {
	s := newRoom(dir, opts)
	if err := s.open(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("opening the room's store in %s: %w", dir, err)
	}
	s.bg.Add(1)
	go s.background()
	return s, nil
}

// newRoom returns a store that is yet to be opened.
func newRoom(dir string, opts Options) *Room {
	s := &Room{dir: dir, log: opts.Log, wait: opts.Timeout, leader: make(chan struct{}, 1), thaw: make(chan struct{}, 1), stop: make(chan struct{}), step: func(string) error { return nil }}
	s.journal = journal{disk: opts.Disk, dir: dir}
	if opts.Disk == nil {
		s.journal.disk = osDisk{}
	}
	s.layers.Store(&layers{active: newMemory()})
	s.idle = sync.NewCond(&s.lifeMu)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.wait == 0 {
		s.wait = time.Second
	}
	return s
}

func (s *Room) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Room) open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	for _, sub := range []string{"packs", "blobs", "staging"} {
		if err := makeDir(s.journal.disk, s.path(sub)); err != nil {
			return err
		}
	}
	if err := s.openLog(); err != nil {
		return err
	}
	keepIndex, keepBlobs, err := s.begun()
	if err != nil {
		return err
	}
	if err := s.openIndex(keepIndex); err != nil {
		return err
	}
	if err := s.restore(); err != nil {
		return err
	}
	if err := s.copyEssential(); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	if err := s.clearStaging(); err != nil {
		return err
	}
	s.makeReserve()
	s.blobs, err = openBlobs(s.dir, keepBlobs, s.journal.disk, s.log)
	return err
}

// clearStaging removes the files that a process left when it died over an
// import. Directories belong to those who come back for them.
func (s *Room) clearStaging() error {
	left, err := os.ReadDir(s.path("staging"))
	for _, e := range left {
		if err == nil && e.Type().IsRegular() {
			err = remove(filepath.Join(s.path("staging"), e.Name()))
		}
	}
	return err
}

// openBolt opens a database and makes bbolt's panics errors.
func openBolt(path string, o *bolt.Options) (db *bolt.DB, err error) {
	defer faults()()
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	db, err = bolt.Open(path, 0o600, o)
	switch {
	case errors.Is(err, bolt.ErrTimeout):
		return nil, fmt.Errorf("%w (it holds %s)", ErrInUse, filepath.Base(path))
	case errors.Is(err, bolt.ErrInvalid), errors.Is(err, bolt.ErrChecksum), errors.Is(err, bolt.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Base(path), err)
	case err != nil:
		return nil, spaceError(err)
	}
	return db, nil
}

// openTries is how often log.db is looked at anew because another process had
// it open in between.
const openTries = 5

// openLog opens log.db. The look at it and at the journal comes before bbolt's
// lock is held, so it is repeated when somebody wrote log.db in between.
func (s *Room) openLog() error {
	path := s.path("log.db")
	for range openTries {
		seen, err := s.salvageIfDamaged(path)
		if err != nil {
			return err
		}
		if err := s.step("inspected"); err != nil {
			return err
		}
		db, err := openBolt(path, s.boltOptions())
		if err != nil {
			return err
		}
		if now, err := lastTx(db); err != nil || seen != 0 && seen != now {
			if err = errors.Join(err, db.Close()); err != nil {
				return err
			}
			continue
		}
		db.AllocSize = allocSize
		s.logDB = db
		return s.intoDB(db, func(t *bolt.Tx) error {
			for _, name := range logBuckets {
				if _, err := t.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return fmt.Errorf("%w (others keep opening it)", ErrInUse)
}

// lastTx returns the number that bbolt gave to the last transaction of a
// database. Whoever opens a room makes one.
func lastTx(db *bolt.DB) (n uint64, err error) {
	err = contain(func() error {
		return db.View(func(t *bolt.Tx) error { n = uint64(t.ID()); return nil })
	})
	return n, err
}

func (s *Room) boltOptions() *bolt.Options {
	return &bolt.Options{Timeout: s.wait, InitialMmapSize: mapSize, FreelistType: bolt.FreelistMapType}
}

// openIndex opens index.db; without keep, or when what it and the journal have
// is not what log.db and the journal have, it starts empty.
func (s *Room) openIndex(keep bool) error {
	path := s.path("index.db")
	if !keep || exists(path+".bad") {
		s.opened.IndexDiscarded = exists(path)
		if err := errors.Join(remove(path), remove(path+".bad")); err != nil {
			return err
		}
	}
	fresh := !exists(path)
	err := s.openIndexFile(path)
	if err == nil && !fresh && !s.indexCurrent() {
		s.log.Warn("index.db does not reflect the log and is made anew")
		err = ErrDamaged
	}
	if err != nil && !fresh && !errors.Is(err, ErrInUse) {
		s.opened.IndexDiscarded = true
		if db := s.indexDB.Swap(nil); db != nil {
			db.Close()
		}
		if err := remove(path); err != nil {
			return err
		}
		err = s.openIndexFile(path)
		fresh = true
	}
	if err != nil || !fresh {
		return err
	}
	s.withoutIndex = true
	if len(s.replay) > 0 { // it gets its number when log.db has those: see flush
		return nil
	}
	return s.intoDB(s.indexDB.Load(), func(t *bolt.Tx) error { return putIndexSeq(t, metaSeq, s.seq) })
}

func (s *Room) openIndexFile(path string) error {
	db, err := openBolt(path, s.boltOptions())
	if err == nil {
		db.AllocSize = allocSize
		s.indexDB.Store(db)
	}
	return err
}

// metaUntil is the number of the last transaction of which a checkpoint may
// have brought something into index.db, as metaSeq is of the last of which it
// has brought everything.
const metaUntil = "until"

func putIndexSeq(t *bolt.Tx, name string, seq uint64) error {
	b, err := t.CreateBucketIfNotExists([]byte("t/" + indexMeta))
	if err != nil {
		return err
	}
	return b.Put([]byte(name), place8(seq))
}

// indexCurrent reports whether index.db has the transactions of log.db, and
// nothing of any that the journal lacks.
func (s *Room) indexCurrent() (ok bool) {
	defer faults()()
	err := contain(func() error {
		return s.indexDB.Load().View(func(t *bolt.Tx) error {
			if b := t.Bucket([]byte("t/" + indexMeta)); b != nil {
				v, until := b.Get([]byte(metaSeq)), b.Get([]byte(metaUntil))
				ok = len(v) == 8 && binary.BigEndian.Uint64(v) >= s.seq-uint64(len(s.replay)) && binary.BigEndian.Uint64(v) <= s.seq &&
					(len(until) != 8 || binary.BigEndian.Uint64(until) <= s.seq)
			}
			return nil
		})
	})
	return ok && err == nil
}

// enter keeps the store open until leave.
func (s *Room) enter() error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.users++
	return nil
}

func (s *Room) leave() {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.users--
	s.idle.Broadcast()
}

// poison stops all further writing and returns why.
func (s *Room) poison(err error) error {
	s.noteDamage(err)
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		s.log.Error("the room's store stops writing", "dir", s.dir, "err", err)
	}
	return s.failed
}

// Failed returns why nothing more is written before the room is opened again, nil mostly.
func (s *Room) Failed() error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	return s.failed
}

// noteDamage leaves a mark that makes the next opening look at everything.
func (s *Room) noteDamage(err error) {
	if !errors.Is(err, ErrDamaged) {
		return
	}
	s.log.Error("a database of the room is damaged; open it again to repair it", "dir", s.dir, "err", err)
	for _, name := range []string{"index.db.bad", "log.db.suspect"} {
		if f, err := os.Create(s.path(name)); err == nil {
			f.Close()
		}
	}
}

// Close waits for running transactions, brings everything into the databases
// and closes the files.
func (s *Room) Close() error {
	s.lifeMu.Lock()
	if s.closed {
		s.lifeMu.Unlock()
		return nil
	}
	s.closed = true
	for s.users > 0 {
		s.idle.Wait()
	}
	failed := s.failed
	s.lifeMu.Unlock()
	close(s.stop)
	s.bg.Wait()
	err := s.blobs.close()
	if failed == nil && err == nil {
		err = s.ended()
	}
	return errors.Join(err, s.closeFiles())
}

func (s *Room) closeFiles() error {
	s.base.end() // a database waits for it
	s.base = nil
	errs := []error{s.journal.close()}
	if db := s.indexDB.Load(); db != nil {
		errs = append(errs, db.Close())
	}
	if s.logDB != nil {
		errs = append(errs, s.logDB.Close())
	}
	return errors.Join(errs...)
}

// Blobs returns the bytes of the room's files.
func (s *Room) Blobs() *Blobs { return s.blobs }

// RebuildIndex throws away everything derived: index.db, and where each blob
// is, which is found out again. The room must be opened anew on this store
// afterwards, so that its views fill their tables.
func (s *Room) RebuildIndex() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.leader <- struct{}{}
	defer func() { <-s.leader }()
	if err := s.Failed(); err != nil {
		return err
	}
	if err := s.checkpoint(); err != nil {
		return err
	}
	s.rebuilding.Lock()
	defer s.rebuilding.Unlock()
	s.base.end()
	s.base = nil
	if err := s.indexDB.Load().Close(); err != nil { // waits for views
		return fmt.Errorf("closing index.db: %w", err)
	}
	if err := s.openIndex(false); err != nil {
		return s.poison(fmt.Errorf("making index.db: %w", err))
	}
	return s.blobs.rebuild()
}
