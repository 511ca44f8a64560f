package room

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// keyChanges: members are removed with new keys, also in several places at once, keys change, somebody is let in, and keys are handed on. It
// is the members' own choice who gets a box: by what they have seen, and by the functions that Room asks.
func keyChanges() scope {
	p := newPlay()
	for dev := 1; dev <= 3; dev++ {
		by := who{}
		inv := p.invites(by, p.all(), invite{Role: RoleAdmin})
		p.admits(by, p.all(), inv, p.asks(who{dev: dev}, inv), boxFor(founding(p), devID(dev)))
	}
	inv := p.invites(who{}, p.all(), invite{Role: RoleWriter})
	fourth := p.asks(who{dev: 4}, inv)
	rotates := func(name string, dev int) act {
		return act{name, func(p *play, w who, seen uint64) bool { return p.rotates(w, seen, dev) }}
	}
	return scope{
		base: p, authors: devs(0, 1, 2), steps: 3, every: 11,
		acts: []act{
			rotates("removes 1", 1), rotates("removes 2", 2), rotates("removes 3", 3), rotates("changes the keys", -1),
			{"lets 4 in", func(p *play, w who, seen uint64) bool {
				st, may := p.asSeen(w, seen)
				if !may || st.caps(devID(4)) != 0 {
					return false
				}
				var recs []record
				for _, h := range st.heads {
					if slices.Contains(p.knownTo(w, seen), h.id) {
						recs = append(recs, boxFor(h.id, devID(4)))
					}
				}
				p.admits(w, seen, inv, fourth, recs...)
				return true
			}},
			leaving(),
			{"hands keys on", func(p *play, w who, seen uint64) bool { return p.handOn(w, seen) }},
		},
		check: secret, later: left,
	}
}

// rotates lets somebody who has seen so much change the keys as Room does, and remove a device if that is not -1; false when he can not.
func (p *play) rotates(w who, seen uint64, dev int) bool {
	st, may := p.asSeen(w, seen)
	if !may || w.dev == dev || dev >= 0 && st.caps(devID(dev)) == 0 {
		return false
	}
	e, without := freshKeys(len(p.log)), key.DeviceID{}
	recs := []record{{recEpoch, e}}
	if dev >= 0 {
		without = devID(dev)
		recs = append([]record{{recRemove, &remove{Device: without, Cut: p.cutAt(seen, dev, 0)}}}, recs...)
	}
	known := p.knownTo(w, seen)
	for i, h := range append(slices.Clip(st.heads), st.unlinked()...) {
		switch {
		case slices.Contains(known, h.id):
			e.Links = append(e.Links, link{Epoch: h.id})
		case i < len(st.heads) && !st.lost(h, devID(w.dev), without):
			return false // he waits until he has them
		}
	}
	b := &boxes{Epoch: e.id()}
	for _, d := range st.holders(without) {
		b.Boxes = append(b.Boxes, box{Device: d.id})
	}
	p.add(w, seen, record{recBoxes, b})
	p.add(w, seen, recs...)
	return true
}

func founding(p *play) key.Hash {
	g := p.log[0].recs[0].data.(*genesis)
	return epochID(g.Content, g.Relay)
}

func boxFor(id key.Hash, dev key.DeviceID) record {
	return record{recBoxes, &boxes{Epoch: id, Boxes: []box{{Device: dev}}}}
}

// asSeen is the state of who has seen so much, and whether he may manage the room in it.
func (p *play) asSeen(w who, seen uint64) (*State, bool) {
	var order []int
	for i := range p.log {
		if p.closure(seen|p.own(w))&(1<<i) != 0 {
			order = append(order, i)
		}
	}
	q := p.clone()
	q.log, q.past = nil, nil
	place := map[int]int{}
	for _, i := range order {
		place[i] = len(q.log)
		var past uint64
		for o, n := range place {
			if p.past[i]&(1<<o) != 0 {
				past |= 1 << n
			}
		}
		q.log, q.past = append(q.log, p.log[i]), append(q.past, past)
	}
	straight := make([]int, len(q.log))
	for i := range straight {
		straight[i] = i
	}
	log, forks := q.delivered(straight)
	st := evaluateForked(key.RoomID{}, log, forks)
	return st, st.caps(devID(w.dev))&CapManage != 0
}

// handOn lets somebody who has seen so much hand keys on as Room does; false when there is nothing to hand on.
func (p *play) handOn(w who, seen uint64) bool {
	st, _ := p.asSeen(w, seen)
	if st.caps(devID(w.dev))&CapAdmit == 0 {
		return false
	}
	known, done := p.knownTo(w, seen), false
	for _, h := range append(slices.Clip(st.heads), st.unlinked()...) {
		if !slices.Contains(known, h.id) {
			continue
		}
		devs := st.lacking(devID(w.dev), key.DeviceID{}, h)
		slices.SortFunc(devs, func(a, b *device) int { return slices.Compare(a.id[:], b.id[:]) })
		for _, d := range devs {
			p.add(w, seen, boxFor(h.id, d.id))
			done = true
		}
	}
	return done
}

