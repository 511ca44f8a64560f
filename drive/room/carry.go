package room

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// A carrier is a core of a member whose blocks hand on one history of another
// core, of which the device signed several: what others built on it can then
// be processed everywhere. Its blocks are
//
//	version[1]=1 type[1]=3 tail
//
// with tails of that history that follow each other without gaps, in which
// payloads travel as hashes. Everything in it is verified against the
// signatures of the forked core's device; who carries it does not matter.
//
// A carrier begins where what other carriers bring of the history ends, which is
// block 0 for the first. It has at most maxCarry blocks: what does not fit goes
// on in the next carrier, which begins where it ends. One that comes before
// those that it goes on from waits for them.

const typeCarrier = 3

// Bounds of one carrier. Tests lower them.
var (
	carryBytes = 512 << 10 // of a block, about
	maxCarry   = 128       // blocks
)

// isCarrier reports whether a core with n blocks is a carrier.
func isCarrier(w core.Reader, n uint64) bool {
	if n == 0 {
		return false
	}
	b, err := w.Block(0)
	return err == nil && len(b) > 2 && b[0] == blockVersion && b[1] == typeCarrier
}

// Who carries. Of all who hold a history one has to hand it on, and no more than a few
// should: each carrier is another copy of it. So a room does not do it by itself.
// Whoever runs it waits until it is this device's turn (CarryPlace) and what is
// handed on then (Uncarried, Carry) is what no carrier of those before it has
// brought meanwhile: see cover.go. Everybody's turn comes, so that nothing depends on the others
// being honest, or connected.

// CarryPlace is how many of the devices that are online come before this one in
// the order in which they hand on a core: another one for each core.
func (r *Room) CarryPlace(id key.CoreID, online []key.DeviceID) (place int) {
	order := func(d key.DeviceID) key.Hash { return key.Derive(key.UseStateHash, []byte("carry"), id[:], d[:]) }
	own := order(r.dev.ID())
	for _, d := range online {
		if o := order(d); bytes.Compare(o[:], own[:]) < 0 {
			place++
		}
	}
	return place
}

