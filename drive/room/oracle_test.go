package room

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// spec is what DESIGN says of membership, once more and in another way. The evaluator takes grants in the order of their rank, once.
// Here nothing is taken in any order: of a set of acts that have an effect follows which acts have one, and the meaning of a history is the
// set of which it itself follows. It shares the entries and their records with the evaluator, and nothing else: what an entry has seen is a
// set of bits here, rank a list of numbers, and what the recovery key said is known from whoever wrote the history.
type spec struct {
	*play
	acts  map[int]*right // what has an effect, by place (see spot), and the right that it stands on
	world                // what follows from acts
}

// world is what the acts that have an effect say.
type world struct {
	rights  []*right
	takings []*taking
	adopted []extension
	seals   []naming
	invited map[int]*right // by entry: an invitation that holds, and the right that it stands on
	revokes []taking       // of invitations: at, height and by
	answers map[int]string // by join's entry: what somebody said who may
	epochs  []int          // entries
	boxed   map[key.Hash]map[key.DeviceID]bool
}

// height is a rank: what the right is for, then the way from the creator to it, per step four numbers.
type height struct {
	class int
	path  []uint64
}

func (p height) compare(o height) int {
	return cmp.Or(cmp.Compare(p.class, o.class), slices.Compare(p.path, o.path))
}

// above is the height of the recovery key.
var above = height{class: 0}

func (p height) step(class int, n ...uint64) height {
	return height{class, append(slices.Clip(p.path), n...)}
}

// right is a membership, or a role.
type right struct {
	height
	dev     key.DeviceID
	gen     uint32
	caps    Caps
	at      int // entry
	by      key.DeviceID
	counter uint64 // of the recovery key's statement; 0: it is none
	invite  int    // entry of the invitation; -1: a role
	join    int
}

// taking takes capabilities from a device, but for what it did before the cuts.
type taking struct {
	height
	dev     key.DeviceID
	mask    Caps
	cuts    []cut
	at      int
	by      key.DeviceID
	counter uint64
	leave   bool
	invite  int
	keep    []key.Hash
}

// extension is an adoption.
type extension struct {
	height
	core   key.CoreID
	length uint64
}

// naming says which history of a core counts.
type naming struct {
	height
	core   key.CoreID
	length uint64
	root   key.Hash
	at     int
	by     key.DeviceID
}

func spot(e, i int) int { return e<<8 | i }

func classOfCaps(c Caps) int {
	switch {
	case c&CapOwn != 0:
		return 1
	case c&CapManage != 0:
		return 2
	}
	return 3
}

// wants is what a record takes.
func wants(r record) Caps {
	switch r.data.(type) {
	case *invite, *revoke:
		return CapInvite
	case *admit, *refuse, *boxes:
		return CapAdmit
	case *role, *remove, *epoch, *adopt, *name, *sealing:
		return CapManage
	}
	return CapRelay
}

// oracle returns what a history means. The acts of those who rank high do not depend on those of who rank low, so that each turn settles one
// more of them: a history with so many acts that is not settled after as many turns has no meaning.
func oracle(p *play) (*spec, error) {
	s := &spec{play: p, acts: map[int]*right{}}
	s.derive()
	for turn := 0; ; turn++ {
		next := map[int]*right{}
		for e, c := range p.log {
			for i, r := range c.recs {
				if g := s.authority(e, i, r); g != nil && s.effective(g, e, r) {
					next[spot(e, i)] = g
				}
			}
		}
		same := len(next) == len(s.acts)
		for at, g := range next {
			o := s.acts[at]
			same = same && o != nil && o.at == g.at && o.compare(g.height) == 0
		}
		s.acts = next
		s.derive()
		if same {
			return s, nil
		}
		if turn > 4*len(p.log) {
			return nil, fmt.Errorf("the rules give no meaning to this history")
		}
	}
}

// knows reports whether entry e is, or has seen, entry f.
func (p *play) knows(e, f int) bool { return e == f || p.past[e]&(1<<f) != 0 }

// derive works out what the acts say.
func (s *spec) derive() {
	s.world = world{invited: map[int]*right{}, answers: map[int]string{}, boxed: map[key.Hash]map[key.DeviceID]bool{}}
	s.rights = []*right{{height: height{class: 1}, dev: s.log[0].dev, caps: RoleOwner.Caps(), invite: -1}}
	s.recovered()
	for e, c := range s.log {
		for i, r := range c.recs {
			if g := s.acts[spot(e, i)]; g != nil {
				s.say(g, e, i, r)
			}
		}
	}
	for e, c := range s.log { // they stand on invitations
		for i, r := range c.recs {
			if d, ok := r.data.(*admit); ok && s.acts[spot(e, i)] != nil {
				s.letIn(s.acts[spot(e, i)], e, i, d)
			}
		}
	}
}

