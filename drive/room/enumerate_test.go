package room

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

var (
	full   = flag.Bool("full", false, "compare all short histories, not a part")
	wander = flag.Int("wander", 60, "compare so many random longer histories of each scope")
)

// act is one of the things that the enumerated devices do: it adds to a history what w does who has seen so much, and reports whether that
// makes sense there.
type act struct {
	name string
	do   func(p *play, w who, seen uint64) bool
}

// scope is a small world: what was before, who acts, what they do, and how many things happen.
type scope struct {
	base    *play
	authors []who
	acts    []act
	steps   int
	every   int                          // one of so many of the longest histories is compared, unless with -full
	check   func(p *play) (wrong string) // besides the oracle's
	later   func(p *play) (wrong string) // that in longer histories
}

// TestShortHistories compares evaluate, and what members decide by it, with the oracle: on every history of a few more things in each scope,
// each thing seen or not seen by those after it. It is every delivery order, since what a peer has at any moment is a smaller history, and
// the peer's own numbers of cores and order of entries are those of an order, too. A part of them, or all with -full.
func TestShortHistories(t *testing.T) {
	for _, s := range scopes() {
		t.Run(s.name, func(t *testing.T) { s.of.run(t) })
	}
}

// TestLongerHistories does the same with some random histories of eight things in each scope, as many as -wander says.
func TestLongerHistories(t *testing.T) {
	for _, s := range scopes() {
		t.Run(s.name, func(t *testing.T) {
			for seed := range uint64(*wander) {
				s.of.wander(t, seed)
			}
		})
	}
}

// named is a scope with its name.
type named struct {
	name string
	of   scope
}

func scopes() []named {
	return []named{
		{"ranks", ranks()}, {"members", members()}, {"recovery", recoveries()}, {"invitations", invitations()},
		{"forked control", controlForks()}, {"forked drive", driveForks()}, {"keys", keyChanges()},
	}
}

// run goes through all histories; with -full on all cores.
func (s scope) run(t *testing.T) {
	workers := 1
	if *full {
		workers = runtime.GOMAXPROCS(0)
		defer debug.SetGCPercent(debug.SetGCPercent(800)) // nearly nothing stays
	}
	var (
		all   sync.WaitGroup
		found atomic.Bool
		walks = make([]walk, workers)
		wrong = make([]string, workers)
	)
	for i := range walks {
		walks[i] = walk{scope: s, mine: i, workers: workers, found: &found}
		all.Go(func() {
			if wrong[i] = walks[i].from(s.base, nil, s.steps, -1); wrong[i] != "" {
				found.Store(true)
			}
		})
	}
	all.Wait()
	n := 0
	for i := range walks {
		n += walks[i].n
		if wrong[i] != "" {
			t.Error(wrong[i])
		}
	}
	t.Logf("%d histories", n)
}

// walk is what one worker does of a scope: all of them make the beginnings, which are few, and each goes on from its own.
type walk struct {
	scope
	mine, workers int
	found         *atomic.Bool // by anybody: then it is enough
	beginnings    int          // so far: histories that lack one thing
	turn, n       int
}

// from compares a history and all that begin with it and have up to depth things more. last is the act that came last. It returns what is wrong.
func (s *walk) from(p *play, story []string, depth, last int) (wrong string) {
	if depth == 1 {
		if s.beginnings++; s.beginnings%s.workers != s.mine {
			return ""
		}
	}
	if depth < 2 || s.mine == 0 {
		s.n++
		if wrong := s.compare(p, uint64(s.n)); wrong != "" {
			return fmt.Sprintf("%s:\n%s", strings.Join(story, "\n"), wrong)
		}
	}
	if depth == 0 || s.found.Load() {
		return ""
	}
	for i, w := range s.authors {
		for k, a := range s.acts {
			id := i*len(s.acts) + k
			for seen := range s.views(p, w) {
				if depth == 1 {
					if s.turn++; s.turn%s.every != 0 && !*full {
						continue
					}
				}
				q := p.clone()
				before := len(q.log)
				if !a.do(q, w, seen) || id < last && s.swappable(p, q, before) {
					continue // what may be swapped is compared in the other order
				}
				wrong := s.from(q, append(slices.Clip(story), fmt.Sprintf("%s, who has seen %b: %s", w, seen>>len(s.base.log), a.name)), depth-1, id)
				if wrong != "" {
					return wrong
				}
			}
		}
	}
	return ""
}

// wander compares the history of a random way of eight things with the oracle, and with what is promised in longer histories, too: of who has
// which keys less holds in those than in short ones, since those who made keys have been removed or left.
func (s scope) wander(t *testing.T, seed uint64) {
	t.Helper()
	rnd, p := rand.New(rand.NewPCG(seed, 8)), s.base
	s.check = s.later
	var story []string
	for len(story) < 8 && len(p.log) < 56 {
		w, a := s.authors[rnd.IntN(len(s.authors))], s.acts[rnd.IntN(len(s.acts))]
		seen := p.closure(s.base.all() | rnd.Uint64()&p.all() | p.own(w))
		if rnd.IntN(3) == 0 {
			seen = p.all()
		}
		q := p.clone()
		if !a.do(q, w, seen) {
			if rnd.IntN(50) == 0 {
				break // perhaps nobody can do anything any more
			}
			continue
		}
		p, story = q, append(story, fmt.Sprintf("%s, who has seen %b: %s", w, seen>>len(s.base.log), a.name))
	}
	if wrong := s.compare(p, seed); wrong != "" {
		t.Fatalf("seed %d:\n%s:\n%s", seed, strings.Join(story, "\n"), wrong)
	}
}

