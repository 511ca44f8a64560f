package drive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// Why says why the bytes of a blob are kept. Of several reasons the highest counts.
type Why uint8

const (
	Unnamed   Why = iota // no entry names it: an import that was given up
	Dead                 // only versions that the room's retention lets go name it
	InHistory            // an earlier version, within the retention
	InTrash              // the last bytes of a deleted file, within the retention
	Referred             // a message refers to it: see Drive.KeepReferred
	Below                // it lies below a file that is being changed here: see Drive.KeepStaged
	AtMark               // listed at a mark
	Listed               // listed now
	InDoubt              // no entry that counts keeps it, but others may that are here, or known to be missing
	reasons
)

// ErrGaps says that entries cannot be read here, so that nobody knows which bytes they name.
var ErrGaps = errors.New("some entries of the room cannot be read on this device")

// blobKey stands for a blob in large maps.
type blobKey [16]byte

func keyOf(ref blob.Ref) blobKey {
	name := ref.Name()
	return blobKey(name[:16])
}

// reasonsOf finds out why each blob is kept: it maps those that entries name to the highest reason. now is what ages count from.
func (d *Drive) reasonsOf(ctx context.Context, rule room.Retention, now time.Time) (map[blobKey]Why, error) {
	s := &sorting{d: d, rule: rule, now: now.UnixNano(), why: map[blobKey]Why{}, versions: map[tree.NodeID]int{}, until: map[tree.NodeID]int64{}, deleted: map[tree.NodeID]bool{}}
	if err := s.shown(ctx, d.Now(), Listed); err != nil {
		return nil, err
	}
	marks, err := d.Marks()
	if err != nil {
		return nil, err
	}
	for _, m := range marks {
		then, err := d.At(m.Version)
		if err == nil {
			err = s.shown(ctx, then, AtMark)
		}
		if err != nil {
			return nil, fmt.Errorf("mark %s: %w", m.Label, err)
		}
	}
	if err := s.referred(ctx); err != nil {
		return nil, err
	}
	if err := s.staged(ctx); err != nil {
		return nil, err
	}
	if err := s.history(ctx); err != nil {
		return nil, err
	}
	if err := s.beyond(); err != nil {
		return nil, err
	}
	s.newest()
	return s.why, nil
}

// sorting goes over all that the drive ever showed.
type sorting struct {
	d    *Drive
	rule room.Retention
	now  int64 // unix nanoseconds
	why  map[blobKey]Why

	// Of the entries seen so far, which are those after the one that is looked at.
	versions map[tree.NodeID]int   // versions of each file
	deleted  map[tree.NodeID]bool  // ended by a delete
	until    map[tree.NodeID]int64 // when the last seen version or delete of each file came

	within []earlier // what stays if Retention.Bytes allows it
}

// earlier is a version that is not listed.
type earlier struct {
	until int64 // when it ceased to be listed
	parts []blob.Part
	kept  Why
}

// raise notes a reason for the blobs of a content.
func (s *sorting) raise(parts []blob.Part, w Why) {
	for _, p := range parts {
		k := keyOf(p.Ref())
		s.why[k] = max(s.why[k], w)
	}
}

// shown notes everything that a snapshot lists. What cannot be listed is an error: it must not count as gone.
func (s *sorting) shown(ctx context.Context, at *Snapshot, w Why) error {
	n := 0
	for i, err := range at.Walk("") {
		if err != nil {
			return err
		}
		if i.Content != nil {
			s.raise(i.Content.Parts, w)
		}
		if n++; n%1000 == 0 {
			if err := ctxErr(ctx, "looking through the files"); err != nil {
				return err
			}
		}
	}
	return ctxErr(ctx, "looking through the files")
}

// referred notes what messages refer to, unless the rule lets that go like all history.
func (s *sorting) referred(ctx context.Context) error {
	if s.rule.Referred {
		return nil
	}
	for _, list := range s.d.referrers() {
		if err := list(ctx, func(c blob.Content) { s.raise(c.Parts, Referred) }); err != nil {
			return fmt.Errorf("listing what is referred to: %w", err)
		}
	}
	return nil
}

