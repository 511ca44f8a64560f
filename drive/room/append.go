package room

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// Update is the transaction of Room.Update.
type Update struct {
	Tx
	t *txn
	n int
}

// Append seals an entry, appends it to this device's core of the kind, and
// applies it to the views of that kind: everything read in this transaction
// afterwards contains it. When Append fails, the closure must return the error.
//
// Errors: ErrNotAllowed, ErrPending, ErrRemoved, ErrLeft, ErrTooLarge, ErrUpdateNeeded,
// ErrNotFound for a dependency that was not processed here, ErrKey.
func (u *Update) Append(kind key.Kind, d Draft) (Receipt, error) {
	if kind != key.Drive && kind != key.Chat {
		return Receipt{}, fmt.Errorf("appending to %s: %w", kind, ErrNotAllowed)
	}
	if u.n == MaxBatch {
		return Receipt{}, fmt.Errorf("more than %d entries at once: %w", MaxBatch, ErrTooLarge)
	}
	u.n++
	rec, err := u.t.appendData(kind, d)
	if err != nil {
		return Receipt{}, fmt.Errorf("appending to the %s log: %w", kind, err)
	}
	return rec, u.t.flushViews()
}

func (t *txn) appendData(kind key.Kind, d Draft) (Receipt, error) {
	if err := checkDraft(d); err != nil {
		return Receipt{}, err
	}
	if err := t.mayAppend(needOf(kind)); err != nil {
		return Receipt{}, err
	}
	s, err := t.headSealer()
	if err != nil {
		return Receipt{}, err
	}
	if s.content.IsZero() {
		return Receipt{}, fmt.Errorf("%w; it comes when a member that has it is connected", ErrKey)
	}
	h := header{Payloads: uint32(len(d.Payloads))}
	for _, b := range d.Blobs {
		h.Blobs = append(h.Blobs, hint{CID: b.CID.Bytes(), Size: b.Size})
	}
	if err := t.gather(kind, s, len(d.Deps)); err != nil {
		return Receipt{}, err
	}
	a, err := t.appendCounting(kind, s, h, d)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Entry: a.id, Core: a.row.ID, Seq: a.pos.seq, Lamport: a.header.Lamport, Wall: a.header.Wall}, nil
}

func (t *txn) appendCounting(kind key.Kind, s *sealer, h header, d Draft) (*arrival, error) {
	a, err := t.appendOwn(kind, s, h, d, nil)
	if err == nil && a.row.Counted != a.row.Last {
		// the caller would be told that it stands, and no view would have it
		err = fmt.Errorf("%w by what the entry refers to", ErrNotAllowed)
	}
	return a, err
}

func checkDraft(d Draft) error {
	switch {
	case len(d.Payloads) > MaxPayloads:
		return fmt.Errorf("%d payloads, at most %d: %w", len(d.Payloads), MaxPayloads, ErrTooLarge)
	case len(d.Deps) > MaxDeps:
		return fmt.Errorf("%d references, at most %d: %w", len(d.Deps), MaxDeps, ErrTooLarge)
	case len(d.Blobs) > MaxBlobs:
		return fmt.Errorf("%d blobs, at most %d: %w", len(d.Blobs), MaxBlobs, ErrTooLarge)
	}
	for _, p := range d.Payloads {
		if len(p) > MaxPayload {
			return fmt.Errorf("a payload of %d bytes, at most %d: %w", len(p), MaxPayload, ErrTooLarge)
		}
	}
	return nil
}

// mayAppend says whether this device may write now, and if not, what to do.
// Entries of the drive or the chat that wait for a newer program do not keep
// anybody from managing the room: who wrote them may have to be removed.
func (t *txn) mayAppend(need Caps) error {
	if t.r.hold.wait() != nil {
		return errHeld // what comes may change the answer, too
	}
	return t.allowed(need)
}

// allowed is mayAppend without what has to be waited for.
func (t *txn) allowed(need Caps) error {
	st, err := t.state()
	if err != nil {
		return err
	}
	if held, err := t.held(); err != nil {
		return err
	} else if held && need&(CapDrive|CapChat) != 0 || st.updateNeeded {
		return fmt.Errorf("%w; update this one, until then the room is read-only", ErrUpdateNeeded)
	}
	caps := st.caps(t.r.dev.ID())
	if caps&need == need {
		return nil
	}
	stand, why, err := t.standing()
	switch {
	case err != nil:
		return err
	case stand == Pending:
		return fmt.Errorf("%w: a member must be online", ErrPending)
	case stand == Refused:
		return fmt.Errorf("%w: %s", ErrRefused, why)
	case stand == Left:
		return fmt.Errorf("%w; ask a member for a new link to come back", ErrLeft)
	case stand != Admitted:
		return fmt.Errorf("%w; ask a member for a new link to come back", ErrRemoved)
	}
	return fmt.Errorf("%w as %s: ask an owner or admin for %s", ErrNotAllowed, roleOf(caps), rightName(need))
}

