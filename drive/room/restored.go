package room

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pearbox/pearbox/drive/key"
)

// A storage that was copied, restored from a backup or damaged may hold less of
// this device's own cores than was written to them: continuing one would fork
// it. How much more there is cannot be found out, since peers may have part of
// it, or lie. So it is not asked: the room that is opened on such a storage
// begins new generations, which nothing that was ever written is in, and takes
// what peers have of the old ones as it takes the cores of others.
//
// What is written before that has come is concurrent to it, as if by two
// devices: nothing is lost, but files may stand beside each other. So whoever
// can ask peers makes writing wait a while for what they have (HoldWrites), and
// says when that was done (Recovered). Nothing but courtesy depends on it.

// hold makes whatever appends to this device's own cores wait.
type hold struct {
	mu   sync.Mutex    // guards until
	open chan struct{} // closed when it need not wait any more; nil: it need not
}

// errHeld ends a transaction that has to wait: see Room.write.
var errHeld = errors.New("waiting for what this device wrote from peers")

// wait returns what is closed when appending need not wait any more; nil when it
// need not now.
func (h *hold) wait() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// HoldWrites makes whatever appends to this device's own cores wait until
// release is called. It is to be called once, before anything is written.
func (r *Room) HoldWrites() (release func()) {
	r.hold.mu.Lock()
	defer r.hold.mu.Unlock()
	open := make(chan struct{})
	r.hold.open = open
	return sync.OnceFunc(func() {
		r.hold.mu.Lock()
		defer r.hold.mu.Unlock()
		close(open)
		r.hold.open = nil
	})
}

// write is run for what may append to this device's own cores: it waits while
// that is held back.
func (r *Room) write(ctx context.Context, fn func(t *txn) error) error {
	return r.await(ctx, func() error { return r.run(fn) })
}

// await runs a transaction, again once it need not wait if it had to.
func (r *Room) await(ctx context.Context, run func() error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := run()
		if !errors.Is(err, errHeld) {
			return err
		}
		if r.Behind() { // and on a disk that is full still: that is told at once
			if err := r.run(func(*txn) error { return nil }); err != nil {
				return err
			}
		}
		open := r.hold.wait()
		if open == nil {
			continue
		}
		select {
		case <-open:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Rows of the truth table "self" beside the one of that name.
var (
	rowSince = []byte("since") // 12 bytes: the first generation of each kind that this storage alone writes; none: all
	rowLacks = []byte("lacks") // 1: peers are yet to be asked for what is missing of the generations before
)

// renew makes this device go on in new generations of its cores. What is here
// of the old ones, and what still comes, stays as it is.
func (t *txn) renew() error {
	for _, kind := range key.Kinds {
		if err := t.nextGeneration(kind); err != nil {
			return err
		}
	}
	var since []byte
	for _, gen := range t.selfRow.Gens {
		since = append(since, be32Bytes(gen)...)
	}
	self := t.Log(tableSelf)
	if err := errors.Join(self.Put(rowSince, since), self.Put(rowLacks, []byte{1})); err != nil {
		return fmt.Errorf("going on in new logs: %w", err)
	}
	t.settles = true
	return nil
}

// NewLogs makes this device go on in new generations, once for as long as the
// Room is open: somebody says that another machine has its key, which may not know
// of being a copy, and may write to the same cores. When it fails, as on a full
// disk, whatever is written next does it first.
func (r *Room) NewLogs() error {
	r.newLogs.CompareAndSwap(newLogsNone, newLogsDue)
	if r.newLogs.Load() == newLogsBegun {
		return nil
	}
	return r.run(func(*txn) error { return nil }) // makeUp does it
}

// What became of NewLogs.
const (
	newLogsNone  = 0 // it was not called
	newLogsDue   = 1
	newLogsBegun = 2
)

// settled follows the transaction after which no own core can be continued that
// should not be. A storage that cannot note that says so again when it is opened,
// and the same is done again.
func (r *Room) settled() {
	if rel, ok := r.st.(Relocator); ok && r.relocated.Swap(false) {
		_ = rel.Settled() // a storage that fails refuses the next write, and reports it there
	}
}

// Restored reports whether the storage was copied, restored or damaged, and
// peers have not been asked yet for what this device wrote and is not here. That
// holds from the opening on, also where the disk is too full to note it.
func (r *Room) Restored() (lacks bool) {
	r.read(func(t *txn) (err error) {
		lacks, err = t.lacks()
		return err
	})
	return lacks
}

func (t *txn) lacks() (bool, error) {
	if t.r.relocated.Load() {
		return true, nil
	}
	v, err := t.Log(tableSelf).Get(rowLacks)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", rowLacks, err)
	}
	return len(v) == 1 && v[0] == 1, nil
}

// Recovered tells that peers were asked for what this device wrote, and that
// what they have was received.
func (r *Room) Recovered() error {
	err := r.run(func(t *txn) error {
		if err := t.Log(tableSelf).Put(rowLacks, []byte{0}); err != nil {
			return fmt.Errorf("storing %s: %w", rowLacks, err)
		}
		t.event.Status = true
		return t.react(key.DeviceID{}) // what waited
	})
	if err != nil {
		return fmt.Errorf("going on with this device's own logs: %w", err)
	}
	return nil
}
