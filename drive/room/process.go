package room

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// workQueue holds the cores that may have something to process; control cores
// go first, because what they say decides about the others.
type workQueue struct {
	control, data []uint32
	queued        map[uint32]bool
}

func (q *workQueue) push(c *coreRow) {
	if q.queued == nil {
		q.queued = map[uint32]bool{}
	}
	if q.queued[c.no] {
		return
	}
	q.queued[c.no] = true
	if c.Kind == key.Control {
		q.control = append(q.control, c.no)
	} else {
		q.data = append(q.data, c.no)
	}
}

func (q *workQueue) pop(list *[]uint32) (no uint32, ok bool) {
	if len(*list) == 0 {
		return 0, false
	}
	no = (*list)[0]
	*list = (*list)[1:]
	delete(q.queued, no)
	return no, true
}

// advance processes whatever can be processed, starting from the queued
// cores: control entries until there are no more, then what they change, then
// drive and chat entries. Views are given the result.
func (t *txn) advance() error {
	for {
		if no, ok := t.queue.pop(&t.queue.control); ok {
			if err := t.processCore(no); err != nil {
				return err
			}
			continue
		}
		if t.learned {
			t.learned = false
			if err := t.settle(); err != nil {
				return err
			}
			continue
		}
		if t.more {
			break
		}
		held, err := t.held()
		if err != nil {
			return err
		}
		no, ok := t.queue.pop(&t.queue.data)
		if !ok || held {
			break
		}
		if err := t.processCore(no); err != nil {
			return err
		}
	}
	return t.flushViews()
}

// held reports whether drive and chat entries wait for a newer program.
func (t *txn) held() (bool, error) {
	if t.holds == nil {
		v, err := t.idx.Get(rowHold)
		if err != nil {
			return false, fmt.Errorf("reading: %w", err)
		}
		holds := v != nil
		t.holds = &holds
	}
	return *t.holds, nil
}

// setHold makes them wait, or go on.
func (t *txn) setHold(hold bool) error {
	t.holds = nil
	if !hold {
		return t.idx.Delete(rowHold)
	}
	return t.idx.Put(rowHold, []byte{1})
}

// processCore processes the entries of a core up to the first that has to
// wait.
func (t *txn) processCore(no uint32) error {
	c, err := t.core(no)
	if err != nil {
		return err
	}
	if c.Status == coreFalse || c.Status == coreCarrier {
		return nil
	}
	w, err := t.Core(c.ID)
	if err != nil {
		return fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
	}
	n, err := w.Length()
	if err != nil {
		return fmt.Errorf("core %s: %w", c.ID.Short(), err)
	}
	if c.Next == 0 && isCarrier(w, n) {
		return t.unpack(c, w, n)
	}
	if started, err := t.startBranch(c); err != nil || !started {
		return err
	}
	before := c.Next
	if err := t.processEntries(c, w, n); err != nil || c.Next == before || c.Parted == 0 {
		return err
	}
	return t.queueBranches(c)
}

// processEntries processes the entries of a core of n blocks.
func (t *txn) processEntries(c *coreRow, w core.Reader, n uint64) error {
	w = core.KeepHashes(w) // each entry's header names the root before it
	for c.Next < n {
		if c.Kind != key.Control && t.spent() {
			t.more = true
			return nil
		}
		wait, err := t.processNext(c, w)
		if errors.Is(err, errFalse) {
			c.Status, c.At, c.Reason, c.Waiting, c.dirty = coreFalse, c.Next, err.Error(), waitNone, true
			t.event.Status = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("core %s of %s at block %d: %w", c.Kind, c.Device.Short(), c.Next, err)
		}
		if c.Waiting != wait {
			c.Waiting, c.dirty = wait, true
			t.event.Status = true
		}
		if wait != waitNone && c.Kind == key.Control {
			t.learned = true // perhaps an entry further on hands a missing key on
		}
		if wait != waitNone {
			return nil
		}
	}
	return nil
}

// errFalse says that an entry is not what its header must be: the core ends
// before it.
var errFalse = errors.New("false entry")

func falsef(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errFalse}, args...)...)
}

// arrival is an entry on its way through processing.
type arrival struct {
	row    *coreRow
	pos    pos
	id     key.Hash
	header header
	env    envelope
	sealer *sealer
	clock  clock  // of its closure
	claims claims // of what it stands on
	body   []byte
	recs   []record
	prev   uint64 // 1 + block of the own entry before

	derived any // see Draft
}

// processNext processes the next entry of a core, or says what it waits for.
func (t *txn) processNext(c *coreRow, w core.Reader) (waiting, error) {
	a := &arrival{row: c, pos: pos{c.no, c.Next}, prev: c.Last}
	wait, err := t.open(a, w)
	if err == nil && wait == waitBlock {
		err = t.noteAbsent(a.pos)
	}
	if err != nil || wait != waitNone {
		return wait, err
	}
	if wait, err = t.closeOver(a, w); err != nil || wait != waitNone {
		return wait, err
	}
	if wait, err = t.openBody(a); err != nil || wait != waitNone {
		return wait, err
	}
	if err := t.take(a); err != nil {
		return 0, err
	}
	t.spend(len(a.body))
	return waitNone, t.lookForTwin(a)
}

