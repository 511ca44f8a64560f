package room

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// txn is a transaction with what it has read and is going to write. It lives
// as long as the storage's transaction: everything here is made anew when a
// closure runs again.
type txn struct {
	Tx
	r   *Room
	idx Rows

	cores   map[uint32]*coreRow
	numbers map[key.CoreID]uint32
	clocks  clockCache
	fronts  map[key.Kind][]frontEntry

	advanced [4]bool // by kind: fronts that are to be stored

	log      []*ctl // control entries
	logStamp key.Hash
	logged   bool
	st       *State
	before   *State       // when the transaction began, if it was at hand
	fresh    []*ctl       // not yet looked at by takeKeys
	arrived  []key.Hash   // control entries processed in this transaction
	stranger key.DeviceID // whose core is new here: see crowded
	ring     *keyring
	selfRow  *selfRow

	event  Event
	heads  map[key.CoreID]bool
	add    map[key.Kind][]Counted
	remove map[key.Kind][]Counted
	again  []Counted // removed and to be added with other capabilities
	weight int       // bytes of what the views are yet to be given

	appends  map[key.CoreID]*core.Appender // to this device's cores
	unsigned map[key.CoreID]*core.Appender // those of them that have more than the last head says

	queue   workQueue
	learned bool // control entries came: see settle
	budget  int  // entries that may still be processed in this transaction
	bytes   int  // of their bodies that may
	more    bool // the budget was used up

	branches  map[uint32][]uint32 // see branchesOf
	unreached error               // a view could not be told how far a closure reaches

	recent struct { // the entry that was read or stored last
		at  pos
		row entryRow
		ok  bool
	}
	own [4]struct { // by kind: what ownCore found to be whole
		row  *coreRow
		st   *State // then
		next uint64
	}

	noneCleared *bool // nothing was cleared for good; nil: not looked yet
	noneWaits   *bool // no core waits for an entry; nil: not looked yet
	holds       *bool // see held; nil: not looked yet
	holding     bool  // a view has just met what needs a newer program
	settles     bool  // this device goes on in new generations: see renew
	madeUp      bool  // see makeUp
	newLogs     bool  // see NewLogs
}

func (r *Room) begin(tx Tx) *txn {
	return &txn{
		Tx: tx, r: r, idx: tx.Rows(tableDerived),
		cores:   map[uint32]*coreRow{},
		numbers: map[key.CoreID]uint32{},
		fronts:  map[key.Kind][]frontEntry{},
		heads:   map[key.CoreID]bool{},
		appends: map[key.CoreID]*core.Appender{}, unsigned: map[key.CoreID]*core.Appender{},
		add:    map[key.Kind][]Counted{},
		remove: map[key.Kind][]Counted{},
		budget: maxPerTx, bytes: maxBytesPerTx,
	}
}

// A transaction processes so many entries at most, and ends after the one with
// which their bodies reach so many bytes: what it keeps in memory and writes
// goes by what entries say, and one may say thousands of things. Tests lower
// both.
var (
	maxPerTx      = 20_000
	maxBytesPerTx = 256 << 10
)

// spend counts an entry that was processed, or counted anew, with the bytes of
// its body as far as that was needed.
func (t *txn) spend(body int) { t.budget, t.bytes = t.budget-1, t.bytes-body }

// spent reports whether no more entries are to be processed in this transaction.
func (t *txn) spent() bool { return t.budget <= 0 || t.bytes <= 0 }

// clockOf returns the closure of an entry, without the entry itself. It is
// shared: not to be changed.
func (t *txn) clockOf(p pos, e entryRow) (clock, error) {
	var chain []entryRow
	var c clock
	for {
		if known, ok := t.cachedClock(e.id); ok {
			c = known
			break
		}
		chain = append(chain, e)
		if e.distance == 0 {
			break
		}
		if e.prev == 0 || len(chain) > keyframe {
			return nil, fmt.Errorf("%w: clock chain", ErrFormat)
		}
		var err error
		if e, err = t.entry(pos{p.no, e.prev - 1}); err != nil {
			return nil, fmt.Errorf("reading clock: %w", err)
		}
	}
	if len(chain) == 0 {
		return c, nil
	}
	c = c.clone()
	for _, e := range slices.Backward(chain) {
		if err := applyDelta(&c, e.delta); err != nil {
			return nil, fmt.Errorf("reading clock: %w", err)
		}
	}
	t.clocks.put(chain[0].id, c)
	return c, nil
}

