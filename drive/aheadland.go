package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// landing is the making of one entry.
type landing struct {
	batch   uint64
	ops     []tree.Op
	taken   *putOff                  // see Ahead.taken
	entry   atomic.Pointer[key.Hash] // once it is in a transaction, committed or not
	renamed atomic.Bool              // whoever keeps ids knows the lasting ones
	done    chan struct{}            // closed when it has ended
	err     error                    // then
}

// Flush makes what was put off until now part of the log, durably. When ctx ends, that goes on without the caller.
func (a *Ahead) Flush(ctx context.Context) error {
	for a.busy.Load() {
		l, mine, err := a.begin()
		if l == nil || err != nil {
			return err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return ctxErr(ctx, "writing what was put off")
		}
		if l.err == nil || mine {
			return l.err
		}
	}
	return nil
}

// begin makes an entry of what is put off, unless that is under way. Nothing is put off meanwhile. nil: there is nothing.
func (a *Ahead) begin() (l *landing, mine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.landing != nil:
		return a.landing, false, nil
	case a.edit == nil:
		return nil, false, nil
	case a.shut:
		return nil, false, fmt.Errorf("writing what was put off: %w", fs.ErrClosed)
	}
	l = &landing{batch: a.batch, ops: a.edit.Ops(), taken: a.taken, done: make(chan struct{})}
	a.landing = l
	fn := a.onLand
	a.landings.Go(func() {
		defer close(l.done)
		l.err = a.land(a.life, l)
		if l.err == nil && fn != nil {
			fn(l.lasting(), func() { l.renamed.Store(true) })
		}
		a.end(l)
	})
	return l, true, nil
}

// end notes what became of a landing.
func (a *Ahead) end(l *landing) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.renamed.Store(true)
	a.landing, a.retry = nil, time.Time{}
	if l.err != nil {
		a.retry = time.Now().Add(aheadRetry)
		return
	}
	a.edit, a.taken, a.hurry = nil, nil, false
	a.done = forget(append(a.done, landed{l.batch, *l.entry.Load()}))
	a.busy.Store(false)
	if a.log.large() {
		if err := a.log.rewrite(nil, a.done); err != nil {
			a.d.log.Warn("the file of changes ahead of the log grows", "error", err)
		}
	}
}

// land makes an entry of the operations.
func (a *Ahead) land(ctx context.Context, l *landing) error {
	if err := a.makeEntry(ctx, l); err != nil {
		return fmt.Errorf("writing what was put off: %w", err)
	}
	if err := a.log.say(landed{l.batch, *l.entry.Load()}); err != nil {
		a.d.log.Warn("noting that changes are in the log", "error", err)
	}
	return nil
}

// errMore ends a transaction in which there are entries that entryOf has not looked at.
var errMore = errors.New("more entries of this device have come")

func (a *Ahead) makeEntry(ctx context.Context, l *landing) error {
	body, err := tree.EncodeOps(l.ops)
	if err != nil {
		return err
	}
	a.d.sweeping.RLock()
	defer a.d.sweeping.RUnlock()
	others := map[key.Hash]bool{}
	for {
		if l.taken != nil {
			if entry, err := a.d.entryOf(l.taken, others); entry != nil || err != nil {
				l.entry.Store(entry)
				return err
			}
		}
		err := a.d.room.Update(ctx, func(u *room.Update) error {
			if l.taken != nil {
				if more, err := a.d.maybe(u, l.taken, others); len(more) > 0 || err != nil {
					return errors.Join(err, errMore)
				}
			}
			r, err := u.Append(key.Drive, room.Draft{Body: body})
			if err == nil {
				l.entry.Store(&r.Entry)
			}
			return err
		})
		if !errors.Is(err, errMore) {
			return err
		}
	}
}

