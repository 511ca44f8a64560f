package nodetest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/cmd/internal/nodetest"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// TestRandom lets two to five devices do random things while the network falls apart, is slow and loses connections, clocks are set, disks are
// full, nodes restart and machines stop at some write, mostly with what was not synced lost. After every healing they agree, and what holds of every room holds (see check and
// end). The package drive/tree proves the rules by the million; this is about everything around them.
//
// A seed that fails says how it fails again. PEARBOX_TEST_SEEDS=2000,100 tries a hundred seeds from 2000 on; PEARBOX_TEST_TRACE=dir keeps
// what happened, in order.
func TestRandom(t *testing.T) {
	liveSeeds(t, liveRandomly, 1000, 8)
}

// liveSeeds has the running test live so many seeds, or those that the environment says.
func liveSeeds(t *testing.T, life func(*nodetest.World), first uint64, seeds int) {
	t.Helper()
	if nodetest.Simulated(t, life) {
		return
	}
	if testing.Short() {
		seeds = 1
	}
	test := t.Name()
	if n, _ := fmt.Sscanf(os.Getenv("PEARBOX_TEST_SEEDS"), "%d,%d", &first, &seeds); n != 0 && n != 2 {
		t.Fatal("PEARBOX_TEST_SEEDS is first,count")
	}
	var mu sync.Mutex
	counts := make(map[string]int)
	t.Cleanup(func() { t.Logf("in %d seeds: %v", seeds, counts) })
	for seed := first; seed < first+uint64(seeds); seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			s := simulate(t, test, seed, os.Getenv("PEARBOX_TEST_START"))
			mu.Lock()
			defer mu.Unlock()
			for what, n := range s.Counts {
				counts[what] += n
			}
		})
	}
}

// simulate has a test live a seed.
func simulate(t *testing.T, test string, seed uint64, start string) nodetest.Story {
	t.Helper()
	s := nodetest.Simulate(test, seed, start)
	t.Logf("seed %d, start %s: %s", seed, s.Start, s.Trace)
	if s.Err != nil {
		t.Errorf("seed %d failed: %v\n%s", seed, s.Err, s.Output)
		if s.Lockstep {
			t.Errorf("again: PEARBOX_TEST_SEEDS=%d,1 PEARBOX_TEST_START=%s go test -run '%s$' ./cmd/internal/nodetest", seed, s.Start, test)
		}
	}
	return s
}

// TestSeedsReplay lives a seed twice.
func TestSeedsReplay(t *testing.T) {
	first := simulate(t, "TestRandom", 7, "")
	if !first.Lockstep {
		t.Skip("REPLAY IS NOT TESTED: this process may not trace others")
	}
	for range 3 {
		again := simulate(t, "TestRandom", 7, first.Start)
		if again.Start != first.Start {
			t.Fatalf("started as %s, not as %s", again.Start, first.Start)
		}
		if again.Trace == first.Trace {
			return
		}
		t.Logf("another course: %s, not %s", again.Trace, first.Trace)
	}
	t.Error("a seed takes another course each time")
}

// liveRandomly is one random life.
func liveRandomly(w *nodetest.World) {
	s := &simulation{World: w, names: []string{"alice", "bob", "carol", "dora", "eve"}[:2+w.Rand.IntN(4)]}
	s.Room(s.names[0], s.names[1:]...)
	for s.step = range 60 {
		s.act()
		s.wait()
		if s.step%20 == 19 {
			s.heal()
		}
	}
	s.end()
}

// simulation is one random life of a room.
type simulation struct {
	*nodetest.World
	names []string
	step  int
	made  []*moment // versions that were acknowledged
	said  []*saying // messages that were acknowledged
	roles *roles    // nil where members stay as they are, and nobody puts a backup back
}

// moment is a version and what its author saw right after making it.
type moment struct {
	fate
	version       drive.Version
	list          []string
	path, content string // a file that it wrote; "" for none
	fetched       bool   // its author had to get back what he wrote, which need not be all bytes
	noBytes       bool   // they may be nowhere any more
}

