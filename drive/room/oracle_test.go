package room

import (
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