// open reads the block and its header.
func (t *txn) open(a *arrival, w core.Reader) (waiting, error) {
	b, err := w.Block(a.pos.seq)
	if errors.Is(err, core.ErrAbsent) {
		return waitBlock, nil
	}
	if err != nil {
		return 0, err
	}
	if a.env, err = parseEnvelope(b); errors.Is(err, ErrUpdateNeeded) {
		return waitUpdate, nil
	}
	if err != nil {
		return 0, falsef("%w", err)
	}
	if a.env.payload {
		return 0, falsef("a payload where an entry must be")
	}
	a.id = leaf(b)
	ring, err := t.keys()
	if err != nil {
		return 0, err
	}
	if a.sealer, err = ring.sealerFor(a.env); errors.Is(err, errNoKey) {
		return waitKey, nil
	}
	if err != nil {
		return 0, falsef("%w", err)
	}
	plain, err := a.sealer.openHeader(place{a.row.core(), a.pos.seq}, a.env)
	if err != nil {
		return 0, falsef("header: %w", err)
	}
	if a.header, err = decodeHeader(plain, a.row.Kind); err != nil {
		return 0, falsef("%w", err)
	}
	return waitNone, nil
}

// closeOver checks that everything the entry refers to was processed, adds up
// its closure, and checks that the header is true.
func (t *txn) closeOver(a *arrival, w core.Reader) (waiting, error) {
	root, err := rootAt(w, a.pos.seq)
	if err != nil {
		return 0, err
	}
	if root != a.header.Prev {
		return 0, falsef("it was made on top of another history")
	}
	refs, missing, err := t.resolve(a.row, a.header.Deps, a.header.Control)
	if err != nil {
		return 0, err
	}
	if missing != nil {
		return waitEntry, t.waitFor(a.row, *missing)
	}
	lamport, err := t.follow(a, refs)
	if err != nil {
		return 0, err
	}
	if a.header.Lamport != lamport {
		return 0, falsef("logical time %d instead of %d", a.header.Lamport, lamport)
	}
	return waitNone, nil
}

func rootAt(r core.Reader, n uint64) (key.Hash, error) {
	if n == 0 {
		return key.Hash{}, nil
	}
	return core.Root(r, n)
}

// ref is a processed entry that another one refers to.
type ref struct {
	pos
	row entryRow
}

// resolve finds the entries that an entry of core c refers to, or the first
// that was not processed.
func (t *txn) resolve(c *coreRow, deps, control []key.Hash) (refs []ref, missing *key.Hash, err error) {
	for i, id := range slices.Concat(deps, control) {
		p, ok, err := t.find(id)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			return nil, &id, nil
		}
		o, err := t.core(p.no)
		if err != nil {
			return nil, nil, err
		}
		if o.core() == c.core() || !mayRefer(c.Kind, o.Kind, i >= len(deps)) {
			return nil, nil, falsef("it refers to an entry of %s", o.Kind)
		}
		row, err := t.entry(p)
		if err != nil {
			return nil, nil, err
		}
		refs = append(refs, ref{p, row})
	}
	return refs, nil, nil
}

// mayRefer reports whether an entry of one kind may refer to one of another.
// What is said about members depends on nothing else; the drive does not
// depend on the chat.
func mayRefer(from, to key.Kind, control bool) bool {
	switch {
	case control:
		return from != key.Control && to == key.Control
	case from == key.Chat:
		return to == key.Chat || to == key.Drive
	}
	return from == to
}

// follow adds up the closure of an entry into a.clock, and what that carries on
// of clocks into a.claims, and returns the logical time it must have.
func (t *txn) follow(a *arrival, refs []ref) (lamport uint64, err error) {
	if a.prev > 0 {
		p, err := t.ownBefore(a)
		if err != nil {
			return 0, err
		}
		own, err := t.entry(p)
		if err != nil {
			return 0, err
		}
		c, err := t.clockOf(p, own)
		if err != nil {
			return 0, err
		}
		a.clock = c.clone()
		a.clock.raise(p.no, p.seq+1)
		lamport, a.claims = own.lamport, own.claims
	}
	for _, r := range refs {
		c, err := t.clockOf(r.pos, r.row)
		if err != nil {
			return 0, err
		}
		a.clock.merge(c)
		a.clock.raise(r.no, r.seq+1)
		lamport = max(lamport, r.row.lamport)
		if o, err := t.core(r.no); err != nil {
			return 0, err
		} else if o.Kind != a.row.Kind {
			continue
		}
		if err := t.claimAll(&a.claims, &r.row.claims); err != nil {
			return 0, err
		}
	}
	if a.row.Kind != key.Control {
		st, err := t.state()
		if err != nil {
			return 0, err
		}
		lamport = max(lamport, st.floor(a.row.Device, a.clock))
	}
	return lamport + 1, nil
}

// openBody decrypts the body, and decodes it where it is this package's.
func (t *txn) openBody(a *arrival) (waiting, error) {
	body, err := a.sealer.openBody(a.row.Kind, place{a.row.core(), a.pos.seq}, a.env)
	if errors.Is(err, ErrKey) {
		return waitKey, nil
	}
	if err != nil {
		return 0, falsef("body: %w", err)
	}
	a.body = body
	if a.row.Kind != key.Control {
		return waitNone, nil
	}
	if a.recs, err = decodeRecords(body); err != nil {
		return 0, falsef("%w", err)
	}
	for i, r := range a.recs {
		if err := t.checkRecord(a, i, r); err != nil {
			return 0, err
		}
	}
	return waitNone, nil
}

// checkRecord checks what a record says about its author and the room.
func (t *txn) checkRecord(a *arrival, i int, r record) error {
	switch d := r.data.(type) {
	case *genesis:
		id, err := roomIDOf(*d)
		if err != nil {
			return err
		}
		if id != t.r.id || d.Device != a.row.Device || a.row.Gen != 0 || a.pos.seq != 0 || i != 0 {
			return falsef("a genesis that is not this room's")
		}
	case *join:
		if d.Device != a.row.Device || d.Gen != a.row.Gen || !key.Verify(d.Invite, key.UseJoin, signedJoin(t.r.id, *d), d.Sig) {
			return falsef("a join that its invite did not sign")
		}
	}
	return nil
}
