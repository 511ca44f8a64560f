package room

import (
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// rank orders grants: lower strings outrank higher ones. It is one byte for
// the class, then the path in the tree of grants: per step the place of the
// record that granted. A path that begins with another comes after it.
type rank string

const (
	classRecovery = 0
	classOwner    = 1
	classManager  = 2
	classRest     = 3

	rankStep = 4 + 8 + 2 + 8
	maxSteps = 256 // of a path
)

func classOf(c Caps) byte {
	switch {
	case c&CapOwn != 0:
		return classOwner
	case c&CapManage != 0:
		return classManager
	}
	return classRest
}

// below returns the rank of something granted at record i of e by whoever has
// rank r; tie parts grants made at one place. "" if the path is too long.
func (r rank) below(class byte, gen uint32, seq uint64, i int, tie key.Hash) rank {
	if len(r) > 1+(maxSteps-1)*rankStep {
		return ""
	}
	b := make([]byte, 0, len(r)+rankStep)
	b = append(b, class)
	b = append(b, r[1:]...)
	b = binary.BigEndian.AppendUint32(b, gen)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint16(b, uint16(i))
	return rank(append(b, tie[:8]...))
}

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
				if e.later(dev.boxAt) {
					dev.box, dev.boxAt = d.Box, e
				}
				dev.labels = append(dev.labels, labelled{d.Label, e})
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
	dev.box, dev.boxAt, dev.labels = g.Box, e, append(dev.labels, labelled{g.Label, e})
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

// authorised is State.capsAt for one grant and a control record: a device's
// own leave ends what comes after it, not what came before.
func (v *evaluation) authorised(d *device, g *grant, e *ctl, need Caps) bool {
	if g.caps&need != need || !v.named(e) {
		return false
	}
	for _, r := range d.revs {
		if r.mask&need == 0 || !r.against(g) {
			continue
		}
		if r.leave && (e.gen < r.at.gen || e.gen == r.at.gen && e.seq <= r.at.seq) {
			continue
		}
		if e.seq >= v.cut(r, e.core) {
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
	if target == nil || target.boxAt == nil || !e.saw(target.boxAt) && e != target.boxAt ||
		!v.outranks(g, target) || d.Caps&^g.caps != 0 || class < g.rank[0] {
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
	if target := v.devices[d.Device]; target != nil && v.outranks(g, target) {
		v.revoke(d.Device, &revocation{mask: ^Caps(0), cuts: cuts(d.Cut), at: e, by: g.dev, rank: g.rank, text: d.Reason}, d.Cut)
	}
}

// outranks reports whether the target is strictly below the grant.
func (v *evaluation) outranks(g *grant, target *device) bool {
	r := target.rank()
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

// recovery takes what the recovery key has signed. It outranks everybody.
func (v *evaluation) recovery() {
	if v.State.genesis == nil {
		return
	}
	type signed struct {
		statement
		at *ctl
		i  int
	}
	var all []signed
	for _, e := range v.log {
		for i, r := range e.recs {
			if d, ok := r.data.(*recovery); ok {
				s, ok := openStatement(v.room, v.State.genesis.Recovery, d)
				if ok && s.Core == e.core && s.Block == e.seq {
					all = append(all, signed{s, e, i})
					v.recovers[e.dev] = true
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b signed) int {
		return cmp.Or(cmp.Compare(a.Counter, b.Counter), bytes.Compare(a.at.id[:], b.at.id[:]), a.i-b.i)
	})
	base := rank([]byte{classRecovery})
	for n, s := range all {
		for _, d := range s.Remove {
			v.revoke(d.Device, &revocation{mask: ^Caps(0), cuts: cuts(d.Cut), at: s.at, rank: base, text: d.Reason}, d.Cut)
		}
		for i, d := range s.Role {
			v.revoke(d.Device, &revocation{mask: ^d.Caps, cuts: cuts(d.Cut), at: s.at, rank: base}, d.Cut)
			r := base.below(classOf(d.Caps), uint32(n), uint64(i), s.i, s.at.id)
			v.push(&grant{dev: d.Device, gen: d.Gen, caps: d.Caps, role: d.Role, at: s.at, rank: r})
		}
	}
}

// openStatement checks what the recovery key has signed.
func openStatement(room key.RoomID, pub key.DeviceID, d *recovery) (s statement, ok bool) {
	if !key.Verify(pub, key.UseRecovery, d.Statement, d.Sig) || decode(d.Statement, &s) != nil || s.Room != room {
		return statement{}, false
	}
	for _, r := range s.Role {
		if !validRole(r) {
			return statement{}, false
		}
	}
	for _, r := range s.Remove {
		if !valid(&r) {
			return statement{}, false
		}
	}
	return s, true
}

func cuts(cs []cut) map[key.CoreID]uint64 {
	m := make(map[key.CoreID]uint64, len(cs))
	for _, c := range cs {
		m[c.Core] = c.Length
	}
	return m
}

// grantQueue is a heap of grants by rank.
type grantQueue []*grant

func (q grantQueue) Len() int { return len(q) }
func (q grantQueue) Less(i, j int) bool {
	if q[i].rank != q[j].rank {
		return q[i].rank < q[j].rank
	}
	return string(q[i].at.id[:]) < string(q[j].at.id[:]) // from two histories of one core
}
func (q grantQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *grantQueue) Push(x any)   { *q = append(*q, x.(*grant)) }
func (q *grantQueue) Pop() any {
	old := *q
	g := old[len(old)-1]
	*q = old[:len(old)-1]
	return g
}