func rightName(need Caps) string {
	switch {
	case need&CapOwn != 0:
		return "the role owner"
	case need&(CapManage|CapInvite) != 0:
		return "the role admin"
	}
	return "the role writer"
}

// appendControl appends a control entry of this device.
func (t *txn) appendControl(deps []key.Hash, recs ...record) (*arrival, error) {
	s, keys, err := t.controlSealer()
	if err != nil {
		return nil, err
	}
	return t.appendUnder(s, keys, deps, recs...)
}

// appendUnder appends a control entry that is sealed under given keys.
func (t *txn) appendUnder(s *sealer, keys []relayKey, deps []key.Hash, recs ...record) (*arrival, error) {
	body, err := encodeRecords(recs...)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxBoxesEntry {
		return nil, fmt.Errorf("a control entry of %d bytes: %w", len(body), ErrTooLarge)
	}
	a, err := t.appendOwn(key.Control, s, header{Keys: keys}, Draft{Body: body, Deps: deps}, recs)
	if err != nil {
		return nil, fmt.Errorf("appending to the control log: %w", err)
	}
	return a, nil
}

// controlSealer returns what control entries are sealed under: the relay key
// of the current epochs, or that of the link until one is in. The first entry
// under a new key hands the older ones on.
func (t *txn) controlSealer() (*sealer, []relayKey, error) {
	st, ring, err := t.present()
	if err != nil {
		return nil, nil, err
	}
	own, err := t.ownCore(key.Control)
	if err != nil {
		return nil, nil, err
	}
	s, err := ring.forHeads(st.heads)
	if err != nil || st.caps(t.r.dev.ID()) == 0 {
		older, err := t.olderSealer(st, ring)
		return older, nil, err
	}
	if len(s.components) > 0 && ring.loose[s.tag] != s.relay {
		more := ring.clone()
		more.addLoose(s.relay)
		if err := t.setKeys(more); err != nil {
			return nil, nil, err
		}
	}
	if own.Last > 0 && own.Tag == s.tag || len(st.epochs) < 2 {
		return s, nil, nil
	}
	return s, ring.relayKeys(), nil
}

// olderSealer returns what to seal a control entry under when the present
// keys are not here: the newest that are, or those of the link.
func (t *txn) olderSealer(st *State, ring *keyring) (*sealer, error) {
	var s *sealer
	if st.caps(t.r.dev.ID()) != 0 {
		for _, e := range st.epochs {
			if k := ring.byTag[e.tag()]; k != nil {
				s = k
			}
		}
	}
	self, err := t.self()
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = ring.byTag[self.LinkTag]
	}
	if s == nil {
		return nil, fmt.Errorf("%w; it comes when a member that has it is connected", ErrKey)
	}
	return s, nil
}

// tableOwn is the truth table of how far this device wrote its cores: what a
// damaged storage may have lost.
const tableOwn = "own"

// ownCore returns this device's core of a kind in its present generation. If
// that cannot be continued without the risk of a fork (it is closed, or what is
// known of it is not all here), or is older than its membership, a new generation
// is begun.
func (t *txn) ownCore(kind key.Kind) (*coreRow, error) {
	if t.r.hold.wait() != nil {
		return nil, errHeld
	}
	self, err := t.self()
	if err != nil {
		return nil, err
	}
	st, err := t.state()
	if err != nil {
		return nil, err
	}
	if d := st.devices[t.r.dev.ID()]; d != nil && d.gen() > self.gen(kind) {
		self.Gens[kind-1] = d.gen()
		if err := t.nextGeneration(kind); err != nil {
			return nil, err
		}
	}
	own := &t.own[kind]
	if c := own.row; c != nil && own.st == st && c.Gen == self.gen(kind) && c.Status == coreOpen {
		if a := t.appends[c.ID]; a == nil && c.Next == own.next || a != nil && c.Next == a.Length() {
			return c, nil // checked before, in this transaction
		}
	}
	c, err := t.addCore(t.r.dev.ID(), kind, self.gen(kind))
	if err != nil {
		return nil, err
	}
	if a := t.appends[c.ID]; a != nil && c.Status == coreOpen && a.Length() == c.Next {
		return c, nil // checked when this transaction began to append; its head is signed at the end
	}
	_, whole, err := t.whole(c)
	if err != nil {
		return nil, err
	}
	if c.Status == coreOpen && whole {
		own.row, own.st, own.next = c, st, c.Next
		return c, nil
	}
	if err := t.nextGeneration(kind); err != nil {
		return nil, err
	}
	return t.addCore(t.r.dev.ID(), kind, self.gen(kind))
}

