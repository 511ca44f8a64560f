package room

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// react does by itself what a member owes the others after control entries
// came from a peer: it answers requests to come in, and hands keys to members
// that lack them.
//
// To keep several members from answering the same request, one that came
// through somebody who could have answered it is left alone until the next
// transaction.
func (t *txn) react(from key.DeviceID) error {
	if t.r.hold.wait() != nil {
		return nil // what it owes can wait: see Recovered
	}
	st, err := t.state()
	if err != nil {
		return err
	}
	self := st.caps(t.r.dev.ID())
	if self&CapAdmit == 0 || st.updateNeeded {
		return nil
	}
	acted := false
	for _, j := range st.requests() {
		direct := from == j.Device || st.caps(from)&CapAdmit == 0
		if !direct && slices.Contains(t.arrived, j.at.id) {
			continue
		}
		done, err := t.answer(st, j, self, from == j.Device)
		if err != nil {
			return err
		}
		acted = acted || done
		if done {
			if st, err = t.state(); err != nil {
				return err
			}
		}
	}
	boxed, err := t.rebox(st, from)
	if err != nil {
		return err
	}
	if acted || boxed {
		return t.advance()
	}
	return nil
}

// answer lets somebody in whose invite is in order, or tells him that it is
// not.
func (t *txn) answer(st *State, j *joinState, self Caps, direct bool) (bool, error) {
	v, inv, why := st.verdict(j, self, direct, t.r.now())
	switch v {
	case turnDown:
		return true, t.refuse(j, why)
	case letIn:
		err := t.admit(st, j, inv)
		if errors.Is(err, ErrKey) {
			return false, nil // whoever has the keys will
		}
		return err == nil, err
	}
	return false, nil
}

// verdict is what a member does about a request to come in.
type verdict uint8

const (
	letBe    verdict = iota // it is for others to answer, or for a person
	letIn                   // by the invite
	turnDown                // why says so
)

// verdict says what a device with capabilities self does by itself about a
// request that nobody has answered. Only those whom the asking device is
// connected to (direct) turn it down.
func (s *State) verdict(j *joinState, self Caps, direct bool, now time.Time) (v verdict, inv *inviteState, why string) {
	if inv = s.inviteBy(j.join.Invite); inv == nil || self&CapAdmit == 0 {
		return letBe, nil, ""
	}
	if why = s.dead(inv, now, j.at.id); why != "" {
		if direct {
			return turnDown, inv, why
		}
		return letBe, inv, why
	}
	if inv.Approve || !mayAdmit(self, inv.Caps) {
		return letBe, inv, ""
	}
	return letIn, inv, ""
}

// mayAdmit reports whether the capabilities suffice to let somebody in with
// others.
func mayAdmit(self, caps Caps) bool {
	return self&CapAdmit != 0 && classOf(self) <= classOf(caps)
}

// admit lets the device of a join in and hands it the present keys.
func (t *txn) admit(st *State, j *joinState, inv *inviteState) error {
	floor, err := t.highest()
	if err != nil {
		return err
	}
	ring, err := t.keys()
	if err != nil {
		return err
	}
	recs := []record{{recAdmit, &admit{
		Join: j.at.id, Invite: inv.at.id, Device: j.Device, Floor: min(floor, MaxFloor),
	}}}
	for _, h := range st.heads {
		k := ring.epochs[h.id]
		if k.RelayKey.IsZero() || k.ContentKey.IsZero() && inv.Caps&CapRead != 0 {
			return fmt.Errorf("letting %s in: %w", j.Device.Short(), ErrKey)
		}
		b, err := t.sealBox(k, j.Device, j.Box, inv.Caps)
		if err != nil {
			return err
		}
		recs = append(recs, record{recBoxes, &boxes{Epoch: h.id, Boxes: []box{b}}})
	}
	_, err = t.appendControl([]key.Hash{j.at.id}, recs...)
	return err
}

func (t *txn) refuse(j *joinState, why string) error {
	_, err := t.appendControl([]key.Hash{j.at.id}, record{recRefuse, &refuse{Join: j.at.id, Reason: why}})
	return err
}

// highest returns the highest logical time of drive and chat.
func (t *txn) highest() (n uint64, err error) {
	for _, kind := range []key.Kind{key.Drive, key.Chat} {
		f, err := t.front(kind)
		if err != nil {
			return 0, err
		}
		for _, e := range f {
			n = max(n, e.lamport)
		}
	}
	return n, nil
}

