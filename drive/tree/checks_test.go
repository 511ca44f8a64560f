package tree

import (
	"errors"
	"fmt"
	"slices"
)

// What an enumeration checks of states and of whole histories.

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

// finish looks at all whole histories that come of one more command.
func (x *enumeration) finish(h *history) error {
	all := h.ideals[len(h.ideals)-1]
	had := lessers{}
	return x.steps(h, func(w way, i int, kept *step) error {
		if x.seen++; x.seen%x.every != 0 {
			return nil
		}
		c, err := x.lastOf(w.known.state, i, kept, w.known.set == all.set)
		if err != nil || c.empty {
			return err
		}
		l := lesser{set: w.known.set, rank: h.rank(i, w.known.lamport+1)}
		if x.least {
			if first := had.find(i, c.command, c.body, l); first != nil {
				return x.likewise(h, &w, c, first)
			}
		}
		if w.step, err = c.made(); err != nil {
			return err
		}
		shown, err := x.whole(h, &w)
		if x.least {
			had.looked(i, c.command, c.body, w.event, shown)
		}
		return err
	})
}

// whole checks a history that a way makes whole. It returns what is shown in the end.
func (x *enumeration) whole(h *history, w *way) (shown []shownEntry, err error) {
	x.histories++
	all := h.ideals[len(h.ideals)-1]
	defer func() {
		if err != nil {
			c := &history{events: append(slices.Clip(h.events), w.event), shape: w.next}
			err = fmt.Errorf("%w\n%s", err, c.tell())
		}
	}()
	after, err := x.joined(all, w.known, w.step)
	if err != nil {
		return nil, err
	}
	if err := x.deliveries(h, after, w.known, w.step); err != nil {
		return nil, err
	}
	shown = w.shown
	if w.known.set != all.set {
		if shown, err = whole(Now(after.rows)); err != nil {
			return nil, err
		}
	}
	ops := after.ops()
	if err := shownBy(shown, ops); err != nil {
		return nil, err
	}
	if x.looked != nil {
		x.looked(after.events[len(x.base.events):], shown)
	}
	if err := once(shown); err != nil {
		return nil, err
	}
	if err := ancestors(ops); err != nil {
		return nil, err
	}
	return shown, x.promised(h, w.event, shown)
}

// deliveries compares the ways in which all entries of a whole history may have come.
func (x *enumeration) deliveries(h *history, after *state, known ideal, s step) error {
	all := h.ideals[len(h.ideals)-1]
	tables := []*Mem{after.rows} // the same but for the numbers
	same := func(what string, rows *Mem, err error) error {
		if err == nil && !slices.ContainsFunc(tables, func(m *Mem) bool { return equalRows(rows, m) }) {
			err, tables = sameRows(rows, after.rows), append(tables, rows)
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
	if left := known.missing(all.state); len(left) > 1 {
		rows, err = applied(s.after, left...)
		if err := same("the author of the last", rows, err); err != nil {
			return err
		}
	}
	for _, most := range h.ideals {
		last := most.missing(all.state)
		if len(last) != 1 || known.set&^most.set != 0 {
			continue
		}
		rows := s.after
		if known.set != most.set {
			if rows, err = x.added(h, most, s); err != nil {
				return err
			}
		}
		rows, err = applied(rows, last...)
		if err := same(fmt.Sprintf("%c's last comes last", 'A'+last[0].author), rows, err); err != nil {
			return err
		}
	}
	return nil
}

// kept checks that what is not shown was taken away by somebody who was shown it; and what was restored, by somebody who did so
// without the restorer's knowledge.
func (s *state) kept(shown []shownEntry) error {
	there := func(bytes string, knew closure) bool {
		return slices.ContainsFunc(shown, func(e shownEntry) bool { return e.content == bytes || e.target == bytes }) ||
			slices.ContainsFunc(s.events, func(e *event) bool { return slices.Contains(e.gone, bytes) && (knew == nil || knew[e.author] <= e.seq) })
	}
	for _, e := range s.events {
		for i := range e.posted.ops {
			if bytes := e.posted.ops[i].Op.bytes(); bytes != "" && !there(bytes, nil) {
				return fmt.Errorf("bytes %s are gone and nobody removed them", bytes)
			}
		}
		if e.by.back == nil {
			continue
		}
		for _, x := range e.by.brings(e.was) {
			if x.kind != Dir && !there(x.bytes, e.knew) {
				return fmt.Errorf("bytes %s were restored and are gone, and nobody removed them", x.bytes)
			}
		}
	}
	return nil
}
