package room

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/pearbox/pearbox/drive/key"
)

// ctl is a control entry whose closure is held. It is immutable.
type ctl struct {
	id      key.Hash
	core    key.CoreID
	no      uint32 // local number of the core
	dev     key.DeviceID
	gen     uint32
	seq     uint64
	lamport uint64
	wall    int64
	clock   clock // of its closure; does not include itself
	recs    []record
}

// saw reports whether f is in the closure of e.
func (e *ctl) saw(f *ctl) bool { return e.clock.includes(f.no, f.seq) }

// sees reports whether f is e or in its closure.
func (e *ctl) sees(f *ctl) bool { return f == e || e.saw(f) }

// later orders control entries for registers where the last one wins.
func (e *ctl) later(f *ctl) bool {
	switch {
	case f == nil || e.lamport != f.lamport:
		return f == nil || e.lamport > f.lamport
	case e.core != f.core:
		return string(e.core[:]) > string(f.core[:])
	case e.seq != f.seq:
		return e.seq > f.seq
	}
	return string(e.id[:]) > string(f.id[:]) // of two histories of one core
}

// grant gives a device capabilities from one control entry on.
type grant struct {
	dev    key.DeviceID
	gen    uint32 // lowest generation of the cores it is for
	caps   Caps
	role   Role
	at     *ctl
	by     key.DeviceID // zero: the recovery key
	rank   rank
	invite key.Hash // zero for a role
	join   key.Hash
	said   uint64 // counter of the recovery key's statement
}

// revocation takes capabilities away beyond a cut.
type revocation struct {
	mask  Caps
	cuts  map[key.CoreID]uint64 // blocks that still count; absent: none
	at    *ctl
	by    key.DeviceID // as in grant
	rank  rank
	leave bool
	text  string
	said  uint64 // as in grant
}

// against reports whether the revocation takes from the grant: the grant was
// not made in knowledge of it. Of what the recovery key says the later counts.
func (r *revocation) against(g *grant) bool {
	if r.by.IsZero() && g.by.IsZero() && r.said <= g.said {
		return false
	}
	return !g.at.sees(r.at)
}

// adoption extends cuts.
type adoption struct {
	length uint64
	rank   rank
}

// device is everything the control entries say about one device.
type device struct {
	id     key.DeviceID
	grants []*grant
	revs   []*revocation
	labels []labelled // what it called itself, in no order
	asked  []*ctl     // its requests to come in, and the genesis if that names it; in no order
	box    key.BoxPublic
	boxAt  *ctl   // the last of asked: where box stands
	left   []*ctl // where it said that it leaves
}

// askedBefore reports whether e was written in knowledge of some request of the
// device to come in. One that came later changes nothing about that: else whoever
// asks again would undo what was decided about him.
func (d *device) askedBefore(e *ctl) bool { return slices.ContainsFunc(d.asked, e.sees) }

// caps returns what the device may do now.
func (d *device) caps() Caps {
	var all Caps
	for _, g := range d.grants {
		c := g.caps
		for _, r := range d.revs {
			if r.against(g) {
				c &^= r.mask
			}
		}
		all |= c
	}
	return all
}

// rank returns the best rank that its grants give the device, "" without any.
// What was taken from a grant is considered where known says so of the entry:
// who was demoted, or left, no longer ranks with those who manage.
func (d *device) rank(known func(*ctl) bool) (best rank) {
	for _, g := range d.grants {
		c := g.caps
		for _, r := range d.revs {
			if r.against(g) && known(r.at) {
				c &^= r.mask
			}
		}
		k := g.rank
		if class := classOf(c); class > k[0] {
			k = rank([]byte{class}) + k[1:]
		}
		if best == "" || k < best {
			best = k
		}
	}
	return best
}

// gen returns the lowest generation that the newest admission is for.
func (d *device) gen() (gen uint32) {
	for _, g := range d.grants {
		gen = max(gen, g.gen)
	}
	return gen
}

// inviteState is a valid invite.
type inviteState struct {
	*invite
	at   *ctl
	by   key.DeviceID
	rank rank
}

type joinState struct {
	*join
	at *ctl
}

// epochState is a valid epoch.
type epochState struct {
	id             key.Hash
	content, relay key.Hash // checks
	links          []link
	at             *ctl
	by             key.DeviceID
}

func (e *epochState) tag() tag { return tag(e.relay[:]) }

// revokeState is an authorised revoke.
type revokeState struct {
	*revoke
	at   *ctl
	by   key.DeviceID
	rank rank
}

