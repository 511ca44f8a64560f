package room

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// play is a history of control entries in the making, of 64 at most. Of what an entry has seen it keeps a set of bits, by the places in log;
// the clocks of the entries say the same in the evaluator's words.
type play struct {
	log   []*ctl
	past  []uint64
	next  map[who]uint64
	said  map[*recovery]promise
	forks map[key.CoreID]*fork
	side  map[*ctl]int
}

// who writes: a device with the core of a generation, of which side 1 is a second history.
type who struct{ dev, gen, side int }

func (w who) String() string {
	s := fmt.Sprint(w.dev)
	if w.gen > 0 {
		s += fmt.Sprintf(" in generation %d", w.gen)
	}
	if w.side > 0 {
		s += "'s copy"
	}
	return s
}

// laterCores is where the numbers of cores of generation 1 begin.
const laterCores = 50

func (w who) core() key.CoreID { return coreOf(w.dev + w.gen*laterCores) }

// promise is what the recovery key said, if it did, and for which place.
type promise struct {
	statement
	at    int
	valid bool
}

// fork is a core that has, or may come to have, two histories.
type fork struct {
	core   key.CoreID
	dev    key.DeviceID
	common uint64
	leaves [2]leaves
}

func (f *fork) parted() bool { return min(len(f.leaves[0]), len(f.leaves[1])) > int(f.common) }

func (f *fork) root(side int, n uint64) key.Hash {
	h, err := core.Root(f.leaves[side], n)
	if err != nil {
		panic(err)
	}
	return h
}

func (f *fork) has(side int, n uint64, root key.Hash) bool {
	return n <= uint64(len(f.leaves[side])) && f.root(side, n) == root
}

// leaves is a core of which nothing but the hashes is here.
type leaves []key.Hash

var _ core.Reader = leaves{}

func (l leaves) Length() (uint64, error)        { return uint64(len(l)), nil }
func (l leaves) Head() (h core.Head, err error) { return h, nil }
func (l leaves) Anchor() ([]byte, error)        { return nil, nil }
func (l leaves) Block(uint64) ([]byte, error)   { return nil, core.ErrAbsent }
func (l leaves) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, l.node(tlog.SplitStoredHashIndex(i)))
	}
	return out, nil
}

func (l leaves) node(level int, n int64) tlog.Hash {
	if level == 0 {
		return tlog.Hash(l[n])
	}
	return tlog.NodeHash(l.node(level-1, 2*n), l.node(level-1, 2*n+1))
}

// playRecovery is the recovery key of the histories.
var playRecovery = key.NewSigner(key.Secret{7})

// newPlay returns a room with its creator.
func newPlay() *play {
	p := &play{next: map[who]uint64{}, said: map[*recovery]promise{}, forks: map[key.CoreID]*fork{}, side: map[*ctl]int{}}
	p.add(who{}, 0, record{recGenesis, &genesis{Device: devID(0), Box: key.BoxPublic{1}, Recovery: playRecovery.ID(), Name: "room", Label: "0"}})
	return p
}

func (p *play) clone() *play {
	q := &play{
		log: slices.Clone(p.log), past: slices.Clone(p.past), next: maps.Clone(p.next), said: maps.Clone(p.said),
		forks: map[key.CoreID]*fork{}, side: maps.Clone(p.side),
	}
	for id, f := range p.forks {
		g := *f
		for i, l := range f.leaves {
			g.leaves[i] = slices.Clip(l)
		}
		q.forks[id] = &g
	}
	return q
}

// all is everything so far.
func (p *play) all() uint64 { return 1<<len(p.log) - 1 }

// closure is what a set of entries has seen, itself included.
func (p *play) closure(set uint64) uint64 {
	for s := set; s != 0; s &= s - 1 {
		set |= p.past[bits.TrailingZeros64(s)]
	}
	return set
}

// own is what the author of the next entry wrote before it.
func (p *play) own(w who) (set uint64) {
	for i, e := range p.log {
		if e.dev != devID(w.dev) {
			continue
		}
		f := p.forks[e.core]
		if f == nil || p.side[e] == w.side || e.seq < f.common {
			set |= 1 << i
		}
	}
	return set
}

// add appends an entry of somebody who has seen so much, and what he wrote before; it returns its place.
func (p *play) add(w who, seen uint64, recs ...record) int {
	seen = p.closure(seen | p.own(w))
	f := p.forks[w.core()]
	if f != nil && p.next[w] == 0 {
		p.next[w] = f.common
	}
	e := &ctl{
		id: key.Sum(fmt.Append(nil, w, p.next[w], len(p.log))), core: w.core(), dev: devID(w.dev), gen: uint32(w.gen),
		seq: p.next[w], recs: recs, lamport: 1,
	}
	for s := seen; s != 0; s &= s - 1 {
		e.lamport = max(e.lamport, p.log[bits.TrailingZeros64(s)].lamport+1)
	}
	p.next[w]++
	if f != nil {
		f.leaves[w.side] = append(f.leaves[w.side], e.id)
		p.side[e] = w.side
	}
	p.log, p.past = append(p.log, e), append(p.past, seen)
	return len(p.log) - 1
}

// mayFork lets a device have a second history of its core from here on.
func (p *play) mayFork(dev int) {
	f := &fork{core: coreOf(dev), dev: devID(dev)}
	for _, e := range p.log {
		if e.core == f.core {
			f.common++
			f.leaves[0] = append(f.leaves[0], e.id)
		}
	}
	f.leaves[1] = slices.Clone(f.leaves[0])
	p.forks[f.core] = f
}