// staged notes what lies below files that are being changed on this device: no rule is about that.
func (s *sorting) staged(ctx context.Context) error {
	return s.d.eachBelow(ctx, func(c blob.Content) { s.raise(c.Parts, Below) })
}

// eachBelow tells of what lies below files that are being changed on this device.
func (d *Drive) eachBelow(ctx context.Context, keep func(blob.Content)) error {
	d.refMu.Lock()
	list := d.below
	d.refMu.Unlock()
	if list == nil {
		return nil
	}
	if err := list(ctx, keep); err != nil {
		return fmt.Errorf("listing what lies below files that are being changed: %w", err)
	}
	return nil
}

// dated is an entry with the time that ages count by.
type dated struct {
	id   key.Hash
	when int64 // unix nanoseconds
}

// entries lists the drive's entries, newest first. An author's clock may be wrong, so an entry counts as no older than any that comes
// before it in the order of the room, and one from the future as of now.
func (s *sorting) entries(ctx context.Context) ([]dated, error) {
	var all []dated
	for from := []byte(nil); ; {
		rows, next, err := s.d.logRows(from, logPageSize)
		if err == nil {
			err = ctxErr(ctx, "reading the history")
		}
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			all = append(all, dated{r.ID, r.Wall})
		}
		if next == nil {
			break
		}
		from = next
	}
	last := int64(0)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].when > s.now {
			all[i].when = s.now
			continue
		}
		last = max(last, all[i].when)
		all[i].when = last
	}
	return all, nil
}

// history goes over the entries, newest first, and decides about every version.
func (s *sorting) history(ctx context.Context) error {
	all, err := s.entries(ctx)
	if err != nil {
		return err
	}
	for i, e := range all {
		if i%100 == 0 {
			if err := ctxErr(ctx, "reading the history"); err != nil {
				return err
			}
		}
		ops, err := s.d.opsOf(e.id)
		if err != nil {
			return err
		}
		for k := len(ops) - 1; k >= 0; k-- {
			if err := s.operation(ops[k], e); err != nil {
				return err
			}
		}
	}
	return nil
}

// opsOf reads the operations of an entry; none of one that is in the quarantine since. ErrGaps.
func (d *Drive) opsOf(id key.Hash) ([]tree.Op, error) {
	full, err := d.room.Entry(id)
	if errors.Is(err, room.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: entry %s: %w", ErrGaps, id.Short(), err)
	}
	ops, err := tree.DecodeOps(full.Body, id)
	if errors.Is(err, tree.ErrUpdateNeeded) {
		return nil, fmt.Errorf("%w: entry %s: %w", ErrGaps, id.Short(), err)
	}
	if err != nil {
		return nil, nil // it says nothing, to nobody
	}
	return ops, nil
}

// A Referrer tells of all contents that something besides the tree refers to, in the room's log. What it tells is a function of the
// entries that are here. ErrGaps when some of those cannot be read.
type Referrer func(ctx context.Context, keep func(blob.Content)) error

// KeepReferred keeps Collect from dropping what a referrer tells of, until it is taken back. Package chat gives one for attachments.
func (d *Drive) KeepReferred(list Referrer) (takeBack func()) {
	d.refMu.Lock()
	defer d.refMu.Unlock()
	at := &list
	d.refs = append(d.refs, at)
	return func() {
		d.refMu.Lock()
		defer d.refMu.Unlock()
		d.refs = slices.DeleteFunc(d.refs, func(r *Referrer) bool { return r == at })
	}
}

// KeepStaged keeps Collect and Forget from dropping what list tells of: bytes that a file stands on which is not part of the drive yet, as package
// vfs has them. Such a file stands on what was listed when that began, so that a later plan of Collect's knows of it. There is one list.
func (d *Drive) KeepStaged(list Referrer) {
	d.refMu.Lock()
	defer d.refMu.Unlock()
	d.below = list
}

