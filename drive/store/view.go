package store

import (
	"github.com/pearbox/pearbox/drive/room"
)

// View implements room.Storage: a snapshot as one transaction left it, never of
// anything that is not yet durable. Views run beside each other and beside
// Update. A View holds pages back from reuse, so it should be short.
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

// snapshot begins a transaction that reads. What is in memory and what is in
// the databases belong together unless a table was frozen between looking at
// the one and at the other: from then on the databases may have transactions
// that came later. What a checkpoint has brought into them already is in the
// frozen table as well and the same.
func (s *Room) snapshot() (*tx, error) {
	s.rebuilding.RLock()
	defer s.rebuilding.RUnlock()
	for {
		l := s.layers.Load()
		b, err := s.newBase()
		if err != nil {
			return nil, err
		}
		if s.layers.Load().epoch == l.epoch {
			t := &tx{s: s, base: b}
			t.see(l)
			return t, nil
		}
		b.end()
	}
}

// see makes the layers what the transaction reads.
func (t *tx) see(l *layers) {
	t.mem[0] = l.active.tree
	if l.frozen != nil {
		t.mem[1] = l.frozen.tree
	}
}