// views are the sets of entries that somebody may have seen: what was before, and of the rest whatever is closed and has his own.
func (s scope) views(p *play, w who) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		base, own := s.base.all(), p.own(w)
		for more := range uint64(1) << (len(p.log) - len(s.base.log)) {
			seen := base | more<<len(s.base.log)
			if own&^seen == 0 && p.closure(seen) == seen && !yield(seen) {
				return
			}
		}
	}
}

// swappable reports whether what was just added might have been added before what was added last: nothing of it has seen that.
func (s scope) swappable(p, q *play, from int) bool {
	last := len(p.log) - 1
	if last < len(s.base.log) {
		return false
	}
	for e := from; e < len(q.log); e++ {
		if q.knows(e, last) || q.log[e].core == q.log[last].core {
			return false
		}
	}
	return true
}

// compare evaluates a history in several orders and compares with the oracle.
func (s scope) compare(p *play, seed uint64) (wrong string) {
	o, err := oracle(p)
	if err != nil {
		return err.Error()
	}
	straight := make([]int, len(p.log))
	for i := range straight {
		straight[i] = i
	}
	orders := [][]int{straight, rand.New(rand.NewPCG(seed, 1)).Perm(len(p.log))}
	if *full {
		back := slices.Clone(straight)
		slices.Reverse(back)
		orders = append(orders, back)
	}
	for _, order := range orders {
		log, forks := p.delivered(order)
		if wrong := o.differs(evaluateForked(key.RoomID{}, log, forks), log, forks); wrong != "" {
			return fmt.Sprintf("%s\n(in the order %v)", wrong, order)
		}
	}
	if s.check != nil {
		return s.check(p)
	}
	return ""
}

// differs compares what a state says with the oracle: who may do what, how far each core counts and in which history, which keys are the
// newest and who has them, and what becomes of requests.
func (s *spec) differs(st *State, log []*ctl, forks forkedCores) string {
	var everything clock
	ends := map[key.CoreID]*ctl{}
	devices := map[key.DeviceID]bool{}
	for _, e := range log {
		everything.raise(e.no, e.seq+1)
		devices[e.dev] = true
		if last := ends[e.core]; last == nil || e.seq > last.seq {
			ends[e.core] = e
		}
	}
	for dev := range devices {
		if got, want := st.caps(dev), s.can(dev); got != want {
			return fmt.Sprintf("device %d may %b, the oracle says %b", dev[0]-1, got, want)
		}
		for id, by := range s.boxed {
			if st.boxed[id][dev] != by[dev] {
				return fmt.Sprintf("device %d has the keys of %s: %v, the oracle says %v", dev[0]-1, id.Short(), st.boxed[id][dev], by[dev])
			}
		}
	}
	for core, last := range ends {
		for seq := range last.seq + 2 {
			if got, want := st.capsAt(last.dev, core, last.gen, seq, everything), s.could(last.dev, core, last.gen, seq); got != want {
				return fmt.Sprintf("at %d of its log of generation %d device %d may %b, the oracle says %b", seq, last.gen, last.dev[0]-1, got, want)
			}
		}
	}
	if wrong := s.headsDiffer(st); wrong != "" {
		return wrong
	}
	if wrong := s.historiesDiffer(st, everything, forks); wrong != "" {
		return wrong
	}
	return s.answersDiffer(st, devices)
}

func (s *spec) headsDiffer(st *State) string {
	var got, want []string
	for _, h := range st.heads {
		got = append(got, h.at.id.Short())
	}
	for _, e := range s.heads() {
		want = append(want, s.log[e].id.Short())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Sprintf("the newest keys are those of %v, the oracle says %v", got, want)
	}
	return ""
}

// historiesDiffer compares what counts of forked cores.
func (s *spec) historiesDiffer(st *State, everything clock, forks forkedCores) string {
	for id, f := range forks {
		want := s.chosen(s.forks[id])
		for _, c := range f.rows {
			l := f.cores[c.no].(leaves)
			side := 0
			if slices.Equal(l, s.forks[id].leaves[1]) {
				side = 1
			}
			for seq := f.parted; seq < uint64(len(l)); seq++ {
				got, err := st.capsIn(f, c, seq, everything)
				if err != nil {
					return err.Error()
				}
				may := s.could(c.Device, id, 0, seq)
				if side != want {
					may = 0
				}
				if got != may {
					return fmt.Sprintf("at %d of its history %d device %d may %b, the oracle says %b", seq, side, c.Device[0]-1, got, may)
				}
			}
		}
	}
	return ""
}

// answersDiffer compares what every member does about every request, before and after invitations expire.
func (s *spec) answersDiffer(st *State, devices map[key.DeviceID]bool) string {
	open := map[key.Hash]*joinState{}
	for _, j := range st.requests() {
		open[j.at.id] = j
	}
	for e, c := range s.log {
		if joinOf(c) == nil {
			continue
		}
		for member := range devices {
			if s.can(member) == 0 {
				continue
			}
			for _, now := range []int64{expiry - 1, expiry} {
				does, hand := "", false
				if j := open[c.id]; j != nil {
					v, _, _ := st.verdict(j, st.caps(member), true, time.Unix(now, 0))
					does = map[verdict]string{letIn: "admit", turnDown: "refuse"}[v]
					_, err := st.byHand(j, st.caps(member), time.Unix(now, 0))
					hand = err == nil
				}
				wantDoes, wantHand := s.answer(member, e, now)
				if does != wantDoes || hand != wantHand {
					return fmt.Sprintf("at %d device %d answers request %d by itself %q, by hand %v; the oracle says %q, %v",
						now, member[0]-1, e, does, hand, wantDoes, wantHand)
				}
			}
		}
	}
	return ""
}

// expiry is when the invitations of the scopes expire that do, in unix seconds.
const expiry = 100
