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

// Salvage is what opening a damaged log.db or journal brought back and what it
// did not.
type Salvage struct {
	Reason string     // what was found wrong
	Aside  string     // where log.db is kept as it was; empty when there was none
	Blocks uint64     // brought back
	Rows   uint64     // of log tables, brought back
	Lost   []CoreLoss // cores that lost something
}

// checkAll is the size of log.db up to which every page is looked at whenever
// it is opened. A larger one is looked at in full after an unclean end.
const checkAll = 32 << 20

// damagedInfix is in the names of files that were put aside.
const damagedInfix = ".damaged-"

// salvageIfDamaged looks at log.db before bbolt does, and at the journal. When
// either is damaged both are kept aside, and what still reads goes into a new
// log.db. Otherwise the transactions that only the journal has are to be
// replayed, if the last transaction of log.db is still the one that is returned
// when bbolt has opened it; 0 stands for any.
func (s *Room) salvageIfDamaged(path string) (lastTx uint64, err error) {
	s.replay, s.seq = nil, 0
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, s.salvageMissing(path)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := s.lockBriefly(f); err != nil {
		return 0, err
	}
	e, err := s.inspect(f)
	if err != nil {
		return 0, err
	}
	if err := e.addJournal(s.dir); err != nil {
		return 0, err
	}
	if e.reason != "" {
		return 0, s.salvage(e, path)
	}
	if s.replay = e.journal; len(s.replay) > 0 {
		s.seq = s.replay[len(s.replay)-1].seq
	}
	return e.lastTx, nil
}

// salvageMissing makes a log.db where there was one. The newest one that was
// put aside may be all that there is: where files cannot have two names, a
// salvage that dies at the wrong moment leaves no other.
func (s *Room) salvageMissing(path string) error {
	aside, err := filepath.Glob(path + damagedInfix + "*")
	if err != nil || len(aside) == 0 && !s.wasOpened() {
		return err
	}
	e := &evidence{reason: "log.db is missing", damaged: true, missing: true}
	if e.journal, err = readJournal(s.dir, nil); err != nil {
		return err
	}
	if len(aside) > 0 {
		e.aside = slices.Max(aside) // their names end in the time
		if e.file, err = os.Open(e.aside); err != nil {
			return err
		}
		defer e.file.Close()
	}
	return s.salvage(e, path)
}

// evidence is what is found of log.db and the journal before they are opened.
type evidence struct {
	reason  string            // what is wrong; empty when nothing is
	file    *os.File          // log.db; nil when there is none
	aside   string            // the name of file, when that was put aside by an earlier salvage
	damaged bool              // log.db is
	missing bool              // there is no log.db: nobody knows what there was
	lastTx  uint64            // of log.db, as bbolt counts
	meta    map[string][]byte // what log.db says about itself, if that can be read
	journal []transaction     // that log.db has not
	gap     bool              // some of them are missing, or make no sense
}

// addJournal looks at the journal. Of a sound log.db the room and the number of
// the last transaction are known; of a damaged one everything that may be of
// use is taken. A torn record at the end was never acknowledged. One that is
// damaged although later ones are there was.
func (e *evidence) addJournal(dir string) error {
	id := e.meta[metaJournal]
	if !e.damaged && (id == nil || e.clean()) {
		return nil // it has no journal yet, or nothing is in it
	}
	all, err := readJournal(dir, id)
	if err != nil {
		return err
	}
	done := uint64(0)
	if b := e.meta[metaSeq]; len(b) == 8 && !e.damaged {
		done = binary.BigEndian.Uint64(b)
	}
	all = slices.DeleteFunc(all, func(t transaction) bool { return t.seq <= done })
	e.journal = all
	if e.damaged {
		return nil
	}
	for i, t := range all {
		if want := done + 1 + uint64(i); t.seq != want {
			e.gap, e.reason = true, fmt.Sprintf("the journal lacks transaction %d although it has %d", want, t.seq)
			return nil
		}
		if err := t.each(func(k, v []byte) {}); err != nil {
			e.gap, e.reason = true, err.Error()
			return nil
		}
	}
	return nil
}

// clean reports whether the room was closed in order.
func (e *evidence) clean() bool {
	var st state
	return cbor.Unmarshal(e.meta[metaState], &st) == nil && st.Clean
}

// wasOpened reports whether there are signs of a log.db from earlier on.
func (s *Room) wasOpened() bool {
	for _, name := range append(journalNames[:], "index.db", essentialName) {
		if exists(s.path(name)) {
			return true
		}
	}
	return false
}

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

