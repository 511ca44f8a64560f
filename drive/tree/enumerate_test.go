package tree

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pearbox/pearbox/drive/key"
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
// author did not know comes to him at once, or all come to a newcomer at once; they show what the oracle does; bytes are gone only when
// somebody removed or replaced them who was shown them; and what users are promised besides holds (see promised).
type enumeration struct {
	setting
	t     testing.TB
	every int // look at one of so many whole histories only; 1: at all

	base      *state
	shapes    *shape
	alike     bool    // what is like another history, but for the names of files and replicas, is not looked at
	least     bool    // of histories that differ in nothing but in what some authors knew besides, one is looked at: see alike_test.go
	symmetric [2]bool // what everybody knows at first is the same with a and b for each other at the root, and in directories
	memo      map[memoKey]*state
	onto      *state           // see added
	sums      map[*event]*Mem  // what events come to on top of it
	checked   map[memoKey]bool // the states of these sets have been checked, whether they are kept or not

	// All but the last two commands make a beginning: what is divided among workers and where an enumeration can be taken up again.
	mine      func(position int) bool // whether to go on from there
	position  int                     // how many there were
	draw      func(branch int) bool   // of a beginning with one command more: whether to go on from that; nil: always
	branch    int                     // how many of these there were since the last beginning
	histories int
	seen      int
	looked    func(events []*event, shown []shownEntry) // at a whole history
}

// setting is what an enumeration is of.
type setting struct {
	replicas int
	commands int
	start    string // what everybody knows at first
	same     bool   // new bytes are always the same
	more     bool   // there are also commands about attributes, symlinks and the past, and at least one of these is in every history
}

func (of *setting) String() string {
	out := fmt.Sprintf("from %q, %d replicas, %d commands, equal bytes %v", of.start, of.replicas, of.commands, of.same)
	if of.more {
		out += ", with attributes, symlinks and restores"
	}
	return out
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
	back    []command // the restores
	steps   [][]step  // that each replica can go on with; nil: not looked at yet
}

// step is a command given in a state.
type step struct {
	command
	*event              // nil: not made yet, or
	empty  bool         // the command comes to nothing
	after  *Mem         // the author's rows
	shown  []shownEntry // to the author
}

// history is some entries, in an order, with the states of all sets of them that hold what their authors knew.
type history struct {
	events []*event
	also   [][]*event // of each: the same entry by who knew more
	shape  *shape
	ideals []ideal // ascending
}

type ideal struct {
	set uint8 // bits
	*state
}

// starts are what everybody knows when an enumeration begins.
var starts = []string{"", "create a 100", "mkdir a; create a/b 100", "mkdir a; mkdir b"}

// moreStarts are those of enumerations with more commands: they have something of every kind, and a past.
var moreStarts = []string{"", "create a 100; write a 101", "mkdir a; create a/b 100; mv a b; rm -r b", "mkdir a; link a/b 100"}

func newEnumeration(t testing.TB, of setting, alike bool) *enumeration {
	w := worldOf(t, of)
	x := &enumeration{setting: of, t: t, every: 1, alike: alike, symmetric: of.symmetric(),
		memo: map[memoKey]*state{}, checked: map[memoKey]bool{}, mine: func(int) bool { return true }}
	first := 0
	if of.start != "" {
		first = 1 // the first replica is the one that began
	}
	x.shapes = shapes(of.replicas, of.commands, first, alike)
	x.base = &state{rows: w.reps[0].rows, knows: w.reps[0].knows, lamport: w.reps[0].lamport}
	for _, p := range w.entries {
		x.base.events = append(x.base.events, &event{posted: p})
	}
	if len(w.gone) > 0 {
		x.base.events[0].gone = w.gone
	}
	return x
}

func (x *enumeration) run() error {
	return x.grow(&history{shape: x.shapes, ideals: []ideal{{0, x.base}}})
}

// grow goes on from a history by every command that may come next.
func (x *enumeration) grow(h *history) error {
	if len(h.events)+1 == x.commands {
		return x.finish(h)
	}
	ways, err := x.ways(h)
	if err != nil {
		return err
	}
	for i := range ways {
		if err := x.further(h, &ways[i]); err != nil {
			return err
		}
	}
	return nil
}

// way is how a history can go on.
type way struct {
	next  *shape
	known ideal
	step
	also []*event // the same by those who know more
}

