package room

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// standing says how this device stands in the room, and why.
func (t *txn) standing() (Standing, string, error) {
	st, err := t.state()
	if err != nil {
		return Unknown, "", err
	}
	self, err := t.self()
	if err != nil {
		return Unknown, "", err
	}
	s, why := st.standing(t.r.dev.ID(), self.Join, self.Invite, t.r.now())
	return s, why, nil
}

// standing says how a device stands. join is its newest request and invite
// the public key that it was made with; zero when it made none.
func (s *State) standing(dev key.DeviceID, join key.Hash, invite key.DeviceID, now time.Time) (Standing, string) {
	d := s.devices[dev]
	if d != nil && d.caps() != 0 {
		return Admitted, ""
	}
	answered := d != nil && slices.ContainsFunc(d.grants, func(g *grant) bool { return g.join == join })
	if join.IsZero() || answered {
		return s.ended(d)
	}
	if why, ok := s.refusals[join]; ok {
		return Refused, orElse(why, "a member turned the request down; ask for a new link")
	}
	if inv := s.inviteBy(invite); inv != nil {
		if why := s.dead(inv, now, join); why != "" {
			return Refused, why
		}
	}
	if s.admitted[join] {
		return Refused, "the invitation was taken back; ask for a new link"
	}
	return Pending, ""
}

// ended says how a membership that is no more came to its end: the last one, if
// the device was let in again after another.
func (s *State) ended(d *device) (Standing, string) {
	if d == nil || len(d.grants) == 0 {
		return Unknown, ""
	}
	last := d.grants[0]
	for _, g := range d.grants {
		if g.at.later(last.at) {
			last = g
		}
	}
	for _, r := range d.revs {
		if !r.leave && r.mask&CapRelay != 0 && r.against(last) {
			return Removed, orElse(r.text, "a member removed this device; ask for a new link to come back")
		}
	}
	return Left, "left; ask for a new link to come back"
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// inviteBy returns the invite with a public key.
func (s *State) inviteBy(public key.DeviceID) *inviteState {
	var found *inviteState
	for _, inv := range s.invites {
		if inv.Public == public && (found == nil || inv.at.later(found.at)) {
			found = inv
		}
	}
	return found
}

// dead says why an invite lets nobody in any more, "" when it does. join is
// not counted as a use.
func (s *State) dead(inv *inviteState, now time.Time, join key.Hash) string {
	if len(s.revokes[inv.at.id]) > 0 {
		return "the invitation was taken back; ask for a new link"
	}
	for _, h := range s.heads {
		if h.at != inv.at && !inv.at.saw(h.at) {
			return "the room's keys have changed since the link was made; ask for a new one"
		}
	}
	if inv.Uses > 0 && s.used(inv, join) >= inv.Uses {
		return "the link was used as often as it may be; ask for a new one"
	}
	if inv.Expires > 0 && now.Unix() >= inv.Expires {
		return "the link has expired; ask for a new one"
	}
	return ""
}

// used counts the devices that an invite let in.
func (s *State) used(inv *inviteState, but key.Hash) (n uint32) {
	for _, d := range s.devices {
		if slices.ContainsFunc(d.grants, func(g *grant) bool { return g.invite == inv.at.id && g.join != but }) {
			n++
		}
	}
	return n
}

// requests returns the joins that nobody has answered, oldest first.
func (s *State) requests() []*joinState {
	var out []*joinState
	for id, j := range s.joins {
		if _, refused := s.refusals[id]; refused || s.admitted[id] {
			continue
		}
		if d := s.devices[j.Device]; d.caps() != 0 && j.Gen >= d.gen() {
			continue
		}
		out = append(out, j)
	}
	slices.SortFunc(out, func(a, b *joinState) int {
		if a.at.wall != b.at.wall {
			return int(a.at.wall - b.at.wall)
		}
		return slices.Compare(a.at.id[:], b.at.id[:])
	})
	return out
}

// Status returns how the room stands for this device.
func (r *Room) Status() (s Status) {
	r.read(func(t *txn) error {
		st, err := t.state()
		if err != nil {
			return err
		}
		if s.Standing, s.Reason, err = t.standing(); err != nil {
			return err
		}
		held, err := t.held()
		if err != nil {
			return err
		}
		s.Role = roleOf(st.caps(r.dev.ID()))
		s.UpdateNeeded = held || st.updateNeeded
		s.EpochHeads = len(st.heads)
		if s.Restored, err = t.lacks(); err != nil {
			return err
		}
		if s.Twin, err = t.twin(); err != nil {
			return err
		}
		cores, err := t.allCores()
		if err != nil {
			return err
		}
		for _, c := range cores {
			if c.Waiting != waitNone {
				s.Waiting++
			}
			if c.Waiting == waitUpdate {
				s.UpdateNeeded = true
			}
			if (c.Status == coreFalse || c.Status == coreForked) && !c.isBranch() {
				s.Closed = append(s.Closed, ClosedCore{
					Core: c.ID, Device: c.Device, Kind: c.Kind, Gen: c.Gen, At: c.At, Reason: c.Reason, Fork: c.Status == coreForked,
				})
			}
		}
		for range t.idx.Scan([]byte{rowUncount}, nil) {
			s.Quarantined++
		}
		return nil
	})
	return s
}

// read is view for readers that have no error to return: what cannot be read
// is as if it were not there. The storage reports its own failures.
func (r *Room) read(fn func(t *txn) error) {
	_ = r.view(fn) // nothing to tell: a watcher that reads would be told again, without end
}

// Quarantine returns entries that are kept and do not count, without their
// bodies' effect; at most limit (0: all).
func (r *Room) Quarantine(limit int) (out []Counted, err error) {
	err = r.view(func(t *txn) error {
		err := t.uncounted(func(c *coreRow, p pos, e entryRow) error {
			if limit > 0 && len(out) == limit {
				return errEnough
			}
			out = append(out, t.readUncounted(c, p, e))
			return nil
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the quarantine: %w", err)
	}
	return out, nil
}

var errEnough = errors.New("enough")
