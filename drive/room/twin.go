package room

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// Nobody but this device writes to its cores, and to those that it began since
// its storage was last restored, nothing but this storage. So an entry of its own
// that comes from a peer was written by another machine with the same key, or by
// this one in a state of its storage that is gone:
//
//   - if what this storage wrote is in its closure, it was written after that,
//     so somewhere else: that is shown in Status.Twin. (Or a storage was put back
//     in a way that it does not notice, a whole disk for example.);
//   - otherwise it may be from before a restored backup was put back, and is no
//     surprise.
//
// No clock plays a part. In either case it counts like any other. A core that has
// grown elsewhere is not continued here, so that the two machines do not fork
// it, nor are those of a device that is told by others that there are two of it
// (NewLogs). They still fork one where both write to it before either hears of the
// other, as they may when the copy was not noticed as one: see Forks in the package
// comment.

// rowTwin of the truth table "self": 8 bytes, when the newest entry that another
// machine with this device's key wrote was written, by that machine's clock, in
// unix nanoseconds.
var rowTwin = []byte("twin")

// lookForTwin looks at an entry of one of this device's own cores that it has
// not just appended.
func (t *txn) lookForTwin(a *arrival) error {
	if a.row.Device != t.r.dev.ID() {
		return nil
	}
	wrote, err := t.wrote(a.row.core())
	if err != nil || a.pos.seq < wrote && !a.row.isBranch() {
		return err
	}
	self, err := t.self()
	if err != nil {
		return err
	}
	if a.row.Gen == self.gen(a.row.Kind) {
		if err := t.nextGeneration(a.row.Kind); err != nil {
			return err
		}
	}
	later, err := t.knowsOwn(a.clock)
	if err != nil || !later {
		return err
	}
	last, err := t.twin()
	if err != nil {
		return err
	}
	wall := max(a.header.Wall, 0)
	if !last.IsZero() {
		wall = max(wall, last.UnixNano())
	}
	if err := t.Log(tableSelf).Put(rowTwin, binary.BigEndian.AppendUint64(nil, uint64(wall))); err != nil {
		return fmt.Errorf("storing %s: %w", rowTwin, err)
	}
	t.event.Status = true
	return nil
}

// knowsOwn reports whether a closure has anything that this storage wrote since
// it was last restored.
func (t *txn) knowsOwn(closure clock) (bool, error) {
	since, err := t.Log(tableSelf).Get(rowSince)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", rowSince, err)
	}
	for id := range t.Log(tableOwn).Scan(nil, nil) {
		c, err := t.coreByID(key.CoreID(id))
		if err != nil {
			return false, err
		}
		if c == nil || closure.at(c.no) == 0 {
			continue
		}
		if len(since) != 12 || c.Gen >= be32(since[4*(c.Kind-1):]) {
			return true, nil
		}
	}
	return false, nil
}

// twin returns when another machine that uses this device's key last wrote, as
// far as is known here; zero: none does.
func (t *txn) twin() (time.Time, error) {
	v, err := t.Log(tableSelf).Get(rowTwin)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading %s: %w", rowTwin, err)
	}
	if len(v) != 8 {
		return time.Time{}, nil
	}
	return time.Unix(0, int64(be64(v))), nil
}
