package room

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// Which history counts. Where no seal decides it is the longest, then the one
// with the lower hash: a function of the histories that are here, so that all
// agree, and one that keeps most of what an honest owner of two copies did.
//
// It is not monotone, and no rule that converges is: of two members who each
// hold one of two histories and nothing else, each has chosen the only one he
// knows, and when they meet one of them has to choose anew. A rule by the hash
// where the histories part would not change its mind when one grows, but would
// when another with a lower hash is shown, which costs a forker as little to
// prepare, and it would often drop the longer work of an honest owner.
//
// So until there is a seal a forker, or whoever carries for him, can change the
// choice again and again, each time by showing a longer history; the carriers of
// one device show maxHistories at most. What changes is which of the drive and
// chat entries that he signed himself beyond the common part count. What others
// wrote counts whatever is chosen, and the common part does. A seal ends it: what
// lies before its length is decided, and a cut (removal, change of role) ends
// with its root, beyond which nothing of that core counts. After a seal without
// a cut he may fork again beyond its length, and the same holds there.

// tableForks is the truth table of fork proofs, by core.
const tableForks = "forks"

// forked marks a core whose device signed two histories, and keeps the proof.
// Nothing more is received of it: carriers bring what others have.
func (t *txn) forked(c *coreRow, f core.Fork) error {
	if f.Core() != c.ID || f.Verify(c.Device) != nil {
		return nil // not proven: nothing happened
	}
	if known, err := t.Log(tableForks).Get(c.ID[:]); err != nil || known != nil {
		return err
	}
	b, err := f.Encode()
	if err != nil {
		return fmt.Errorf("keeping the proof of a fork: %w", err)
	}
	if err := t.Log(tableForks).Put(c.ID[:], b); err != nil {
		return fmt.Errorf("keeping the proof of a fork: %w", err)
	}
	t.event.Status = true
	return t.markFork(c)
}

func (t *txn) forkedBy(ci CoreInfo, f core.Fork) error {
	c, err := t.coreByID(ci.ID)
	if err != nil || c == nil {
		return err
	}
	return t.forked(c, f)
}

// markFork sets the status of a core of which a fork's proof is kept.
func (t *txn) markFork(c *coreRow) error {
	b, err := t.Log(tableForks).Get(c.ID[:])
	if err != nil {
		return fmt.Errorf("reading the proof of a fork: %w", err)
	}
	if b == nil || c.Status != coreOpen {
		return nil
	}
	f, err := core.ParseFork(b)
	if err != nil {
		return fmt.Errorf("reading the proof of a fork: %w", err)
	}
	c.Status, c.At, c.dirty = coreForked, max(f.At(), 1)-1, true
	c.Reason = "its device signed two histories: it was copied, restored from a backup, or lies"
	return nil
}

// ReceiveJoint takes the proof that a peer sends when a tail did not join. If
// it shows a fork, the core is closed, the proof kept, and what is here of the
// core is to be handed on: see Uncarried.
func (r *Room) ReceiveJoint(ctx context.Context, from key.DeviceID, ci CoreInfo, j core.Joint) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.checkInfo(ci); err != nil {
		return err
	}
	var bad error
	err := r.run(func(t *txn) error {
		bad = nil
		c, err := t.coreByID(ci.ID)
		if err != nil || c == nil {
			return err
		}
		w, err := t.Core(ci.ID)
		if err != nil {
			return err
		}
		err = j.Check(w, ci.Device)
		var fork *core.ForkError
		switch {
		case errors.As(err, &fork):
			err = t.forked(c, fork.Fork)
		case isPeerError(err):
			bad, err = err, nil
		}
		if err != nil {
			return err
		}
		if err := t.advance(); err != nil {
			return err
		}
		return t.react(from)
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("receiving a proof for core %s: %w", ci.ID.Short(), err)
	}
	return nil
}

// Forks returns the encoded proofs of forks, by core.
func (r *Room) Forks() map[key.CoreID][]byte {
	out := map[key.CoreID][]byte{}
	r.read(func(t *txn) error {
		for k, v := range t.Log(tableForks).Scan(nil, nil) {
			if len(k) == len(key.CoreID{}) {
				out[key.CoreID(k)] = slices.Clone(v)
			}
		}
		return nil
	})
	return out
}

// Seal lets the history of a forked core count that an entry stands in, instead
// of the longest. ErrNotFound when the entry is not here.
func (r *Room) Seal(ctx context.Context, entry key.Hash) error {
	return r.control(ctx, "choosing a history", CapManage, func(t *txn, st *State) error {
		c, p, e, err := t.lookup(entry)
		if err != nil {
			return fmt.Errorf("entry %s: %w", entry.Short(), err)
		}
		w, err := t.Core(c.ID)
		if err != nil {
			return err
		}
		n := p.seq + 1 + uint64(e.payloads)
		root, err := core.Root(w, n)
		if err != nil {
			return err
		}
		_, err = t.appendControl(nil, record{recSeal, &sealing{Core: c.core(), Length: n, Root: root}})
		return err
	})
}
