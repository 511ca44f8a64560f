package room

import (
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// History is one of the histories of a core whose device signed several, as far
// as it differs from the others.
type History struct {
	Core   key.CoreID
	Device key.DeviceID
	Kind   key.Kind
	Gen    uint32
	From   uint64   // the first block that the histories do not share
	Length uint64   // blocks that are here, with those that they share
	Tip    key.Hash // its last processed entry: what Seal takes
	Wall   int64    // of that entry: unix nanoseconds by its author's clock
	Counts bool     // of drive and chat one does; of control all do, unless somebody above the device sealed one
	Sealed bool     // a seal decides which of them count
}

// Histories returns the histories of all cores that have several, those of one
// core one after another. One of which nothing beyond the common part was
// processed yet is left out.
func (r *Room) Histories() (out []History, err error) {
	err = r.view(func(t *txn) error {
		cores, err := t.allCores()
		if err != nil {
			return err
		}
		st, err := t.state()
		if err != nil {
			return err
		}
		for _, c := range cores {
			if c.Parted == 0 || c.isBranch() {
				continue
			}
			if out, err = t.historiesOf(st, c, out); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing histories: %w", err)
	}
	return out, nil
}

// historiesOf appends the histories of one core to out.
func (t *txn) historiesOf(st *State, trunk *coreRow, out []History) ([]History, error) {
	f, err := t.forkOf(trunk)
	if err != nil {
		return nil, err
	}
	seals := st.seals[trunk.ID]
	if trunk.Kind == key.Control { // nobody chooses between what he himself said: see evaluation.named
		seals = slices.DeleteFunc(slices.Clone(seals), func(s seal) bool { return s.by == trunk.Device })
	}
	left := f.sealed(seals)
	counting := left
	if trunk.Kind != key.Control {
		best, err := f.chosen(seals)
		if err != nil {
			return nil, err
		}
		counting = []*coreRow{best}
	}
	for _, c := range f.rows {
		if c.Last < trunk.Parted || c.Last < c.Parted {
			continue
		}
		e, err := t.entry(pos{c.no, c.Last - 1})
		if err != nil {
			return nil, err
		}
		w, err := t.Core(c.ID)
		if err != nil {
			return nil, err
		}
		n, err := w.Length()
		if err != nil {
			return nil, err
		}
		out = append(out, History{
			Core: trunk.ID, Device: c.Device, Kind: c.Kind, Gen: c.Gen, From: f.parted, Length: n, Tip: e.id, Wall: e.wall,
			Counts: slices.Contains(counting, c), Sealed: len(left) < len(f.rows),
		})
	}
	return out, nil
}