// inspect looks at log.db.
func (s *Room) inspect(f *os.File) (*evidence, error) {
	b, err := openBoltFile(f)
	if err != nil {
		return nil, err
	}
	e := &evidence{file: f, lastTx: b.meta.txid}
	if b.size == 0 && !s.wasOpened() {
		return e, nil // it was just being made
	}
	var sound bool
	e.meta, sound = b.storeMeta()
	suspect := s.path("log.db.suspect")
	if b.size > checkAll && len(b.bad) == 0 && !exists(suspect) && sound && e.clean() {
		return e, nil
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
		e.damaged, e.reason = true, b.bad[0].Error()
		return e, nil
	}
	return e, remove(suspect)
}

// storeMeta reads the store's own table, as far as that goes without reading
// everything, and reports whether nothing was wrong on the way.
func (b *boltFile) storeMeta() (meta map[string][]byte, sound bool) {
	meta = map[string][]byte{}
	if b.meta.high == 0 {
		return meta, false
	}
	quick := *b
	quick.seen, quick.bad = map[uint64]bool{}, nil
	visit := func(e element) {
		if v, err := unseal(e.key, e.value); err == nil && len(e.key) > 0 {
			meta[string(e.key[1:])] = v
		}
	}
	quick.tree(b.meta.root, nil, 0, func(e element) {
		if string(e.key) != string(bucketMeta) || len(e.value) < 16 {
			return
		}
		if root := native.Uint64(e.value); root != 0 {
			quick.tree(root, nil, 0, visit)
		} else if els, _, err := elements(slices.Clone(e.value[16:])); err == nil {
			for _, e := range els {
				visit(e)
			}
		}
	})
	return meta, len(quick.bad) == 0
}

// salvage makes a new log.db of what reads and verifies in a damaged one and in
// the journal. Replaying the journal on top of it would not do: a core whose
// end was lost would get back its length without what is below.
func (s *Room) salvage(e *evidence, path string) error {
	s.log.Error("the room's log is damaged: salvaging what still reads", "dir", s.dir, "reason", e.reason)
	out := &Salvage{Reason: e.reason}
	fresh := path + ".new"
	if err := remove(fresh); err != nil {
		return err
	}
	db, err := openBolt(fresh, &bolt.Options{Timeout: s.wait, InitialMmapSize: mapSize, FreelistType: bolt.FreelistMapType, NoSync: true, NoGrowSync: true})
	if err != nil {
		return err
	}
	g := &salvager{db: db, out: out, essential: s.takeEssential, records: map[key.CoreID][]coreRecord{}, rowSeq: map[string]uint64{}}
	err = g.run(e)
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
	suffix := damagedInfix + time.Now().UTC().Format("20060102T150405.000Z")
	if out.Aside, err = s.replaceLog(e, path, fresh, path+suffix); err != nil {
		return fmt.Errorf("putting the salvaged log.db in place: %w", err)
	}
	// The new log.db does not know the journal. It is kept for people, when it was what is damaged.
	for _, name := range journalNames {
		if e.gap {
			if err := os.Rename(s.path(name), s.path(name)+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		} else if err := remove(s.path(name)); err != nil {
			return err
		}
	}
	s.opened.Salvaged = out
	s.log.Error("the room's log is salvaged", "dir", s.dir, "blocks", out.Blocks, "rows", out.Rows, "damaged", out.Aside, "cores that lost something", len(out.Lost))
	return errors.Join(remove(s.path("log.db.suspect")), s.journal.disk.SyncDir(filepath.Dir(path)))
}

// replaceLog puts the salvaged log.db in the place of the damaged one, durably,
// and returns what that is called now. There is a log.db at every moment, and
// the journal is to stay until this is done.
func (s *Room) replaceLog(e *evidence, path, fresh, aside string) (string, error) {
	switch {
	case e.missing:
		aside = e.aside
	case os.Link(path, aside) != nil: // not every file system can
		if err := os.Rename(path, aside); err != nil {
			return "", err
		}
	}
	if err := s.journal.disk.SyncDir(s.dir); err != nil {
		return "", err
	}
	if err := s.step("aside"); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, path); err != nil {
		return "", err
	}
	if err := s.journal.disk.SyncDir(s.dir); err != nil {
		return "", err
	}
	return aside, s.step("salvaged")
}

// finishSalvage writes what the store itself keeps in the meta table.
func (s *Room) finishSalvage(g *salvager, path, fresh string) error {
	old := g.state
	now := state{Version: stateVersion, Relocated: old.Relocated}
	if p, err := placeOf(path); err == nil && old.Version != 0 {
		now.Relocated = now.Relocated || moved(old, state{Boot: s.journal.disk.Boot(), Place: p})
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
