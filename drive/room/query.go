package room

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// ID returns the room's id.
func (r *Room) ID() key.RoomID { return r.id }

// Self returns this device's id.
func (r *Room) Self() key.DeviceID { return r.dev.ID() }

// Name returns the room's name; until its genesis is here, the link's.
func (r *Room) Name() (name string) {
	r.read(func(t *txn) error {
		st, err := t.state()
		if err != nil {
			return err
		}
		if name = st.name; name == "" {
			self, err := t.self()
			if err != nil {
				return err
			}
			name = self.Name
		}
		return nil
	})
	return name
}

// current returns the state; an empty one when it cannot be read.
func (r *Room) current() *State {
	st := &State{}
	r.read(func(t *txn) error {
		s, err := t.state()
		if err == nil {
			st = s
		}
		return err
	})
	return st
}

// Role returns this device's role; RoleNone until it is let in.
func (r *Room) Role() Role { return roleOf(r.current().caps(r.dev.ID())) }

// Can reports whether this device has all of the capabilities.
func (r *Room) Can(c Caps) bool { return r.current().caps(r.dev.ID())&c == c }

// MayAppend says whether Append would take an entry that needs these capabilities now. Errors: those of Append that do not depend on the
// entry itself. While writing is held back it tells what is known now. Not for use inside Update.
func (r *Room) MayAppend(c Caps) error {
	return r.view(func(t *txn) error { return t.allowed(c) })
}

// Members returns everybody who is or was in the room, in the order in which
// they came.
func (r *Room) Members() []Member {
	st := r.current()
	var out []Member
	for _, d := range st.devices {
		if len(d.grants) > 0 {
			out = append(out, r.member(st, d))
		}
	}
	slices.SortFunc(out, func(a, b Member) int {
		if c := a.Joined.Compare(b.Joined); c != 0 {
			return c
		}
		return slices.Compare(a.Device[:], b.Device[:])
	})
	return out
}

// Member returns one device that is or was in the room.
func (r *Room) Member(dev key.DeviceID) (Member, bool) {
	st := r.current()
	d := st.devices[dev]
	if d == nil || len(d.grants) == 0 {
		return Member{}, false
	}
	return r.member(st, d), true
}

func (r *Room) member(st *State, d *device) Member {
	m := Member{Device: d.id, Name: st.called(d.id), Label: d.label(), Caps: d.caps(), Standing: Admitted, Self: d.id == r.dev.ID()}
	m.Role = roleOf(m.Caps)
	if m.Caps == 0 {
		m.Standing, _ = st.ended(d)
	}
	first := d.grants[0]
	for _, g := range d.grants {
		if g.at.wall < first.at.wall {
			first = g
		}
	}
	m.By, m.Joined = first.by, time.Unix(0, first.at.wall)
	return m
}

// Pending returns the requests to come in that wait for an answer.
func (r *Room) Pending() []Request {
	st := r.current()
	var out []Request
	for _, j := range st.requests() {
		q := Request{Join: j.at.id, Device: j.Device, Name: st.called(j.Device), Label: j.Label, Asked: time.Unix(0, j.at.wall)}
		inv := st.inviteBy(j.join.Invite)
		if inv == nil || st.dead(inv, r.now(), j.at.id) != "" {
			continue
		}
		q.Role, q.Invite, q.Manual = inv.Role, inv.at.id, inv.Approve
		out = append(out, q)
	}
	return out
}

