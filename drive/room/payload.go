package room

import (
	"errors"
	"fmt"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// rowMissing marks a block whose bytes are not here, because it came as a hash
// only or was damaged: 'm' no index.
const rowMissing = 'm'

// noteMissing marks the blocks of a tail whose bytes did not come, and drops
// those that were cleared for good.
func (t *txn) noteMissing(c *coreRow, tail core.Tail) error {
	w, err := t.Core(c.ID)
	if err != nil {
		return fmt.Errorf("opening core: %w", err)
	}
	for i, b := range tail.Blocks {
		at := pos{c.no, tail.From + uint64(i)}
		if c.isBranch() && at.seq+1 < c.Parted {
			continue // it is its parent's
		}
		gone, err := t.cleared(c.core(), at.seq)
		if err != nil {
			return fmt.Errorf("noting an absent block: %w", err)
		}
		if gone && b.Data != nil {
			if err := core.Clear(w, at.seq); err != nil {
				return err
			}
		}
		if gone || b.Data != nil {
			continue
		}
		has, err := core.Has(w, at.seq) // from an earlier tail
		if err != nil {
			return fmt.Errorf("noting an absent block: %w", err)
		}
		if has {
			continue
		}
		if err := t.noteAbsent(at); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) noteAbsent(p pos) error {
	if err := t.idx.Put(p.key(rowMissing), []byte{}); err != nil {
		return fmt.Errorf("noting an absent block: %w", err)
	}
	return nil
}

// missAgain marks the payloads of an entry that are not here: when derived
// tables were lost, nothing else remembers. The entry may have to wait until
// long after the room was opened, for a log that a peer brings back.
func (t *txn) missAgain(a *arrival, payloads uint32) error {
	if payloads == 0 {
		return nil
	}
	w, err := t.Core(a.row.ID)
	if err != nil {
		return fmt.Errorf("opening core: %w", err)
	}
	n, err := w.Length()
	if err != nil {
		return err
	}
	for i := a.pos.seq + 1; i <= a.pos.seq+uint64(payloads) && i < n; i++ {
		has, err := core.Has(w, i)
		if err != nil {
			return err
		}
		gone, err := t.cleared(a.row.core(), i)
		if err != nil {
			return err
		}
		if has || gone {
			continue
		}
		if err := t.noteAbsent(pos{a.pos.no, i}); err != nil {
			return err
		}
	}
	return nil
}

// WantPayloads lists blocks whose bytes are not here, in runs, at most limit
// runs (0: all).
func (r *Room) WantPayloads(limit int) (out []Want, err error) {
	err = r.view(func(t *txn) error {
		var last pos
		for k := range t.idx.Scan([]byte{rowMissing}, nil) {
			p := pos{be32(k[1:]), be64(k[5:])}
			if n := len(out); n > 0 && last.no == p.no && last.seq+1 == p.seq {
				out[n-1].Count++
				last = p
				continue
			}
			if limit > 0 && len(out) == limit {
				return nil
			}
			c, err := t.core(p.no)
			if err != nil {
				return err
			}
			out = append(out, Want{Core: c.core(), Seq: t.entryBefore(p), First: p.seq, Count: 1})
			last = p
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing absent payloads: %w", err)
	}
	return out, nil
}

// entryBefore returns the block of the entry that a payload block follows.
func (t *txn) entryBefore(p pos) uint64 {
	from := uint64(0)
	if p.seq > MaxPayloads {
		from = p.seq - MaxPayloads
	}
	seq := p.seq
	for k := range t.idx.Scan(numberKey(rowEntry, p.no), pos{p.no, from}.key(rowEntry)) {
		if s := be64(k[5:]); s <= p.seq {
			seq = s
		} else {
			break
		}
	}
	return seq
}

// WantEntries lists entries whose own block is not here, because it came as a
// hash only or was damaged on this disk, so that nothing after it in its core
// can be processed: FetchPayload of package wire brings it back. At most limit
// (0: all).
func (r *Room) WantEntries(limit int) (out []Want, err error) {
	err = r.view(func(t *txn) error {
		cores, err := t.allCores()
		if err != nil {
			return err
		}
		for _, c := range cores {
			if limit > 0 && len(out) == limit {
				return nil
			}
			if c.Waiting == waitBlock {
				out = append(out, Want{Core: c.core(), Seq: c.Next, First: c.Next, Count: 1})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing absent entries: %w", err)
	}
	return out, nil
}

// MissingPayloads returns the payload blocks of the entry at block seq whose
// bytes are not here, from the first to the last of them; Count 0: none. For an
// entry that is not here itself it is that block.
func (r *Room) MissingPayloads(id key.CoreID, seq uint64) (want Want, err error) {
	want = Want{Core: id, Seq: seq}
	err = r.view(func(t *txn) error {
		c, err := t.coreByID(id)
		if err != nil || c == nil {
			return errors.Join(err, ErrNotFound)
		}
		if c, err = t.historyAt(c, seq); err != nil {
			return err
		}
		w, err := t.Core(c.ID)
		if err != nil {
			return err
		}
		n, err := w.Length()
		if err != nil {
			return err
		}
		if has, err := core.Has(w, seq); err == nil && !has {
			want.First, want.Count = seq, 1
			return nil
		}
		e, err := t.entry(pos{c.no, seq})
		if err != nil {
			return err
		}
		for i := seq + 1; i <= seq+uint64(e.payloads) && i < n; i++ {
			has, err := core.Has(w, i)
			if err != nil {
				return err
			}
			gone, err := t.cleared(id, i)
			if err != nil {
				return err
			}
			if has || gone {
				continue
			}
			if want.Count == 0 {
				want.First = i
			}
			want.Count = int(i-want.First) + 1
		}
		return nil
	})
	if err != nil {
		return Want{}, fmt.Errorf("payloads of entry %d of core %s: %w", seq, id.Short(), err)
	}
	return want, nil
}

// ProvePayloads returns those of the n blocks from first on whose bytes are
// here, with their proofs.
func (r *Room) ProvePayloads(id key.CoreID, first uint64, n int) (out []core.BlockProof, err error) {
	err = r.view(func(t *txn) error {
		c, err := t.coreByID(id)
		if err != nil || c == nil {
			return errors.Join(err, ErrNotFound)
		}
		rows, err := t.histories(c)
		if err != nil {
			return err
		}
		end := first + uint64(max(0, min(n, MaxPayloads)))
		for _, row := range rows {
			if out, err = t.proveRange(row, first, end, out); err != nil {
				return err
			}
			first = max(first, c.Parted-min(c.Parted, 1)) // before that they are all the same
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("proving payloads of core %s: %w", id.Short(), err)
	}
	return out, nil
}

// FillPayload stores blocks that were absent. The views of the core's kind
// are told through Watch, not applied again: a payload changes no state.
func (r *Room) FillPayload(id key.CoreID, proofs ...core.BlockProof) error {
	err := r.run(func(t *txn) error {
		c, err := t.coreByID(id)
		if err != nil || c == nil {
			return errors.Join(err, ErrNotFound)
		}
		some := false
		for _, p := range proofs {
			rows, err := t.fills(c, p)
			if err != nil {
				return err
			}
			for _, row := range rows {
				some = true
				if err := t.fill(row, p); err != nil {
					return err
				}
			}
		}
		if !some && len(proofs) > 0 {
			return core.ErrProof
		}
		if c.Kind != key.Control {
			t.changed(c.Kind)
		}
		t.queue.push(c)
		return t.advance()
	})
	if err != nil {
		return fmt.Errorf("filling payloads of core %s: %w", id.Short(), err)
	}
	return nil
}

// fill stores a block of one history of a core.
func (t *txn) fill(c *coreRow, p core.BlockProof) error {
	w, err := t.Core(c.ID)
	if err != nil {
		return fmt.Errorf("opening core: %w", err)
	}
	if err := core.FillBlock(w, p); err != nil {
		return err
	}
	gone, err := t.cleared(c.core(), p.Index)
	if err != nil {
		return err
	}
	if gone {
		if err := core.Clear(w, p.Index); err != nil {
			return err
		}
	}
	t.queue.push(c)
	return t.idx.Delete(pos{c.no, p.Index}.key(rowMissing))
}

// proveRange adds the proofs of the blocks [first, end), as far as they are here.
func (t *txn) proveRange(c *coreRow, first, end uint64, out []core.BlockProof) ([]core.BlockProof, error) {
	w, err := t.Core(c.ID)
	if err != nil {
		return nil, fmt.Errorf("opening core: %w", err)
	}
	for i := first; i < end; i++ {
		p, err := core.ProveBlock(w, i)
		if errors.Is(err, core.ErrAbsent) {
			continue
		}
		if errors.Is(err, core.ErrRange) {
			break
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// tableCleared is the truth table of payload blocks that were cleared for
// good and are not wanted again: coreID, index[8].
const tableCleared = "cleared"