// saying is a message.
type saying struct {
	fate
	text string
}

// fate is what becomes of an entry that was acknowledged. Without roles it counts, for all and for ever.
type fate struct {
	by     string
	entry  key.Hash
	cut    bool     // it does not count: who made the room ended its author's membership without having seen it
	unsure bool     // somebody may have ended its author's rights without having seen it
	lost   bool     // whoever had it may have lost it, or may not give it to those who are in
	gone   []string // who may never read it
}

func (s *simulation) anybody() string { return s.names[s.Rand.IntN(len(s.names))] }

// wait lets some time pass: mostly too little for what was done to be known to all, now and then enough for what nodes do by the clock.
func (s *simulation) wait() {
	most := 20 * time.Millisecond
	switch s.Rand.IntN(16) {
	case 0:
		most = time.Minute
	case 1, 2:
		most = 2 * time.Second
	}
	time.Sleep(time.Duration(s.Rand.Int64N(int64(most))))
}

// act does one thing, or has one thing happen to somebody.
func (s *simulation) act() {
	who := s.anybody()
	p := s.As(who)
	ms := func(n int) time.Duration { return time.Duration(s.Rand.IntN(n)) * time.Millisecond }
	switch s.Rand.IntN(24) {
	case 0:
		s.disturbs(true)
		s.Count("alone")
		s.Alone()
	case 1:
		s.disturbs(true)
		s.Count("apart")
		s.apart()
	case 2, 3:
		s.together()
	case 4:
		s.disturbs(false)
		s.Count("drops")
		s.Net.Drop(0.5)
	case 5:
		if s.Rand.IntN(3) == 0 && !p.Disk().Stopped() {
			s.disturbs(false)
			s.Count("restarts")
			p.Restart()
		}
	case 6:
		s.Count("delays")
		s.Net.Latency(ms(15), ms(15)+time.Millisecond)
	case 7:
		s.Count("clocks")
		p.SetClock([]time.Duration{0, time.Hour, -time.Hour, 9000 * time.Hour, -9000 * time.Hour}[s.Rand.IntN(5)])
	case 8:
		s.disturbs(false)
		s.Count("fills")
		p.Disk().Fill()
	case 9:
		p.Disk().Free()
	case 10:
		s.disturbs(false)
		p.Disk().StopAfter(s.Rand.IntN(12))
	case 11, 12, 13:
		s.say(who)
	default:
		s.change(who)
	}
	if p.Disk().Stopped() {
		p.Crash()
		s.remembers(who)
	}
}

// apart separates the nodes into two groups.
func (s *simulation) apart() {
	names := slices.Clone(s.names)
	s.Rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	n := 1 + s.Rand.IntN(len(names)-1)
	s.Apart(strings.Join(names[:n], " "), strings.Join(names[n:], " "))
}

// there is a path that somebody has, or any.
func (s *simulation) there(who string) string {
	if all := s.As(who).Paths(); len(all) > 0 && s.Rand.IntN(8) > 0 {
		return all[s.Rand.IntN(len(all))]
	}
	return s.anywhere()
}

// anywhere is a path of a small tree, so that changes meet.
func (s *simulation) anywhere() string {
	p := string(rune('a' + s.Rand.IntN(3)))
	for range s.Rand.IntN(3) {
		p += "/" + string(rune('a'+s.Rand.IntN(3)))
	}
	return p
}

