package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An enumeration goes through all histories of some replicas and some commands: every command that a user can give on what his replica lists,
// on whatever he may know by then of what the others did. It makes each set of entries once, not once for every order in which it
// may come about and be delivered: all of these come to the same, and that is what is checked of each set, from all sets that it may have grown from.
// By induction from the smaller sets to the larger ones that is every order of delivery and every way of making batches.
//
// Checked of each command: what is listed after it is what the plain model says, and what the edit has derived is, row by row,
// what applying the entry gives.
//
// Checked of each set that is not yet a whole history (see grown): from every smaller set that holds what its entries' authors knew, the
// rest as one batch comes to the same rows, all of them; they show what the oracle does; what holds of every
// state holds (sound); with the end of somebody's log taken out they show what the oracle says of the rest, and are the same again when it is back.
//
// Checked of each whole history (see whole): the same rows when any entry that nobody knew of comes last, or all that the last
// author did not know comes to him at once, or all come to a newcomer at once; they show what the oracle does; and
// bytes are gone only when somebody removed or replaced them who was shown them.
type enumeration struct {
	t        testing.TB
	replicas int
	commands int
	names    []string
	same     bool // new bytes are always the same
	every    int  // look at one of so many whole histories only; 1: at all

	base      *state
	shapes    *shape
	alike     bool // what is like another history, but for the names of files and replicas, is not looked at
	symmetric bool // what everybody knows at first is the same with the names of files for each other
	memo      map[memoKey]*state
	checked   map[memoKey]bool // the states of these sets have been checked, whether they are kept or not

	// All but the last two commands make a beginning: what is divided among workers and where an enumeration can be taken up again.
	mine      func(position int) bool // whether to go on from there
	position  int                     // how many there were
	histories int
	seen      int
	looked    func(events []*event, shown []shownEntry) // at a whole history
}

// maxMemo is how many states are kept, of some hundred KiB each with all steps from them.
const maxMemo = 500

// memoKey names a set of up to four entries.
type memoKey [4]uint64

// event is an entry of an enumeration.
type event struct {
	*posted
	id   uint64
	by   command
	was  listing  // before it
	gone []string // bytes that it took away
}

// state is what a set of entries comes to.
type state struct {
	events  []*event
	rows    *Mem
	knows   closure
	lamport uint64
	listed  listing
	steps   [][]step // that each replica can go on with; nil: not looked at yet
}

// step is a command given in a state.
type step struct {
	command
	*event              // nil: not made yet, or the command comes to nothing
	after  *Mem         // the author's rows
	shown  []shownEntry // to the author
}

// history is some entries, in an order, with the states of all sets of them that hold what their authors knew.
type history struct {
	events []*event
	shape  *shape
	ideals []ideal // ascending
}

type ideal struct {
	set uint8 // bits
	*state
}

// starts are what everybody knows when an enumeration begins.
var starts = []string{"", "create a 100", "mkdir a; create a/b 100", "mkdir a; mkdir b"}

func newEnumeration(t testing.TB, replicas, commands int, start string, same, alike bool) *enumeration {
	w := worldOf(t, replicas, start)
	x := &enumeration{t: t, replicas: replicas, commands: commands, names: []string{"a", "b"}, same: same, every: 1,
		alike: alike, symmetric: start == starts[0] || start == starts[3], memo: map[memoKey]*state{}, checked: map[memoKey]bool{}, mine: func(int) bool { return true }}
	first := 0
	if start != "" {
		first = 1 // the first replica is the one that began
	}
	x.shapes = shapes(replicas, commands, first, alike)
	x.base = &state{rows: w.reps[0].rows, knows: w.reps[0].knows, lamport: w.reps[0].lamport}
	for _, p := range w.entries {
		x.base.events = append(x.base.events, &event{posted: p})
	}
	return x
}

func (x *enumeration) run() error {
	return x.grow(&history{shape: x.shapes, ideals: []ideal{{0, x.base}}})
}

