package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// layers is what lies above the databases. It is replaced, never changed.
type layers struct {
	epoch  uint64  // how often a table was frozen
	active *memory // what the transactions since then changed
	frozen *memory // what is on its way into the databases; nil: everything before is there
}

// published makes the transactions of a table visible. The leader calls it.
func (s *Room) published(m *memory) {
	s.layersMu.Lock()
	defer s.layersMu.Unlock()
	now := *s.layers.Load()
	now.active = m
	s.layers.Store(&now)
}

// freeze begins a checkpoint unless one is under way: writers go on in an empty
// table and the other file of the journal. The leader calls it.
func (s *Room) freeze() {
	l := s.layers.Load()
	if l.frozen != nil {
		return
	}
	s.arena = arena{}
	if l.active.tree.Len() == 0 {
		return
	}
	s.journal.swap()
	s.layersMu.Lock()
	s.layers.Store(&layers{epoch: l.epoch + 1, active: newMemory(), frozen: l.active})
	s.layersMu.Unlock()
	select {
	case s.thaw <- struct{}{}:
	default: // somebody is told already
	}
}

// settle brings the frozen table into the databases, or waits until another
// one has. With ErrNoSpace it is still only in memory and in the journal, and
// nothing is lost.
func (s *Room) settle() error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	l := s.layers.Load()
	if l.frozen == nil {
		return nil
	}
	if err := s.Failed(); err != nil {
		return err
	}
	if err := s.flush(l.frozen, nil); err != nil {
		if errors.Is(err, ErrNoSpace) {
			return err
		}
		return s.poison(err)
	}
	s.settled()
	return nil
}

// settled lets go of the frozen table.
func (s *Room) settled() {
	s.layersMu.Lock()
	defer s.layersMu.Unlock()
	now := *s.layers.Load()
	now.frozen = nil
	s.layers.Store(&now)
}

// checkpoint brings everything into the databases. The caller leads.
func (s *Room) checkpoint() error {
	if err := s.settle(); err != nil {
		return err
	}
	s.freeze()
	return s.settle()
}

// relieve makes writers wait when too much is in memory, or when the journal
// holds what must not be overwritten. The leader calls it.
func (s *Room) relieve() error {
	held := s.journal.held
	if !held && s.arena.used < hardSize && s.journal.off < hardSize {
		return nil
	}
	if err := s.settle(); err != nil {
		return fmt.Errorf("bringing transactions into the databases: %w", err)
	}
	s.journal.held = false
	if !held {
		s.freeze()
	}
	return nil
}

// lagging reports whether transactions come faster than checkpoints.
func (s *Room) lagging() bool {
	l := s.layers.Load()
	return l.frozen != nil && l.active.size >= freezeSize
}

// flush writes a table into both databases, synced, and changes the state in
// log.db with it if that is asked for. index.db comes first: it is log.db whose
// number says which transactions of the journal are done with. Only a new
// index.db, which has nothing of them, gets its number when log.db has them:
// before, whoever opens the room would replay them into it and take them for
// all that there is.
func (s *Room) flush(m *memory, change func(*state)) error {
	defer faults()()
	if err := s.step("flush"); err != nil {
		return err
	}
	if m.tree.Len() > 0 && !m.logOnly {
		if err := s.flushIndex(m); err != nil {
			return fmt.Errorf("writing index.db: %w", err)
		}
	}
	if err := s.step("index"); err != nil {
		return err
	}
	err := s.intoDB(s.logDB, func(t *bolt.Tx) error {
		if err := putCells(t, cellsOf(m, false)); err != nil {
			return err
		}
		meta := metaTable{t.Bucket(bucketMeta)}
		if err := meta.put(metaSeq, place8(m.last)); err != nil || change == nil {
			return err
		}
		return meta.change(change)
	})
	if err != nil {
		return fmt.Errorf("writing log.db: %w", err)
	}
	if err := s.step("log"); err != nil || !m.logOnly {
		return err
	}
	if err := s.intoDB(s.indexDB.Load(), func(t *bolt.Tx) error { return putIndexSeq(t, metaSeq, m.last) }); err != nil {
		return fmt.Errorf("writing index.db: %w", err)
	}
	return nil
}

// pieceRows is the number of rows in one transaction of index.db. They lie all
// over the file, and while the pages of many are synced at once, a record of
// the journal would wait.
const pieceRows = 2048

// flushIndex writes a table into index.db in pieces. The first one says how far
// they are going to reach.
func (s *Room) flushIndex(m *memory) error {
	for piece := range slices.Chunk(cellsOf(m, true), pieceRows) {
		err := s.intoDB(s.indexDB.Load(), func(t *bolt.Tx) error {
			return errors.Join(putIndexSeq(t, metaUntil, m.last), putCells(t, piece))
		})
		if err == nil {
			err = s.step("piece")
		}
		if err != nil {
			return err
		}
	}
	return s.intoDB(s.indexDB.Load(), func(t *bolt.Tx) error { return putIndexSeq(t, metaSeq, m.last) })
}