// change makes one random change. Some make no sense and are refused, as they should be.
func (s *simulation) change(who string) {
	a, b, what := s.there(who), s.anywhere(), s.Rand.IntN(7)
	if s.Rand.IntN(4) == 0 {
		a, b = b, a
	}
	to := "" // what gets a new entry
	switch what {
	case 0, 1:
		to = a
	case 3:
		to = b
	}
	m := &moment{fate: s.begins(who)}
	ctx, d := context.Background(), s.As(who).Handle().Drive()
	var staged drive.Staged
	if what < 2 {
		size := []int{1, 100, 5000, 100_000}[s.Rand.IntN(4)]
		m.path, m.content = a, fmt.Sprintf("%0*d", size, s.step)
		var err error
		if staged, err = d.StageBytes(ctx, []byte(m.content)); err != nil {
			s.refused(who, "staging", err)
			return
		}
	}
	var err error
	m.version, err = d.Write(ctx, func(batch *drive.Batch) error {
		if above := path.Dir(to); above != "." {
			if err := batch.MkdirAll(above, drive.Attrs{}); err != nil {
				return err
			}
		}
		switch what {
		case 0, 1:
			return batch.Put(a, staged, drive.Attrs{})
		case 2:
			return batch.MkdirAll(a, drive.Attrs{})
		case 3:
			return batch.Move(a, b)
		case 4:
			return batch.Remove(a)
		case 5:
			perm := uint32(s.Rand.IntN(8))
			return batch.SetAttr(a, drive.Attrs{Perm: &perm, Xattrs: map[string][]byte{"user.step": fmt.Append(nil, s.step)}})
		default:
			return batch.MkdirAll(a+"/"+b, drive.Attrs{})
		}
	})
	if what == 4 && err != nil {
		m.version, err = d.RemoveAll(ctx, a)
	}
	if err != nil {
		s.refused(who, fmt.Sprintf("change %d of %s, %s", what, a, b), err)
	} else if !m.version.IsNow() { // else it changed nothing
		m.entry, m.list = key.Hash(m.version), s.As(who).ListAt(m.version)
		s.made = append(s.made, m)
		s.recovered(&m.fate)
		s.Count("changes")
	}
}

func (s *simulation) say(who string) {
	m := &saying{s.begins(who), fmt.Sprintf("%s in step %d", who, s.step)}
	said, err := s.As(who).Handle().Chat().Say(context.Background(), m.text, chat.SayOptions{})
	if err != nil {
		s.refused(who, "saying something", err)
		return
	}
	m.entry = said.ID
	s.said = append(s.said, m)
	s.recovered(&m.fate)
	s.Count("messages")
}

// refused is told of a command that failed: the room was not such that it could be done, or its machine has stopped, or the disk is full. Then
// everything can still be read.
func (s *simulation) refused(who, what string, err error, also ...api.Code) {
	p := s.As(who)
	full := p.Disk().Full() && errors.Is(err, syscall.ENOSPC)
	code := control.AsError(err).Code
	s.Note("step %d: %s: %s: %s", s.step, who, what, code)
	expected := append([]api.Code{api.NotFound, api.Exists, api.WrongKind, api.BadName}, append(also, s.forbids(who)...)...)
	if !full && !p.Disk().Stopped() && !slices.Contains(expected, code) {
		s.T.Fatalf("step %d: %s: %s: %v", s.step, who, what, err)
	}
	switch {
	case full:
		s.Count("full")
		s.remembers(who)
	case !p.Disk().Stopped():
		s.Count("refusals")
	}
}

// remembers checks that what somebody did and was acknowledged is there on his machine.
func (s *simulation) remembers(who string) {
	p := s.As(who)
	for _, m := range s.made {
		if m.by != who || !s.keeps(&m.fate) {
			continue
		}
		s.lists(who, m)
		if m.path != "" && !m.fetched && s.pure(who, &m.fate) {
			if held, size := p.HeldAt(m.version, m.path); held != size {
				s.T.Fatalf("step %d: %s has %d of %d bytes of %s at %s", s.step, who, held, size, m.path, m.version)
			}
			s.reads(who, m)
		}
	}
	heard := p.Heard()
	for _, m := range s.said {
		if m.by == who && s.keeps(&m.fate) && s.counts(who, &m.fate) && !slices.Contains(heard, m.text) {
			s.T.Fatalf("step %d: %s has forgotten %q", s.step, who, m.text)
		}
	}
}

