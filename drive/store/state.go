package store

import (
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
	Salvaged       *Salvage // log.db was damaged and has been put together again
}

// CoreLoss is a core of which a salvage lost something.
type CoreLoss struct {
	Core key.CoreID
	Had  uint64 // length as it was recorded; 0 when the record itself is lost
	Have uint64 // length now
}

// Opened tells what opening the room found.
func (s *Room) Opened() Opened { return s.opened }

// Names in the meta table of log.db, besides metaSeq and metaCores.
const (
	metaState = "state" // CBOR of state
	metaLost  = "lost"  // CBOR of []CoreLoss: cores that lost their end in a salvage
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

const stateVersion = 1

// errVersion is wrapped when a newer program wrote the store.
var errVersion = errors.New("written by a newer version of the program")

// here returns the state of a room that is open here and now.
func (s *Room) here() (state, error) {
	p, err := placeOf(s.path("log.db"))
	if err != nil {
		return state{}, fmt.Errorf("looking at log.db: %w", err)
	}
	return state{Version: stateVersion, Boot: bootID(), Place: p}, nil
}

// begun notes that the room is open. It reports whether what is derived can be
// kept: it cannot when the machine went down without closing it, because it is
// not synced. A process that died leaves it whole.
func (s *Room) begun() (keep bool, err error) {
	now, err := s.here()
	if err != nil {
		return false, err
	}
	var old state
	err = s.metaUpdate(func(meta *rows) error {
		b, err := meta.Get([]byte(metaSeq))
		if err != nil {
			return err
		}
		if len(b) == 8 {
			s.seq = binary.BigEndian.Uint64(b)
		}
		if b, err = meta.Get([]byte(metaState)); err != nil {
			return err
		}
		if b != nil {
			if err := cbor.Unmarshal(b, &old); err != nil {
				return fmt.Errorf("%w: state: %w", ErrDamaged, err)
			}
			if old.Version > stateVersion {
				return errVersion
			}
			now.Relocated = old.Relocated || moved(old, now)
		}
		return putState(meta, now)
	})
	return old.Version != 0 && (old.Clean || old.Boot != "" && old.Boot == now.Boot), err
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

func putState(meta *rows, st state) error {
	b, err := cbor.Marshal(st)
	if err != nil {
		return err
	}
	return meta.Put([]byte(metaState), b)
}

// metaUpdate changes the meta table outside of everything else, synced.
func (s *Room) metaUpdate(fn func(meta *rows) error) error {
	defer faults()()
	b, err := s.logDB.Begin(true)
	if err != nil {
		return err
	}
	t := &tx{s: s, log: b, write: true}
	defer t.end()
	if err := fn(t.meta()); err != nil {
		return err
	}
	if t.err != nil {
		return t.err
	}
	return spaceError(t.contain(func() error { return s.commitLog(b) }))
}

// ended notes that the room was closed in order, after what is derived has
// been synced.
func (s *Room) ended() error {
	if err := s.indexDB.Load().Sync(); err != nil {
		return fmt.Errorf("syncing index.db: %w", err)
	}
	return s.changeState(func(st *state) { st.Clean = true })
}

func (s *Room) changeState(change func(*state)) error {
	return s.metaUpdate(func(meta *rows) error {
		st, err := readState(meta)
		if err != nil {
			return err
		}
		change(&st)
		return putState(meta, st)
	})
}

func readState(meta *rows) (st state, err error) {
	b, err := meta.Get([]byte(metaState))
	if err != nil || b == nil {
		return st, err
	}
	return st, cbor.Unmarshal(b, &st)
}

// Relocated implements room.Relocator: log.db is not the file that was written
// here last. The directory was copied or restored, so other copies may have
// gone on, and a core continued here could fork.
func (s *Room) Relocated() bool {
	found := false
	err := s.metaView(func(meta *rows) error {
		st, err := readState(meta)
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
		return s.metaUpdate(func(meta *rows) error { return meta.Delete([]byte(metaLost)) })
	})
}

// exclusively runs fn while no Update does.
func (s *Room) exclusively(fn func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.leader <- struct{}{}
	defer func() { <-s.leader }()
	if err := s.failure(); err != nil {
		return err
	}
	s.visible.Lock()
	defer s.visible.Unlock()
	if err := fn(); err != nil {
		return err
	}
	return s.resetPair()
}

// OwnCoreAtRisk lists the cores that lost their end when a damaged log.db was
// salvaged. If one of them is this device's own, appending would fork it:
// recover the end from peers first or begin a new generation, then call
// Settled. A loss with the zero core means that records of cores are gone and
// any core may be concerned.
func (s *Room) OwnCoreAtRisk() (lost []CoreLoss) {
	err := s.metaView(func(meta *rows) error {
		b, err := meta.Get([]byte(metaLost))
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

func (s *Room) metaView(fn func(meta *rows) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	defer faults()()
	var b *bolt.Tx
	b, err := s.logDB.Begin(false)
	if err != nil {
		return err
	}
	t := &tx{s: s, log: b}
	defer t.end()
	return fn(t.meta())
}
