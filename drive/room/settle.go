package room

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// takeControl adds a processed control entry to the log that State comes from.
func (t *txn) takeControl(a *arrival) error {
	if err := t.loadLog(); err != nil {
		return err
	}
	c := &ctl{
		id: a.id, core: a.row.core(), no: a.pos.no, dev: a.row.Device, gen: a.row.Gen, seq: a.pos.seq,
		lamport: a.header.Lamport, wall: a.header.Wall, clock: a.clock, recs: a.recs,
	}
	t.log = append(slices.Clip(t.log), c)
	t.logStamp = nextStamp(t.logStamp, c)
	t.st = nil
	t.fresh = append(t.fresh, c)
	t.arrived = append(t.arrived, c.id)
	t.learned = true
	t.event.Members, t.event.Status = true, true
	if err := t.idx.Put(rowControl, t.logStamp[:]); err != nil {
		return fmt.Errorf("storing control state: %w", err)
	}
	return t.takeRelayKeys(a.header.Keys)
}

// nextStamp names a log of control entries and the local numbers in it, so
// that a state may be shared by every transaction that sees this stamp.
func nextStamp(s key.Hash, c *ctl) key.Hash {
	return key.Derive(key.UseStateHash, s[:], c.id[:], []byte{byte(c.no >> 24), byte(c.no >> 16), byte(c.no >> 8), byte(c.no)})
}

// loadLog reads the control entries that were processed before.
func (t *txn) loadLog() error {
	if t.logged {
		return nil
	}
	v, err := t.idx.Get(rowControl)
	if err != nil {
		return fmt.Errorf("reading control state: %w", err)
	}
	copy(t.logStamp[:], v)
	if s := t.r.states.get(t.logStamp); s != nil {
		t.log, t.st, t.before, t.logged = s.log, s, s, true
		return nil
	}
	if v != nil {
		if t.log, err = t.readLog(); err != nil {
			return err
		}
	}
	t.logged = true
	return nil
}

// readLog decodes all processed control entries.
func (t *txn) readLog() ([]*ctl, error) {
	cores, err := t.allCores()
	if err != nil {
		return nil, err
	}
	var log []*ctl
	for _, c := range cores {
		if c.Kind != key.Control {
			continue
		}
		list, err := t.entries(c, 0, 0)
		if err != nil {
			return nil, err
		}
		for _, i := range list {
			p, e := i.pos, i.entryRow
			o, err := t.reopen(c, p, e)
			if err != nil {
				return nil, fmt.Errorf("reading control entry: %w", err)
			}
			ck, err := t.clockOf(p, e)
			if err != nil {
				return nil, err
			}
			log = append(log, &ctl{
				id: e.id, core: c.core(), no: c.no, dev: c.Device, gen: c.Gen, seq: p.seq,
				lamport: e.lamport, wall: e.wall, clock: ck, recs: o.recs,
			})
		}
	}
	return log, nil
}

// placedRow is a processed entry with its place.
type placedRow struct {
	pos
	entryRow
}

// entries returns the processed entries of a core from block from on, at most
// limit (0: all).
func (t *txn) entries(c *coreRow, from uint64, limit int) (items []placedRow, err error) {
	prefix := numberKey(rowEntry, c.no)
	for k, v := range t.idx.Scan(prefix, pos{c.no, from}.key(rowEntry)) {
		if limit > 0 && len(items) == limit {
			break
		}
		e, err := parseEntryRow(v)
		if err != nil {
			return nil, fmt.Errorf("entries of core %s: %w", c.ID.Short(), err)
		}
		e.delta = slices.Clone(e.delta)
		items = append(items, placedRow{pos{c.no, be64(k[len(prefix):])}, e})
	}
	return items, nil
}

// errLost says that the block of an entry that was processed is no longer
// here, or damaged: it has to come back from a peer. See Room.rebuild.
var errLost = fmt.Errorf("the block of an entry: %w", ErrAbsent)

// reopen decrypts an entry that was processed before.
func (t *txn) reopen(c *coreRow, p pos, e entryRow) (*arrival, error) {
	w, err := t.Core(c.ID)
	if err != nil {
		return nil, fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
	}
	a := &arrival{row: c, pos: p}
	wait, err := t.open(a, w)
	if err == nil && wait == waitNone {
		wait, err = t.openBody(a)
	}
	switch {
	case err != nil:
		return nil, err
	case wait == waitKey:
		return nil, ErrKey
	case wait != waitNone || a.id != e.id:
		return nil, errLost
	}
	return a, nil
}

// state returns what the control entries mean now.
func (t *txn) state() (*State, error) {
	if err := t.loadLog(); err != nil {
		return nil, err
	}
	if t.st == nil {
		t.st = t.r.states.get(t.logStamp)
	}
	if t.st == nil {
		forks, err := t.forks()
		if err != nil {
			return nil, err
		}
		t.st = evaluateForked(t.r.id, t.log, forks)
		t.r.states.put(t.logStamp, t.st)
	}
	return t.st, nil
}

// settle follows the consequences of new control entries: keys that they
// bring, a membership that ends, and entries that start or stop to count.
func (t *txn) settle() error {
	st, err := t.state()
	if err != nil {
		return err
	}
	if err := t.takeKeys(st); err != nil {
		return err
	}
	if err := t.hunt(); err != nil {
		return err
	}
	if len(t.queue.control) > 0 { // keys opened more of them: first things first
		t.learned = true
		return nil
	}
	if err := t.release(); err != nil {
		return err
	}
	if self := t.r.dev.ID(); t.before != nil && t.before.caps(self) != 0 && st.caps(self) == 0 {
		t.event.Removed = true
	}
	return t.review(st)
}

