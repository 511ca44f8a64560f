package room

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// RelayKeys returns the relay keys of the room, the present one first. A peer
// that proves an older one is a late member, or holds an old link.
func (r *Room) RelayKeys() (out []key.Secret) {
	r.read(func(t *txn) error {
		ring, err := t.keys()
		if err != nil {
			return err
		}
		st, err := t.state()
		if err != nil {
			return err
		}
		add := func(s key.Secret) {
			if !s.IsZero() && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
		if s, err := ring.forHeads(st.heads); err == nil {
			add(s.relay)
		}
		epochs := make([]epochKeys, 0, len(ring.epochs))
		for _, e := range ring.epochs {
			epochs = append(epochs, e)
		}
		slices.SortFunc(epochs, func(a, b epochKeys) int { return int(int64(b.Order) - int64(a.Order)) })
		for _, e := range epochs {
			add(e.RelayKey)
		}
		for _, s := range ring.loose {
			add(s)
		}
		return nil
	})
	return out
}

// Access returns what a peer may be given once it has proven a relay key. For
// a member that proved an older key than the first of RelayKeys it is
// AccessLate instead of what this returns.
func (r *Room) Access(peer key.DeviceID) Access {
	if peer == r.dev.ID() {
		return AccessMember
	}
	st := r.current()
	caps := st.caps(peer)
	switch {
	case caps&CapRead != 0:
		return AccessMember
	case caps&CapRelay != 0:
		return AccessSeeder
	case st.known(peer):
		return AccessRemoved
	}
	return AccessStranger
}

// Reach returns how far a peer may follow each control core. limited is false
// for all but those whose membership has ended and who have not asked to come
// in since: they get the entries that say so and what these stand on.
func (r *Room) Reach(peer key.DeviceID) (end func(key.CoreID) uint64, limited bool) {
	var ends map[key.CoreID]uint64
	r.read(func(t *txn) error {
		st, err := t.state()
		if err != nil {
			return err
		}
		c, ok := st.reach(peer)
		if !ok {
			return nil
		}
		ends = map[key.CoreID]uint64{}
		c.beyond(nil, func(no uint32, n uint64) {
			if err != nil {
				return
			}
			var row *coreRow
			if row, err = t.core(no); err == nil {
				ends[row.core()] = max(ends[row.core()], n)
			}
		})
		return err
	})
	return func(id key.CoreID) uint64 { return ends[id] }, ends != nil
}

// reach returns the closure of what ended the membership of a device; ok is
// false when it goes on, never was, or may begin again.
func (s *State) reach(dev key.DeviceID) (c clock, ok bool) {
	d := s.devices[dev]
	if d == nil || len(d.grants) == 0 || d.caps() != 0 {
		return nil, false
	}
	for id, j := range s.joins {
		if j.Device == dev && !slices.ContainsFunc(d.grants, func(g *grant) bool { return g.join == id }) {
			return nil, false
		}
	}
	for _, r := range d.revs {
		c.merge(r.at.clock)
		c.raise(r.at.no, r.at.seq+1)
	}
	return c, true
}

// Cores returns the cores that a peer with this access is offered, control
// cores first.
func (r *Room) Cores(a Access) (out []CoreInfo) {
	if a == AccessNone {
		return nil
	}
	r.read(func(t *txn) error {
		cores, err := t.allCores()
		if err != nil {
			return err
		}
		for _, c := range cores {
			if c.isBranch() || c.Kind != key.Control && a != AccessMember && a != AccessSeeder {
				continue
			}
			w, err := t.Core(c.ID)
			if err != nil {
				return err
			}
			info := CoreInfo{ID: c.ID, Device: c.Device, Kind: c.Kind, Gen: c.Gen}
			if info.Head, err = w.Head(); err != nil {
				return err
			}
			if info.Length, err = w.Length(); err != nil {
				return err
			}
			if info.Length > 0 {
				out = append(out, info)
			}
		}
		slices.SortStableFunc(out, func(a, b CoreInfo) int { return int(a.Kind) - int(b.Kind) })
		return nil
	})
	return out
}

// ReadTail returns what follows block from of a core, at most about maxBytes.
// ErrAbsent when there is nothing more.
func (r *Room) ReadTail(id key.CoreID, from uint64, maxBytes int) (tail core.Tail, err error) {
	return r.ReadTailTo(id, from, core.MaxLength, maxBytes)
}

// ReadTailTo is ReadTail for blocks before to only.
func (r *Room) ReadTailTo(id key.CoreID, from, to uint64, maxBytes int) (tail core.Tail, err error) {
	err = r.view(func(t *txn) error {
		w, err := t.Core(id)
		if err != nil {
			return err
		}
		tail, err = core.ReadTailTo(w, from, to, maxBytes)
		return err
	})
	if errors.Is(err, core.ErrRange) {
		err = errors.Join(ErrAbsent, err)
	}
	if err != nil {
		return core.Tail{}, fmt.Errorf("reading core %s: %w", id.Short(), err)
	}
	return tail, nil
}

// ReadJoint returns the proof of what a core was at a length.
func (r *Room) ReadJoint(id key.CoreID, at uint64) (j core.Joint, err error) {
	err = r.view(func(t *txn) error {
		w, err := t.Core(id)
		if err != nil {
			return err
		}
		j, err = core.ReadJoint(w, at)
		return err
	})
	if err != nil {
		return core.Joint{}, fmt.Errorf("reading core %s: %w", id.Short(), err)
	}
	return j, nil
}

// Receive takes what a peer sent of one core: it verifies the tails, stores
// them, and processes whatever they complete. Blocks whose closure or key is
// not here yet are kept and processed later.
//
// ErrDrop wraps what was not stored: a core that is not of this room, or of a
// device that is not known (ask again when the members have changed).
// ErrBroken: the core is closed; a fork's proof is kept. Errors of package
// core say what is wrong with a tail; core.ErrJoin calls for a Joint.
func (r *Room) Receive(ctx context.Context, from key.DeviceID, ci CoreInfo, tails ...core.Tail) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.checkInfo(ci); err != nil {
		return err
	}
	var refused error
	err := r.run(func(t *txn) error {
		refused = nil
		err := t.receive(from, ci, tails)
		var fork *core.ForkError
		switch {
		case errors.As(err, &fork):
			refused = errors.Join(ErrBroken, err)
			err = t.forkedBy(ci, fork.Fork)
		case isPeerError(err):
			refused, err = err, nil
		}
		if err != nil {
			return err
		}
		if err := t.advance(); err != nil {
			return err
		}
		if err := t.crowded(); err != nil {
			return err // and nothing is kept of it
		}
		return t.react(from)
	})
	if err != nil {
		return fmt.Errorf("receiving core %s: %w", ci.ID.Short(), err)
	}
	if refused != nil {
		return fmt.Errorf("receiving core %s: %w", ci.ID.Short(), refused)
	}
	return nil
}