// grow goes on from a history by every command that may come next.
func (x *enumeration) grow(h *history) error {
	for _, known := range h.ideals {
		for i := range x.replicas {
			next := h.shape.next[grown{i, known.set}]
			if next == nil {
				continue
			}
			if err := x.steps(h, known, i, func(s step) error {
				if len(h.events)+1 == x.commands {
					return x.whole(h, next, known, s)
				}
				return x.further(h, next, known, s)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// steps calls fn for all commands of a replica on what it knows that are to be looked at.
func (x *enumeration) steps(h *history, known ideal, i int, fn func(step) error) error {
	s := known.state
	if s.listed == nil {
		var err error
		if s.listed, err = Now(s.rows).listing(); err != nil {
			return err
		}
		s.steps = make([][]step, x.replicas)
	}
	last := len(h.events)+1 == x.commands
	once := last && len(s.events) == len(x.base.events)+len(h.events) // nobody else will ask for these
	if s.steps[i] == nil {
		for _, c := range s.listed.commands(x.names, newBytes(i, s.knows[i], x.same)) {
			s.steps[i] = append(s.steps[i], step{command: c})
		}
	}
	for k := range s.steps[i] {
		t := &s.steps[i][k]
		if x.skips(h, t.command) {
			continue
		}
		if last {
			if x.seen++; x.seen%x.every != 0 {
				continue
			}
		}
		made := *t
		if made.event == nil {
			if err := x.make(&made, s, i); err != nil {
				return err
			}
			if !once {
				*t = made
			}
		}
		if made.event == nil {
			continue // it comes to nothing
		}
		if err := fn(made); err != nil {
			return err
		}
	}
	return nil
}

// newBytes are what a replica has a file hold after so many entries.
func newBytes(i int, entries uint64, same bool) string {
	if same {
		return "1"
	}
	return fmt.Sprintf("%c%d", 'A'+i, entries)
}

// skips reports whether a history that goes on with a command is like another one.
func (x *enumeration) skips(h *history, c command) bool {
	if !x.alike {
		return false
	}
	if x.symmetric && len(h.events) == 0 && c.swapped().String() < c.String() {
		return true
	}
	if !x.same {
		return false
	}
	contents := x.commands - len(h.events) - 1 // at most, with those to come
	for _, e := range h.events {
		contents += e.by.contents()
	}
	return contents+c.contents() < 2 // then it matters not that they are the same
}

// swapped is the command with a and b for each other.
func (c command) swapped() command {
	c.from, c.to = swap(c.from), swap(c.to)
	return c
}

func swap(path string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case 'a':
			return 'b'
		case 'b':
			return 'a'
		}
		return r
	}, path)
}

// contents is how many new contents a command brings.
func (c command) contents() int {
	if c.bytes != "" {
		return 1
	}
	return 0
}

// make gives a command in a state.
func (x *enumeration) make(t *step, s *state, i int) error {
	w := &world{t: x.t}
	for _, e := range s.events {
		w.entries = append(w.entries, e.posted)
	}
	r := &replica{w: w, num: i, rows: s.rows.Clone(), knows: slices.Clone(s.knows), lamport: s.lamport}
	shown, err := t.command.runOn(r, s.listed)
	if err != nil {
		return fmt.Errorf("%c: %w\n%s", 'A'+i, err, w.history())
	}
	if n := len(w.entries); n > len(s.events) {
		p := w.entries[n-1]
		t.event, t.after, t.shown = &event{p, binary.BigEndian.Uint64(p.ops[0].ID.Entry[:]), t.command, s.listed, w.gone}, r.rows, shown
	}
	return nil
}

// further is a history with a command more, of which there will be more.
func (x *enumeration) further(h *history, next *shape, known ideal, s step) error {
	if len(h.events)+1 == max(1, x.commands-2) {
		x.position++
		if !x.mine(x.position - 1) {
			return nil
		}
	}
	c := &history{events: append(slices.Clip(h.events), s.event), shape: next, ideals: slices.Clip(h.ideals)}
	for _, before := range h.ideals {
		if known.set&^before.set != 0 {
			continue
		}
		set := before.set | 1<<len(h.events)
		events := append(slices.Clip(before.events), s.event)
		small := len(events)-len(x.base.events) < x.commands-1 // others have it too
		var k memoKey
		for i, e := range events[len(x.base.events):] {
			k[i] = e.id
		}
		slices.Sort(k[:])
		after := x.memo[k]
		if after == nil {
			var err error
			if after, err = x.joined(before, known, s); err != nil {
				return err
			}
			if small {
				if len(x.memo) >= maxMemo {
					clear(x.memo)
				}
				x.memo[k] = after
			}
		}
		c.ideals = append(c.ideals, ideal{set, after})
		if x.checked[k] {
			continue
		}
		if err := x.state(c.ideals); err != nil {
			return fmt.Errorf("%w\n%s", err, c.tell())
		}
		if small {
			x.checked[k] = true
		}
	}
	return x.grow(c)
}

// joined is a state that a step, given when known was known, has been added to.
func (x *enumeration) joined(before, known ideal, s step) (*state, error) {
	after := &state{events: append(slices.Clip(before.events), s.event), rows: s.after, knows: slices.Clone(before.knows),
		lamport: max(before.lamport, s.ops[0].Pos.Lamport)}
	after.knows[s.author]++
	if before.set != known.set {
		var err error
		if after.rows, err = applied(before.rows, s.posted); err != nil {
			return nil, err
		}
	}
	return after, nil
}

// applied is a table with entries more.
func applied(rows *Mem, entries ...*posted) (*Mem, error) {
	var ops []Placed
	for _, p := range entries {
		ops = append(ops, p.ops...)
	}
	out := rows.Clone()
	_, err := Apply(out, ops, nil)
	return out, err
}

// state checks the last of the sets, from all that are part of it.
func (x *enumeration) state(ideals []ideal) error {
	all := ideals[len(ideals)-1]
	for _, part := range ideals[:len(ideals)-1] {
		if part.set&^all.set != 0 {
			continue
		}
		rows, err := applied(part.rows, part.missing(all.state)...)
		if err == nil {
			err = sameRows(rows, all.rows)
		}
		if err != nil {
			return fmt.Errorf("from %b to %b: %w", part.set, all.set, err)
		}
	}
	if err := agrees(Now(all.rows), all.ops()); err != nil {
		return err
	}
	if err := sound(all.rows); err != nil {
		return err
	}
	return x.cuts(all.state)
}

// missing are the entries that one state has and another one has not.
func (s *state) missing(all *state) (out []*posted) {
	for _, e := range all.events {
		if e.seq >= s.knows[e.author] {
			out = append(out, e.posted)
		}
	}
	return out
}

func (s *state) ops() (out []Placed) {
	for _, e := range s.events {
		out = append(out, e.posted.ops...)
	}
	return out
}

// cuts takes the end of each core out, and brings it back.
func (x *enumeration) cuts(s *state) error {
	for author, n := range s.knows {
		for from := x.base.knows[author]; from < n; from++ {
			var stays, goes []Placed
			for _, e := range s.events {
				if e.author == author && e.seq >= from {
					goes = append(goes, e.posted.ops...)
				} else {
					stays = append(stays, e.posted.ops...)
				}
			}
			rows := s.rows.Clone()
			_, err := Apply(rows, nil, goes)
			if err == nil {
				err = agrees(Now(rows), stays)
			}
			if err == nil {
				_, err = Apply(rows, goes, nil)
			}
			if err == nil {
				err = sameState(rows, s.rows)
			}
			if err != nil {
				return fmt.Errorf("without what %c did from %d on: %w", 'A'+author, from, err)
			}
		}
	}
	return nil
}

// sameState compares what matters of two tables.
func sameState(a, b *Mem) error {
	x, errA := StateHash(a)
	y, errB := StateHash(b)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if x != y {
		return errors.New("another state")
	}
	return nil
}

// whole checks a history that a last step, given when known was known, makes whole.
func (x *enumeration) whole(h *history, next *shape, known ideal, s step) error {
	x.histories++
	all := h.ideals[len(h.ideals)-1]
	c := &history{events: append(slices.Clip(h.events), s.event), shape: next}
	err := func() error {
		after, err := x.joined(all, known, s)
		if err != nil {
			return err
		}
		if err := x.deliveries(h, after, known, s); err != nil {
			return err
		}
		shown := s.shown
		if known.set != all.set {
			if shown, err = whole(Now(after.rows)); err != nil {
				return err
			}
		}
		if err := shownBy(shown, after.ops()); err != nil {
			return err
		}
		if x.looked != nil {
			x.looked(after.events[len(x.base.events):], shown)
		}
		if x.same {
			return nil
		}
		return after.kept(shown)
	}()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.tell())
	}
	return nil
}