// ways are all of them that are to be looked at, of a history that does not become whole by one command.
func (x *enumeration) ways(h *history) (out []way, err error) {
	had := lessers{}
	err = x.steps(h, func(w way, i int, kept *step) error {
		if err := x.make(kept, w.known.state, i); err != nil || kept.event == nil {
			return err
		}
		w.step = *kept
		if x.least {
			l := lesser{set: w.known.set, rank: int(w.ops[0].Pos.Lamport), way: len(out)}
			if first := had.find(i, w.command, w.body, l); first != nil {
				out[first.way].also = append(out[first.way].also, w.event)
				return nil
			}
		}
		out = append(out, w)
		return nil
	})
	return out, err
}

// steps calls fn for all commands that a replica may give on what it knows, in the order of that, but those that are to be skipped. What fn
// makes of a step is kept, when others can ask for it.
func (x *enumeration) steps(h *history, fn func(w way, i int, kept *step) error) error {
	for _, known := range h.ideals {
		for i := range x.replicas {
			next := h.shape.next[grown{i, known.set}]
			if next == nil {
				continue
			}
			if err := x.offer(h, known.state, i); err != nil {
				return err
			}
			steps := known.steps[i]
			for k := range steps {
				if x.skips(h, steps[k].command) {
					continue
				}
				if err := fn(way{next: next, known: known}, i, &steps[k]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// offer finds the commands that a replica can give in a state.
func (x *enumeration) offer(h *history, s *state, i int) error {
	if s.listed == nil {
		var err error
		if s.listed, err = Now(s.rows).listing(); err != nil {
			return err
		}
		s.steps = make([][]step, x.replicas)
		if x.more {
			if s.back, err = restores(s.posted(), s.rows, s.listed); err != nil {
				return fmt.Errorf("%w\n%s", err, h.tell())
			}
		}
	}
	if s.steps[i] == nil {
		for _, c := range x.given(s.listed, i, s.knows[i], s.back) {
			s.steps[i] = append(s.steps[i], step{command: c})
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

// given are the commands that a replica can give after so many entries of its own.
func (of *setting) given(l listing, i int, entries uint64, restores []command) []command {
	bytes := newBytes(i, entries, of.same)
	if !of.more {
		return l.commands([]string{"a", "b"}, bytes)
	}
	return l.moreCommands([]string{"a", "b"}, bytes, 1+i+4*int(entries), restores)
}

// maxValue is beyond what attributes are made of.
const maxValue = 32

// symmetric reports whether everything can be the same with the names a and b for each other, at the root and in directories. What a name
// at the root is and what one in a directory is are two things: a node has a name from the command that puts it into the root or into
// some directory, and keeps it there wherever the directory goes.
func (of *setting) symmetric() [2]bool {
	none := !strings.Contains(of.start, "/") // in directories
	return [2]bool{of.start == starts[0] || of.start == starts[3], none}
}

// skips reports whether a history that goes on with a command is like another one, or one of another enumeration.
func (x *enumeration) skips(h *history, c command) bool {
	if x.more && len(h.events)+1 == x.commands && !c.more && !slices.ContainsFunc(h.events, func(e *event) bool { return e.by.more }) {
		return true
	}
	if !x.alike {
		return false
	}
	for level, symmetric := range x.symmetric {
		if symmetric && c.names(level) && !slices.ContainsFunc(h.events, func(e *event) bool { return e.by.names(level) }) && c.swapped(level).String() < c.String() {
			return true // the first that says one of the names says the lesser
		}
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

// names reports whether a command says a name at the root (level 0) or in a directory (1).
func (c command) names(level int) bool {
	return level == 0 || strings.Contains(c.from, "/") || strings.Contains(c.to, "/")
}

// swapped is the command with a and b for each other on a level.
func (c command) swapped(level int) command {
	c.from, c.to = swap(c.from, level), swap(c.to, level)
	return c
}

// swap is a path with a and b for each other, at the root or in directories.
func swap(path string, level int) string {
	root, _, _ := strings.Cut(path, "/")
	rest := path[len(root):]
	if level == 0 {
		return swapNames(root) + rest
	}
	return root + swapNames(rest)
}

func swapNames(names string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case 'a':
			return 'b'
		case 'b':
			return 'a'
		}
		return r
	}, names)
}

// contents is how many new contents a command brings.
func (c command) contents() int {
	if c.bytes != "" {
		return 1
	}
	return 0
}

// make gives a command in a state, unless that was done.
func (x *enumeration) make(t *step, s *state, i int) error {
	if t.event != nil || t.empty {
		return nil
	}
	d, err := x.draft(t.command, s, i)
	if err != nil {
		return err
	}
	return d.write(t)
}

// draft is a command that is given and not written yet.
type draft struct {
	command
	state *state
	r     *replica
	edit  *Edit
}

func (x *enumeration) draft(c command, s *state, i int) (*draft, error) {
	w := &world{t: x.t, entries: s.posted()}
	d := &draft{command: c, state: s, r: &replica{w: w, num: i, rows: s.rows.Clone(), knows: slices.Clone(s.knows), lamport: s.lamport}}
	d.edit = NewEdit(d.r.rows, coreOf(i))
	return d, d.failed(c.give(d.edit, d.r.rows))
}

func (d *draft) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%c: %s: %w\n%s", 'A'+d.r.num, d.command, err, d.r.w.history())
}

// write makes the entry, and compares what is listed then with the model.
func (d *draft) write(t *step) error {
	if t.empty = len(d.edit.Ops()) == 0; t.empty {
		return nil
	}
	w, s := d.r.w, d.state
	if err := d.failed(d.r.write(d.edit)); err != nil {
		return err
	}
	shown, err := d.command.done(d.r, s.listed)
	if err != nil {
		return d.failed(err)
	}
	p := w.entries[len(s.events)]
	t.event, t.after, t.shown = &event{posted: p, id: eventID(p, d.command), by: d.command, was: s.listed, gone: w.gone}, d.r.rows, shown
	return nil
}

// eventID names an entry and the command that it comes from: of two restores the operations may be the same.
func eventID(p *posted, c command) uint64 {
	id := p.ops[0].ID.Entry
	if c.back != nil {
		id = key.Sum(append(id[:], c.String()...))
	}
	return binary.BigEndian.Uint64(id[:])
}

// further is a history with a command more, of which there will be more.
func (x *enumeration) further(h *history, w *way) error {
	switch len(h.events) + 1 {
	case max(1, x.commands-2):
		if x.position, x.branch = x.position+1, 0; !x.mine(x.position - 1) {
			return nil
		}
	case x.commands - 1:
		if x.branch++; x.draw != nil && !x.draw(x.branch-1) {
			return nil
		}
	}
	known, s := w.known, w.step
	c := &history{events: append(slices.Clip(h.events), s.event), also: append(slices.Clip(h.also), w.also), shape: w.next, ideals: slices.Clip(h.ideals)}
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
	out := rows.Clone()
	_, err := Apply(out, opsOf(entries), nil)
	return out, err
}

// added is what a step comes to on top of a state that has what its author knew. With the last of these that a history can have come from
// by its last command it is asked again and again, for every such command.
func (x *enumeration) added(h *history, to ideal, s step) (*Mem, error) {
	if to.set != 1<<(len(h.events)-1)-1 {
		return applied(to.rows, s.posted)
	}
	if x.onto != to.state {
		x.onto, x.sums = to.state, map[*event]*Mem{}
	}
	rows := x.sums[s.event]
	if rows == nil {
		var err error
		if rows, err = applied(to.rows, s.posted); err != nil {
			return nil, err
		}
		x.sums[s.event] = rows
	}
	return rows, nil
}

// opsOf are the operations of entries.
func opsOf(entries []*posted) []Placed {
	if len(entries) == 1 {
		return slices.Clip(entries[0].ops)
	}
	n := 0
	for _, p := range entries {
		n += len(p.ops)
	}
	out := make([]Placed, 0, n)
	for _, p := range entries {
		out = append(out, p.ops...)
	}
	return out
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

// posted are all entries.
func (s *state) posted() []*posted {
	out := make([]*posted, 0, len(s.events))
	for _, e := range s.events {
		out = append(out, e.posted)
	}
	return out
}

func (s *state) ops() []Placed { return opsOf(s.posted()) }

// tell is the history in words.
func (h *history) tell() string {
	var b strings.Builder
	for k, e := range h.events {
		fmt.Fprintf(&b, "%c (knows %b): %s\n", 'A'+e.author, h.shape.knows[k], e.by)
	}
	w := &world{}
	if len(h.events) > 0 {
		w.reps = make([]*replica, len(h.events[0].knew))
	}
	for _, e := range h.events {
		w.entries = append(w.entries, e.posted)
	}
	return b.String() + w.history()
}