// isPeerError reports whether an error is about what the peer sent, so that
// the tails before the bad one are kept.
func isPeerError(err error) bool {
	for _, e := range []error{
		ErrDrop, ErrBroken, core.ErrGap, core.ErrCore, core.ErrSignature, core.ErrProof,
		core.ErrJoin, core.ErrFormat, core.ErrLimit, core.ErrRange,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// checkInfo checks what a peer says about a core by itself.
func (r *Room) checkInfo(ci CoreInfo) error {
	if !ci.Kind.Valid() || ci.Gen > MaxGeneration || key.CoreIDOf(r.id, ci.Device, ci.Kind, ci.Gen) != ci.ID {
		return fmt.Errorf("core %s is not of this room: %w", ci.ID.Short(), ErrDrop)
	}
	return nil
}

func (t *txn) receive(from key.DeviceID, ci CoreInfo, tails []core.Tail) error {
	c, err := t.acceptable(from, ci, tails)
	if err != nil {
		return err
	}
	w, err := t.Core(c.ID)
	if err != nil {
		return fmt.Errorf("opening core: %w", err)
	}
	for _, tail := range tails {
		if tail.Core != ci.ID {
			return fmt.Errorf("a tail of another core: %w", ErrDrop)
		}
		if err := tail.Apply(w, ci.Device); err != nil {
			return err
		}
		t.heads[c.ID] = true
		if err := t.noteMissing(c, tail); err != nil {
			return err
		}
	}
	t.queue.push(c)
	return t.wake(key.Hash(c.ID)) // carriers of it
}

// acceptable decides whether a core's blocks are stored, and gives it a
// number.
func (t *txn) acceptable(from key.DeviceID, ci CoreInfo, tails []core.Tail) (*coreRow, error) {
	st, err := t.state()
	if err != nil {
		return nil, err
	}
	c, err := t.coreByID(ci.ID)
	if err != nil {
		return nil, err
	}
	if c != nil && (c.Status == coreFalse || c.Status == coreForked) {
		return nil, fmt.Errorf("it is closed at %d (%s): %w", c.At, c.Reason, ErrBroken)
	}
	if !st.known(ci.Device) && ci.Device != t.r.dev.ID() {
		if err := t.admissible(st, from, ci, tails, c == nil); err != nil {
			return nil, fmt.Errorf("device %s: %w", ci.Device.Short(), err)
		}
	}
	if c != nil {
		return c, nil
	}
	if err := t.begins(ci, tails); err != nil {
		return nil, err
	}
	return t.addCore(ci.Device, ci.Kind, ci.Gen)
}

// begins checks the first of what came of a core that is not known yet. What
// its device has not signed leaves no trace: anybody can make up cores.
func (t *txn) begins(ci CoreInfo, tails []core.Tail) error {
	if len(tails) == 0 || tails[0].Core != ci.ID {
		return fmt.Errorf("nothing of it: %w", ErrDrop)
	}
	w, err := t.Core(ci.ID)
	if err != nil {
		return fmt.Errorf("opening core: %w", err)
	}
	return tails[0].Check(w, ci.Device)
}
