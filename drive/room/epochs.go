package room

import (
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// boxInfo binds a box to what it is for.
func boxInfo(room key.RoomID, epoch key.Hash, dev key.DeviceID) []byte {
	b := make([]byte, 0, 96)
	b = append(b, room[:]...)
	b = append(b, epoch[:]...)
	return append(b, dev[:]...)
}

// sealLink seals the key of an earlier epoch under that of a later one.
func sealLink(use key.Use, under key.Secret, epoch, earlier key.Hash, what key.Secret) ([]byte, error) {
	return newSubkey(use, under).sealPart(place{key.CoreID(epoch), 0}, earlier[:], 0, what[:])
}

// openLink opens what sealLink made; zero when it does not open.
func openLink(use key.Use, under key.Secret, epoch, earlier key.Hash, sealed []byte) (s key.Secret) {
	if under.IsZero() || len(sealed) < sealExtra {
		return s
	}
	plain, err := newSubkey(use, under).openPart(place{key.CoreID(epoch), 0}, earlier[:], 0, sealed)
	if err != nil || len(plain) != len(s) {
		return s
	}
	return key.Secret(plain)
}

// newLink seals the keys of an earlier epoch under those of epoch id.
func newLink(content, relay key.Secret, id key.Hash, earlier epochKeys) (l link, err error) {
	l.Epoch = earlier.id()
	if l.Content, err = sealLink(key.UseContentLink, content, id, l.Epoch, earlier.ContentKey); err != nil {
		return l, err
	}
	l.Relay, err = sealLink(key.UseRelayLink, relay, id, l.Epoch, earlier.RelayKey)
	return l, err
}

// unlinked returns the epochs that no valid one links back to, though one came after them or they are void.
func (s *State) unlinked() (out []*epochState) {
	for _, v := range slices.Concat(s.void, s.epochs) {
		linked := slices.ContainsFunc(s.epochs, func(e *epochState) bool {
			return slices.ContainsFunc(e.links, func(l link) bool { return l.Epoch == v.id })
		})
		if !linked && !slices.ContainsFunc(s.heads, func(h *epochState) bool { return h.id == v.id }) {
			out = append(out, v)
		}
	}
	return out
}

// lost reports whether a device that does not have the keys of an epoch need not wait for them: it was given some that do not open; or who
// made them knew it as a member and gave it none; or no other member that reads, but for the device without, has made them or was given them.
// Else somebody could keep a room from ever writing again by making keys and handing them to nobody.
func (s *State) lost(e *epochState, self, without key.DeviceID) bool {
	if s.boxed[e.id][self] {
		return true
	}
	if d := s.devices[self]; d != nil {
		for _, g := range d.grants {
			if g.caps&CapRead != 0 && (g.at == e.at || e.at.saw(g.at)) {
				return true
			}
		}
	}
	for id, d := range s.devices {
		if id != self && id != without && d.caps()&CapRead != 0 && (id == e.by || s.boxed[e.id][id]) {
			return false
		}
	}
	return true
}

// exposed reports whether all present epochs are had by devices that may not read any more, each by one of them at least. One that was
// removed while its remover was removed elsewhere may have been handed what it lacks by that one, or they may put together what they have.
func (s *State) exposed() bool {
	s.exposing.Do(func() {
		s.isExposed = len(s.heads) > 0 && !slices.ContainsFunc(s.heads, func(h *epochState) bool { return !s.leaked(h) })
	})
	return s.isExposed
}

// leaked reports whether a device that may not read any more has the keys of a present epoch: it made them, or was handed them or later ones
// that link to them, by somebody who did not know of its end. What somebody hands on who does know says nothing: it is no content key, or
// he gives keys away, which nobody can forbid him. So new keys made in knowledge of an end are not leaked by it, whatever is said of them.
func (s *State) leaked(h *epochState) bool {
	ended := make(map[key.DeviceID]*device)
	for id, d := range s.devices {
		if d.endedUnknownTo(h.at) {
			ended[id] = d
		}
	}
	if len(ended) == 0 {
		return false
	}
	from := []*epochState{h} // that hold h, or link to it
	for i := 0; i < len(from); i++ {
		for _, e := range slices.Concat(s.epochs, s.void) {
			if e.at.saw(from[i].at) && slices.ContainsFunc(e.links, func(l link) bool { return l.Epoch == from[i].id }) && !slices.Contains(from, e) {
				from = append(from, e)
			}
		}
	}
	for _, e := range from {
		if d := ended[e.by]; d != nil && d.endedUnknownTo(e.at) {
			return true
		}
		for _, c := range s.log {
			at := c
			switch {
			case c.core == e.at.core && c.seq < e.at.seq:
				at = e.at // its maker puts the boxes before it
			case !c.sees(e.at):
				continue
			}
			for _, r := range c.recs {
				b, ok := r.data.(*boxes)
				if ok && b.Epoch == e.id && slices.ContainsFunc(b.Boxes, func(b box) bool { d := ended[b.Device]; return d != nil && d.endedUnknownTo(at) }) {
					return true
				}
			}
		}
	}
	return false
}

// endedUnknownTo reports whether a device may not read any more and was removed, or got a role that does not, in some entry unknown to e.
func (d *device) endedUnknownTo(e *ctl) bool {
	return d.caps()&CapRead == 0 && slices.ContainsFunc(d.revs, func(r *revocation) bool {
		return !r.leave && r.mask&CapRead != 0 && !e.sees(r.at)
	})
}

// What a box holds: one byte, then 64.
const (
	boxContent = 1 // content key, relay key
	boxRelay   = 2 // check of the content key, relay key: for seeders
	boxPlain   = 1 + 64
)

// newEpoch returns the records that give the room fresh keys which everybody
// but the device without gets, and stores the keys. The boxes come in groups
// that fit an entry each; they are appended before the epoch, so that they are
// still sealed under keys that everybody has.
func (t *txn) newEpoch(without key.DeviceID) (record, [][]record, error) {
	st, old, err := t.present()
	if err != nil {
		return record{}, nil, err
	}
	content, relay := key.NewSecret(), key.NewSecret()
	e := &epoch{Content: check(content), Relay: check(relay)}
	id := e.id()
	for i, h := range append(slices.Clip(st.heads), st.unlinked()...) {
		k, ok := old.epochs[h.id]
		if !ok || k.ContentKey.IsZero() || k.RelayKey.IsZero() {
			if i < len(st.heads) && !st.lost(h, t.r.dev.ID(), without) {
				return record{}, nil, fmt.Errorf("%w: those that somebody else has just made; they come when a member that has them is connected", ErrKey)
			}
			continue
		}
		l, err := newLink(content, relay, id, k)
		if err != nil {
			return record{}, nil, err
		}
		if e.Links = append(e.Links, l); len(e.Links) == MaxEpochHeads {
			break
		}
	}
	ring := old.clone()
	ring.addEpoch(e.Content, e.Relay, content, relay)
	groups, err := t.sealBoxes(ring.epochs[id], st.holders(without))
	if err != nil {
		return record{}, nil, err
	}
	return record{recEpoch, e}, groups, t.setKeys(ring)
}

// holders returns who gets the keys of a new epoch, in the order of their ids:
// every member but the device without. The one that makes it, too: a backup of
// it has to find them.
func (s *State) holders(without key.DeviceID) (out []*device) {
	for id, d := range s.devices {
		if id != without && d.box != nil && d.caps() != 0 {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *device) int { return slices.Compare(a.id[:], b.id[:]) })
	return out
}

// boxesPerEntry keeps a control entry of boxes under its limit.
const boxesPerEntry = (MaxBoxesEntry - 8<<10) / (key.BoxOverhead + boxPlain + 48)

// sealBoxes seals the keys of an epoch to devices.
func (t *txn) sealBoxes(k epochKeys, devs []*device) ([][]record, error) {
	var groups [][]record
	for group := range slices.Chunk(devs, boxesPerEntry) {
		b := &boxes{Epoch: k.id()}
		for _, d := range group {
			sealed, err := t.sealBox(k, d.id, d.box, d.caps())
			if err != nil {
				return nil, err
			}
			b.Boxes = append(b.Boxes, sealed)
		}
		groups = append(groups, []record{{recBoxes, b}})
	}
	return groups, nil
}

// sealBox seals the keys of an epoch to one device, by what it may do.
func (t *txn) sealBox(k epochKeys, dev key.DeviceID, pub key.BoxPublic, caps Caps) (box, error) {
	plain := append(append([]byte{boxRelay}, k.Content[:]...), k.RelayKey[:]...)
	if caps&CapRead != 0 {
		plain = append(append([]byte{boxContent}, k.ContentKey[:]...), k.RelayKey[:]...)
	}
	sealed, err := key.SealBox(pub, boxInfo(t.r.id, k.id(), dev), plain)
	if err != nil {
		return box{}, fmt.Errorf("sealing keys for %s: %w", dev.Short(), err)
	}
	return box{Device: dev, Sealed: sealed}, nil
}