// State is what a set of control entries means: who is a member, with which
// capabilities, how far each core counts, and which epochs there are. It is a
// function of that set alone and, names apart, immutable once made.
type State struct {
	room         key.RoomID
	genesis      *genesis
	name         string
	retention    retention
	devices      map[key.DeviceID]*device
	invites      map[key.Hash]*inviteState
	revokes      map[key.Hash][]*revokeState // by invite
	joins        map[key.Hash]*joinState
	refusals     map[key.Hash]string // by join
	admitted     map[key.Hash]bool   // joins that somebody with the right to answered
	adopted      map[key.CoreID][]adoption
	epochs       []*epochState // in the order in which they were found valid
	heads        []*epochState // not seen by another valid epoch; sorted by tag
	void         []*epochState // announced without the right to, or beyond a cut; entries may lie under them
	boxed        map[key.Hash]map[key.DeviceID]bool
	floors       map[key.DeviceID][]floor
	recovers     map[key.DeviceID]bool // have used the recovery key
	log          []*ctl
	updateNeeded bool
	seals        map[key.CoreID][]seal // records and cuts that name a history of a core

	naming sync.Once // makes names
	names  map[key.DeviceID]string

	exposing  sync.Once // makes isExposed
	isExposed bool
}

// seal says which history of a core counts: the one with this root.
type seal struct {
	length uint64
	root   key.Hash
	rank   rank
	at     *ctl
	by     key.DeviceID
}

// before reports whether s decides rather than o.
func (s seal) before(o seal) bool {
	if s.rank != o.rank {
		return s.rank < o.rank
	}
	return s.at != o.at && s.at.later(o.at)
}

// floor is the logical time that an admission makes a device start at.
type floor struct {
	at    *ctl
	value uint64
}

// caps returns what a device may do now.
func (s *State) caps(dev key.DeviceID) Caps {
	if d := s.devices[dev]; d != nil {
		return d.caps()
	}
	return 0
}

// known reports whether the device is or was a member.
func (s *State) known(dev key.DeviceID) bool {
	d := s.devices[dev]
	return d != nil && len(d.grants) > 0
}

// speaks reports whether entries of the device may have an effect, so that one
// refers to them: it is or was a member, or it has used the recovery key.
func (s *State) speaks(dev key.DeviceID) bool { return s.known(dev) || s.recovers[dev] }

// floor returns the logical time that the device's entries come after, by the
// admissions in a closure. Whether those are valid does not matter: the value
// must never change.
func (s *State) floor(dev key.DeviceID, c clock) (v uint64) {
	for _, f := range s.floors[dev] {
		if c.includes(f.at.no, f.at.seq) {
			v = max(v, f.value)
		}
	}
	return v
}

// capsAt returns what the author of an entry could do by it: what a grant
// that the entry saw and that is valid gives, as far as no cut lies before the
// entry. The entry counts if that holds the capability its kind needs.
func (s *State) capsAt(dev key.DeviceID, core key.CoreID, gen uint32, seq uint64, c clock) (all Caps) {
	d := s.devices[dev]
	if d == nil {
		return 0
	}
	for _, g := range d.grants {
		if gen < g.gen || !c.includes(g.at.no, g.at.seq) {
			continue
		}
		caps := g.caps
		for _, r := range d.revs {
			if r.against(g) && seq >= s.cut(r, core) {
				caps &^= r.mask
			}
		}
		all |= caps
	}
	return all
}

// cut returns how many blocks of a core a revocation leaves, adoptions
// included.
func (s *State) cut(r *revocation, core key.CoreID) uint64 {
	n := r.cuts[core]
	for _, a := range s.adopted[core] {
		if a.rank <= r.rank {
			n = max(n, a.length)
		}
	}
	return n
}

// authority returns a fingerprint of everything that decides which of a
// device's entries count.
func (s *State) authority(dev key.DeviceID, cores []key.CoreID) key.Hash {
	d := s.devices[dev]
	if d == nil {
		return key.Hash{}
	}
	var lines []string
	for _, g := range d.grants {
		b := append([]byte(nil), g.at.id[:]...)
		b = binary.BigEndian.AppendUint32(b, g.gen)
		b = binary.BigEndian.AppendUint32(b, uint32(g.caps))
		lines = append(lines, "g"+string(b))
	}
	for _, r := range d.revs {
		b := append([]byte(nil), r.at.id[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(r.mask))
		for _, c := range cores {
			b = binary.BigEndian.AppendUint64(b, s.cut(r, c))
		}
		lines = append(lines, "r"+string(b))
	}
	slices.Sort(lines)
	parts := make([][]byte, len(lines))
	for i, l := range lines {
		parts[i] = []byte(l)
	}
	return key.Derive(key.UseStateHash, parts...)
}

// needOf is the capability that an entry of a kind needs to count.
func needOf(k key.Kind) Caps {
	if k == key.Chat {
		return CapChat
	}
	return CapDrive
}