func (t *txn) cachedClock(id key.Hash) (clock, bool) {
	if c, ok := t.clocks.get(id); ok {
		return c, true
	}
	return t.r.clocks.get(id)
}

// block returns the bytes of a block; errors.Is(err, ErrAbsent) when they are
// not here.
func (t *txn) block(id key.CoreID, seq uint64) ([]byte, error) {
	w, err := t.Core(id)
	if err != nil {
		return nil, fmt.Errorf("opening core %s: %w", id.Short(), err)
	}
	b, err := w.Block(seq)
	if errors.Is(err, core.ErrAbsent) {
		return nil, fmt.Errorf("block %d of core %s: %w", seq, id.Short(), ErrAbsent)
	}
	return b, err
}

// keys returns the keys that this transaction knows.
func (t *txn) keys() (*keyring, error) {
	if t.ring == nil {
		ring, err := t.r.loadKeyring(t.Tx)
		if err != nil {
			return nil, err
		}
		t.ring = ring
	}
	return t.ring, nil
}

// present returns the members as they are now, and the keys that this device has.
func (t *txn) present() (*State, *keyring, error) {
	st, err := t.state()
	if err != nil {
		return nil, nil, err
	}
	ring, err := t.keys()
	return st, ring, err
}

// setKeys stores a changed ring.
func (t *txn) setKeys(ring *keyring) error {
	if err := ring.save(t.Log(tableKeys), t.ring); err != nil {
		return err
	}
	t.ring = ring
	t.event.Keys = true
	return nil
}

// flush writes what is kept in memory.
func (t *txn) flush() error {
	if err := t.sign(); err != nil {
		return err
	}
	for _, c := range t.cores {
		if c.dirty {
			if err := t.putCore(c); err != nil {
				return err
			}
		}
	}
	for id := range t.heads {
		t.event.Heads = append(t.event.Heads, id)
	}
	clear(t.heads)
	return t.flushFronts()
}

// update runs a transaction and tells the watchers what it did.
func (r *Room) update(fn func(t *txn) error) error {
	var done *txn
	err := r.st.Update(func(tx Tx) error {
		t := r.begin(tx)
		done = t
		t.notes()
		if err := t.makeUp(); err != nil {
			return err
		}
		if err := fn(t); err != nil {
			return err
		}
		t.event.Notes = t.notes()
		return t.flush()
	})
	if err != nil {
		return err
	}
	r.committed(done)
	return nil
}

// notes takes what the views have to say.
func (t *txn) notes() map[string]any {
	var all map[string]any
	for _, v := range t.r.views {
		n, ok := v.(Noting)
		if !ok {
			continue
		}
		if x := n.Note(); x != nil {
			if all == nil {
				all = map[string]any{}
			}
			all[v.Name()] = x
		}
	}
	return all
}

// updateHolding is update; when a view meets what it does not understand, it
// runs again with drive and chat entries held back.
func (r *Room) updateHolding(fn func(t *txn) error) error {
	err := r.update(fn)
	if !errors.Is(err, ErrUpdateNeeded) {
		return err
	}
	return r.update(func(t *txn) error {
		if err := t.setHold(true); err != nil {
			return fmt.Errorf("holding entries back: %w", err)
		}
		t.event.Status, t.holding = true, true
		return fn(t)
	})
}

// run is updateHolding, followed by what did not fit its transaction.
func (r *Room) run(fn func(t *txn) error) error {
	var more bool
	once := func(t *txn) error {
		err := fn(t)
		more = t.more
		return err
	}
	err := r.updateHolding(once)
	if errors.Is(err, errLost) {
		if err = r.rebuild(); err == nil {
			err = r.updateHolding(once)
		}
	}
	if err != nil || !more {
		return err
	}
	return r.catchUp()
}

// committed keeps what the next transactions are likely to need, and reports.
func (r *Room) committed(t *txn) {
	for _, c := range t.cores {
		if e := c.lastID; !e.IsZero() {
			if k, ok := t.clocks.get(e); ok {
				r.clocks.put(e, k)
			}
		}
	}
	if t.settles {
		r.settled()
	}
	if t.madeUp {
		r.behind.Store(false)
	}
	if t.newLogs {
		r.newLogs.Store(newLogsBegun)
	}
	r.emit(t.event)
}

// View runs fn on a snapshot. It must not call methods that write.
func (r *Room) View(fn func(tx Tx) error) error { return r.st.View(fn) }

// view runs fn on a snapshot with this package's reading.
func (r *Room) view(fn func(t *txn) error) error {
	return r.st.View(func(tx Tx) error { return fn(r.begin(tx)) })
}
