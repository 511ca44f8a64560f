package store

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/key"
)

// Opened tells what opening the room found.
type Opened struct {
	IndexDiscarded bool     // everything derived is made anew
	Salvaged       *Salvage // log.db or the journal was damaged and has been put together again
	Replayed       int      // transactions that were in the journal alone
}

// CoreLoss is a core of which a salvage lost something.
type CoreLoss struct {
	Core key.CoreID
	Had  uint64 // length as it was recorded; 0 when the record itself is lost
	Have uint64 // length now
}

// Opened tells what opening the room found.
func (s *Room) Opened() Opened { return s.opened }

// Names in the meta table of log.db, besides metaSeq and metaCores. These are
// written into the file itself and never go through the journal.
const (
	metaState   = "state"   // CBOR of state
	metaLost    = "lost"    // CBOR of []CoreLoss: cores that lost their end in a salvage
	metaJournal = "journal" // 16 random bytes that records of the journal begin with
	metaWitness = "witness" // CBOR of witness; none in a room of an earlier program, or one that was salvaged, until it is opened
)

// state is what log.db knows about the files around it.
type state struct {
	_         struct{} `cbor:",toarray"`
	Version   uint
	Clean     bool   // closed in order
	Boot      string // of the machine, when it was opened last
	Place     place  // of log.db
	Relocated bool   // the place changed and nobody has taken precautions
}

// stateVersion 2 has a journal beside log.db, which a program that knows 1
// would leave aside.
const stateVersion = 2

// errVersion is wrapped when a newer program wrote the store.
var errVersion = errors.New("written by a newer version of the program")

// here returns the state of a room that is open here and now.
func (s *Room) here() (state, error) {
	p, err := placeOf(s.path("log.db"))
	if err != nil {
		return state{}, fmt.Errorf("looking at log.db: %w", err)
	}
	return state{Version: stateVersion, Boot: s.journal.disk.Boot(), Place: p}, nil
}

// begun notes that the room is open. It reports which of what is derived can be
// kept: what is not synced cannot when the machine went down without closing
// the room. A process that died leaves it whole. index.db is synced since
// version 2.
func (s *Room) begun() (index, blobs bool, err error) {
	now, err := s.here()
	if err != nil {
		return false, false, err
	}
	next, err := s.makeWitness()
	if err != nil && !errors.Is(spaceError(err), ErrNoSpace) {
		return false, false, fmt.Errorf("making a witness: %w", err)
	}
	if err != nil {
		next = witness{}
	}
	var old state
	err = s.metaUpdate(func(meta metaTable) error {
		b, err := meta.get(metaSeq)
		if err != nil {
			return err
		}
		if len(b) == 8 {
			s.seq = max(s.seq, binary.BigEndian.Uint64(b))
		}
		if old, err = meta.state(); err != nil {
			return err
		}
		if old.Version > stateVersion {
			return errVersion
		}
		if b, err = meta.get(metaJournal); err != nil {
			return err
		}
		if copy(s.journal.room[:], b) != len(s.journal.room) {
			rand.Read(s.journal.room[:])
			if err := meta.put(metaJournal, s.journal.room[:]); err != nil {
				return err
			}
		}
		restored, err := s.nextWitness(meta, next)
		if err != nil {
			return err
		}
		now.Relocated = old.Relocated || old.Version != 0 && (moved(old, now) || restored)
		return meta.putState(now)
	})
	if err == nil && next.Name != "" {
		err = s.removeWitnesses(next.Name)
	}
	blobs = old.Version != 0 && (old.Clean || old.Boot != "" && old.Boot == now.Boot)
	return blobs || old.Version > 1, blobs, err
}

// moved reports whether log.db is another file than the one that was written
// last time. Inode and birth time stay over a reboot; the device number may
// change with the order in which disks are found, so it counts only within one
// boot.
func moved(old, now state) bool {
	if old.Place.Inode != now.Place.Inode || old.Place.Birth != now.Place.Birth {
		return true
	}
	return old.Boot != "" && old.Boot == now.Boot && old.Place.Dev != now.Place.Dev
}

