package room

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pearbox/pearbox/drive/key"
)

// take stores the entry as processed and lets it count if it does.
func (t *txn) take(a *arrival) error {
	c := a.row
	e := entryRow{
		id: a.id, prev: a.prev, lamport: a.header.Lamport, wall: a.header.Wall, payloads: a.header.Payloads,
		caps: ^Caps(0),
	}
	if err := t.compress(a, &e); err != nil {
		return err
	}
	if c.Kind != key.Control {
		st, err := t.state()
		if err != nil {
			return err
		}
		if c.Last == 0 || c.Authority.IsZero() {
			if c.Authority, err = t.authority(st, c); err != nil {
				return err
			}
		}
		if e.caps, err = t.capsOf(st, c, a.pos.seq, a.clock); err != nil {
			return err
		}
	}
	if err := t.setWhen(a, &e); err != nil {
		return err
	}
	if err := t.putEntry(a.pos, e); err != nil {
		return err
	}
	where := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(make([]byte, 0, 12), a.pos.no), a.pos.seq)
	if err := t.idx.Put(append([]byte{rowID}, a.id[:]...), where); err != nil {
		return fmt.Errorf("storing entry: %w", err)
	}
	t.clocks.put(a.id, a.clock)
	if err := t.missAgain(a, e.payloads); err != nil {
		return err
	}
	c.Next, c.Last, c.Lamport, c.lastID, c.dirty = a.pos.seq+1+uint64(e.payloads), a.pos.seq+1, e.lamport, a.id, true
	t.heads[c.core()] = true
	if err := t.wake(a.id); err != nil {
		return err
	}
	switch {
	case c.Kind == key.Control:
		c.Counted, c.Tag = c.Last, a.env.tag
		if err := t.takeControl(a); err != nil {
			return err
		}
	case e.counts(c.Kind):
		c.Counted = c.Last
		shown := t.shown(c, a.pos, e, a.body, a.clock)
		shown.Derived = a.derived
		t.show(shown)
	default:
		if err := t.idx.Put(a.pos.key(rowUncount), []byte{}); err != nil {
			return fmt.Errorf("storing entry: %w", err)
		}
		t.event.Status = true
		return nil
	}
	if err := t.advanceFront(c.Kind, frontEntry{a.pos, a.id, e.lamport}, a.clock); err != nil {
		return err
	}
	if t.weight > viewBatch {
		return t.flushViews()
	}
	return nil
}

// viewBatch is how many bytes of entries are gathered for a view at most.
const viewBatch = 4 << 20

// compress writes the closure as a difference from the own entry before.
func (t *txn) compress(a *arrival, e *entryRow) error {
	var base clock
	if a.prev > 0 {
		p, err := t.ownBefore(a)
		if err != nil {
			return err
		}
		own, err := t.entry(p)
		if err != nil {
			return err
		}
		if own.distance+1 < keyframe && p.no == a.pos.no {
			if base, err = t.clockOf(p, own); err != nil {
				return err
			}
			e.distance = own.distance + 1
		}
	}
	e.delta = appendDelta(nil, base, a.clock)
	return nil
}

// wake queues the cores that waited for an entry.
func (t *txn) wake(id key.Hash) error {
	if t.noneWaits == nil {
		none := true
		for range t.idx.Scan([]byte{rowWait}, nil) {
			none = false
			break
		}
		t.noneWaits = &none
	}
	if *t.noneWaits {
		return nil
	}
	prefix := append([]byte{rowWait}, id[:]...)
	var nos []uint32
	for k := range t.idx.Scan(prefix, nil) {
		nos = append(nos, binary.BigEndian.Uint32(k[len(prefix):]))
	}
	for _, no := range nos {
		if err := t.idx.Delete(append(bytes.Clone(prefix), binary.BigEndian.AppendUint32(nil, no)...)); err != nil {
			return fmt.Errorf("waking a core: %w", err)
		}
		c, err := t.core(no)
		if err != nil {
			return err
		}
		t.queue.push(c)
	}
	return nil
}

func counted(c *coreRow, seq uint64, e entryRow, body []byte) Counted {
	return Counted{
		ID: e.id, Core: c.core(), Device: c.Device, Seq: seq, Lamport: e.lamport, Wall: e.wall, When: e.when(),
		Body: body, Payloads: e.payloads, Kind: c.Kind, Gen: c.Gen, Caps: e.caps,
	}
}

// shown is a counting entry as views are given it.
func (t *txn) shown(c *coreRow, p pos, e entryRow, body []byte, ck clock) Counted {
	out := counted(c, p.seq, e, body)
	out.Closure = &reach{t, ck, p}
	return out
}

// show gathers an entry for the views.
func (t *txn) show(c Counted) {
	t.add[c.Kind] = append(t.add[c.Kind], c)
	t.weight += len(c.Body) + 256
	t.changed(c.Kind)
}

func (t *txn) changed(kind key.Kind) {
	if kind == key.Drive {
		t.event.Drive = true
	} else {
		t.event.Chat = true
	}
}

// apply gives a view what starts and stops to count.
func (t *txn) apply(v View, add, remove []Counted) error {
	if err := v.Apply(t.Tx, add, remove); err != nil {
		return err
	}
	return t.unreached
}

// flushViews gives the views what started and stopped to count.
func (t *txn) flushViews() error {
	for _, v := range t.r.views {
		add, remove := t.add[v.Kind()], t.remove[v.Kind()]
		if len(add) == 0 && len(remove) == 0 {
			continue
		}
		if err := t.apply(v, add, remove); err != nil {
			return fmt.Errorf("%s: %w", v.Name(), err)
		}
	}
	clear(t.add)
	clear(t.remove)
	t.weight = 0
	if len(t.again) > 0 {
		for _, c := range t.again {
			t.add[c.Kind] = append(t.add[c.Kind], c)
		}
		t.again = nil
		return t.flushViews()
	}
	return nil
}
