package room

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// evaluation computes a State. Grants are taken in the order of their rank;
// taking one accepts those of its device's records that it authorises, whose
// effects lie strictly below it. So whatever could void a grant or cut a
// device's records was accepted before, and one pass suffices.
type evaluation struct {
	*State
	forks   forkedCores
	byDev   map[key.DeviceID][]*ctl
	done    map[*ctl][]bool
	queue   grantQueue
	admits  map[key.Hash][]pendingAdmit // by an invite that is not accepted yet
	nameAt  *ctl
	keepAt  *ctl // where retention was set
	members int
}

// pendingAdmit is an authorised admission.
type pendingAdmit struct {
	*admit
	at    *ctl
	index int
	grant *grant // of the admitter
	join  *joinState
}

// evaluate returns the state that a causally closed set of control entries
// means. The order of the log does not matter.
func evaluate(room key.RoomID, log []*ctl) *State { return evaluateForked(room, log, nil) }

// evaluateForked is evaluate where some cores have several histories.
func evaluateForked(room key.RoomID, log []*ctl, forks forkedCores) *State {
	s := &State{
		seals:    map[key.CoreID][]seal{},
		room:     room,
		devices:  map[key.DeviceID]*device{},
		invites:  map[key.Hash]*inviteState{},
		revokes:  map[key.Hash][]*revokeState{},
		joins:    map[key.Hash]*joinState{},
		refusals: map[key.Hash]string{},
		admitted: map[key.Hash]bool{},
		adopted:  map[key.CoreID][]adoption{},
		boxed:    map[key.Hash]map[key.DeviceID]bool{},
		floors:   map[key.DeviceID][]floor{},
		recovers: map[key.DeviceID]bool{},
		log:      log,
	}
	v := &evaluation{
		State:  s,
		forks:  forks,
		byDev:  map[key.DeviceID][]*ctl{},
		done:   map[*ctl][]bool{},
		admits: map[key.Hash][]pendingAdmit{},
	}
	v.index()
	v.recovery()
	for v.queue.Len() > 0 {
		v.activate(heap.Pop(&v.queue).(*grant))
	}
	v.finish()
	return s
}

// index sorts the log by device and notes what holds whoever wrote it.
func (v *evaluation) index() {
	for _, e := range v.log {
		v.byDev[e.dev] = append(v.byDev[e.dev], e)
		v.done[e] = make([]bool, len(e.recs))
		for _, r := range e.recs {
			switch d := r.data.(type) {
			case *genesis:
				v.found(e, d)
			case *join:
				v.joins[e.id] = &joinState{d, e}
				dev := v.device(d.Device)
				dev.asked = append(dev.asked, e)
				if e.later(dev.boxAt) {
					dev.box, dev.boxAt = d.Box, e
				}
				dev.labels = append(dev.labels, labelled{d.Label, e})
			case *leave:
				dev := v.device(e.dev)
				dev.left = append(dev.left, e)
			case *admit:
				if d.Floor > 0 {
					v.floors[d.Device] = append(v.floors[d.Device], floor{e, d.Floor})
				}
			}
		}
	}
	for _, es := range v.byDev {
		slices.SortFunc(es, func(a, b *ctl) int {
			return cmp.Or(cmp.Compare(a.gen, b.gen), cmp.Compare(a.seq, b.seq), bytes.Compare(a.id[:], b.id[:]))
		})
	}
}

// found takes the genesis: it makes its author the first owner and the first
// epoch. Whoever stored it has checked that it is the room's.
func (v *evaluation) found(e *ctl, g *genesis) {
	v.State.genesis, v.name = g, g.Name
	dev := v.device(g.Device)
	dev.box, dev.boxAt = g.Box, e
	dev.asked, dev.labels = append(dev.asked, e), append(dev.labels, labelled{g.Label, e})
	ep := &epochState{id: epochID(g.Content, g.Relay), content: g.Content, relay: g.Relay, at: e, by: g.Device}
	v.epochs = append(v.epochs, ep)
	v.push(&grant{dev: g.Device, caps: RoleOwner.Caps(), role: RoleOwner, at: e, by: g.Device, rank: rank([]byte{classOwner})})
}

func (v *evaluation) device(id key.DeviceID) *device {
	d := v.devices[id]
	if d == nil {
		d = &device{id: id}
		v.devices[id] = d
	}
	return d
}

func (v *evaluation) push(g *grant) { heap.Push(&v.queue, g) }

// activate takes a grant.
func (v *evaluation) activate(g *grant) {
	if v.voided(g) {
		return
	}
	d := v.device(g.dev)
	if len(d.grants) == 0 {
		if v.members == MaxMembers {
			return
		}
		v.members++
	}
	d.grants = append(d.grants, g)
	for _, e := range v.byDev[g.dev] {
		if e.gen < g.gen || e != g.at && !e.saw(g.at) {
			continue
		}
		for i, r := range e.recs {
			if !v.done[e][i] && v.authorised(d, g, e, needed(r)) {
				v.done[e][i] = true
				v.accept(g, e, i, r)
			}
		}
	}
}

// voided reports whether the invite behind an admission was revoked without
// keeping it.
func (v *evaluation) voided(g *grant) bool {
	if g.invite.IsZero() {
		return false
	}
	inv := v.invites[g.invite]
	for _, r := range v.revokes[g.invite] {
		if (r.rank <= inv.rank || r.by == inv.by) && !slices.Contains(r.Keep, g.join) {
			return true
		}
	}
	return false
}

// finish finds the heads of the epochs.
func (v *evaluation) finish() {
	for _, e := range v.epochs {
		if !slices.ContainsFunc(v.epochs, func(f *epochState) bool { return f.at.saw(e.at) }) {
			v.heads = append(v.heads, e)
		}
	}
	slices.SortFunc(v.heads, func(a, b *epochState) int {
		return cmp.Or(bytes.Compare(a.relay[:], b.relay[:]), bytes.Compare(a.id[:], b.id[:]))
	})
	for _, e := range v.log {
		for i, r := range e.recs {
			if d, ok := r.data.(*epoch); ok && !v.accepted(e, i) {
				v.void = append(v.void, &epochState{d.id(), d.Content, d.Relay, d.Links, e, e.dev})
			}
		}
	}
	v.heads = slices.CompactFunc(v.heads, func(a, b *epochState) bool { return a.tag() == b.tag() })
}