// lists checks a version: all that it stands on still counts, or it is listed otherwise.
func (s *simulation) lists(who string, m *moment) {
	if !s.pure(who, &m.fate) {
		return
	}
	if got := s.As(who).ListAt(m.version); !slices.Equal(got, m.list) {
		s.T.Fatalf("step %d: at %s %s lists %q; %s, who made it, listed %q", s.step, m.version, who, got, m.by, m.list)
	}
}

// reads checks a file that a moment made.
func (s *simulation) reads(who string, m *moment) {
	if !s.pure(who, &m.fate) {
		return
	}
	if got := s.As(who).CatAt(m.version, m.path); got != m.content {
		s.T.Fatalf("step %d: %s reads %.20q (%d bytes) in %s at %s, and %s wrote %.20q (%d bytes)", s.step, who, got, len(got), m.path, m.version, m.by, m.content, len(m.content))
	}
}

// heal brings everybody together and waits until they agree.
func (s *simulation) heal() {
	for _, who := range s.names {
		s.As(who).Disk().Free()
	}
	s.together()
	s.converge() // meanwhile machines may stop; from then on none does
	for _, who := range s.names {
		if p := s.As(who); p.Disk().Stopped() {
			p.Crash()
		} else {
			p.Disk().Works()
		}
	}
	in := s.converge()
	s.Until("they have heard the same", func() bool {
		first := s.As(in[0]).Heard()
		return !slices.ContainsFunc(in, func(who string) bool { return !slices.Equal(s.As(who).Heard(), first) })
	})
	s.settle(in)
	s.check(in)
}

// check asks for what holds of a room that has healed, for those who are in: nobody lost what was acknowledged, versions read the same on every
// device and as they did when they were made, no log is closed, and nothing is set aside but what members are removed with.
func (s *simulation) check(in []string) {
	for _, who := range in {
		s.remembers(who)
		s.Until(who+" misses nothing", func() bool { return !s.As(who).Handle().Log().Status().Restored || s.nobody(in) })
		damaged := func(n string) bool {
			return strings.Contains(n, "damaged") && !strings.Contains(n, "copied, restored or damaged")
		}
		if notes := s.As(who).Notes(); slices.ContainsFunc(notes, damaged) {
			s.T.Fatalf("step %d: %s: %q", s.step, who, notes)
		}
		if st := s.As(who).Handle().Log().Status(); len(st.Closed) > 0 || st.Quarantined > 0 && s.roles == nil || st.Standing != room.Admitted || !st.Twin.IsZero() {
			s.T.Fatalf("step %d: %s: %+v", s.step, who, st)
		}
		heard := s.As(who).Heard()
		for _, m := range s.said {
			if counts := !m.unsure && !m.lost; counts && !slices.Contains(heard, m.text) {
				s.T.Fatalf("step %d: %s has not heard %q", s.step, who, m.text)
			}
		}
	}
	for range min(8, len(s.made)) {
		m := s.made[s.Rand.IntN(len(s.made))]
		if m.lost {
			continue
		}
		for _, who := range in {
			s.lists(who, m)
		}
		if m.path != "" && !m.noBytes {
			s.reads(in[s.Rand.IntN(len(in))], m)
		}
	}
}

// end, after a healing, checks that every store is in order, and that what was derived step by step is what comes of the logs alone.
func (s *simulation) end() {
	for _, who := range s.names {
		p := s.As(who)
		list, heard := p.List(), p.Heard()
		was, err := p.Handle().Drive().StateHash()
		if err != nil {
			s.T.Fatal(err)
		}
		p.Rebuild()
		is, err := p.Handle().Drive().StateHash()
		if err != nil || is != was {
			s.T.Errorf("made anew, the tree of %s is another one: %v", who, err)
		}
		if got := p.List(); !slices.Equal(got, list) {
			s.T.Errorf("made anew, %s lists %q instead of %q", who, got, list)
		}
		if got := p.Heard(); !slices.Equal(got, heard) {
			s.T.Errorf("made anew, %s has the messages %q instead of %q", who, got, heard)
		}
	}
}
