package tree

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Of two histories in which everybody wrote the same operations, and these have the same order, one is enough, if in the other one each
// author knew all that he knew in the first, and more. What operations come to depends on what they say and on which is older:
// what was known besides is not written down, and a closure only cuts what an operation says about others, which an honest one never
// says of what it does not know. So both come to the same, but for ids and lamports. The one with less knowledge
// stays, since every order and every batch in which the entries of the other one can be delivered is one of its own, too, while it has more.
//
// So a command is passed over that the same replica can give knowing less, if that makes the same operations, byte by byte, and puts
// them at the same place in the order: for a last command that is between the same entries; for another one, of which more is to come, it is
// the same lamport, for then all that comes after it has the lamports, too, that it has beside the other.
//
// What depends on more than the operations is checked of those that are passed over as well: that what is listed after a command is what the plain
// model says of what was listed before; and what users are promised, which is about what somebody was shown and knew. What the edit has
// derived row by row is checked of all but the last commands. TestAlike compares with what is there when nothing is passed over.

// lesser is a command that was given with some knowledge.
type lesser struct {
	set   uint8 // what was known
	rank  int   // its place in the order
	way   int   // which way that became
	event *event
	shown []shownEntry // in the end
}

// lessers are what was given in one history so far, by who gave it, what was done, and the operations.
type lessers map[string][]lesser

func likeness(i int, c command, body []byte) string {
	return string(append(append(make([]byte, 0, len(body)+16), byte(i)), c.verb...)) + string(body)
}

// find returns the same command that was given knowing less, or adds this one.
func (all lessers) find(i int, c command, body []byte, l lesser) *lesser {
	key := likeness(i, c, body)
	for k := range all[key] {
		if first := &all[key][k]; first.rank == l.rank && first.set&^l.set == 0 {
			return first
		}
	}
	all[key] = append(all[key], l)
	return nil
}

// looked adds what came of the last one that was added.
func (all lessers) looked(i int, c command, body []byte, e *event, shown []shownEntry) {
	list := all[likeness(i, c, body)]
	l := &list[len(list)-1]
	l.event, l.shown = e, shown
}

// rank is how many entries are older than one of replica i would be.
func (h *history) rank(i int, lamport uint64) (n int) {
	core := coreOf(i)
	for _, e := range h.events {
		p := e.ops[0].Pos
		n += order(p.Lamport < lamport || p.Lamport == lamport && bytes.Compare(p.Core[:], core[:]) < 0)
	}
	return n
}

// last is a last command: made already, or only given.
type last struct {
	step
	draft *draft
	body  []byte
}

// lastOf gives the command. Where nobody else will ask for it, it is not written before it is known whether it is to be looked at.
func (x *enumeration) lastOf(s *state, i int, kept *step, only bool) (c last, err error) {
	if !only {
		if err := x.make(kept, s, i); err != nil {
			return c, err
		}
		if c.step = *kept; !c.empty {
			c.body = c.event.body
		}
		return c, nil
	}
	c.step = *kept
	if c.draft, err = x.draft(c.command, s, i); err != nil {
		return c, err
	}
	if c.empty = len(c.draft.edit.Ops()) == 0; c.empty {
		return c, nil
	}
	c.body, err = EncodeOps(c.draft.edit.Ops())
	return c, err
}

// made is the step.
func (c *last) made() (step, error) {
	if c.draft == nil {
		return c.step, nil
	}
	err := c.draft.write(&c.step)
	return c.step, err
}

// likewise checks a whole history that is passed over since another one comes to the same.
func (x *enumeration) likewise(h *history, w *way, c last, first *lesser) error {
	e := c.event
	if e == nil {
		s, it := w.known.state, *first.event.posted
		it.knew = s.knows
		e = &event{posted: &it, by: c.command, was: s.listed}
		made := &world{}
		if err := c.shows(made, s.listed, first.shown); err != nil {
			return c.draft.failed(err)
		}
		e.gone = made.gone
	}
	if err := x.promised(h, e, first.shown); err != nil {
		tell := &history{events: append(slices.Clip(h.events), e), shape: w.next}
		return fmt.Errorf("%w\n%s", err, tell.tell())
	}
	return nil
}