// appender returns what appends to one of this device's cores in this transaction.
func (t *txn) appender(id key.CoreID) (*core.Appender, error) {
	if a := t.appends[id]; a != nil {
		return a, nil
	}
	w, err := t.Core(id)
	if err != nil {
		return nil, fmt.Errorf("opening own core: %w", err)
	}
	a, err := core.NewAppender(w, t.r.dev, id)
	if err != nil {
		return nil, err
	}
	t.appends[id] = a
	return a, nil
}

// sign signs what was appended to this device's cores. That is done once, when
// a transaction ends, and before anything in it looks at their heads.
func (t *txn) sign() error {
	for id, a := range t.unsigned {
		if _, err := a.Sign(); err != nil {
			return err
		}
		if err := t.setWrote(id, a.Length()); err != nil {
			return err
		}
	}
	clear(t.unsigned)
	return nil
}

// whole returns how many blocks of an own core are here, and whether that is
// all that is known of it, processed.
func (t *txn) whole(c *coreRow) (n uint64, whole bool, err error) {
	w, err := t.Core(c.ID)
	if err != nil {
		return 0, false, fmt.Errorf("opening own core: %w", err)
	}
	if n, err = w.Length(); err != nil {
		return 0, false, err
	}
	h, err := w.Head()
	if err != nil {
		return 0, false, err
	}
	wrote, err := t.wrote(c.ID)
	return n, n == c.Next && n == h.Length && wrote <= n, err
}

func (t *txn) wrote(id key.CoreID) (uint64, error) {
	v, err := t.Log(tableOwn).Get(id[:])
	if err != nil {
		return 0, fmt.Errorf("reading how far this device wrote: %w", err)
	}
	if len(v) != 8 {
		return 0, nil
	}
	return be64(v), nil
}

func (t *txn) setWrote(id key.CoreID, n uint64) error {
	if err := t.Log(tableOwn).Put(id[:], binary.BigEndian.AppendUint64(nil, n)); err != nil {
		return fmt.Errorf("noting how far this device wrote: %w", err)
	}
	return nil
}

// appendOwn seals an entry, appends it with its payloads and processes it.
func (t *txn) appendOwn(kind key.Kind, s *sealer, h header, d Draft, recs []record) (*arrival, error) {
	c, err := t.ownCore(kind)
	if err != nil {
		return nil, err
	}
	to, err := t.appender(c.ID)
	if err != nil {
		return nil, err
	}
	n := c.Next
	a := &arrival{row: c, pos: pos{c.no, n}, prev: c.Last, sealer: s, body: d.Body, recs: recs, derived: d.Derived}
	refs, control, err := t.references(a, d.Deps)
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		h.Deps = append(h.Deps, r.row.id)
	}
	for _, r := range control {
		h.Control = append(h.Control, r.row.id)
	}
	sortHashes(h.Deps)
	sortHashes(h.Control)
	if h.Lamport, err = t.follow(a, append(refs, control...)); err != nil {
		return nil, err
	}
	if h.Lamport > MaxLamport {
		return nil, fmt.Errorf("logical time: %w", ErrTooLarge)
	}
	h.Prev = to.Root()
	h.Wall = min(max(0, t.r.now().UnixNano()), maxWall)
	a.header = h
	blocks, err := sealBlocks(kind, s, place{c.ID, n}, h, d.Body, d.Payloads)
	if err != nil {
		return nil, err
	}
	if err := to.Append(blocks); err != nil {
		return nil, err
	}
	t.unsigned[c.ID] = to
	a.id, a.env.tag = leaf(blocks[0]), s.tag
	return a, t.take(a)
}

func sealBlocks(kind key.Kind, s *sealer, at place, h header, body []byte, payloads [][]byte) ([][]byte, error) {
	head, err := encode(h)
	if err != nil {
		return nil, err
	}
	if len(head) > MaxHeader || len(head)+len(body)+blockExtra > MaxEntry {
		return nil, fmt.Errorf("an entry of %d bytes: %w", len(head)+len(body), ErrTooLarge)
	}
	b, err := s.entry(kind, at, head, body)
	if err != nil {
		return nil, err
	}
	blocks := [][]byte{b}
	for i, p := range payloads {
		b, err := s.payloadBlock(place{at.core, at.index + 1 + uint64(i)}, p)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// SetClock makes the room take its times from fn, for simulations in which clocks are wrong. It is called before anything else is done
// with the room.
func (r *Room) SetClock(fn func() time.Time) { r.clock = fn }

// now is the wall clock, for display only.
func (r *Room) now() time.Time {
	if r.clock != nil {
		return r.clock()
	}
	return time.Now()
}
