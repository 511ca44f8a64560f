package room

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// A storage that was copied, restored from a backup or damaged may hold less of
// this device's own cores than peers do. Continuing one there would fork it, so
// such cores are at risk until one of two things has happened:
//
//   - peers were asked for them and what they had was received (Confirmed): the
//     device goes on in the same cores, and nothing was lost;
//   - something is appended before that: it goes to new generations, which
//     nobody else knows. What peers bring later of the old ones is taken in.
//
// Whoever can ask peers makes appending wait for the first (HoldWrites).
//
// After that, this device's cores grow here and nowhere else. An entry of one of
// them that comes from a peer, and that was written later than the cores were
// last known to be this storage's alone (the mark), is the work of another
// machine with the same key. It is taken like any other, noted in
// Status.Twin, and this device goes on in a new generation, so that the two do
// not fork each other's cores. They still do where both write before either
// hears of the other: see Forks in the package comment for what happens then.
// The mark and the entry are compared by the clocks of the two machines.

// risk is which of this device's own cores are not to be continued yet.
type risk struct {
	mu   sync.Mutex    // guards all of it
	at   bool          //
	gens [3]uint32     // by kind, while at: the generations at risk
	held chan struct{} // not nil: appending to them waits until it is closed
}

// errHeld ends a transaction that has to wait: see Room.write.
var errHeld = errors.New("waiting for this device's own logs from peers")

// of reports whether a generation of a kind is at risk, and whether appending
// to it has to wait.
func (k *risk) of(kind key.Kind, gen uint32) (at, held bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at = k.at && k.gens[kind-1] == gen
	return at, at && k.held != nil
}

func (k *risk) begin(gens [3]uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.gens = true, gens
}

// end reports whether there was a risk.
func (k *risk) end() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.at
	k.at = false
	return was
}

// wait returns what is closed when appending need not wait any more; nil when it
// need not now.
func (k *risk) wait() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held
}

// AtRisk reports whether peers may know this device's own logs in a longer form
// than is here, because the storage was copied, restored or damaged. It ends
// with Confirmed, or when something is appended.
func (r *Room) AtRisk() bool {
	r.risk.mu.Lock()
	defer r.risk.mu.Unlock()
	return r.risk.at
}