// recovered takes what the recovery key says.
func (s *spec) recovered() {
	for e, c := range s.log {
		for i, r := range c.recs {
			d, ok := r.data.(*recovery)
			if !ok || !s.said[d].valid || s.said[d].at != spot(e, i) {
				continue
			}
			st := s.said[d].statement
			for _, x := range st.Remove {
				s.take(&taking{height: above, dev: x.Device, mask: ^Caps(0), cuts: x.Cut, at: e, counter: st.Counter})
			}
			for n, x := range st.Role {
				s.take(&taking{height: above, dev: x.Device, mask: ^x.Caps, cuts: x.Cut, at: e, counter: st.Counter})
				at := above.step(classOfCaps(x.Caps), 0, 0, 0, 0, 0, st.Counter, uint64(i), tie(c.id), 0, uint64(n), 0, 0)
				s.rights = append(s.rights, &right{height: at, dev: x.Device, gen: x.Gen, caps: x.Caps, at: e, counter: st.Counter, invite: -1})
			}
		}
	}
}

func tie(h key.Hash) (n uint64) {
	for _, b := range h[:8] {
		n = n<<8 | uint64(b)
	}
	return n
}

func (s *spec) take(t *taking) {
	s.takings = append(s.takings, t)
	for _, c := range t.cuts {
		s.seals = append(s.seals, naming{t.height, c.Core, c.Length, c.Root, t.at, t.by})
	}
}

// say adds what one act says.
func (s *spec) say(g *right, e, i int, r record) {
	c := s.log[e]
	switch d := r.data.(type) {
	case *invite:
		s.invited[e] = g
	case *revoke:
		s.revokes = append(s.revokes, taking{height: g.height, by: g.dev, at: e, invite: s.find(d.Invite), keep: d.Keep})
	case *refuse:
		s.answers[s.find(d.Join)] = "refused"
	case *remove:
		s.take(&taking{height: g.height, dev: d.Device, mask: ^Caps(0), cuts: d.Cut, at: e, by: g.dev})
	case *leave:
		s.take(&taking{height: g.height, dev: c.dev, mask: ^Caps(0), cuts: d.Cut, at: e, by: g.dev, leave: true})
	case *role:
		s.take(&taking{height: g.height, dev: d.Device, mask: ^d.Caps, cuts: d.Cut, at: e, by: g.dev})
		at := g.step(classOfCaps(d.Caps), uint64(c.gen), c.seq, uint64(i), tie(c.id))
		s.rights = append(s.rights, &right{height: at, dev: d.Device, gen: d.Gen, caps: d.Caps, at: e, by: g.dev, invite: -1})
	case *epoch:
		s.epochs = append(s.epochs, e)
	case *adopt:
		s.adopted = append(s.adopted, extension{g.height, d.Core, d.Length})
	case *sealing:
		s.seals = append(s.seals, naming{g.height, d.Core, d.Length, d.Root, e, g.dev})
	case *boxes:
		if s.boxed[d.Epoch] == nil {
			s.boxed[d.Epoch] = map[key.DeviceID]bool{}
		}
		for _, b := range d.Boxes {
			s.boxed[d.Epoch][b.Device] = true
		}
	}
}

// find returns the entry with an id, -1 if there is none.
func (p *play) find(id key.Hash) int {
	return slices.IndexFunc(p.log, func(c *ctl) bool { return c.id == id })
}

// letIn adds what an admission gives. Whoever admits had seen the request and the invitation that it answers, and gives the rights that the
// invitation is for: below him, and below its author.
func (s *spec) letIn(g *right, e, i int, d *admit) {
	j, inv := s.find(d.Join), s.find(d.Invite)
	if j < 0 {
		return
	}
	asked := joinOf(s.log[j])
	if asked == nil || asked.Device != d.Device || !s.knows(e, j) || j == e {
		return
	}
	s.answers[j] = "let in"
	if inv < 0 || s.invited[inv] == nil || !s.knows(e, inv) {
		return
	}
	by, what := s.invited[inv], inviteOf(s.log[inv])
	class := classOfCaps(what.Caps)
	if asked.Invite != what.Public || class < g.class {
		return
	}
	at, c := g.step(class, uint64(s.log[e].gen), s.log[e].seq, uint64(i), tie(d.Join)), s.log[inv]
	if by.compare(g.height) > 0 {
		at = by.step(class, uint64(c.gen), c.seq, 0, tie(d.Join))
	}
	s.rights = append(s.rights, &right{
		height: at, dev: d.Device, gen: asked.Gen, caps: what.Caps, at: e, by: s.log[e].dev, invite: inv, join: j,
	})
}

