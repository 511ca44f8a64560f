package room

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// frontEntry is an entry that no other of its kind has in its closure: what
// the next entry of that kind depends on. Only counting entries are taken;
// of control entries all.
type frontEntry struct {
	pos
	id      key.Hash
	lamport uint64
}

const frontSize = 4 + 8 + 32 + 8

func (t *txn) front(kind key.Kind) ([]frontEntry, error) {
	if f, ok := t.fronts[kind]; ok {
		return f, nil
	}
	v, err := t.idx.Get([]byte{rowFrontier, byte(kind)})
	if err != nil {
		return nil, fmt.Errorf("reading frontier: %w", err)
	}
	f := make([]frontEntry, 0, len(v)/frontSize+1)
	for ; len(v) >= frontSize; v = v[frontSize:] {
		f = append(f, frontEntry{
			pos:     pos{binary.BigEndian.Uint32(v), binary.BigEndian.Uint64(v[4:])},
			id:      key.Hash(v[12:44]),
			lamport: binary.BigEndian.Uint64(v[44:]),
		})
	}
	t.fronts[kind] = f
	return f, nil
}

// advanceFront adds an entry to the frontier and drops what it has seen.
func (t *txn) advanceFront(kind key.Kind, e frontEntry, c clock) error {
	f, err := t.front(kind)
	if err != nil {
		return err
	}
	f = slices.DeleteFunc(f, func(o frontEntry) bool { return c.includes(o.no, o.seq) })
	t.setFront(kind, append(f, e))
	return nil
}

// rebuildFront computes the frontier of a kind from the last counting entry
// of every core.
func (t *txn) rebuildFront(kind key.Kind) error {
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	var all []frontEntry
	var clocks []clock
	for _, c := range cores {
		if c.Kind != kind || c.Counted == 0 {
			continue
		}
		p := pos{c.no, c.Counted - 1}
		e, err := t.entry(p)
		if err != nil {
			return err
		}
		ck, err := t.clockOf(p, e)
		if err != nil {
			return err
		}
		all = append(all, frontEntry{p, e.id, e.lamport})
		clocks = append(clocks, ck)
	}
	now := slices.DeleteFunc(all, func(o frontEntry) bool {
		return slices.ContainsFunc(clocks, func(c clock) bool { return c.includes(o.no, o.seq) })
	})
	if old, err := t.front(kind); err != nil || slices.Equal(old, now) {
		return err
	}
	t.setFront(kind, now)
	return nil
}

// setFront changes a frontier, which is stored when the transaction ends.
func (t *txn) setFront(kind key.Kind, f []frontEntry) {
	t.fronts[kind] = f
	t.advanced[kind] = true
}

func (t *txn) flushFronts() error {
	for kind, f := range t.fronts {
		if !t.advanced[kind] {
			continue
		}
		b := make([]byte, 0, len(f)*frontSize)
		for _, e := range f {
			b = binary.BigEndian.AppendUint32(b, e.no)
			b = binary.BigEndian.AppendUint64(b, e.seq)
			b = append(b, e.id[:]...)
			b = binary.BigEndian.AppendUint64(b, e.lamport)
		}
		if err := t.idx.Put([]byte{rowFrontier, byte(kind)}, b); err != nil {
			return fmt.Errorf("storing frontier: %w", err)
		}
	}
	return nil
}