// Uncarried lists the forked cores of which a history is here that, as far as is
// known, no carrier hands on; none where this device is not a member.
func (r *Room) Uncarried() (ids []key.CoreID, err error) {
	err = r.view(func(t *txn) error {
		for k := range t.Log(tableForks).Scan(nil, nil) {
			if len(k) != len(key.CoreID{}) {
				continue
			}
			c, _, err := t.uncarried(key.CoreID(k))
			if err != nil {
				return err
			}
			if c != nil {
				ids = append(ids, c.core())
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for what nobody hands on: %w", err)
	}
	return ids, nil
}

// Carry hands on what is here of a forked core, unless a carrier does. What does
// not fit one goes on in the next, with a transaction for each.
func (r *Room) Carry(id key.CoreID) error {
	for more := true; more; {
		err := r.run(func(t *txn) (err error) {
			if err := t.sign(); err != nil { // it may be one of this device's own
				return err
			}
			c, from, err := t.uncarried(id)
			if more = false; err != nil || c == nil {
				return err
			}
			if more, err = t.carry(c, from); err != nil {
				return err
			}
			return t.advance()
		})
		if err != nil {
			return fmt.Errorf("handing on core %s: %w", id.Short(), err)
		}
	}
	return nil
}

// carry writes one carrier of a history, from a block on, and reports whether it
// wrote anything.
func (t *txn) carry(c *coreRow, from uint64) (wrote bool, err error) {
	w, err := t.Core(c.ID)
	if err != nil {
		return false, fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
	}
	blocks, err := t.carrierBlocks(c, w, from)
	if err != nil || len(blocks) == 0 {
		return false, err
	}
	gen, err := t.carrierGeneration(c.Kind, blocks)
	if err != nil {
		return false, err
	}
	row, err := t.addCore(t.r.dev.ID(), c.Kind, gen)
	if err != nil {
		return false, err
	}
	to, err := t.Core(row.ID)
	if err != nil {
		return false, fmt.Errorf("opening core %s: %w", row.ID.Short(), err)
	}
	if _, err := core.Append(to, t.r.dev, row.ID, blocks); err != nil {
		return false, err
	}
	t.heads[row.ID] = true
	t.queue.push(row)
	return true, nil
}

// carrierGeneration follows from what the carrier holds, so that two copies of
// this device do not fork their carriers.
func (t *txn) carrierGeneration(kind key.Kind, blocks [][]byte) (uint32, error) {
	h := key.Derive(key.UseStateHash, blocks...)
	for gen := be32(h[:]) % MaxGeneration; ; gen = (gen + 1) % MaxGeneration {
		c, err := t.coreByID(key.CoreIDOf(t.r.id, t.r.dev.ID(), kind, gen))
		if err != nil || c == nil {
			return gen, err
		}
	}
}

// carrierBlocks returns the carrier of a history from a block on.
func (t *txn) carrierBlocks(c *coreRow, w core.Reader, from uint64) (blocks [][]byte, err error) {
	h, err := w.Head()
	if err != nil {
		return nil, err
	}
	list, err := t.entries(c, from, 0)
	if err != nil {
		return nil, err
	}
	entry := make(map[uint64]bool, len(list))
	for _, e := range list {
		entry[e.seq] = true
	}
	for from < h.Length && len(blocks) < maxCarry {
		tail, err := core.ReadTail(w, from, carryBytes)
		if err != nil {
			return nil, err
		}
		for i := range tail.Blocks {
			at, b := from+uint64(i), &tail.Blocks[i]
			if b.Data != nil && (at < c.Next && !entry[at] || len(b.Data) > core.MaxBlock-carryBytes/16) {
				*b = core.Block{Hash: b.Leaf()}
			}
		}
		enc, err := tail.Encode()
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, append([]byte{blockVersion, typeCarrier}, enc...))
		from = tail.End()
	}
	return blocks, nil
}

// carried reads the tails of a carrier.
func carried(w core.Reader, n uint64) (tails []core.Tail, err error) {
	var next uint64
	for i := range n {
		b, err := w.Block(i)
		if err != nil {
			return nil, err
		}
		if len(b) < 2 || b[0] != blockVersion || b[1] != typeCarrier || n > uint64(maxCarry) {
			return nil, falsef("not a block of a carrier")
		}
		tail, err := core.ParseTail(b[2:])
		if err != nil {
			return nil, falsef("carrier: %w", err)
		}
		if i > 0 && (tail.From != next || tail.Core != tails[0].Core) {
			return nil, falsef("carrier: a gap")
		}
		tails, next = append(tails, tail), tail.End()
	}
	return tails, nil
}

// unpack takes what a carrier hands on: more of a history that is here, or
// another one. It waits until the core that it is about is known.
func (t *txn) unpack(c *coreRow, w core.Reader, n uint64) error {
	h, err := w.Head()
	if err != nil || h.Length < n {
		return err // it is still being received
	}
	tails, err := carried(w, n)
	if errors.Is(err, core.ErrAbsent) {
		err = t.noteAbsent(pos{c.no, 0})
		c.Waiting, c.dirty = waitBlock, true
		return err
	}
	if err == nil {
		err = t.unpackTails(c, tails)
	}
	if errors.Is(err, errFalse) {
		c.Status, c.Reason, c.dirty = coreFalse, err.Error(), true
		t.event.Status = true
		return nil
	}
	return err
}

func (t *txn) unpackTails(c *coreRow, tails []core.Tail) error {
	id := tails[0].Core
	c.Carries, c.dirty = id, true
	trunk, err := t.coreByID(id)
	if err != nil {
		return err
	}
	if trunk == nil {
		return t.waitFor(c, key.Hash(id))
	}
	main, err := t.Core(trunk.ID)
	if err != nil {
		return fmt.Errorf("opening core %s: %w", id.Short(), err)
	}
	if n, err := main.Length(); err != nil || n == 0 { // peers have more than a carrier does
		return errors.Join(err, t.waitFor(c, key.Hash(id)))
	}
	if trunk.Kind != c.Kind || trunk.isBranch() || trunk.ID == c.ID {
		return falsef("carrier: of another kind of core")
	}
	to, base, err := t.historyOf(trunk, c, tails)
	if err != nil {
		return err
	}
	if base == nil { // what these follow is not here yet
		return t.waitFor(c, key.Hash(id))
	}
	w, err := t.Core(to)
	if err != nil {
		return fmt.Errorf("opening core %s: %w", to.Short(), err)
	}
	if err := core.Branch(w, base, tails[0].From); err != nil {
		return fmt.Errorf("beginning a history of core %s: %w", id.Short(), err)
	}
	for _, tail := range tails {
		if err := tail.Apply(w, trunk.Device); err != nil {
			if isPeerError(err) || errors.As(err, new(*core.ForkError)) {
				return falsef("carrier: %w", err)
			}
			return err
		}
	}
	c.Next, c.Status, c.Waiting, c.dirty = uint64(len(tails)), coreCarrier, waitNone, true
	return t.unpacked(trunk, c, to, tails)
}

// unpacked follows the consequences: the row of what was applied is made if
// there is none, and processed.
func (t *txn) unpacked(trunk, c *coreRow, to key.CoreID, tails []core.Tail) error {
	end := tails[len(tails)-1].End()
	row, err := t.coreByID(to)
	if err != nil {
		return err
	}
	w, err := t.Core(to)
	if err != nil {
		return fmt.Errorf("opening core %s: %w", to.Short(), err)
	}
	if row == nil {
		if err := t.prove(trunk, tails); err != nil {
			return err
		}
		if err := t.addBranch(trunk, to, w); err != nil {
			return err
		}
		if row, err = t.coreByID(to); err != nil {
			return err
		}
	}
	c.In, c.Begin, c.End = row.no, tails[0].From, end
	for _, tail := range tails {
		if err := t.noteMissing(row, tail); err != nil {
			return err
		}
	}
	t.heads[trunk.ID] = true
	t.queue.push(row)
	if err := t.wake(key.Hash(trunk.ID)); err != nil { // carriers that follow this one
		return err
	}
	return t.branched(trunk, to, end)
}

// historyOf returns where the history lies that tails are of, or is to lie, and
// a core that has what comes before them: nil when none does.
func (t *txn) historyOf(trunk, c *coreRow, tails []core.Tail) (to key.CoreID, base core.Reader, err error) {
	rows, err := t.histories(trunk)
	if err != nil {
		return to, nil, err
	}
	for _, row := range rows {
		w, err := t.Core(row.ID)
		if err != nil {
			return to, nil, fmt.Errorf("opening core %s: %w", row.ID.Short(), err)
		}
		joins, same, err := agree(w, tails, trunk.Device)
		if err != nil {
			return to, nil, err
		}
		if same {
			return row.ID, w, nil
		}
		if joins && base == nil {
			base = w
		}
	}
	if base != nil {
		carriers, err := t.carriersOf(trunk)
		if err != nil {
			return to, nil, err
		}
		if n, err := t.historiesBy(c.Device, carriers); err != nil {
			return to, nil, err
		} else if n >= maxHistories {
			return to, nil, falsef("carrier: more than %d histories of one core by one device", maxHistories)
		}
	}
	return key.CoreID(key.Derive(key.UseStateHash, []byte("branch"), c.ID[:])), base, nil
}

// agree reports whether what is here leads to where tails begin, and whether
// nothing in them contradicts it.
func agree(w core.Reader, tails []core.Tail, dev key.DeviceID) (joins, same bool, err error) {
	n, err := w.Length()
	if err != nil {
		return false, false, err
	}
	for _, tail := range tails {
		if tail.From > n {
			break
		}
		switch err := tail.Check(w, dev); {
		case err == nil:
			joins = true
		case errors.As(err, new(*core.ForkError)):
			return true, false, nil // the tail joined, and then differs
		case isPeerError(err):
			return joins, false, nil
		default:
			return false, false, err
		}
	}
	return joins, joins, nil
}

// prove keeps the proof of the fork that tails show.
func (t *txn) prove(trunk *coreRow, tails []core.Tail) error {
	w, err := t.Core(trunk.ID)
	if err != nil {
		return fmt.Errorf("opening core %s: %w", trunk.ID.Short(), err)
	}
	for _, tail := range tails {
		var fork *core.ForkError
		err := tail.Check(w, trunk.Device)
		if errors.As(err, &fork) {
			return t.forked(trunk, fork.Fork)
		}
		if err != nil && !isPeerError(err) {
			return err
		}
	}
	return nil
}

// branched makes the state, which depends on the histories that are here, be
// computed anew.
func (t *txn) branched(trunk *coreRow, to key.CoreID, end uint64) error {
	if trunk.Parted == 0 {
		return nil
	}
	if err := t.loadLog(); err != nil {
		return err
	}
	t.logStamp = key.Derive(key.UseStateHash, t.logStamp[:], []byte("branch"), to[:], be32Bytes(uint32(end)))
	t.st, t.learned = nil, true
	t.event.Members, t.event.Status = true, true
	if err := t.idx.Put(rowControl, t.logStamp[:]); err != nil {
		return fmt.Errorf("storing control state: %w", err)
	}
	return nil
}

// waitFor lets a core be looked at again once an entry was processed, or a
// core is known.
func (t *txn) waitFor(c *coreRow, id key.Hash) error {
	t.noneWaits = new(bool)
	k := append(append([]byte{rowWait}, id[:]...), be32Bytes(c.no)...)
	if err := t.idx.Put(k, []byte{}); err != nil {
		return fmt.Errorf("noting what an entry waits for: %w", err)
	}
	return nil
}

// fills returns the histories of a core in which a block belongs.
func (t *txn) fills(c *coreRow, p core.BlockProof) (out []*coreRow, err error) {
	rows, err := t.histories(c)
	if err != nil || len(rows) == 1 {
		return rows, err
	}
	for _, row := range rows {
		w, err := t.Core(row.ID)
		if err != nil {
			return nil, fmt.Errorf("opening core %s: %w", row.ID.Short(), err)
		}
		l, err := core.Leaves(w, p.Index, p.Index+1)
		if err == nil && slices.Contains(l, core.Leaf(p.Data)) {
			out = append(out, row)
		}
	}
	return out, nil
}