// Invites returns all invites, newest first.
func (r *Room) Invites() []Invite {
	st := r.current()
	var out []Invite
	for _, inv := range st.invites {
		i := Invite{
			ID: inv.at.id, By: inv.by, Role: inv.Role, Uses: inv.Uses, Used: st.used(inv, key.Hash{}), Approve: inv.Approve,
			Reason: st.dead(inv, r.now(), key.Hash{}), Made: time.Unix(0, inv.at.wall),
		}
		if inv.Expires > 0 {
			i.Expires = time.Unix(inv.Expires, 0)
		}
		i.Open = i.Reason == ""
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Invite) int {
		if c := b.Made.Compare(a.Made); c != 0 {
			return c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	return out
}

// Entry returns a processed drive or chat entry, whether it counts or not.
// ErrNotFound, or ErrKey and ErrAbsent when its body cannot be read.
func (r *Room) Entry(id key.Hash) (out Counted, err error) {
	err = r.view(func(t *txn) error {
		c, p, e, err := t.lookup(id)
		if err != nil {
			return err
		}
		a, err := t.reopen(c, p, e)
		if err != nil {
			return err
		}
		out = counted(c, p.seq, e, a.body)
		return nil
	})
	if err != nil {
		return Counted{}, fmt.Errorf("entry %s: %w", id.Short(), err)
	}
	return out, nil
}

// Waiting returns entries of a kind that are here but whose closure is not,
// as far as they can be read: nothing of them is checked but that the author
// signed them and may write such entries now. At most limit (0: all).
func (r *Room) Waiting(kind key.Kind, limit int) (out []Counted, err error) {
	err = r.view(func(t *txn) error {
		return t.eachWaiting(kind, func(e Counted) (bool, error) {
			if e.Body != nil {
				out = append(out, e)
			}
			return limit == 0 || len(out) < limit, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("listing waiting entries: %w", err)
	}
	return out, nil
}

// lookup returns a processed entry.
func (t *txn) lookup(id key.Hash) (*coreRow, pos, entryRow, error) {
	p, ok, err := t.find(id)
	if err == nil && !ok {
		err = ErrNotFound
	}
	if err != nil {
		return nil, p, entryRow{}, err
	}
	c, err := t.core(p.no)
	if err != nil {
		return nil, p, entryRow{}, err
	}
	e, err := t.entry(p)
	return c, p, e, err
}

// Closure returns how far the version that an entry names reaches: the entry
// itself and everything it depends on. ErrNotFound when it was not processed.
func (r *Room) Closure(id key.Hash) (out Clock, err error) {
	err = r.view(func(t *txn) error {
		_, p, e, err := t.lookup(id)
		if err != nil {
			return err
		}
		c, err := t.clockOf(p, e)
		if err != nil {
			return err
		}
		c = c.clone()
		c.raise(p.no, p.seq+1)
		lengths := map[key.CoreID]uint64{}
		c.beyond(nil, func(no uint32, n uint64) {
			if err != nil {
				return
			}
			var row *coreRow
			if row, err = t.core(no); err == nil {
				lengths[row.core()] = max(lengths[row.core()], n)
			}
		})
		out = closure{lengths}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("closure of %s: %w", id.Short(), err)
	}
	return out, nil
}

// Heads returns the counting entries of a kind that no other one has seen:
// together they are the whole present.
func (r *Room) Heads(kind key.Kind) (out []key.Hash) {
	r.read(func(t *txn) error {
		f, err := t.front(kind)
		for _, e := range f {
			out = append(out, e.id)
		}
		return err
	})
	return out
}

// Payload returns payload block k, counted from 1, of the entry at block seq
// of a core. hash is what its BLAKE3 must be; the zero hash is not checked,
// and is no name for payloads of entries that Waiting returned. ErrAbsent when
// the block is not here.
func (r *Room) Payload(id key.CoreID, seq uint64, k uint32, hash key.Hash) (plain []byte, err error) {
	err = r.view(func(t *txn) error {
		c, err := t.coreByID(id)
		if err != nil {
			return err
		}
		if c == nil {
			return ErrNotFound
		}
		if c, err = t.historyAt(c, seq); err != nil {
			return err
		}
		limit := uint32(MaxPayloads)
		if seq < c.Next || hash.IsZero() {
			e, err := t.entry(pos{c.no, seq})
			if err != nil {
				return err
			}
			limit = e.payloads
		}
		if k == 0 || k > limit {
			return ErrNotFound
		}
		plain, err = t.openPayload(c, seq+uint64(k))
		return err
	})
	if err == nil && !hash.IsZero() && key.Sum(plain) != hash {
		err = fmt.Errorf("%w: it is not what the entry says", ErrFormat)
	}
	if err != nil {
		return nil, fmt.Errorf("payload %d of entry %d of core %s: %w", k, seq, id.Short(), err)
	}
	return plain, nil
}

func (t *txn) openPayload(c *coreRow, i uint64) ([]byte, error) {
	b, err := t.block(c.ID, i)
	if errors.Is(err, core.ErrRange) {
		err = ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	env, err := parseEnvelope(b)
	if err != nil {
		return nil, err
	}
	if !env.payload {
		return nil, fmt.Errorf("%w: an entry where a payload must be", ErrFormat)
	}
	ring, err := t.keys()
	if err != nil {
		return nil, err
	}
	s, err := ring.sealerFor(env)
	if errors.Is(err, errNoKey) {
		return nil, ErrKey
	}
	if err != nil {
		return nil, err
	}
	return s.openPayload(place{c.core(), i}, env)
}