// cellsOf returns the rows of a table that belong into index.db, or the others.
func cellsOf(m *memory, index bool) (cells []*cell) {
	m.tree.Scan(func(c *cell) bool {
		if (c.key[0] == tagIndex) == index {
			cells = append(cells, c)
		}
		return true
	})
	return cells
}

// intoDB runs fn in a transaction of a database and commits it.
func (s *Room) intoDB(db *bolt.DB, fn func(*bolt.Tx) error) error {
	var t *bolt.Tx
	err := contain(func() (err error) {
		if t, err = db.Begin(true); err != nil {
			return err
		}
		if err := fn(t); err != nil {
			return err
		}
		return s.journal.disk.Commit(db.Path(), t.Commit)
	})
	if t != nil {
		_ = contain(t.Rollback) // says that it has ended, after a commit
	}
	if retryable(err) {
		return spaceError(err)
	}
	return err
}

// retryable reports whether a failed commit wrote nothing that counts: the
// disk was full before anything was synced.
func retryable(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT))
}

// putCells writes rows, which come in order, where they belong.
func putCells(t *bolt.Tx, cells []*cell) error {
	var b *bolt.Bucket
	var prefix []byte // of the keys in b
	strip := 0
	for _, c := range cells {
		if b == nil || !bytes.HasPrefix(c.key, prefix) {
			var err error
			if table, key, ok := splitIndex(c.key); ok {
				strip = len(c.key) - len(key)
				prefix = c.key[:strip]
				if b, err = t.CreateBucketIfNotExists([]byte("t/" + table)); err != nil {
					return err
				}
			} else {
				prefix, strip = c.key[:1], 0
				if b = t.Bucket(bucketOf(c.key[0])); b == nil {
					return fmt.Errorf("%w: log.db has no bucket %s", ErrDamaged, bucketOf(c.key[0]))
				}
				b.FillPercent = 0.9 // keys ascend within a core
			}
		}
		if err := putCell(b, c.key[strip:], c.value); err != nil {
			return err
		}
	}
	return nil
}

func putCell(b *bolt.Bucket, k, v []byte) error {
	if v == nil {
		return b.Delete(k)
	}
	return b.Put(k, v)
}

// restore takes up what the journal alone has, when the room is opened, and
// brings it into the databases. When the disk has no room for that, it stays
// where it is and nothing is written until it has.
func (s *Room) restore() error {
	if len(s.replay) == 0 {
		return nil
	}
	m := newMemory()
	m.last, m.logOnly = s.seq, s.withoutIndex
	for _, tr := range s.replay {
		err := tr.each(func(k, v []byte) {
			if k[0] == tagIndex && s.withoutIndex {
				return // it is made anew
			}
			m.tree.Set(&cell{key: k, value: v})
			m.size += int64(len(k)+len(v)) + cellSize
		})
		if err != nil {
			return err
		}
	}
	s.opened.Replayed, s.replay = len(s.replay), nil
	s.layers.Store(&layers{epoch: 1, active: newMemory(), frozen: m})
	s.journal.held = true
	err := s.settle()
	if errors.Is(err, ErrNoSpace) && s.releaseReserve() {
		err = s.settle()
	}
	if errors.Is(err, ErrNoSpace) {
		s.log.Warn("transactions stay in the journal", "dir", s.dir, "err", err)
		return nil
	}
	return err
}

// ended brings everything into the databases and notes that the room was closed
// in order. On a full disk the journal stays, for the next opening.
func (s *Room) ended() error {
	err := s.settle()
	if err == nil {
		s.freeze()
		l := s.layers.Load()
		m := l.frozen
		if m == nil {
			m = &memory{tree: newMemory().tree, last: s.seq}
		}
		err = s.flush(m, func(st *state) { st.Clean = true })
	}
	if errors.Is(err, ErrNoSpace) {
		s.log.Warn("transactions stay in the journal", "dir", s.dir, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("closing the room's databases: %w", err)
	}
	return s.journal.remove()
}

// checkpointEvery is how long transactions stay in the journal when there are
// few of them.
const checkpointEvery = 20 * time.Second

// background makes checkpoints and does what can wait.
func (s *Room) background() {
	defer s.bg.Done()
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.thaw:
			s.settleSoon()
		case <-tick.C:
			select {
			case <-s.stop:
				return
			case s.leader <- struct{}{}:
			}
			s.freeze()
			<-s.leader
			s.settleSoon()
			s.blobs.tend()
			s.makeReserve()
		}
	}
}

// settleSoon is settle where nobody waits for it.
func (s *Room) settleSoon() {
	if err := s.settle(); err != nil && !errors.Is(err, ErrFailed) { // that has been said
		s.log.Warn("transactions stay in the journal", "dir", s.dir, "err", err)
	}
}