// entryOf finds the entry that a batch of an earlier process became: one of this device, written after the batch began, that begins with its
// operations. A file that was cut short by a power failure, or copied before the batch was whole, has fewer of them
// than the entry. It may come long after the start: a directory that was restored from a backup gets the end of this device's log back
// from members. others has those that it is not, and is given more. nil: it is none that is here.
func (d *Drive) entryOf(b *putOff, others map[key.Hash]bool) (*key.Hash, error) {
	var own []key.Hash
	err := d.room.View(func(tx room.Tx) (err error) {
		own, err = d.maybe(tx, b, others)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, id := range own {
		e, err := d.room.Entry(id)
		if errors.Is(err, room.ErrNotFound) {
			others[id] = true // it has ceased to count
			continue
		}
		if err != nil {
			return nil, err
		}
		ops, err := tree.DecodeMore(e.Body, nil)
		if err == nil && len(ops) >= len(b.ops) {
			same, err := sameOps(ops[:len(b.ops)], b.ops)
			if err != nil {
				return nil, err
			}
			if same {
				return &id, nil
			}
		}
		others[id] = true
	}
	return nil, nil
}

// maybe lists the entries that may be the one that a batch became, but for those in others. It looks at all: only after a crash is there
// anything to look for. What this device wrote before the batch began is none of them, whenever it comes here and wherever it stands in
// the order in which entries are shown: it may have done the very same once before.
func (d *Drive) maybe(tx room.Tx, b *putOff, others map[key.Hash]bool) (own []key.Hash, err error) {
	gens := map[key.CoreID]uint32{}
	for k, v := range tx.Rows(logTable).Scan([]byte{'o'}, nil) {
		l, err := parseLogged(k, v)
		if err != nil {
			return own, err
		}
		if l.lamport <= b.lamport || l.Author != d.room.Self() || l.Ops < len(b.ops) || others[l.ID] {
			continue
		}
		gen, ok := gens[l.core]
		if !ok {
			if gen, err = d.room.GenerationOf(tx, l.core); err != nil {
				return own, err
			}
			gens[l.core] = gen
		}
		if b.mark.Before(gen, l.seq) {
			own = append(own, l.ID)
		}
	}
	return own, nil
}

func sameOps(a, b []tree.Op) (bool, error) {
	x, err := tree.EncodeOps(a)
	if err != nil {
		return false, err
	}
	y, err := tree.EncodeOps(b)
	return err == nil && slices.Equal(x, y), err
}

func (a *Ahead) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// landInTime makes entries of what was put off when it is time.
func (a *Ahead) landInTime() {
	defer a.wg.Done()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-a.run.Done():
			return
		case <-a.kick:
		case <-t.C:
		}
		wait := a.due()
		if wait <= 0 {
			if err := a.Flush(a.run); err != nil && a.run.Err() == nil {
				a.d.log.Warn("changes wait to become part of the drive", slog.Any("error", err))
			}
			wait = a.due()
		}
		t.Reset(wait)
	}
}

// due says how long what is put off can wait.
func (a *Ahead) due() time.Duration {
	a.mu.RLock()
	defer a.mu.RUnlock()
	switch {
	case a.edit == nil, a.held:
		return time.Hour
	case !a.retry.IsZero():
		return time.Until(a.retry)
	case a.hurry:
		return 0
	}
	return min(time.Until(a.last.Add(aheadQuiet)), time.Until(a.first.Add(aheadLimit)))
}

// closeWait is how long closing waits while writing is held back.
const closeWait = 2 * time.Second

// close makes an entry of what is put off; what cannot be, or not now, is there at the next start.
func (a *Ahead) close() error {
	if a.log == nil {
		return nil
	}
	a.mu.Lock()
	was := a.closed
	a.closed = true
	a.mu.Unlock()
	if was {
		return nil
	}
	a.quit()
	a.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	if err := a.Flush(ctx); err != nil {
		a.d.log.Warn("changes wait to become part of the drive", slog.Any("error", err))
	}
	a.mu.Lock()
	a.shut = true
	a.mu.Unlock()
	a.giveUp() // of what has begun to be written nothing is
	a.landings.Wait()
	return a.log.close()
}