// HoldWrites makes whatever appends to a log at risk wait until release is
// called or the log is no longer at risk. It is to be called once, before
// anything is written.
func (r *Room) HoldWrites() (release func()) {
	r.risk.mu.Lock()
	defer r.risk.mu.Unlock()
	held := make(chan struct{})
	r.risk.held = held
	return sync.OnceFunc(func() {
		r.risk.mu.Lock()
		defer r.risk.mu.Unlock()
		close(held)
		r.risk.held = nil
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
		held := r.risk.wait()
		if held == nil {
			continue
		}
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// OwnCores lists the cores that this device appends to, with how much of them is
// here, if anything: what to ask peers for while they are at risk.
func (r *Room) OwnCores() (out []CoreInfo, err error) {
	err = r.view(func(t *txn) error {
		self, err := t.self()
		if err != nil {
			return err
		}
		for _, kind := range key.Kinds {
			gen := self.gen(kind)
			info := CoreInfo{ID: key.CoreIDOf(r.id, r.dev.ID(), kind, gen), Device: r.dev.ID(), Kind: kind, Gen: gen}
			w, err := t.Core(info.ID)
			if err != nil {
				return err
			}
			if info.Head, err = w.Head(); err != nil {
				return err
			}
			if info.Length, err = w.Length(); err != nil {
				return err
			}
			out = append(out, info)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading this device's own logs: %w", err)
	}
	return out, nil
}

// Confirmed tells that peers were asked for the OwnCores and that what they have
// of them was received: this device goes on in them. ErrAbsent when it is known
// that more of them was written than is here, or when what is here waits for
// entries of others; they stay at risk then.
func (r *Room) Confirmed() error {
	err := r.run(func(t *txn) error {
		if !r.AtRisk() {
			return nil
		}
		for _, kind := range key.Kinds {
			if err := t.confirm(kind); err != nil {
				return err
			}
		}
		t.settles = true
		return t.setMark()
	})
	if err == nil {
		err = r.run(func(t *txn) error { return t.react(key.DeviceID{}) }) // what waited
	}
	if err != nil {
		return fmt.Errorf("going on with this device's own logs: %w", err)
	}
	return nil
}

// confirm makes the present own core of a kind the one to go on in. A generation
// that is older than the membership, or than one that was begun after the backup
// was made, is not gone on with.
func (t *txn) confirm(kind key.Kind) error {
	self, err := t.self()
	if err != nil {
		return err
	}
	gen := self.gen(kind)
	if at, _ := t.r.risk.of(kind, gen); !at {
		return nil
	}
	st, err := t.state()
	if err != nil {
		return err
	}
	if d := st.devices[t.r.dev.ID()]; d != nil && d.gen() > gen {
		return t.nextGeneration(kind)
	}
	cores, err := t.allCores()
	if err != nil {
		return err
	}
	for _, c := range cores {
		if c.Device != t.r.dev.ID() || c.Kind != kind || c.isBranch() {
			continue
		}
		if c.Gen > gen && c.Last > 0 {
			return t.nextGeneration(kind)
		}
		if c.Gen != gen || c.Status != coreOpen {
			continue
		}
		n, whole, err := t.whole(c)
		if err != nil {
			return err
		}
		if !whole {
			return fmt.Errorf("the %s log from block %d on: %w", kind, min(n, c.Next), ErrAbsent)
		}
		if err := t.setWrote(c.ID, n); err != nil {
			return err
		}
	}
	return nil
}

// vouch notes, when the room is opened, that what is here of an own core is this
// device's work: how far it wrote may have got lost with a damaged storage, and
// what lookForTwin had to say of it was said when it came.
func (t *txn) vouch(c *coreRow) error {
	if c.Device != t.r.dev.ID() || c.isBranch() || t.r.AtRisk() {
		return nil
	}
	w, err := t.Core(c.ID)
	if err != nil {
		return fmt.Errorf("opening own core: %w", err)
	}
	n, err := w.Length()
	if err != nil {
		return err
	}
	if wrote, err := t.wrote(c.ID); err != nil || wrote >= n {
		return err
	}
	return t.setWrote(c.ID, n)
}

// renew makes this device go on in new generations of the cores at risk. What is
// here of the old ones, and what still comes, stays as it is.
func (t *txn) renew() error {
	for _, kind := range key.Kinds {
		self, err := t.self()
		if err != nil {
			return err
		}
		if at, _ := t.r.risk.of(kind, self.gen(kind)); !at {
			continue
		}
		if err := t.nextGeneration(kind); err != nil {
			return err
		}
	}
	t.settles = true
	return t.setMark()
}

// settled follows a transaction after which nothing is at risk any more. Where
// the storage cannot note that, it says so again when it is opened, and the same
// precautions are taken.
func (r *Room) settled() {
	if !r.risk.end() {
		return
	}
	if rel, ok := r.st.(Relocator); ok {
		_ = rel.Settled() // a storage that fails refuses the next write, and reports it there
	}
}

// Rows of the truth table "self" beside the one of that name: 8 bytes, unix
// nanoseconds by this device's clock.
var (
	rowMark = []byte("mark") // when this device's cores were last known to be this storage's alone
	rowTwin = []byte("twin") // of the newest entry that another machine with its key wrote
)

func (t *txn) setMark() error { return t.setTime(rowMark, max(0, t.r.now().UnixNano())) }

func (t *txn) setTime(row []byte, wall int64) error {
	if err := t.Log(tableSelf).Put(row, binary.BigEndian.AppendUint64(nil, uint64(wall))); err != nil {
		return fmt.Errorf("storing %s: %w", row, err)
	}
	return nil
}

// timeOf returns a row that setTime stored; ok false when there is none.
func (t *txn) timeOf(row []byte) (wall int64, ok bool, err error) {
	v, err := t.Log(tableSelf).Get(row)
	if err != nil {
		return 0, false, fmt.Errorf("reading %s: %w", row, err)
	}
	if len(v) != 8 {
		return 0, false, nil
	}
	return int64(be64(v)), true, nil
}

// lookForTwin looks at an entry of one of this device's own cores that it has
// not just appended.
func (t *txn) lookForTwin(a *arrival) error {
	if a.row.Device != t.r.dev.ID() {
		return nil
	}
	self, err := t.self()
	if err != nil {
		return err
	}
	if at, _ := t.r.risk.of(a.row.Kind, self.gen(a.row.Kind)); at {
		return nil
	}
	wrote, err := t.wrote(a.row.core())
	if err != nil || a.pos.seq < wrote && !a.row.isBranch() {
		return err
	}
	mark, ok, err := t.timeOf(rowMark)
	if err != nil || !ok || a.header.Wall <= mark {
		return err
	}
	last, _, err := t.timeOf(rowTwin)
	if err != nil {
		return err
	}
	if err := t.setTime(rowTwin, max(last, a.header.Wall)); err != nil {
		return err
	}
	t.event.Status = true
	if a.row.Gen != self.gen(a.row.Kind) {
		return nil
	}
	return t.nextGeneration(a.row.Kind)
}

// twin returns when another machine that uses this device's key last wrote, as
// far as is known here; zero: none does.
func (t *txn) twin() (time.Time, error) {
	wall, ok, err := t.timeOf(rowTwin)
	if err != nil || !ok {
		return time.Time{}, err
	}
	return time.Unix(0, wall), nil
}