// owes reports whether it is up to device self to hand the keys of an epoch to
// d: it made the epoch or let d in, or nobody who did is there any more.
func (s *State) owes(self key.DeviceID, e *epochState, d *device) bool {
	mine := func(g *grant) bool { return g.by == self }
	there := func(g *grant) bool { return s.caps(g.by)&CapAdmit != 0 }
	return e.by == self || slices.ContainsFunc(d.grants, mine) ||
		s.caps(e.by)&CapAdmit == 0 && !slices.ContainsFunc(d.grants, there)
}

// rebox hands the keys of present epochs to members that were let in without
// them: to the one that is connected, and those it is up to this device to
// serve. That happens when keys change in two places at once, and when those who changed
// them turn out to have been removed.
func (t *txn) rebox(st *State, from key.DeviceID) (bool, error) {
	ring, err := t.keys()
	if err != nil {
		return false, err
	}
	self, acted := t.r.dev.ID(), false
	present := append(slices.Clip(st.heads), st.unlinked()...)
	for _, h := range present[:min(len(present), 2*MaxEpochHeads)] {
		k := ring.epochs[h.id]
		if k.RelayKey.IsZero() || k.ContentKey.IsZero() {
			continue
		}
		done, err := t.reboxEpoch(st, k, st.lacking(self, from, h))
		if err != nil {
			return acted, err
		}
		acted = acted || done
	}
	return acted, nil
}

// lacking returns the members that device self is to hand the keys of an
// epoch to, in no order.
func (s *State) lacking(self, from key.DeviceID, e *epochState) (out []*device) {
	for id, d := range s.devices {
		if id == self || id == e.by || s.boxed[e.id][id] || d.caps() == 0 {
			continue
		}
		if d.box != nil && (id == from || s.owes(self, e, d)) {
			out = append(out, d)
		}
	}
	return out
}

// reboxEpoch hands the keys of an epoch to devices, in entries sealed under
// an older key that they have.
func (t *txn) reboxEpoch(st *State, k epochKeys, devs []*device) (bool, error) {
	ring, err := t.keys()
	if err != nil {
		return false, err
	}
	acted := false
	for _, d := range devs {
		var under *sealer
		for _, e := range st.epochs {
			if (st.boxed[e.id][d.id] || e.by == d.id) && ring.byTag[e.tag()] != nil {
				under = ring.byTag[e.tag()]
			}
		}
		if under == nil {
			continue
		}
		groups, err := t.sealBoxes(k, []*device{d})
		if err != nil {
			return acted, err
		}
		if _, err := t.appendUnder(under, nil, nil, groups[0]...); err != nil {
			return acted, err
		}
		acted = true
	}
	return acted, nil
}

// Admit lets somebody in by hand. ErrNotFound when there is no such request;
// ErrRefused when the invite is dead.
func (r *Room) Admit(ctx context.Context, request key.Hash) error {
	return r.control(ctx, "letting somebody in", CapAdmit, func(t *txn, st *State) error {
		j, err := st.request(request)
		if err != nil {
			return err
		}
		inv, err := st.byHand(j, st.caps(r.dev.ID()), r.now())
		if err != nil {
			return err
		}
		return t.admit(st, j, inv)
	})
}

// byHand returns the invite of a request, if somebody with capabilities self
// may let it in.
func (s *State) byHand(j *joinState, self Caps, now time.Time) (*inviteState, error) {
	inv := s.inviteBy(j.join.Invite)
	if inv == nil {
		return nil, fmt.Errorf("its invitation: %w", ErrNotFound)
	}
	if why := s.dead(inv, now, j.at.id); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrRefused, why)
	}
	if !mayAdmit(self, inv.Caps) {
		return nil, fmt.Errorf("%w: letting in an %s takes the role %s", ErrNotAllowed, inv.Role, inv.Role)
	}
	return inv, nil
}

// Refuse turns a request to come in down.
func (r *Room) Refuse(ctx context.Context, request key.Hash, reason string) error {
	if !validText(reason) {
		return fmt.Errorf("the reason: %w", ErrName)
	}
	return r.control(ctx, "refusing a request", CapAdmit, func(t *txn, st *State) error {
		j, err := st.request(request)
		if err != nil {
			return err
		}
		return t.refuse(j, reason)
	})
}

func (s *State) request(id key.Hash) (*joinState, error) {
	for _, j := range s.requests() {
		if j.at.id == id {
			return j, nil
		}
	}
	return nil, fmt.Errorf("request %s: %w", id.Short(), ErrNotFound)
}