// cutAt is what somebody who has seen so much knows of a device's control core; of a forked one the history of a side.
func (p *play) cutAt(seen uint64, dev, side int) []cut {
	c := cut{Core: coreOf(dev)}
	f := p.forks[c.Core]
	for s := seen; s != 0; s &= s - 1 {
		if e := p.log[bits.TrailingZeros64(s)]; e.core == c.Core && (f == nil || p.side[e] == side || e.seq < f.common) {
			c.Length = max(c.Length, e.seq+1)
		}
	}
	if f != nil && c.Length > 0 {
		c.Root = f.root(side, c.Length)
	}
	return []cut{c}
}

// invites makes an invitation.
func (p *play) invites(w who, seen uint64, inv invite) int {
	inv.Public = devID(100 + len(p.log))
	if inv.Caps == 0 {
		inv.Caps = inv.Role.Caps()
	}
	return p.add(w, seen, record{recInvite, &inv})
}

// asks makes a request by an invitation; by one that nobody made, if that is -1.
func (p *play) asks(w who, inv int) int {
	j := &join{Device: devID(w.dev), Gen: uint32(w.gen), Box: key.BoxPublic{byte(w.dev + 1)}, Label: fmt.Sprint(w.dev), Invite: devID(99)}
	if inv >= 0 {
		j.Invite = inviteOf(p.log[inv]).Public
	}
	return p.add(w, 0, record{recJoin, j})
}

// admits answers a request.
func (p *play) admits(w who, seen uint64, inv, j int, with ...record) int {
	d := &admit{Join: p.log[j].id, Invite: p.log[inv].id, Device: p.log[j].dev}
	return p.add(w, seen|1<<inv|1<<j, append([]record{{recAdmit, d}}, with...)...)
}

// brings lets a device in as a role, by an invitation of its own.
func (p *play) brings(w who, dev who, to Role) int {
	inv := p.invites(w, p.all(), invite{Role: to})
	return p.admits(w, p.all(), inv, p.asks(dev, inv))
}

// recovers adds an entry that carries what the recovery key says, or what another key does.
func (p *play) recovers(w who, seen uint64, s statement, by key.Signer) int {
	f := p.forks[w.core()]
	s.Core, s.Block = w.core(), p.next[w]
	if f != nil {
		s.Block = max(s.Block, f.common)
	}
	b, err := encode(s)
	if err != nil {
		panic(err)
	}
	sig := by.Sign(key.UseRecovery, b)
	d := &recovery{Statement: b, Sig: sig[:]}
	p.said[d] = promise{s, spot(len(p.log), 0), by.ID() == playRecovery.ID() && s.Room == key.RoomID{}}
	return p.add(w, seen, record{recRecovery, d})
}

// repeats adds an entry with a record of the recovery key that stands elsewhere.
func (p *play) repeats(w who, seen uint64, from int) int {
	old := p.log[from].recs[0].data.(*recovery)
	d := &recovery{Statement: old.Statement, Sig: old.Sig}
	p.said[d] = promise{p.said[old].statement, -1, false}
	return p.add(w, seen, record{recRecovery, d})
}

// delivered is the history as a peer has it to whom it came in some order: cores have the numbers of that order, and of two histories of a
// core the one that came first is the trunk.
func (p *play) delivered(order []int) ([]*ctl, forkedCores) {
	type history struct {
		core key.CoreID
		side int
	}
	numbers, first := map[history]uint32{}, map[key.CoreID]int{}
	number := func(id key.CoreID, side int) uint32 {
		h := history{id, side}
		if _, ok := numbers[h]; !ok {
			numbers[h] = uint32(len(numbers))
		}
		return numbers[h]
	}
	copies := make([]*ctl, len(p.log))
	for _, i := range order {
		e, side := *p.log[i], 0
		if f := p.forks[e.core]; f != nil && e.seq >= f.common {
			if _, ok := first[e.core]; !ok {
				first[e.core] = p.side[p.log[i]]
			}
			if p.side[p.log[i]] != first[e.core] {
				side = 1
			}
		}
		e.no = number(e.core, side)
		copies[i] = &e
	}
	log := make([]*ctl, 0, len(order))
	for _, i := range order {
		e, seen := copies[i], page{} // one page has all numbers
		for s := p.past[i]; s != 0; s &= s - 1 {
			o := copies[bits.TrailingZeros64(s)]
			seen[o.no] = max(seen[o.no], o.seq+1)
		}
		e.clock = clock{&seen}
		log = append(log, e)
	}
	forks := forkedCores{}
	for id, f := range p.forks {
		if !f.parted() {
			continue
		}
		if _, ok := first[id]; !ok { // a drive log, of which the history says nothing
			first[id] = order[0] & 1
		}
		t := &coreRow{ID: id, Device: f.dev, Parted: f.common + 1, no: number(id, 0)}
		b := &coreRow{ID: key.CoreID{255, id[0]}, Of: id, Device: f.dev, Parted: f.common + 1, Parent: t.no, no: number(id, 1)}
		forks[id] = &forked{
			parted: f.common, rows: []*coreRow{t, b},
			cores: map[uint32]core.Reader{t.no: f.leaves[first[id]], b.no: f.leaves[1-first[id]]},
		}
	}
	return log, forks
}
