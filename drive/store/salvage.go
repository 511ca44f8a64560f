package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fxamacker/cbor/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/key"
)

// Salvage is what opening a damaged log.db brought back and what it did not.
type Salvage struct {
	Reason string     // what was found wrong
	Aside  string     // where the damaged file is kept; empty when there was none
	Blocks uint64     // brought back
	Rows   uint64     // of log tables, brought back
	Lost   []CoreLoss // cores that lost something
}

// checkAll is the size of log.db up to which every page is looked at whenever
// it is opened. A larger one is looked at in full after an unclean end.
const checkAll = 32 << 20

// salvageIfDamaged looks at log.db before bbolt does. A damaged one is kept
// aside, and what still reads goes into a new one.
func (s *Room) salvageIfDamaged(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if s.wasOpened() {
			return s.salvage(nil, path, "log.db is missing")
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.lockBriefly(f); err != nil {
		return err
	}
	reason, err := s.inspect(f)
	if err != nil || reason == "" {
		return err
	}
	return s.salvage(f, path, reason)
}

// wasOpened reports whether there are signs of a log.db from earlier on.
func (s *Room) wasOpened() bool { return exists(s.path("index.db")) || exists(s.path(essentialName)) }

// lockBriefly waits until no other process has log.db open. bbolt takes the
// lasting lock.
func (s *Room) lockBriefly(f *os.File) error {
	for until := time.Now().Add(s.wait); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("locking log.db: %w", err)
		}
		if time.Now().After(until) {
			return fmt.Errorf("%w (it holds log.db)", ErrInUse)
		}
	}
}

// inspect returns what is wrong with log.db; empty when nothing is.
func (s *Room) inspect(f *os.File) (string, error) {
	b, err := openBoltFile(f)
	if err != nil {
		return "", err
	}
	if b.size == 0 && !s.wasOpened() {
		return "", nil // it was just being made
	}
	suspect := s.path("log.db.suspect")
	if b.size > checkAll && len(b.bad) == 0 && !exists(suspect) && b.endedClean() {
		return "", nil
	}
	b.walk(func(bucket string, k, v []byte) {
		if bucket == string(bucketBlocks) {
			return // a damaged block counts as absent and is fetched again
		}
		if _, err := unseal(k, v); err != nil {
			b.fault("bucket %s: %w", bucket, err)
		}
	})
	b.checkFreelist()
	if len(b.bad) > 0 {
		return b.bad[0].Error(), nil
	}
	return "", remove(suspect)
}

// endedClean reports whether the room was closed in order, as far as can be
// seen without reading everything.
func (b *boltFile) endedClean() bool {
	clean := false
	quick := *b
	quick.seen = map[uint64]bool{}
	quick.tree(b.meta.root, nil, 0, func(e element) {
		if string(e.key) != string(bucketMeta) || len(e.value) < 16 {
			return
		}
		visit := func(e element) {
			var st state
			if v, err := unseal(e.key, e.value); err == nil && string(e.key) == "m"+metaState && cbor.Unmarshal(v, &st) == nil {
				clean = st.Clean
			}
		}
		if root := native.Uint64(e.value); root != 0 {
			quick.tree(root, nil, 0, visit)
		} else if els, _, err := elements(slices.Clone(e.value[16:])); err == nil {
			for _, e := range els {
				visit(e)
			}
		}
	})
	return clean && len(quick.bad) == 0
}

// salvage makes a new log.db of what reads and verifies in a damaged one.
func (s *Room) salvage(f *os.File, path, reason string) error {
	s.log.Error("log.db is damaged: salvaging what still reads", "dir", s.dir, "reason", reason)
	out := &Salvage{Reason: reason}
	fresh := path + ".new"
	if err := remove(fresh); err != nil {
		return err
	}
	db, err := openBolt(fresh, &bolt.Options{Timeout: s.wait, InitialMmapSize: mapSize, FreelistType: bolt.FreelistMapType, NoSync: true, NoGrowSync: true})
	if err != nil {
		return err
	}
	g := &salvager{db: db, out: out, essential: s.takeEssential, records: map[key.CoreID][]coreRecord{}, rowSeq: map[string]uint64{}}
	err = g.run(f)
	if err == nil {
		err = s.finishSalvage(g, path, fresh)
	}
	if err == nil {
		err = db.Sync()
	}
	if cerr := db.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("salvaging log.db: %w", errors.Join(spaceError(err), remove(fresh)))
	}
	if f != nil {
		out.Aside = fmt.Sprintf("%s.damaged-%s", path, time.Now().UTC().Format("20060102T150405.000Z"))
		if err := os.Rename(path, out.Aside); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	s.opened.Salvaged = out
	s.log.Error("log.db is salvaged", "dir", s.dir, "blocks", out.Blocks, "rows", out.Rows, "damaged", out.Aside, "cores that lost something", len(out.Lost))
	return errors.Join(remove(s.path("log.db.suspect")), osDisk{}.SyncDir(filepath.Dir(path)))
}

// finishSalvage writes what the store itself keeps in the meta table.
func (s *Room) finishSalvage(g *salvager, path, fresh string) error {
	old := g.state
	now := state{Version: stateVersion, Relocated: old.Relocated}
	if p, err := placeOf(path); err == nil && old.Version != 0 {
		now.Relocated = now.Relocated || moved(old, state{Boot: bootID(), Place: p})
	}
	var err error
	if now.Place, err = placeOf(fresh); err != nil {
		return err
	}
	var ends []CoreLoss
	for _, l := range g.out.Lost {
		if l.Have < l.Had || l.Core == (key.CoreID{}) {
			ends = append(ends, l)
		}
	}
	return g.update(func(t *bolt.Tx) error {
		b, err := cbor.Marshal(now)
		if err != nil {
			return err
		}
		put := func(name string, v []byte) error {
			k := append([]byte{'m'}, name...)
			return t.Bucket(bucketMeta).Put(k, appendSealed(nil, k, v))
		}
		err = errors.Join(put(metaState, b), put(metaSeq, place8(g.seq+1)), put(metaCores, binary.BigEndian.AppendUint32(nil, g.next)))
		if len(ends) == 0 || err != nil {
			return err
		}
		if b, err = cbor.Marshal(ends); err != nil {
			return err
		}
		return put(metaLost, b)
	})
}
