package store

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/pearbox/pearbox/drive/room"
)

// pair is the two transaction numbers that belong together: those of the last
// commit.
type pair struct{ log, index int }

// View implements room.Storage: a snapshot of both databases as one commit
// left them, never of anything that is not yet durable. Views run beside each
// other and beside Update. One that begins just when a commit is being synced
// waits for it. A View holds pages back from reuse, so it should be short.
func (s *Room) View(fn func(room.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	defer faults()()
	t, err := s.snapshot()
	if err != nil {
		return err
	}
	defer t.end()
	err = t.call(fn)
	if t.err != nil {
		s.noteDamage(t.err)
		return t.err
	}
	return err
}

// snapshot begins a read transaction on both databases. Mostly no lock is
// needed: when the two numbers are those of a finished commit, they belong
// together.
func (s *Room) snapshot() (*tx, error) {
	before := s.pair.Load()
	t, err := s.beginRead()
	if err == nil && (t.is(before) || t.is(s.pair.Load())) {
		return t, nil
	}
	if t != nil {
		t.end()
	}
	s.visible.RLock()
	defer s.visible.RUnlock()
	return s.beginRead()
}

func (t *tx) is(p *pair) bool { return t.log.ID() == p.log && t.index.ID() == p.index }

func (s *Room) beginRead() (*tx, error) {
	t := &tx{s: s}
	err := t.contain(func() (err error) {
		if t.log, err = s.logDB.Begin(false); err != nil {
			return err
		}
		t.index, err = s.indexDB.Load().Begin(false)
		return err
	})
	if err != nil {
		t.end()
		return nil, fmt.Errorf("beginning a snapshot: %w", err)
	}
	return t, nil
}

// numbers returns the transaction number of a database.
func number(db *bolt.DB) (int, error) {
	t, err := db.Begin(false)
	if err != nil {
		return 0, err
	}
	defer t.Rollback()
	return t.ID(), nil
}
