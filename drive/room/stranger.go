package room

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// Strangers are devices that nobody let in yet. Anybody with a link can be as many of them as he likes, so little is kept of each of them,
// and of only so many for each link: whoever floods a room with requests keeps those with other links from nothing. What a member has
// answered is kept in any case: his own core goes no further without it.

// admissible decides about a core of a device that is not known to have been
// let in: its control core is needed to answer its request, or to learn that
// it was let in. One that sends it itself may send a few blocks.
func (t *txn) admissible(st *State, from key.DeviceID, ci CoreInfo, tails []core.Tail, fresh bool) error {
	if ci.Kind != key.Control {
		return fmt.Errorf("not known: %w", ErrDrop)
	}
	if !fresh && len(tails) == 0 {
		return nil
	}
	if st.caps(t.r.dev.ID()) != 0 && st.caps(from) == 0 {
		for _, tail := range tails {
			large := func(b core.Block) bool { return len(b.Data) > MaxStrangerBlock }
			if tail.End() > MaxStranger || slices.ContainsFunc(tail.Blocks, large) {
				return fmt.Errorf("not let in: %w", ErrDrop)
			}
		}
	}
	if !fresh || st.caps(t.r.dev.ID()) == 0 { // who is not let in himself cannot know yet who is a member
		return nil
	}
	if awaited, err := t.awaited(st, tails); err != nil || awaited {
		return err
	}
	t.stranger = ci.Device
	return nil
}

// crowded refuses a stranger whose core is new in this transaction when there are too many, or too many with his link.
func (t *txn) crowded() error {
	if t.stranger.IsZero() {
		return nil
	}
	st, err := t.state()
	if err != nil {
		return err
	}
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	link := st.linkOf(t.stranger)
	all, same := 0, 0
	for _, c := range cores {
		if !st.known(c.Device) {
			all++
			if st.linkOf(c.Device) == link {
				same++
			}
		}
	}
	if all > MaxPending || same > MaxPendingLink {
		return fmt.Errorf("too many requests to come in: %w", ErrDrop)
	}
	return nil
}

// linkOf is the key of the invite by which a device first asked to come in; zero if it did not, or nothing of it was processed yet.
func (s *State) linkOf(dev key.DeviceID) (invite key.DeviceID) {
	d := s.devices[dev]
	if d == nil || len(d.asked) == 0 {
		return invite
	}
	first := slices.MinFunc(d.asked, func(a, b *ctl) int { return cmp.Or(cmp.Compare(a.gen, b.gen), cmp.Compare(a.seq, b.seq)) })
	for _, r := range first.recs {
		if j, ok := r.data.(*join); ok {
			return j.Invite
		}
	}
	return invite
}

// awaited reports whether the control core of a member goes on when these blocks are here.
func (t *txn) awaited(st *State, tails []core.Tail) (bool, error) {
	for _, tail := range tails {
		for _, b := range tail.Blocks {
			id := b.Leaf()
			prefix := append([]byte{rowWait}, id[:]...)
			for k := range t.idx.Scan(prefix, nil) {
				c, err := t.core(binary.BigEndian.Uint32(k[len(prefix):]))
				if err != nil {
					return false, err
				}
				if st.caps(c.Device) != 0 {
					return true, nil
				}
			}
		}
	}
	return false, nil
}
