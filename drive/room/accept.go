package room

import (
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// needed is the capability that a record takes.
func needed(r record) Caps {
	switch r.typ {
	case recInvite, recRevoke:
		return CapInvite
	case recAdmit, recRefuse, recBoxes:
		return CapAdmit
	case recRole, recRemove, recEpoch, recAdopt, recName, recSeal, recRetention:
		return CapManage
	}
	if r.typ&critical != 0 {
		return CapManage
	}
	return CapRelay
}

// authorised is State.capsAt for one grant and a control record. A device that
// said that it leaves says nothing more, but by a grant made in knowledge of
// that or for a later generation: whether it had a right to say so is not
// asked, since that may come to light after a higher grant was taken. What it
// knew of when it left it had said before, whatever the generations: one whose
// backup was put back may go on in one below others that it had.
func (v *evaluation) authorised(d *device, g *grant, e *ctl, need Caps) bool {
	if g.caps&need != need || !v.named(e) {
		return false
	}
	for _, l := range d.left {
		if l.gen >= g.gen && (l.gen < e.gen || l.gen == e.gen && l.seq < e.seq) && !l.saw(e) && !g.at.sees(l) {
			return false
		}
	}
	for _, r := range d.revs {
		if !r.leave && r.mask&need != 0 && r.against(g) && e.seq >= v.cut(r, e.core) {
			return false
		}
	}
	return true
}

// accept gives record i of e its effect, by the authority of g.
func (v *evaluation) accept(g *grant, e *ctl, i int, r record) {
	switch d := r.data.(type) {
	case *invite:
		v.acceptInvite(g, e, d)
	case *admit:
		v.acceptAdmit(g, e, i, d)
	case *refuse:
		v.refusals[d.Join] = d.Reason
	case *revoke:
		v.revokes[d.Invite] = append(v.revokes[d.Invite], &revokeState{d, e, g.dev, g.rank})
	case *role:
		v.acceptRole(g, e, i, d)
	case *remove:
		v.acceptRemove(g, e, d)
	case *leave:
		v.revoke(g.dev, &revocation{mask: ^Caps(0), cuts: cuts(d.Cut), at: e, by: g.dev, rank: g.rank, leave: true}, d.Cut)
	case *epoch:
		v.epochs = append(v.epochs, &epochState{d.id(), d.Content, d.Relay, d.Links, e, g.dev})
	case *boxes:
		v.acceptBoxes(d)
	case *adopt:
		v.adopted[d.Core] = append(v.adopted[d.Core], adoption{d.Length, g.rank})
	case *name:
		v.acceptName(r.typ, e, d)
	case *retention:
		if e.later(v.keepAt) {
			v.retention, v.keepAt = *d, e
		}
	case *sealing:
		v.seal(d.Core, seal{d.Length, d.Root, g.rank, e, g.dev})
	case nil:
		if r.typ&critical != 0 {
			v.updateNeeded = true
		}
	}
}

func (v *evaluation) acceptInvite(g *grant, e *ctl, d *invite) {
	if d.Caps&^g.caps != 0 {
		return
	}
	v.invites[e.id] = &inviteState{d, e, g.dev, g.rank}
	for _, a := range v.admits[e.id] {
		v.admit(a)
	}
	delete(v.admits, e.id)
}

func (v *evaluation) acceptAdmit(g *grant, e *ctl, i int, d *admit) {
	j := v.joins[d.Join]
	if j == nil || j.Device != d.Device || !e.saw(j.at) {
		return
	}
	v.admitted[d.Join] = true
	a := pendingAdmit{d, e, i, g, j}
	if v.invites[d.Invite] == nil {
		v.admits[d.Invite] = append(v.admits[d.Invite], a)
		return
	}
	v.admit(a)
}

// admit queues the grant of an admission, below both the inviter and the
// admitter. Whoever gets to manage is let in only by who manages.
func (v *evaluation) admit(a pendingAdmit) {
	inv := v.invites[a.Invite]
	class := classOf(inv.Caps)
	if a.join.Invite != inv.Public || !a.at.saw(inv.at) && a.at != inv.at || class < a.grant.rank[0] {
		return
	}
	var r rank
	if inv.rank > a.grant.rank {
		r = inv.rank.below(class, inv.at.gen, inv.at.seq, 0, a.join.at.id)
	} else {
		r = a.grant.rank.below(class, a.at.gen, a.at.seq, a.index, a.join.at.id)
	}
	if r == "" {
		return
	}
	v.push(&grant{
		dev: a.Device, gen: a.join.Gen, caps: inv.Caps, role: inv.Role, at: a.at, by: a.at.dev,
		rank: r, invite: a.Invite, join: a.Join,
	})
}

func (v *evaluation) acceptRole(g *grant, e *ctl, i int, d *role) {
	target := v.devices[d.Device]
	class := classOf(d.Caps)
	if target == nil || !target.askedBefore(e) || !v.outranks(g, e, target) || d.Caps&^g.caps != 0 || class < g.rank[0] {
		return
	}
	r := g.rank.below(class, e.gen, e.seq, i, e.id)
	if r == "" {
		return
	}
	v.revoke(d.Device, &revocation{mask: ^d.Caps, cuts: cuts(d.Cut), at: e, by: g.dev, rank: g.rank}, d.Cut)
	v.push(&grant{dev: d.Device, gen: d.Gen, caps: d.Caps, role: d.Role, at: e, by: g.dev, rank: r})
}

func (v *evaluation) acceptRemove(g *grant, e *ctl, d *remove) {
	if target := v.devices[d.Device]; target != nil && v.outranks(g, e, target) {
		v.revoke(d.Device, &revocation{mask: ^Caps(0), cuts: cuts(d.Cut), at: e, by: g.dev, rank: g.rank, text: d.Reason}, d.Cut)
	}
}

// outranks reports whether the target is strictly below the grant, for the
// author of e: what he said of somebody above him does not come alive when
// others demote or remove that one, or he leaves.
func (v *evaluation) outranks(g *grant, e *ctl, target *device) bool {
	r := target.rank(e.sees)
	return target.id != g.dev && (r == "" || r > g.rank)
}

// revoke adds a revocation. Its cuts name histories, so that nobody can write
// another one that ends before a cut.
func (v *evaluation) revoke(dev key.DeviceID, r *revocation, cs []cut) {
	d := v.device(dev)
	d.revs = append(d.revs, r)
	for _, c := range cs {
		v.seal(c.Core, seal{c.Length, c.Root, r.rank, r.at, r.by})
	}
}

func (v *evaluation) seal(core key.CoreID, s seal) { v.seals[core] = append(v.seals[core], s) }

// named reports whether no seal of somebody who ranks above its author names
// another history than that of a control entry. Without one all of them count:
// what they say stands in the order of rank.
func (v *evaluation) named(e *ctl) bool {
	f := v.forks[e.core]
	if f == nil || e.seq < f.parted {
		return true
	}
	others := slices.DeleteFunc(slices.Clone(v.seals[e.core]), func(s seal) bool { return s.by == e.dev })
	return slices.ContainsFunc(f.sealed(others), func(c *coreRow) bool { return f.contains(c.no, e.no, e.seq) })
}

func (v *evaluation) acceptBoxes(d *boxes) {
	m := v.boxed[d.Epoch]
	if m == nil {
		m = map[key.DeviceID]bool{}
		v.boxed[d.Epoch] = m
	}
	for _, b := range d.Boxes {
		m[b.Device] = true
	}
}

func (v *evaluation) acceptName(t recordType, e *ctl, d *name) {
	if t == recName {
		if e.later(v.nameAt) {
			v.name, v.nameAt = d.Name, e
		}
		return
	}
	dev := v.device(e.dev)
	dev.labels = append(dev.labels, labelled{d.Name, e})
}

// accepted reports whether record i of e had its effect.
func (v *evaluation) accepted(e *ctl, i int) bool { return v.done[e][i] }

func cuts(cs []cut) map[key.CoreID]uint64 {
	m := make(map[key.CoreID]uint64, len(cs))
	for _, c := range cs {
		m[c.Core] = c.Length
	}
	return m
}
