package tree

import (
	"fmt"
	"slices"
	"strings"
)

// What users are promised beyond that a command does what it says and that nothing goes but by somebody who was shown it.

// promised checks what depends on who did something and what he was shown, of a whole history by its last event, and of all that differ from
// it in nothing but in what the authors of the others knew besides.
func (x *enumeration) promised(h *history, last *event, shown []shownEntry) error {
	if x.same { // then it cannot be told whose bytes are there
		return nil
	}
	events := slices.Concat(x.base.events, h.events, []*event{last})
	var from func(k int) error
	from = func(k int) error {
		if k == len(h.events) {
			s := &state{events: events}
			if err := s.kept(shown); err != nil {
				return err
			}
			return s.moved(shown)
		}
		at := len(x.base.events) + k
		if err := from(k + 1); err != nil {
			return err
		}
		for _, e := range h.also[k] {
			events[at] = e
			if err := from(k + 1); err != nil {
				return fmt.Errorf("%c, if he knew what %v says: %w", 'A'+e.author, e.knew, err)
			}
		}
		events[at] = h.events[k]
		return nil
	}
	return from(0)
}

// once checks that files of equal bytes that have one name are one entry.
func once(shown []shownEntry) error {
	type bytes struct {
		dir, base, bytes string
		kind             Kind
	}
	seen := map[bytes]bool{}
	for i := range shown {
		e := &shown[i]
		if e.kind == Dir {
			continue
		}
		b := bytes{e.path[:strings.LastIndexByte(e.path, '/')+1], e.base, e.content + e.target, e.kind}
		if seen[b] {
			return fmt.Errorf("%s has the bytes of another entry of its name", e.path)
		}
		seen[b] = true
	}
	return nil
}

// ancestors checks that who replaces a write also replaces what that one replaced: else that comes back when the one between them is
// cut off with the end of its author's log.
func ancestors(ops []Placed) error {
	for i := range ops {
		w := &ops[i]
		for j := range ops {
			v := &ops[j]
			if len(w.Op.Covers) == 0 || len(v.Op.Covers) == 0 || v.Op.Node != w.Op.Node || !in(w, w.Op.Covers, v) {
				continue
			}
			for k := range ops {
				if u := &ops[k]; u.Op.Node == v.Op.Node && u.Op.bytes() != "" && in(v, v.Op.Covers, u) && !in(w, w.Op.Covers, u) {
					return fmt.Errorf("the write in entry %s replaces one, and not what that one had replaced", w.ID.Entry.Short())
				}
			}
		}
	}
	return nil
}

// moved checks that who renames something has it afterwards, with what was in it: no removal of it by somebody who did not know of
// that takes it away from him.
func (s *state) moved(shown []shownEntry) error {
	for _, m := range s.events {
		if m.by.verb != "mv" {
			continue
		}
		var failed error
		m.was.under(m.by.from, func(x item) {
			if !s.holds(m, x, shown) {
				failed = fmt.Errorf("%c renamed %s, and %s is gone by somebody who did not know of it", 'A'+m.author, m.by.from, x.path)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

// holds reports whether something that an event has moved is there, or gone by somebody who may take it.
func (s *state) holds(m *event, x item, shown []shownEntry) bool {
	if slices.ContainsFunc(shown, func(e shownEntry) bool {
		return x.kind != Dir && e.content+e.target == x.bytes || x.kind == Dir && share(x.members, e.members)
	}) {
		return true
	}
	return slices.ContainsFunc(s.events, func(e *event) bool {
		if e == m || e.apart(m) && e.takes(m.was[m.by.from].members, x.members) && !s.replaced(m, x, e) && !s.away(m, x, e) {
			return false
		}
		return x.kind != Dir && slices.Contains(e.gone, x.bytes) || x.kind == Dir && (e.removes(x.members) || e.by.verb == "mv" || e.by.verb == "rewind")
	})
}

// replaced reports whether whoever gave the removal e knew that what m has moved was renamed over a copy of its own file, or as such a
// copy over the file, by somebody who did not know of m: what he removes is a write that replaced what m has.
func (s *state) replaced(m *event, x item, e *event) bool {
	return slices.ContainsFunc(s.events, func(r *event) bool {
		if r.by.verb != "mv" || !r.apart(m) || !e.knows(r) {
			return false
		}
		from, to := r.was[r.by.from], r.was[r.by.to]
		return from.bytes == x.bytes && share(from.members, to.members) && share(from.members, x.members)
	})
}

// away reports whether whoever gave the removal e knew that something in what m has renamed had been moved out of it, which m did not know:
// he removes it where it is then.
func (s *state) away(m *event, x item, e *event) bool {
	renamed := m.was[m.by.from].members
	return slices.ContainsFunc(s.events, func(r *event) (is bool) {
		if r.by.verb != "mv" || m.knows(r) || !e.knows(r) || share(r.was[r.by.from].members, renamed) {
			return false
		}
		r.was.under(r.by.from, func(y item) { is = is || share(y.members, x.members) })
		return is
	})
}

// knows reports whether the author of e knew of f.
func (e *event) knows(f *event) bool {
	if e.author == f.author {
		return f.seq < e.seq
	}
	return f.seq < e.knew[f.author]
}

// apart reports whether neither of two knew of the other.
func (e *event) apart(f *event) bool { return !e.knows(f) && !f.knows(e) }

// removes reports whether an event is the removal of an entry that is any of the nodes, or has it below.
func (e *event) removes(nodes []NodeID) (is bool) {
	if strings.HasPrefix(e.by.verb, "rm") {
		e.was.under(e.by.from, func(x item) { is = is || share(x.members, nodes) })
	}
	return is
}

// takes reports whether an event is the removal of something together with the entry that is any of the nodes, as it was shown then: of
// crossed moves of directories one does nothing, and what was in the other for one author is not for another.
func (e *event) takes(nodes, what []NodeID) (is bool) {
	if strings.HasPrefix(e.by.verb, "rm") {
		e.was.under(e.by.from, func(d item) {
			if share(d.members, nodes) {
				e.was.under(d.path, func(x item) { is = is || share(x.members, what) })
			}
		})
	}
	return is
}

func share(a, b []NodeID) bool {
	return slices.ContainsFunc(a, func(n NodeID) bool { return slices.Contains(b, n) })
}