func (d *Drive) referrers() (out []Referrer) {
	d.refMu.Lock()
	defer d.refMu.Unlock()
	for _, r := range d.refs {
		out = append(out, *r)
	}
	return out
}

// WhileKept runs fn, which writes something that refers to bytes of the drive, while nothing is dropped.
func (d *Drive) WhileKept(fn func() error) error {
	d.sweeping.RLock()
	defer d.sweeping.RUnlock()
	return fn()
}

// beyond keeps what entries name that do not count, or not yet: they may some day, and the rule is not about them.
func (s *sorting) beyond() error {
	return s.d.room.EachOutside(key.Drive, func(e room.Counted) error {
		if e.Body == nil {
			return fmt.Errorf("%w: entry %s, which does not count", ErrGaps, e.ID.Short())
		}
		ops, err := tree.DecodeOps(e.Body, e.ID)
		if errors.Is(err, tree.ErrUpdateNeeded) {
			return fmt.Errorf("%w: entry %s, which does not count: %w", ErrGaps, e.ID.Short(), err)
		}
		if err != nil {
			return nil // it says nothing, to nobody
		}
		for _, op := range ops {
			if op.Raw != nil {
				return fmt.Errorf("%w: entry %s, which does not count, has an operation of a newer version of the program", ErrGaps, e.ID.Short())
			}
			if op.Content != nil {
				s.raise(op.Content.Parts, InHistory)
			}
		}
		return nil
	})
}

func (s *sorting) operation(op tree.Op, e dated) error {
	node := op.Node
	if op.Type == tree.OpCreate {
		node = node.Resolve(e.id)
	}
	if op.Raw != nil {
		return fmt.Errorf("%w: entry %s has an operation of a newer version of the program", ErrGaps, e.id.Short())
	}
	switch {
	case op.Type == tree.OpDelete:
		if _, later := s.until[node]; !later {
			s.until[node], s.deleted[node] = e.when, true
		}
	case op.Type == tree.OpWrite, op.Type == tree.OpCreate && node.Kind() == tree.File:
		s.version(node, op.Content, e.when)
	case op.Content != nil: // an operation of another kind that names bytes does not end anything
		s.raise(op.Content.Parts, InHistory)
	}
	return nil
}

// version decides about the bytes that a file had from when on.
func (s *sorting) version(node tree.NodeID, c *blob.Content, when int64) {
	n := s.versions[node]
	until, ended := s.until[node]
	s.versions[node], s.until[node] = n+1, when
	if c == nil || len(c.Parts) == 0 {
		return
	}
	kept := InHistory
	if n == 0 && s.deleted[node] {
		kept = InTrash
	}
	switch r := s.rule; {
	case !ended: // hidden, perhaps, but nobody replaced or deleted it
		s.raise(c.Parts, InHistory)
	case r.Count > 0 && n >= r.Count, r.Age > 0 && s.now-until >= int64(r.Age):
		s.raise(c.Parts, Dead)
	case r.Bytes > 0:
		s.within = append(s.within, earlier{until, c.Parts, kept})
	default:
		s.raise(c.Parts, kept)
	}
}

// newest lets the history have Retention.Bytes, what was replaced last first. Bytes that are kept anyhow do not count.
func (s *sorting) newest() {
	slices.SortStableFunc(s.within, func(a, b earlier) int { return cmp.Compare(b.until, a.until) })
	total := int64(0)
	full := false
	for _, e := range s.within {
		for _, p := range e.parts {
			k := keyOf(p.Ref())
			if s.why[k] >= InHistory {
				continue
			}
			if total += p.Size; total > s.rule.Bytes {
				full = true
			}
			if s.why[k] = e.kept; full {
				s.why[k] = Dead
			}
		}
	}
}
