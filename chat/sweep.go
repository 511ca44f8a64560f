package chat

import (
	"context"
	"errors"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// sweepBatch is the number of edits and deletions that one transaction looks at.
const sweepBatch = 256

// sweeper clears the texts of messages that their authors deleted. It looks when the chat is opened and after each edit or deletion.
func (c *Chat) sweeper(ctx context.Context) {
	defer close(c.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.sweep:
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = c.sweepSome(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("clearing deleted messages", "err", err)
			}
		}
	}
}

// sweepSome looks at some rows and reports whether there may be others.
func (c *Chat) sweepSome(ctx context.Context) (more bool, err error) {
	pending := false
	err = c.room.View(func(tx room.Tx) error {
		for range tx.Rows(table).Scan([]byte{rowClear}, nil) {
			pending = true
			break
		}
		return nil
	})
	if err != nil || !pending {
		return false, err
	}
	err = c.room.Update(ctx, func(u *room.Update) error {
		rows := u.Rows(table)
		var keys [][]byte
		for k := range rows.Scan([]byte{rowClear}, nil) {
			if keys = append(keys, slices.Clone(k)); len(keys) == sweepBatch {
				break
			}
		}
		more = len(keys) == sweepBatch
		for _, k := range keys {
			if len(k) == 1+len(key.Hash{})+placeLen {
				if err := clearDeleted(u, reader{rows, c.room.Self()}, key.Hash(k[1:])); err != nil {
					return err
				}
			}
			if err := rows.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	return more && err == nil, err
}

// clearDeleted clears the texts of a message if its author has deleted it.
func clearDeleted(u *room.Update, r reader, id key.Hash) error {
	at, err := r.find(id)
	if errors.Is(err, room.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := r.message(at)
	if err != nil || !m.Deleted || m.DeletedBy != m.Author {
		return err
	}
	texts, err := r.textsOf(at, id, m.Author)
	if err != nil {
		return err
	}
	for _, t := range texts {
		if err := u.ClearPayload(t.core, t.seq, t.ref.Block); err != nil && !errors.Is(err, room.ErrNotFound) {
			return err
		}
	}
	return nil
}

// textsOf lists where the texts of a message are: its own and those of its author's edits.
func (r reader) textsOf(at place, id key.Hash, author key.DeviceID) (out []textAt, err error) {
	add := func(v []byte, at place) error {
		rw, rec, err := parseRow(v)
		if err == nil && rec.Text != nil && rw.Author == author {
			out = append(out, textAt{at.core, at.seq, rec.Text})
		}
		return err
	}
	v, err := r.rows.Get(at.key(rowMessage, nil))
	if err != nil {
		return nil, err
	}
	if err := add(v, at); err != nil {
		return nil, err
	}
	prefix := append([]byte{rowChange}, id[:]...)
	for k, v := range r.rows.Scan(prefix, nil) {
		at, err := parsePlace(k[len(prefix):])
		if err != nil {
			return nil, err
		}
		if err := add(v, at); err != nil {
			return nil, err
		}
	}
	return out, nil
}