func joinOf(c *ctl) *join {
	for _, r := range c.recs {
		if d, ok := r.data.(*join); ok {
			return d
		}
	}
	return nil
}

func inviteOf(c *ctl) *invite {
	for _, r := range c.recs {
		if d, ok := r.data.(*invite); ok {
			return d
		}
	}
	return nil
}

// void reports whether the invitation behind a membership was taken back with it, by its author or by somebody above him. What reaches
// upward has no effect: whoever takes it back ranks above the membership.
func (s *spec) void(g *right) bool {
	if g.invite < 0 {
		return false
	}
	by := s.invited[g.invite]
	return slices.ContainsFunc(s.revokes, func(r taking) bool {
		return r.invite == g.invite && (r.by == by.dev || r.compare(by.height) <= 0) && r.compare(g.height) < 0 && !slices.Contains(r.keep, s.log[g.join].id)
	})
}

// takes reports whether a taking is about a right: the right was not given in knowledge of it. Of what the recovery key says the later counts.
func (s *spec) takes(t *taking, g *right) bool {
	if t.dev != g.dev || s.knows(g.at, t.at) {
		return false
	}
	return g.counter == 0 || t.counter == 0 || t.counter > g.counter
}

// within reports whether block seq of a core lies before the cut of a taking. Who ranks as high may put the cut further out.
func (s *spec) within(t *taking, core key.CoreID, seq uint64) bool {
	if slices.ContainsFunc(t.cuts, func(c cut) bool { return c.Core == core && seq < c.Length }) {
		return true
	}
	return slices.ContainsFunc(s.adopted, func(a extension) bool { return a.core == core && seq < a.length && a.compare(t.height) <= 0 })
}

// authority returns the highest right that lets a record stand. What was said by a right above a taking is not reached by it.
func (s *spec) authority(e, i int, r record) (best *right) {
	c, need := s.log[e], wants(r)
	for _, g := range s.rights {
		if g.dev != c.dev || c.gen < g.gen || !s.knows(e, g.at) || g.caps&need != need || s.void(g) || !s.history(g, c) || s.leftBefore(g, e) {
			continue
		}
		taken := slices.ContainsFunc(s.takings, func(t *taking) bool {
			return !t.leave && t.mask&need != 0 && s.takes(t, g) && !s.within(t, c.core, c.seq) && t.compare(g.height) < 0
		})
		if !taken && (best == nil || g.compare(best.height) < 0) {
			best = g
		}
	}
	return best
}

// leftBefore reports whether the author of an entry had said that he leaves, before in the same log or in one of an earlier generation that
// the right is for: whatever becomes of that, he says nothing more by a right that was not given in knowledge of it.
func (s *spec) leftBefore(g *right, e int) bool {
	c := s.log[e]
	for l, o := range s.log {
		before := o.dev == c.dev && o.gen >= g.gen && (o.gen < c.gen || o.gen == c.gen && o.seq < c.seq)
		if before && !s.knows(g.at, l) && slices.ContainsFunc(o.recs, func(r record) bool { return r.typ == recLeave }) {
			return true
		}
	}
	return false
}

// effective reports what a record takes besides the right to say such things.
func (s *spec) effective(g *right, e int, r record) bool {
	switch d := r.data.(type) {
	case *invite:
		return d.Caps&^g.caps == 0
	case *remove:
		return s.below(g, e, d.Device)
	case *role:
		asked := slices.ContainsFunc(s.log, func(c *ctl) bool {
			return s.knows(e, s.find(c.id)) && (joinOf(c) != nil && joinOf(c).Device == d.Device || c == s.log[0] && c.dev == d.Device)
		})
		return asked && s.below(g, e, d.Device) && d.Caps&^g.caps == 0
	}
	return true
}

// below reports whether a device ranks strictly below a right by which entry e says something of it. Who left, or was demoted from above,
// ranks with those whose rights he has, for those who know of it: what reached upward when it was said does not come alive by what others
// say.
func (s *spec) below(g *right, e int, dev key.DeviceID) bool {
	if dev == g.dev {
		return false
	}
	for _, o := range s.rights {
		if o.dev != dev || s.void(o) {
			continue
		}
		left := o.caps
		for _, t := range s.takings {
			if s.takes(t, o) && s.knows(e, t.at) && t.compare(g.height) < 0 {
				left &^= t.mask
			}
		}
		now := o.height
		now.class = max(now.class, classOfCaps(left))
		if now.compare(g.height) <= 0 {
			return false
		}
	}
	return true
}

