package room

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// control runs a transaction that appends control entries, if this device has
// the capabilities.
func (r *Room) control(ctx context.Context, what string, need Caps, fn func(t *txn, st *State) error) error {
	err := r.write(ctx, func(t *txn) error {
		if err := t.mayAppend(need); err != nil {
			return err
		}
		st, err := t.state()
		if err != nil {
			return err
		}
		if err := fn(t, st); err != nil {
			return err
		}
		return t.advance()
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Invite makes an invite and returns its link.
func (r *Room) Invite(ctx context.Context, o InviteOptions) (key.Link, error) {
	if o.Role == RoleNone {
		o.Role = RoleWriter
	}
	if !o.Role.Valid() || o.Uses > MaxUses {
		return key.Link{}, fmt.Errorf("inviting as %s, %d uses (at most %d): %w", o.Role, o.Uses, MaxUses, ErrNotAllowed)
	}
	link := key.Link{Room: r.id, Role: uint8(o.Role), Addrs: o.Addrs, Bootstrap: o.Bootstrap}
	err := r.control(ctx, "inviting", CapInvite, func(t *txn, st *State) error {
		if o.Role.Caps()&^st.caps(r.dev.ID()) != 0 {
			return fmt.Errorf("%w: inviting an %s takes the role %s", ErrNotAllowed, o.Role, o.Role)
		}
		if err := t.rotateIfStale(st); err != nil {
			return err
		}
		s, err := t.headSealer()
		if err != nil {
			return err
		}
		link.Seed, link.Relay, link.Name = key.NewSecret(), s.relay, st.name
		inv := &invite{Public: link.Invite().ID(), Role: o.Role, Caps: o.Role.Caps(), Uses: o.Uses, Approve: o.Approve}
		if !o.Expires.IsZero() {
			inv.Expires = max(1, o.Expires.Unix())
		}
		_, err = t.appendControl(nil, record{recInvite, inv})
		return err
	})
	if err != nil {
		return key.Link{}, err
	}
	return link, nil
}

// headSealer returns what seals under the present epochs. Where the keys of one are lost, or those who were removed have all, who may changes
// the keys first.
func (t *txn) headSealer() (*sealer, error) {
	st, err := t.state()
	if err != nil {
		return nil, err
	}
	s, err := t.presentSealer()
	if err == nil && !s.content.IsZero() {
		if st.caps(t.r.dev.ID())&CapManage == 0 || !st.exposed() {
			return s, nil
		}
	} else if lost, lerr := t.lostKeys(); lerr != nil || !lost {
		return s, errors.Join(lerr, err)
	}
	if err := t.rotate(key.DeviceID{}); err != nil {
		return nil, err
	}
	return t.presentSealer()
}

func (t *txn) presentSealer() (*sealer, error) {
	st, ring, err := t.present()
	if err != nil {
		return nil, err
	}
	s, err := ring.forHeads(st.heads)
	if err != nil {
		return nil, fmt.Errorf("%w; it comes when a member that has it is connected", ErrKey)
	}
	return s, nil
}

// lostKeys reports whether this device may change the keys and all present ones that it does not have are lost.
func (t *txn) lostKeys() (bool, error) {
	st, ring, err := t.present()
	if err != nil {
		return false, err
	}
	self := t.r.dev.ID()
	for _, h := range st.heads {
		if k := ring.epochs[h.id]; (k.ContentKey.IsZero() || k.RelayKey.IsZero()) && !st.lost(h, self, key.DeviceID{}) {
			return false, nil
		}
	}
	return st.caps(self)&CapManage != 0, nil
}

// rotateIfStale changes the keys when somebody has left since they were made,
// or was removed without new ones (as by the recovery key), or when there are
// several at once, so that a link is good for one set.
func (t *txn) rotateIfStale(st *State) error {
	stale := len(st.heads) > 1
	for _, d := range st.devices {
		for _, r := range d.revs {
			newer := func(h *epochState) bool { return h.at == r.at || h.at.saw(r.at) }
			if r.mask&^d.caps()&CapRead != 0 && !slices.ContainsFunc(st.heads, newer) {
				stale = true
			}
		}
	}
	if !stale || st.caps(t.r.dev.ID())&CapManage == 0 {
		return nil
	}
	return t.rotate(key.DeviceID{})
}

// rotate changes the keys for everybody but one device; with are the records
// that stand in one entry with the epoch. That entry lies under the keys
// before; the one after it is the first under the new ones, and hands the
// earlier relay keys to whoever has nothing but the new.
func (t *txn) rotate(without key.DeviceID, with ...record) error {
	e, groups, err := t.newEpoch(without)
	if err != nil {
		return err
	}
	for _, recs := range groups {
		if _, err := t.appendControl(nil, recs...); err != nil {
			return err
		}
	}
	if _, err = t.appendControl(nil, append(with, e)...); err != nil {
		return err
	}
	_, err = t.appendControl(nil, record{recKeys, &keys{}})
	return err
}

// Rotate changes the room's keys. Open invites end with the old ones.
func (r *Room) Rotate(ctx context.Context) error {
	return r.control(ctx, "changing the keys", CapManage, func(t *txn, st *State) error {
		return t.rotate(key.DeviceID{})
	})
}

// Revoke voids an invite. Whom it let in already stays.
func (r *Room) Revoke(ctx context.Context, invite key.Hash) error {
	return r.control(ctx, "revoking an invite", CapInvite, func(t *txn, st *State) error {
		inv := st.invites[invite]
		if inv == nil {
			return fmt.Errorf("invite %s: %w", invite.Short(), ErrNotFound)
		}
		d := &revoke{Invite: invite}
		for _, dev := range st.devices {
			for _, g := range dev.grants {
				if g.invite == invite {
					d.Keep = append(d.Keep, g.join)
				}
			}
		}
		sortHashes(d.Keep)
		_, err := t.appendControl(nil, record{recRevoke, d})
		return err
	})
}

// SetRole gives a member another role. What it did so far stays.
func (r *Room) SetRole(ctx context.Context, dev key.DeviceID, to Role) error {
	if !to.Valid() {
		return fmt.Errorf("changing a role to %s: %w", to, ErrNotAllowed)
	}
	return r.control(ctx, "changing a role", CapManage, func(t *txn, st *State) error {
		d, err := t.target(st, dev)
		if err != nil {
			return err
		}
		if to.Caps()&^st.caps(r.dev.ID()) != 0 {
			return fmt.Errorf("%w: making somebody %s takes that role", ErrNotAllowed, to)
		}
		cut, err := t.cutOf(dev)
		if err != nil {
			return err
		}
		rec := &role{Device: dev, Gen: d.gen(), Role: to, Caps: to.Caps(), Cut: cut}
		before := d.caps()
		if _, err := t.appendControl(nil, record{recRole, rec}); err != nil {
			return err
		}
		switch gained, lost := to.Caps()&^before, before&^to.Caps(); {
		case lost&CapRead != 0:
			return t.rotate(key.DeviceID{})
		case gained&CapRead != 0:
			return t.handKeys(dev)
		}
		return nil
	})
}

// handKeys seals the present keys to a member by what it may do now.
func (t *txn) handKeys(dev key.DeviceID) error {
	st, ring, err := t.present()
	if err != nil {
		return err
	}
	for _, h := range st.heads {
		k := ring.epochs[h.id]
		if k.ContentKey.IsZero() || k.RelayKey.IsZero() {
			continue
		}
		groups, err := t.sealBoxes(k, []*device{st.devices[dev]})
		if err != nil {
			return err
		}
		if _, err := t.appendControl(nil, groups[0]...); err != nil {
			return err
		}
	}
	return nil
}

// target returns a member that this device may act on.
func (t *txn) target(st *State, dev key.DeviceID) (*device, error) {
	d, self := st.devices[dev], st.devices[t.r.dev.ID()]
	switch {
	case d == nil || d.caps() == 0:
		return nil, fmt.Errorf("member %s: %w", dev.Short(), ErrNotFound)
	case dev == t.r.dev.ID():
		return nil, fmt.Errorf("%w to oneself: leave the room, or ask another owner", ErrNotAllowed)
	case d.rank(everything) <= self.rank(everything):
		return nil, fmt.Errorf("%w: %s was in charge before this device; ask somebody above both, or use the recovery key", ErrNotAllowed, st.called(d.id))
	}
	return d, nil
}

// everything is what the present state knows.
func everything(*ctl) bool { return true }

// cutOf returns how far this device knows the cores of another one.
func (t *txn) cutOf(dev key.DeviceID) ([]cut, error) {
	cores, err := t.allCores()
	if err != nil {
		return nil, err
	}
	var cs []cut
	for _, c := range cores {
		if c.Device != dev || c.Next == 0 || c.Status == coreCarrier || c.isBranch() {
			continue
		}
		if c.Kind != key.Control && c.Parted > 0 {
			st, err := t.state()
			if err != nil {
				return nil, err
			}
			if c, err = t.chosen(st, c); err != nil {
				return nil, err
			}
		}
		w, err := t.Core(c.ID)
		if err != nil {
			return nil, fmt.Errorf("opening core %s: %w", c.ID.Short(), err)
		}
		n, err := w.Length()
		if err != nil {
			return nil, err
		}
		n = min(n, c.Next)
		root, err := core.Root(w, n)
		if err != nil {
			return nil, err
		}
		cs = append(cs, cut{Core: c.core(), Length: n, Root: root})
	}
	slices.SortFunc(cs, func(a, b cut) int { return bytes.Compare(a.Core[:], b.Core[:]) })
	return cs, nil
}

// Remove ends a membership and changes the keys, so that the device reads
// nothing that is written from now on. What it wrote and this device has seen
// stays. Open invites end.
func (r *Room) Remove(ctx context.Context, dev key.DeviceID) error {
	return r.control(ctx, "removing a member", CapManage, func(t *txn, st *State) error {
		if _, err := t.target(st, dev); err != nil {
			return err
		}
		cut, err := t.cutOf(dev)
		if err != nil {
			return err
		}
		return t.rotate(dev, record{recRemove, &remove{Device: dev, Cut: cut}})
	})
}

// Leave ends this device's own membership.
func (r *Room) Leave(ctx context.Context) error {
	return r.control(ctx, "leaving", CapRelay, func(t *txn, st *State) error {
		cuts, err := t.cutOf(r.dev.ID())
		if err != nil {
			return err
		}
		own, err := t.ownCore(key.Control)
		if err != nil {
			return err
		}
		cuts = slices.DeleteFunc(cuts, func(c cut) bool { return c.Core == own.ID })
		_, err = t.appendControl(nil, record{recLeave, &leave{Cut: cuts}})
		return err
	})
}

// Adopt lets the entries of a core count that lie beyond a cut, up to length.
func (r *Room) Adopt(ctx context.Context, id key.CoreID, length uint64) error {
	return r.control(ctx, "adopting entries", CapManage, func(t *txn, st *State) error {
		w, err := t.Core(id)
		if err != nil {
			return err
		}
		n, err := w.Length()
		if err != nil {
			return err
		}
		if length > n {
			return fmt.Errorf("block %d of %d of core %s: %w", length, n, id.Short(), ErrNotFound)
		}
		root, err := rootAt(w, length)
		if err != nil {
			return err
		}
		_, err = t.appendControl(nil, record{recAdopt, &adopt{Core: id, Length: length, Root: root}})
		return err
	})
}

// Rename changes the room's name.
func (r *Room) Rename(ctx context.Context, to string) error {
	if err := checkName("room name", to); err != nil {
		return err
	}
	return r.control(ctx, "renaming the room", CapManage, func(t *txn, st *State) error {
		_, err := t.appendControl(nil, record{recName, &name{Name: to}})
		return err
	})
}

// RenameSelf changes the name that others see of this device.
func (r *Room) RenameSelf(ctx context.Context, to string) error {
	if err := checkName("device name", to); err != nil {
		return err
	}
	return r.control(ctx, "renaming this device", CapRelay, func(t *txn, st *State) error {
		_, err := t.appendControl(nil, record{recLabel, &name{Name: to}})
		return err
	})
}

// Recover does with the recovery key what nobody in the room can forbid: it
// removes devices, and gives others a role. Devices that get one must have
// asked to come in. It works for a device that is not a member. The room's
// keys change with a removal if this device may manage the room and has the
// present ones; else with what somebody writes next who may.
func (r *Room) Recover(ctx context.Context, rec key.Recovery, grant map[key.DeviceID]Role, removals ...key.DeviceID) error {
	err := r.write(ctx, func(t *txn) error {
		st, err := t.state()
		if err != nil {
			return err
		}
		if st.genesis == nil {
			return fmt.Errorf("the room's beginning is not here yet; connect to a member: %w", ErrPending)
		}
		if rec.Public() != st.genesis.Recovery {
			return fmt.Errorf("these words are not this room's: %w", ErrNotAllowed)
		}
		c, err := t.ownCore(key.Control)
		if err != nil {
			return err
		}
		s := statement{Room: r.id, Counter: uint64(max(0, r.now().UnixNano())), Core: c.ID, Block: c.Next}
		for _, dev := range removals {
			cut, err := t.cutOf(dev)
			if err != nil {
				return err
			}
			s.Remove = append(s.Remove, remove{Device: dev, Cut: cut})
		}
		for dev, to := range grant {
			if !to.Valid() {
				return fmt.Errorf("changing a role to %s: %w", to, ErrNotAllowed)
			}
			d := st.devices[dev]
			if d == nil || d.box == nil {
				return fmt.Errorf("device %s has not asked to come in: %w", dev.Short(), ErrNotFound)
			}
			cut, err := t.cutOf(dev)
			if err != nil {
				return err
			}
			s.Role = append(s.Role, role{Device: dev, Gen: d.gen(), Role: to, Caps: to.Caps(), Cut: cut})
		}
		slices.SortFunc(s.Remove, func(a, b remove) int { return bytes.Compare(a.Device[:], b.Device[:]) })
		slices.SortFunc(s.Role, func(a, b role) int { return bytes.Compare(a.Device[:], b.Device[:]) })
		b, err := encode(s)
		if err != nil {
			return err
		}
		sig := rec.Sign(key.UseRecovery, b)
		if _, err := t.appendControl(nil, record{recRecovery, &recovery{Statement: b, Sig: sig[:]}}); err != nil {
			return err
		}
		if err := t.advance(); err != nil {
			return err
		}
		if st, err = t.state(); err != nil || len(removals) == 0 || st.caps(r.dev.ID())&CapManage == 0 {
			return err
		}
		if err := t.rotate(key.DeviceID{}); err != nil && !errors.Is(err, ErrKey) {
			return err
		}
		return t.advance()
	})
	if err != nil {
		return fmt.Errorf("using the recovery key: %w", err)
	}
	return nil
}