// release goes on with entries that were held back for a newer program: by the
// control entries that came, those that need it may not count any more.
func (t *txn) release() error {
	held, err := t.held()
	if err != nil || !held || t.holding {
		return err
	}
	if err := t.setHold(false); err != nil {
		return fmt.Errorf("going on with entries held back: %w", err)
	}
	t.event.Status = true
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	for _, c := range cores {
		if c.Kind != key.Control {
			t.queue.push(c)
		}
	}
	return nil
}

// takeRelayKeys takes the older keys that a control entry hands on.
func (t *txn) takeRelayKeys(keys []relayKey) error {
	if len(keys) == 0 {
		return nil
	}
	old, err := t.keys()
	if err != nil {
		return err
	}
	ring, more := old.clone(), false
	for _, k := range keys {
		more = ring.addEpoch(k.Check, check(k.Relay), key.Secret{}, k.Relay) || more
	}
	return t.changeKeys(ring, more)
}

// changeKeys stores a ring if there is more in it, and queues what waited.
func (t *txn) changeKeys(ring *keyring, more bool) error {
	if !more {
		return nil
	}
	if err := t.setKeys(ring); err != nil {
		return err
	}
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	for _, c := range cores {
		if c.Waiting == waitKey {
			t.queue.push(c)
		}
	}
	return nil
}

// takeKeys opens the boxes that new control entries hold for this device, and
// the links that the keys it then has open.
func (t *txn) takeKeys(st *State) error {
	old, err := t.keys()
	if err != nil {
		return err
	}
	ring, more := old.clone(), false
	checks := map[key.Hash]*epoch{}
	for _, e := range t.log {
		for _, r := range e.recs {
			if d, ok := r.data.(*epoch); ok {
				checks[d.id()] = d
			}
		}
	}
	if st.genesis != nil {
		g := &epoch{Content: st.genesis.Content, Relay: st.genesis.Relay}
		checks[g.id()] = g
	}
	for _, e := range t.fresh {
		for _, r := range e.recs {
			if d, ok := r.data.(*boxes); ok {
				more = t.openBoxes(ring, d) || more
			}
		}
	}
	t.fresh = nil
	for openLinks(ring, checks) {
		more = true
	}
	return t.changeKeys(ring, more)
}

// openBoxes opens the boxes that are for this device.
func (t *txn) openBoxes(ring *keyring, d *boxes) (more bool) {
	if have, ok := ring.epochs[d.Epoch]; ok && !have.ContentKey.IsZero() && !have.RelayKey.IsZero() {
		return false
	}
	self := t.r.dev.ID()
	for _, b := range d.Boxes {
		if b.Device != self {
			continue
		}
		plain, err := t.r.dev.OpenBox(boxInfo(t.r.id, d.Epoch, self), b.Sealed)
		if err != nil {
			continue
		}
		if len(plain) != boxPlain {
			continue
		}
		first, relay := key.Secret(plain[1:33]), key.Secret(plain[33:])
		content, contentKey := key.Hash(first), key.Secret{}
		if plain[0] == boxContent {
			content, contentKey = check(first), first
		}
		if epochID(content, check(relay)) == d.Epoch {
			more = ring.addEpoch(content, check(relay), contentKey, relay) || more
		}
		clear(plain)
	}
	return more
}

// openLinks opens what the known keys of each epoch link back to.
func openLinks(ring *keyring, checks map[key.Hash]*epoch) (more bool) {
	for id, e := range checks {
		have, ok := ring.epochs[id]
		if !ok {
			continue
		}
		for _, l := range e.Links {
			earlier := checks[l.Epoch]
			known := ring.epochs[l.Epoch]
			if earlier == nil || !known.ContentKey.IsZero() && !known.RelayKey.IsZero() {
				continue
			}
			content := openLink(key.UseContentLink, have.ContentKey, id, l.Epoch, l.Content)
			relay := openLink(key.UseRelayLink, have.RelayKey, id, l.Epoch, l.Relay)
			more = ring.addEpoch(earlier.Content, earlier.Relay, content, relay) || more
		}
	}
	return more
}

// hunt looks ahead in control cores that are held up while a key is missing:
// an entry further on that can be read may hand the key on, or hold a box for
// this device.
func (t *txn) hunt() error {
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	heldUp := func(c *coreRow) bool {
		return c.Kind == key.Control && c.Waiting != waitNone && c.Status != coreFalse && !t.queue.queued[c.no]
	}
	if !slices.ContainsFunc(cores, func(c *coreRow) bool { return heldUp(c) && c.Waiting == waitKey }) {
		return nil
	}
	for _, c := range cores {
		if !heldUp(c) {
			continue
		}
		if err := t.huntCore(c); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) huntCore(c *coreRow) error {
	w, err := t.Core(c.ID)
	if err != nil {
		return fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
	}
	n, err := w.Length()
	if err != nil {
		return err
	}
	old, err := t.keys()
	if err != nil {
		return err
	}
	ring, more := old.clone(), false
	for i := c.Next; i < n; i++ {
		a := &arrival{row: c, pos: pos{c.no, i}}
		wait, err := t.open(a, w)
		if errors.Is(err, errFalse) || err == nil && wait != waitNone {
			continue
		}
		if err != nil {
			return err
		}
		for _, k := range a.header.Keys {
			more = ring.addEpoch(k.Check, check(k.Relay), key.Secret{}, k.Relay) || more
		}
		if wait, err := t.openBody(a); err != nil || wait != waitNone {
			continue
		}
		for _, r := range a.recs {
			if d, ok := r.data.(*boxes); ok {
				more = t.openBoxes(ring, d) || more
			}
		}
	}
	return t.changeKeys(ring, more)
}