// knownTo returns the epochs whose keys somebody has who has seen so much: those that he made, those that a box handed him, whoever wrote
// it, and what these link to.
func (p *play) knownTo(w who, seen uint64) []key.Hash {
	known := map[key.Hash]bool{}
	if w.dev == 0 {
		known[founding(p)] = true
	}
	links := map[key.Hash][]link{}
	for i, e := range p.log {
		if p.closure(seen|p.own(w))&(1<<i) == 0 {
			continue
		}
		for _, r := range e.recs {
			switch d := r.data.(type) {
			case *epoch:
				known[d.id()] = known[d.id()] || e.dev == devID(w.dev)
				links[d.id()] = d.Links
			case *boxes:
				for _, b := range d.Boxes {
					known[d.Epoch] = known[d.Epoch] || b.Device == devID(w.dev)
				}
			}
		}
	}
	for range len(links) { // a chain is not longer
		for id, ls := range links {
			for _, l := range ls {
				known[l.Epoch] = known[l.Epoch] || known[id]
			}
		}
	}
	var out []key.Hash
	for id, yes := range maps.All(known) {
		if yes {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b key.Hash) int { return slices.Compare(a[:], b[:]) })
	return out
}

// secret checks what keys are for: nobody who was removed has all of the newest, even when he sees everything, and what one member has all
// have once those who may have handed it on. What only those had who left is lost.
func secret(p *play) string {
	o, err := oracle(p)
	if err != nil {
		return err.Error()
	}
	heads := func(p *play) (out []key.Hash) {
		st, _ := p.asSeen(who{}, p.all())
		for _, h := range st.heads {
			out = append(out, h.id)
		}
		return out
	}
	has := func(p *play, dev int) bool {
		known := p.knownTo(who{dev: dev}, p.all())
		return !slices.ContainsFunc(heads(p), func(id key.Hash) bool { return !slices.Contains(known, id) })
	}
	for dev := range 5 {
		removed := slices.ContainsFunc(o.takings, func(t *taking) bool { return t.dev == devID(dev) && !t.leave })
		if removed && o.can(devID(dev)) == 0 && has(p, dev) {
			return fmt.Sprintf("%d is removed and has the keys under which the others write now", dev)
		}
	}
	later := p.clone()
	for range 2 {
		for dev := range 5 {
			later.handOn(who{dev: dev}, later.all())
		}
	}
	there := slices.DeleteFunc([]int{0, 1, 2, 3, 4}, func(dev int) bool { return o.can(devID(dev)) == 0 })
	if !slices.ContainsFunc(there, func(dev int) bool { return has(later, dev) }) {
		return "" // the newest are lost: who made them left, and gave them to nobody who is there
	}
	var read []key.Hash
	for dev := range 5 {
		if o.can(devID(dev)) == 0 {
			continue
		}
		known := later.knownTo(who{dev: dev}, later.all())
		if read != nil && !slices.Equal(read, known) {
			return fmt.Sprintf("%d does not read what others do, or more, when all have handed on what they have", dev)
		}
		read = known
	}
	return ""
}

// left checks what is promised of keys however long a history is: when each of the newest is had by somebody who was removed, whoever may
// change them knows that when he has seen everything; and once he did, nobody who was removed has any.
func left(p *play) string {
	o, err := oracle(p)
	if err != nil {
		return err.Error()
	}
	var removed []int
	for dev := range 5 {
		if o.can(devID(dev)) == 0 && slices.ContainsFunc(o.takings, func(t *taking) bool { return t.dev == devID(dev) && !t.leave }) {
			removed = append(removed, dev)
		}
	}
	had := func(p *play) bool {
		st, _ := p.asSeen(who{}, p.all())
		return !slices.ContainsFunc(st.heads, func(h *epochState) bool {
			return !slices.ContainsFunc(removed, func(dev int) bool { return slices.Contains(p.knownTo(who{dev: dev}, p.all()), h.id) })
		})
	}
	st, _ := p.asSeen(who{}, p.all())
	if is, says := had(p), st.exposed(); is != says {
		return fmt.Sprintf("those who were removed have the newest keys: %v, which the state takes for %v", is, says)
	} else if !is {
		return ""
	}
	for dev := range 5 {
		later := p.clone()
		if later.rotates(who{dev: dev}, later.all(), -1) && had(later) {
			return fmt.Sprintf("those who were removed have the keys that %d made", dev)
		}
	}
	return ""
}
