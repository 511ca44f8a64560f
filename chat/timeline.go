package chat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

const table = "chat"

// The sorts of rows; see the package comment.
const (
	rowMessage = 'm'
	rowBack    = 'b'
	rowFiles   = 'f'
	rowID      = 'i'
	rowChange  = 'c'
	rowClear   = 'x'
)

// Timeline keeps the messages of a room in order. It is handed to the room when that is opened, and to [Open] afterwards.
type Timeline struct {
	pending Change // of the transaction under way; transactions are serialised
}

var (
	_ room.View      = (*Timeline)(nil)
	_ room.Versioned = (*Timeline)(nil)
	_ room.Noting    = (*Timeline)(nil)
)

// NewTimeline returns the view to open a room with.
func NewTimeline() *Timeline { return &Timeline{} }

// Name implements [room.View].
func (t *Timeline) Name() string { return table }

// Kind implements [room.View].
func (t *Timeline) Kind() key.Kind { return key.Chat }

// Version names the layout of the derived tables; another one makes the room apply all entries again.
func (t *Timeline) Version() string { return "3" }

// Reset implements [room.Versioned].
func (t *Timeline) Reset(tx room.Tx) error {
	if err := room.Empty(tx.Rows(table)); err != nil {
		return fmt.Errorf("dropping the timeline: %w", err)
	}
	return nil
}

// Apply implements [room.View].
func (t *Timeline) Apply(tx room.Tx, add, remove []room.Counted) error {
	rows := tx.Rows(table)
	var c Change
	for _, e := range add {
		if err := apply(rows, e, put, &c.New, &c.Changed); err != nil {
			return fmt.Errorf("chat entry %s: %w", e.ID.Short(), err)
		}
	}
	for _, e := range remove {
		if err := apply(rows, e, del, &c.Gone, &c.Changed); err != nil {
			return fmt.Errorf("chat entry %s: %w", e.ID.Short(), err)
		}
	}
	t.pending.join(c)
	return nil
}

// Note implements [room.Noting]: it says, as a Change, what the transaction changed.
func (t *Timeline) Note() any {
	c := t.pending
	t.pending = Change{}
	return c
}

func put(rows room.Rows, k, v []byte) error { return rows.Put(k, v) }
func del(rows room.Rows, k, _ []byte) error { return rows.Delete(k) }

// apply puts or deletes the rows of one entry and notes which message it is or changes. An entry that does not parse has no rows.
func apply(rows room.Rows, e room.Counted, do func(room.Rows, []byte, []byte) error, messages, changed *[]key.Hash) error {
	r, err := decodeRecord(e.Body)
	switch {
	case errors.Is(err, room.ErrUpdateNeeded):
		return err
	case err != nil:
		return nil
	case r.Text != nil && r.Text.Block > e.Payloads:
		return nil // it points outside its own entry
	}
	v, err := encMode.Marshal(row{ID: e.ID, Author: e.Device, Wall: e.Wall, Body: e.Body, Manager: e.Caps&room.CapManage != 0})
	if err != nil {
		return err
	}
	at := placeOf(e)
	if r.Type != typeMessage {
		target := key.Hash(r.Target)
		at.when = room.When{} // what changes a message does so in the order of logical time
		*changed = append(*changed, target)
		if r.Type != typeReaction {
			if err := do(rows, at.key(rowClear, r.Target), []byte{1}); err != nil {
				return err
			}
		}
		return do(rows, at.key(rowChange, r.Target), v)
	}
	*messages = append(*messages, e.ID)
	if err := do(rows, at.key(rowMessage, nil), v); err != nil {
		return err
	}
	if err := do(rows, at.back(rowBack), []byte{1}); err != nil {
		return err
	}
	if len(r.Files) > 0 {
		if err := do(rows, at.back(rowFiles), []byte{1}); err != nil {
			return err
		}
	}
	return do(rows, idKey(e.ID), at.key(rowMessage, nil)[1:])
}

// row is the value of a message or change.
type row struct {
	_       struct{} `cbor:",toarray"`
	ID      key.Hash
	Author  key.DeviceID
	Wall    int64
	Body    []byte
	Manager bool // the author may take back what others said
}

// place is a position in the order of [room.CompareWhen], or, when is zero, in that of logical time.
type place struct {
	when    room.When
	lamport uint64
	core    key.CoreID
	seq     uint64
}

const placeLen = room.WhenLen + 8 + 32 + 8

func placeOf(e room.Counted) place { return place{e.When, e.Lamport, e.Core, e.Seq} }

// key returns sort, prefix, place.
func (p place) key(sort byte, prefix []byte) []byte {
	k := make([]byte, 0, 1+len(prefix)+placeLen)
	k = append(k, sort)
	k = append(k, prefix...)
	k = p.when.Append(k)
	k = binary.BigEndian.AppendUint64(k, p.lamport)
	k = append(k, p.core[:]...)
	return binary.BigEndian.AppendUint64(k, p.seq)
}

// back returns sort and the inverted place.
func (p place) back(sort byte) []byte {
	k := p.key(sort, nil)
	invert(k[1:])
	return k
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// parsePlace reads a place.
func parsePlace(b []byte) (p place, err error) {
	if len(b) != placeLen {
		return place{}, fmt.Errorf("a place of %d bytes in the table %s", len(b), table)
	}
	p.when = room.ParseWhen(b)
	b = b[room.WhenLen:]
	p.lamport = binary.BigEndian.Uint64(b)
	copy(p.core[:], b[8:])
	p.seq = binary.BigEndian.Uint64(b[40:])
	return p, nil
}

// parseBack reads an inverted place.
func parseBack(b []byte) (place, error) {
	b = slices.Clone(b)
	invert(b)
	return parsePlace(b)
}

func idKey(id key.Hash) []byte { return append([]byte{rowID}, id[:]...) }