// can is what a device may do now.
func (s *spec) can(dev key.DeviceID) (all Caps) {
	for _, g := range s.rights {
		if g.dev != dev || s.void(g) {
			continue
		}
		left := g.caps
		for _, t := range s.takings {
			if s.takes(t, g) {
				left &^= t.mask
			}
		}
		all |= left
	}
	return all
}

// could is what a device could do by block seq of a core, in an entry that had seen everything.
func (s *spec) could(dev key.DeviceID, core key.CoreID, gen uint32, seq uint64) (all Caps) {
	for _, g := range s.rights {
		if g.dev != dev || gen < g.gen || s.void(g) {
			continue
		}
		left := g.caps
		for _, t := range s.takings {
			if s.takes(t, g) && !s.within(t, core, seq) {
				left &^= t.mask
			}
		}
		all |= left
	}
	return all
}

// heads are the epochs that no other one has seen.
func (s *spec) heads() (out []int) {
	all := append([]int{0}, s.epochs...)
	for _, e := range all {
		if !slices.ContainsFunc(all, func(f int) bool { return f != e && s.knows(f, e) }) {
			out = append(out, e)
		}
	}
	return out
}

// history reports whether no seal by somebody else who ranks above a right names another history than that of a control entry.
func (s *spec) history(g *right, c *ctl) bool {
	f := s.forks[c.core]
	if f == nil || !f.parted() || c.seq < f.common {
		return true
	}
	var by []naming
	for _, n := range s.seals {
		if n.core == c.core && n.by != c.dev && n.compare(g.height) < 0 {
			by = append(by, n)
		}
	}
	return slices.Contains(s.named(f, by), s.side[c])
}

// named returns the histories that seals leave: the higher rank first, then the later.
func (s *spec) named(f *fork, by []naming) []int {
	slices.SortFunc(by, func(a, b naming) int {
		x, y := s.log[a.at], s.log[b.at]
		return cmp.Or(a.compare(b.height), cmp.Compare(y.lamport, x.lamport), bytes.Compare(y.core[:], x.core[:]), cmp.Compare(y.seq, x.seq),
			bytes.Compare(y.id[:], x.id[:]), cmp.Compare(a.length, b.length), bytes.Compare(a.root[:], b.root[:]))
	})
	left := []int{0, 1}
	for _, n := range by {
		if n.length <= f.common {
			continue
		}
		only := slices.DeleteFunc(slices.Clone(left), func(side int) bool { return !f.has(side, n.length, n.root) })
		if len(only) > 0 {
			left = only
		}
	}
	return left
}

// chosen returns the history of a core of which drive and chat entries count.
func (s *spec) chosen(f *fork) int {
	var by []naming
	for _, n := range s.seals {
		if n.core == f.core {
			by = append(by, n)
		}
	}
	left := s.named(f, by)
	if len(left) == 1 {
		return left[0]
	}
	a, b := f.leaves[0], f.leaves[1]
	switch {
	case len(a) != len(b):
		if len(a) > len(b) {
			return 0
		}
		return 1
	case bytes.Compare(a[f.common][:], b[f.common][:]) < 0:
		return 0
	}
	return 1
}

// answer is what a member has to do by himself about a request at a time (unix seconds): "admit" or "refuse", "" if it is for others or
// for a person, or answered. byHand is whether a person may let it in there.
func (s *spec) answer(member key.DeviceID, j int, now int64) (does string, byHand bool) {
	asked := joinOf(s.log[j])
	if s.answers[j] != "" || s.can(member)&CapAdmit == 0 {
		return "", false
	}
	for _, g := range s.rights { // nobody is let in twice
		if g.dev == asked.Device && g.gen <= asked.Gen && !s.void(g) && s.can(g.dev) != 0 {
			return "", false
		}
	}
	inv := -1
	for e := range s.invited {
		if inviteOf(s.log[e]).Public == asked.Invite {
			inv = e
		}
	}
	if inv < 0 {
		return "", false
	}
	what, used := inviteOf(s.log[inv]), map[key.DeviceID]bool{}
	for _, g := range s.rights {
		if g.invite == inv && g.join != j && !s.void(g) {
			used[g.dev] = true
		}
	}
	over := what.Uses > 0 && len(used) >= int(what.Uses) || what.Expires > 0 && now >= what.Expires ||
		slices.ContainsFunc(s.revokes, func(r taking) bool { return r.invite == inv }) ||
		slices.ContainsFunc(s.heads(), func(h int) bool { return !s.knows(inv, h) })
	switch {
	case over:
		return "refuse", false
	case classOfCaps(s.can(member)) > classOfCaps(what.Caps):
		return "", false // whom he lets in would rank above him
	case what.Approve:
		return "", true
	}
	return "admit", true
}