// metaTable is the store's own table in the file log.db.
type metaTable struct{ b *bolt.Bucket }

func (m metaTable) get(name string) ([]byte, error) {
	if m.b == nil {
		return nil, fmt.Errorf("%w: log.db has no bucket %s", ErrDamaged, bucketMeta)
	}
	k := metaKey(name)
	stored := m.b.Get(k)
	if stored == nil {
		return nil, nil
	}
	return unseal(k, stored)
}

func (m metaTable) put(name string, v []byte) error {
	k := metaKey(name)
	return m.b.Put(k, appendSealed(nil, k, v))
}

func (m metaTable) delete(name string) error { return m.b.Delete(metaKey(name)) }

func metaKey(name string) []byte { return append([]byte{'m'}, name...) }

func (m metaTable) state() (st state, err error) {
	b, err := m.get(metaState)
	if err != nil || b == nil {
		return st, err
	}
	if err := cbor.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("%w: state: %w", ErrDamaged, err)
	}
	return st, nil
}

func (m metaTable) putState(st state) error {
	b, err := cbor.Marshal(st)
	if err != nil {
		return err
	}
	return m.put(metaState, b)
}

func (m metaTable) change(change func(*state)) error {
	st, err := m.state()
	if err != nil {
		return err
	}
	change(&st)
	return m.putState(st)
}

// metaUpdate changes the meta table of the file, synced.
func (s *Room) metaUpdate(fn func(meta metaTable) error) error {
	defer faults()()
	return s.intoDB(s.logDB, func(t *bolt.Tx) error { return fn(metaTable{t.Bucket(bucketMeta)}) })
}

func (s *Room) metaView(fn func(meta metaTable) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	defer faults()()
	return contain(func() error {
		return s.logDB.View(func(t *bolt.Tx) error { return fn(metaTable{t.Bucket(bucketMeta)}) })
	})
}

func (s *Room) changeState(change func(*state)) error {
	return s.metaUpdate(func(meta metaTable) error { return meta.change(change) })
}

// Relocated implements room.Relocator: log.db is not the file that was written
// here last. The directory was copied or restored, so other copies may have
// gone on, and a core continued here could fork.
func (s *Room) Relocated() bool {
	found := false
	err := s.metaView(func(meta metaTable) error {
		st, err := meta.state()
		found = st.Relocated
		return err
	})
	return err != nil || found || len(s.OwnCoreAtRisk()) > 0
}

// Settled implements room.Relocator: the room has taken precautions.
func (s *Room) Settled() error {
	return s.exclusively(func() error {
		if err := s.changeState(func(st *state) { st.Relocated = false }); err != nil {
			return fmt.Errorf("noting that the room settled: %w", err)
		}
		return s.metaUpdate(func(meta metaTable) error { return meta.delete(metaLost) })
	})
}

// exclusively runs fn while nobody writes, with everything in the databases
// that the disk has room for.
func (s *Room) exclusively(fn func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.leader <- struct{}{}
	defer func() { <-s.leader }()
	if err := s.Failed(); err != nil {
		return err
	}
	if err := s.checkpoint(); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	return fn()
}

// OwnCoreAtRisk lists the cores that lost their end when a damaged log.db was
// salvaged. If one of them is this device's own, appending would fork it:
// begin a new generation, then call Settled. A loss with the zero core means that records of cores are gone and
// any core may be concerned.
func (s *Room) OwnCoreAtRisk() (lost []CoreLoss) {
	err := s.metaView(func(meta metaTable) error {
		b, err := meta.get(metaLost)
		if err != nil || b == nil {
			return err
		}
		return cbor.Unmarshal(b, &lost)
	})
	if err != nil {
		return []CoreLoss{{}}
	}
	return lost
}