// TestAlike compares the histories that are looked at with all: each is there with the same operations in the same order and with the same
// listing in the end, by authors who knew no more.
func TestAlike(t *testing.T) {
	for _, of := range []setting{{2, 3, starts[0], false, false}, {2, 3, starts[1], false, false}, {3, 2, starts[2], false, false}, {3, 3, starts[0], true, false}, {2, 2, moreStarts[1], false, true}} {
		t.Run(strings.ReplaceAll(of.String(), "/", "|"), func(t *testing.T) {
			told := func(least bool) map[string][][]closure {
				x := newEnumeration(t, of, true)
				x.least = least
				out := map[string][][]closure{}
				x.looked = func(events []*event, shown []shownEntry) {
					told, knew := tellOps(x.base.events, events, shown)
					out[told] = append(out[told], knew)
				}
				if err := x.run(); err != nil {
					t.Fatal(err)
				}
				return out
			}
			got, all := told(true), told(false)
			n, m := 0, 0
			for what, knew := range all {
				for _, k := range knew {
					if !slices.ContainsFunc(got[what], func(less []closure) bool { return within(less, k) }) {
						t.Errorf("nobody knowing less or as much as %v is there of\n%s", k, what)
					}
				}
				n, m = n+len(got[what]), m+len(knew)
			}
			for what := range got {
				if all[what] == nil {
					t.Errorf("this is not there when nothing is passed over:\n%s", what)
				}
			}
			if n >= m {
				t.Errorf("%d of %d: nothing was passed over", n, m)
			}
			t.Logf("%d of %d", n, m)
		})
	}
}

// within reports whether in each place less was known.
func within(less, more []closure) bool {
	for i := range less {
		for k := range less[i] {
			if less[i][k] > more[i][k] {
				return false
			}
		}
	}
	return true
}

// tellOps tells the operations of a history in their order and what is shown in the end, and says what each author knew, without ids and lamports.
func tellOps(base, events []*event, shown []shownEntry) (string, []closure) {
	events = slices.Clone(events)
	slices.SortFunc(events, func(a, b *event) int { return a.ops[0].Pos.Compare(b.ops[0].Pos) })
	names := map[NodeID]string{Root: "root"}
	for i, e := range slices.Concat(base, events) {
		for k, o := range e.ops {
			names[tagOf(o.ID)] = fmt.Sprintf("head %d.%d", i, k)
			if o.Op.Type == OpCreate {
				names[o.Op.Node] = fmt.Sprintf("node %d.%d", i, k)
			}
		}
	}
	var b strings.Builder
	var knew []closure
	for _, e := range events {
		knew = append(knew, e.knew)
		fmt.Fprintf(&b, "%c %d %s:", 'A'+e.author, e.seq, e.by.verb)
		for i := range e.ops {
			o := &e.ops[i].Op
			fmt.Fprintf(&b, " %d %s in %s %q %s after %s line %s", o.Type, names[o.Node], names[o.Parent], o.Name, o.bytes(), names[o.Prev], names[o.Line])
			for _, c := range o.contexts() {
				fmt.Fprintf(&b, " %v", c)
			}
		}
		b.WriteByte('\n')
	}
	var ends []string
	for i := range shown {
		e := &shown[i]
		path := e.path
		if e.conflict {
			path = path[:strings.LastIndexByte(path, '/')+1] + e.base + "~"
		}
		end := fmt.Sprintf("%s %s %s%s %s %o %d %q", path, names[e.id], e.content, e.target, e.kind, e.mode, e.mtime, e.xattrs)
		for _, n := range e.members {
			end += " " + names[n]
		}
		ends = append(ends, end)
	}
	slices.Sort(ends)
	return b.String() + strings.Join(ends, "\n"), knew
}
