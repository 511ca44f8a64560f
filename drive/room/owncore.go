package room

import (
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// Self returns the core that Append of the kind will append to. It fails as
// Append would when this device may not write.
func (u *Update) Self(kind key.Kind) (key.CoreID, error) {
	if err := u.t.mayAppend(needOf(kind)); err != nil {
		return key.CoreID{}, fmt.Errorf("writing to the %s log: %w", kind, err)
	}
	c, err := u.t.ownCore(kind)
	if err != nil {
		return key.CoreID{}, fmt.Errorf("opening the %s log: %w", kind, err)
	}
	return c.ID, nil
}

// Mark is a place in what this device writes of one kind, generation after generation: behind everything that it had written when the mark
// was made, and before whatever it writes later. The zero Mark is before everything.
type Mark struct {
	Gen    uint32 // of the core that it would have appended to
	Blocks uint64 // that this core had
}

// Before reports whether a block of one of this device's cores is behind the mark.
func (m Mark) Before(gen uint32, seq uint64) bool {
	return gen > m.Gen || gen == m.Gen && seq >= m.Blocks
}

// Mark makes a mark in a transaction of the room.
func (r *Room) Mark(tx Tx, kind key.Kind) (Mark, error) {
	self, err := r.loadSelf(tx)
	if err != nil {
		return Mark{}, err
	}
	m := Mark{Gen: self.gen(kind)}
	w, err := tx.Core(key.CoreIDOf(r.id, r.dev.ID(), kind, m.Gen))
	if err == nil {
		m.Blocks, err = w.Length()
	}
	if err != nil {
		return m, fmt.Errorf("looking how far the %s log goes: %w", kind, err)
	}
	return m, nil
}

// GenerationOf returns the generation of a core that is known in a transaction of the room.
func (r *Room) GenerationOf(tx Tx, id key.CoreID) (uint32, error) {
	v, err := tx.Log(tableCores).Get(id[:])
	if err == nil && len(v) != 37 {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("the generation of core %s: %w", id.Short(), err)
	}
	return be32(v[33:]), nil
}
