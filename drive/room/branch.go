package room

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// A core whose device signed several histories has a row for each of them that
// is here: one for the history that came first, the trunk, and one for each
// other, a branch, of which what lies beyond the common part is processed.
// Which of them is the trunk differs between peers, and nothing depends on it.

// core returns the core that a row is a history of.
func (c *coreRow) core() key.CoreID {
	if c.isBranch() {
		return c.Of
	}
	return c.ID
}

func (c *coreRow) isBranch() bool { return c.Of != key.CoreID{} }

// maxHistories bounds how many histories of one core are taken from the
// carriers of one device (historiesBy). There is no other bound: what a member has built on is
// in his carrier, and must come to be known everywhere, however many histories
// the forked device has signed.
const maxHistories = 8

// histories returns the rows of a core: the trunk, then its branches.
func (t *txn) histories(trunk *coreRow) ([]*coreRow, error) {
	out := []*coreRow{trunk}
	if trunk.Parted == 0 {
		return out, nil
	}
	cores, err := t.allCores()
	if err != nil {
		return nil, err
	}
	for _, c := range cores {
		if c.Of == trunk.ID {
			out = append(out, c)
		}
	}
	return out, nil
}

// trunk returns the row of the history that came first.
func (t *txn) trunk(c *coreRow) (*coreRow, error) {
	if !c.isBranch() {
		return c, nil
	}
	o, err := t.coreByID(c.Of)
	if err == nil && o == nil {
		err = fmt.Errorf("%w: a branch of no core", ErrFormat)
	}
	return o, err
}

// addBranch makes the row of another history of a core, of which blocks lie in
// the storage's core id.
func (t *txn) addBranch(trunk *coreRow, id key.CoreID, w core.Reader) error {
	rows, err := t.histories(trunk)
	if err != nil {
		return err
	}
	c := &coreRow{ID: id, Of: trunk.ID, Device: trunk.Device, Kind: trunk.Kind, Gen: trunk.Gen, Status: coreForked, dirty: true}
	for _, o := range rows {
		r, err := t.Core(o.ID)
		if err != nil {
			return fmt.Errorf("opening core %s: %w", o.ID.Short(), err)
		}
		common, err := core.Common(r, w)
		if err != nil {
			return err
		}
		if common+1 > c.Parted {
			c.Parent, c.Parted = o.no, common+1
		}
		if o == trunk && (trunk.Parted == 0 || common+1 < trunk.Parted) {
			trunk.Parted = common + 1
		}
	}
	trunk.At, trunk.dirty = trunk.Parted-1, true
	no, err := t.nextNumber()
	if err != nil {
		return err
	}
	c.no = no
	t.cores[no], t.numbers[id] = c, no
	delete(t.branches, trunk.no)
	if err := t.idx.Put(append([]byte{rowNumber}, id[:]...), be32Bytes(no)); err != nil {
		return fmt.Errorf("numbering a branch: %w", err)
	}
	if err := t.putCore(c); err != nil {
		return err
	}
	t.queue.push(c)
	return nil
}

// startBranch finds from where on a branch is processed: after the last entry
// that it shares with its parent. started is false while that was not
// processed.
func (t *txn) startBranch(c *coreRow) (started bool, err error) {
	if !c.isBranch() || c.From > 0 {
		return true, nil
	}
	parent, err := t.core(c.Parent)
	if err != nil {
		return false, err
	}
	if parent.Next+1 < c.Parted || parent.isBranch() && parent.From == 0 {
		return false, nil
	}
	c.From, c.dirty = max(parent.From, 1), true
	for o := parent; ; {
		list, err := t.entries(o, 0, 0)
		if err != nil {
			return false, err
		}
		list = slices.DeleteFunc(list, func(e placedRow) bool { return e.seq+1 >= c.Parted })
		if n := len(list); n > 0 {
			e := list[n-1]
			c.Last, c.Lamport = e.seq+1, e.lamport
			c.From = e.seq + 2 + uint64(e.payloads)
			break
		}
		if !o.isBranch() {
			break
		}
		if o, err = t.core(o.Parent); err != nil {
			return false, err
		}
	}
	c.Next = c.From - 1
	return true, nil
}

// queueBranches lets the branches that wait for their parent look again.
func (t *txn) queueBranches(c *coreRow) error {
	trunk, err := t.trunk(c)
	if err != nil {
		return err
	}
	rows, err := t.histories(trunk)
	if err != nil {
		return err
	}
	for _, c := range rows[1:] {
		if c.From == 0 {
			t.queue.push(c)
		}
	}
	return nil
}

// ownBefore returns where the own entry before an arrival stands: for the
// first of a branch that is a parent.
func (t *txn) ownBefore(a *arrival) (pos, error) {
	p := pos{a.pos.no, a.prev - 1}
	for c := a.row; c.isBranch() && p.seq+1 < c.From; {
		parent, err := t.core(c.Parent)
		if err != nil {
			return p, err
		}
		c, p.no = parent, parent.no
	}
	return p, nil
}

// forked is what a State needs to know of a core with several histories.
type forked struct {
	parted uint64 // first block that they do not share
	rows   []*coreRow
	cores  map[uint32]core.Reader // by the number of the row
}

// root returns the root of a history over its first blocks, if it has so many.
func (f *forked) root(no uint32, length uint64) (h key.Hash, ok bool) {
	h, err := core.Root(f.cores[no], length)
	return h, err == nil
}

// contains reports whether history no contains block i of the row of.
func (f *forked) contains(no, of uint32, i uint64) bool {
	limit := ^uint64(0)
	for no != of {
		n := slices.IndexFunc(f.rows, func(c *coreRow) bool { return c.no == no })
		if n <= 0 {
			return false
		}
		no, limit = f.rows[n].Parent, min(limit, f.rows[n].Parted-1)
	}
	return i < limit
}