// deliveries compares the ways in which all entries of a whole history may have come.
func (x *enumeration) deliveries(h *history, after *state, known ideal, s step) error {
	all := h.ideals[len(h.ideals)-1]
	same := func(what string, rows *Mem, err error) error {
		if err == nil {
			err = sameRows(rows, after.rows)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	rows, err := applied(x.base.rows, x.base.missing(after)...)
	if err := same("a newcomer", rows, err); err != nil || known.set == all.set {
		return err
	}
	rows, err = applied(s.after, known.missing(all.state)...)
	if err := same("the author of the last", rows, err); err != nil {
		return err
	}
	for _, most := range h.ideals {
		last := most.missing(all.state)
		if len(last) != 1 || known.set&^most.set != 0 {
			continue
		}
		if rows, err = applied(most.rows, s.posted); err == nil {
			rows, err = applied(rows, last...)
		}
		if err := same(fmt.Sprintf("%c's last comes last", 'A'+last[0].author), rows, err); err != nil {
			return err
		}
	}
	return nil
}

// kept checks that what is not shown was taken away by somebody who was shown it.
func (s *state) kept(shown []shownEntry) error {
	there := func(bytes string) bool {
		return slices.ContainsFunc(shown, func(e shownEntry) bool { return e.content == bytes }) ||
			slices.ContainsFunc(s.events, func(e *event) bool { return slices.Contains(e.gone, bytes) })
	}
	for _, e := range s.events {
		for i := range e.posted.ops {
			if c := e.posted.ops[i].Op.Content; c != nil && !there(c.Plain.Short()) {
				return fmt.Errorf("bytes %s are gone and nobody removed them", c.Plain.Short())
			}
		}
	}
	return nil
}

// tell is the history in words.
func (h *history) tell() string {
	var b strings.Builder
	for k, e := range h.events {
		fmt.Fprintf(&b, "%c (knows %b): %s\n", 'A'+e.author, h.shape.knows[k], e.by)
	}
	w := &world{reps: make([]*replica, len(h.events[0].knew))}
	for _, e := range h.events {
		w.entries = append(w.entries, e.posted)
	}
	return b.String() + w.history()
}

// A scope is some enumerations.
type scope struct {
	replicas, commands, every int
	starts                    []string
	same                      []bool
}

// TestEnumerate goes through the histories of two replicas and three commands from most starts, and of more from an empty room.
// PEARBOX_ENUMERATE=3x5 does all of three replicas and five commands from every start: some 300 million histories; of 3x3 there are 115,160, and each
// further command makes about 50 times as many. 3x5/10 looks at every tenth of the whole histories, though at all that they begin with. It prints where it is; PEARBOX_ENUMERATE_FROM=2.1700 goes on from there, and PEARBOX_ENUMERATE_FOR=3m
// ends after some time.
func TestEnumerate(t *testing.T) {
	scopes := []scope{{2, 4, 4, starts[:1], []bool{false}}, {2, 3, 1, starts[:2], []bool{false, true}}, {2, 3, 5, starts[2:], []bool{false}}}
	from, deadline := [2]int{}, time.Time{}
	if v := os.Getenv("PEARBOX_ENUMERATE"); v != "" {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(1 << 30)
		s := scope{every: 1, starts: starts, same: []bool{false, true}}
		if _, err := fmt.Sscanf(strings.Replace(v, "/", " ", 1)+" ", "%dx%d %d", &s.replicas, &s.commands, &s.every); s.commands == 0 {
			t.Fatalf("PEARBOX_ENUMERATE=%s: %v", v, err)
		}
		scopes = []scope{s}
		if v := os.Getenv("PEARBOX_ENUMERATE_FROM"); v != "" {
			if _, err := fmt.Sscanf(v, "%d.%d", &from[0], &from[1]); err != nil {
				t.Fatalf("PEARBOX_ENUMERATE_FROM=%s: %v", v, err)
			}
		}
		if v := os.Getenv("PEARBOX_ENUMERATE_FOR"); v != "" {
			d, err := time.ParseDuration(v)
			if err != nil {
				t.Fatal(err)
			}
			deadline = time.Now().Add(d)
		}
	}
	number := 0
	for _, s := range scopes {
		for _, start := range s.starts {
			for _, same := range s.same {
				if number++; number-1 < from[0] {
					continue
				}
				c := &crew{start: start, same: same, scope: s, number: number - 1, deadline: deadline}
				if number-1 == from[0] {
					c.from = from[1]
				}
				if !c.run(t) {
					return
				}
			}
		}
	}
}

// A crew does one enumeration of a scope, each worker some of the beginnings.
type crew struct {
	scope
	start    string
	same     bool
	number   int
	from     int // the first beginning
	deadline time.Time

	mu      sync.Mutex
	told    time.Time // progress
	reached []int     // by worker: the beginning that it is at
	ended   bool      // some had no time left, or have found something
}

// run reports whether there is time left.
func (c *crew) run(t *testing.T) bool {
	workers := make([]*enumeration, runtime.GOMAXPROCS(0))
	errs := make([]error, len(workers))
	c.reached, c.told = make([]int, len(workers)), time.Now()
	var all sync.WaitGroup
	for i := range workers {
		x := newEnumeration(t, c.replicas, c.commands, c.start, c.same, true)
		x.every = c.every
		x.mine = func(position int) bool {
			return position >= c.from && position%len(workers) == i && c.goesOn(t, i, position)
		}
		workers[i] = x
		c.reached[i] = c.from
		all.Go(func() {
			if errs[i] = x.run(); errs[i] != nil {
				c.end()
			}
		})
	}
	all.Wait()
	histories, seen := 0, 0
	for i, x := range workers {
		histories, seen = histories+x.histories, seen+x.seen
		if errs[i] != nil {
			t.Errorf("from %q, beginning %d.%d:\n%v", c.start, c.number, c.reached[i], errs[i])
		}
	}
	t.Logf("from %q, %d replicas, %d commands, equal bytes %v: %d of %d histories", c.start, c.replicas, c.commands, c.same, histories, seen)
	if c.ended && !t.Failed() {
		t.Logf("PEARBOX_ENUMERATE_FROM=%d.%d goes on", c.number, slices.Min(c.reached))
	}
	return !c.ended && !t.Failed()
}

func (c *crew) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// goesOn reports whether a worker has time for the beginning that it has reached.
func (c *crew) goesOn(t *testing.T, worker, position int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || !c.deadline.IsZero() && time.Now().After(c.deadline) {
		c.ended = true
		return false
	}
	c.reached[worker] = position
	if time.Since(c.told) > 30*time.Second {
		c.told = time.Now()
		t.Logf("at %d.%d", c.number, slices.Min(c.reached))
	}
	return true
}