type forkedCores map[key.CoreID]*forked

// sealed returns the histories that seals leave: of those that are here, the
// ones that the first seal names which names any, and so on.
func (f *forked) sealed(seals []seal) []*coreRow {
	seals = slices.Clone(seals)
	slices.SortFunc(seals, func(a, b seal) int {
		switch {
		case a.before(b):
			return -1
		case b.before(a):
			return 1
		}
		return cmp.Or(cmp.Compare(a.length, b.length), bytes.Compare(a.root[:], b.root[:]))
	})
	left := f.rows
	for _, s := range seals {
		if s.length <= f.parted {
			continue // they all agree that far
		}
		var named []*coreRow
		for _, c := range left {
			if root, ok := f.root(c.no, s.length); ok && root == s.root {
				named = append(named, c)
			}
		}
		if len(named) > 0 {
			left = named
		}
	}
	return left
}

// forks returns the cores with several histories.
func (t *txn) forks() (forkedCores, error) {
	cores, err := t.allCores()
	if err != nil {
		return nil, err
	}
	var out forkedCores
	for _, c := range cores {
		if c.Parted == 0 || c.isBranch() {
			continue
		}
		f, err := t.forkOf(c)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = forkedCores{}
		}
		out[c.ID] = f
	}
	return out, nil
}

func (t *txn) forkOf(trunk *coreRow) (*forked, error) {
	rows, err := t.histories(trunk)
	if err != nil {
		return nil, err
	}
	f := &forked{parted: trunk.Parted - 1, rows: rows, cores: map[uint32]core.Reader{}}
	for _, c := range rows {
		if f.cores[c.no], err = t.Core(c.ID); err != nil {
			return nil, fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
		}
	}
	return f, nil
}

// chosen returns the history of a core of which drive and chat entries count.
func (t *txn) chosen(st *State, trunk *coreRow) (*coreRow, error) {
	if trunk.Parted == 0 {
		return trunk, nil
	}
	f, err := t.forkOf(trunk)
	if err != nil {
		return nil, err
	}
	return f.chosen(st.seals[trunk.ID])
}

// chosen returns the history of which drive and chat entries count: the one
// that a seal names, else the longest, of equally long ones the one with the
// lower hash where they part.
func (f *forked) chosen(seals []seal) (*coreRow, error) {
	left := f.sealed(seals)
	best := left[0]
	for _, c := range left[1:] {
		better, err := f.precedes(c, best)
		if err != nil {
			return nil, err
		}
		if better {
			best = c
		}
	}
	return best, nil
}

// precedes reports whether a counts rather than b where no seal decides.
func (f *forked) precedes(a, b *coreRow) (bool, error) {
	var r [2]core.Reader
	var n [2]uint64
	for i, c := range []*coreRow{a, b} {
		var err error
		r[i] = f.cores[c.no]
		if n[i], err = r[i].Length(); err != nil {
			return false, fmt.Errorf("core %s: %w", c.ID.Short(), err)
		}
	}
	if n[0] != n[1] {
		return n[0] > n[1], nil
	}
	at, err := core.Common(r[0], r[1])
	if err != nil || at == n[0] {
		return false, err
	}
	var leaf [2]key.Hash
	for i := range r {
		l, err := core.Leaves(r[i], at, at+1)
		if err != nil {
			return false, err
		}
		leaf[i] = l[0]
	}
	return bytes.Compare(leaf[0][:], leaf[1][:]) < 0, nil
}

// historyAt returns the history that block i of a core is to be looked up in.
func (t *txn) historyAt(c *coreRow, i uint64) (*coreRow, error) {
	if c == nil || c.Parted == 0 || i+1 < c.Parted {
		return c, nil
	}
	st, err := t.state()
	if err != nil {
		return nil, err
	}
	row, err := t.chosen(st, c)
	for err == nil && row.isBranch() && i+1 < row.From {
		row, err = t.core(row.Parent)
	}
	return row, err
}

// capsOf is State.capsAt for an entry of one of several histories: beyond the
// common part the drive and chat entries of one of them count.
func (t *txn) capsOf(st *State, c *coreRow, seq uint64, ck clock) (Caps, error) {
	trunk, err := t.trunk(c)
	if err != nil {
		return 0, err
	}
	if trunk.Parted > 0 && seq+1 >= trunk.Parted {
		f, err := t.forkOf(trunk)
		if err != nil {
			return 0, err
		}
		return st.capsIn(f, c, seq, ck)
	}
	return st.capsAt(c.Device, c.core(), c.Gen, seq, ck), nil
}

// capsIn is State.capsAt for an entry beyond the part that all histories of
// its core share: it counts in one of them.
func (s *State) capsIn(f *forked, c *coreRow, seq uint64, ck clock) (Caps, error) {
	best, err := f.chosen(s.seals[c.core()])
	if err != nil || !f.contains(best.no, c.no, seq) {
		return 0, err
	}
	return s.capsAt(c.Device, c.core(), c.Gen, seq, ck), nil
}

// authority is State.authority with the choice between histories.
func (t *txn) authority(st *State, c *coreRow) (key.Hash, error) {
	auth := st.authority(c.Device, []key.CoreID{c.core()})
	trunk, err := t.trunk(c)
	if err != nil || trunk.Parted == 0 {
		return auth, err
	}
	best, err := t.chosen(st, trunk)
	if err != nil {
		return auth, err
	}
	return key.Derive(key.UseStateHash, auth[:], be32Bytes(uint32(trunk.Parted)), be32Bytes(best.no)), nil
}
