package drive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/tree"
)

// How long changes are put off, and how many at most.
const (
	aheadQuiet = 300 * time.Millisecond // after the last one
	aheadLimit = 2 * time.Second        // after the first one
	aheadOps   = tree.MaxOps * 3 / 4    // operations; what one command may add fits the entry, too
	aheadBytes = tree.MaxBody / 2       // in the file, of more than one command; an entry takes 1.4 times that at most, for its longer numbers of cores
	aheadCores = tree.MaxCores          // that they speak of
	aheadHurry = 256                    // operations that are not put off any longer when others write: they would be done again and again
	aheadRetry = 5 * time.Second        // after a failure
)

// Ahead is the drive with changes that are acknowledged and no entry yet: see "Changes ahead of the log" in the package comment. Nodes
// that only such changes have made go by provisional ids here. Ids of this kind are understood by [Batch], too, also long after; whoever
// keeps some is told the lasting ones by [Ahead.OnLanding]. It is safe for concurrent use.
type Ahead struct {
	d   *Drive
	log *aheadLog // nil: nothing is put off

	busy atomic.Bool // there is something that the log does not have

	// mu guards what follows. It is taken before a transaction begins, never inside one.
	mu      sync.RWMutex
	edit    *tree.Edit // the operations put off, over the tree as it was when turn was read; nil: none
	turn    uint64
	batch   uint64  // the number of the operations put off
	taken   *putOff // they are what an earlier process put off, nothing is added to them; nil: they are this one's
	size    int     // of them in the file
	cores   map[key.CoreID]bool
	first   time.Time
	last    time.Time
	held    bool     // by a test: nothing is made an entry but by Flush
	hurry   bool     // see aheadHurry
	landing *landing // they are being made an entry
	done    []landed // earlier batches, by number
	watch   map[int]func(tree.Changes)
	watches int
	onLand  func(ids map[tree.NodeID]tree.NodeID, done func())
	retry   time.Time // after a failure
	closed  bool      // nothing more is put off
	shut    bool      // nothing more is made an entry

	// turns is had whole by who puts something off, and in part by each Drive.Write from when it sees to it that nothing is put off until it
	// is in the log: neither does something that it could not know of the other. It is taken before mu.
	turns *semaphore.Weighted

	kick     chan struct{}
	run      context.Context // ends when it is to be closed
	quit     context.CancelFunc
	wg       sync.WaitGroup
	life     context.Context // ends when making an entry is given up
	giveUp   context.CancelFunc
	landings sync.WaitGroup
}

const allTurns = 1 << 30

// openAhead takes up what an earlier process put off. Without a directory nothing ever is.
func openAhead(d *Drive, dir string) (*Ahead, error) {
	a := &Ahead{d: d, watch: map[int]func(tree.Changes){}, kick: make(chan struct{}, 1), turns: semaphore.NewWeighted(allTurns)}
	a.run, a.quit = context.WithCancel(context.Background())
	a.life, a.giveUp = context.WithCancel(context.Background())
	if dir == "" {
		return a, nil
	}
	log, st, err := openAheadLog(dir, d.log)
	if err != nil {
		return nil, err
	}
	a.log, a.done = log, st.done
	if a.batch = st.last; a.batch == 0 {
		a.batch = rand.Uint64() >> (64 - aliasBits + 1) // room to count on
	}
	if st.open != nil {
		if err := a.takeUp(st.open); err != nil {
			return nil, errors.Join(fmt.Errorf("taking up the changes ahead: %w", err), log.close())
		}
	}
	a.wg.Add(1)
	go a.landInTime()
	return a, nil
}

// takeUp goes on with a batch, unless it did become an entry and the process died before it said so.
func (a *Ahead) takeUp(open *putOff) error {
	entry, err := a.d.entryOf(open, map[key.Hash]bool{})
	if err != nil {
		return err
	}
	if entry != nil {
		is := landed{open.batch, *entry}
		a.done = append(a.done, is)
		return a.log.say(is)
	}
	a.taken = open
	a.first = time.Now()
	a.last = a.first
	a.busy.Store(true)
	return a.d.room.View(func(tx room.Tx) error { return a.rebase(tx, open.ops) })
}

// rebase puts operations over the tree as it is in the transaction. mu is held, or nobody else has a yet.
func (a *Ahead) rebase(tx room.Tx, ops []tree.Op) error {
	e := tree.NewEdit(tx.Rows(treeTable), key.CoreID{})
	if err := e.Redo(ops); err != nil {
		return fmt.Errorf("changes ahead of the log: %w", err)
	}
	e.Changed()
	turn, err := turnOf(tx)
	if err == nil {
		a.edit, a.turn = e, turn
	}
	return err
}

// Write makes changes as [Drive.Write] does, but they survive this process only, not a power failure, when it returns: for that there
// is [Ahead.Keep]. They become part of the log soon, in order, many in one entry, and at the latest with the next Drive.Write. Others
// who read the drive see them then. fn runs inside a transaction that reads, and may run more than once. What gives a file bytes is not put
// off, and nothing is on a full disk: then it comes to the same as Drive.Write, for which there is a reserve. When ctx ends, changes that
// were acknowledged stay.
func (a *Ahead) Write(ctx context.Context, fn func(b *Batch) error) error {
	if a.log == nil {
		_, err := a.d.Write(ctx, fn)
		return err
	}
	for {
		if err := ctxErr(ctx, "writing to the drive"); err != nil {
			return err
		}
		c, now, err := a.put(ctx, fn)
		switch {
		case errors.Is(err, errFull):
			if err := a.Flush(ctx); err != nil {
				return err
			}
			continue
		case errors.Is(err, errBytes), errors.Is(err, errDisk):
			_, err := a.d.Write(ctx, fn)
			return err
		case err != nil:
			return err
		}
		a.tell(c)
		if now {
			return a.Flush(ctx)
		}
		return nil
	}
}

// Why put does nothing.
var (
	errFull  = errors.New("there is no room for it in the entry")
	errBytes = errors.New("it gives bytes to a file")
	errDisk  = errors.New("the disk is full")
)

// put does what Write is about, once. errFull, errBytes, errDisk. now: it is not to be put off.
func (a *Ahead) put(ctx context.Context, fn func(b *Batch) error) (c tree.Changes, now bool, err error) {
	if err := a.turns.Acquire(ctx, allTurns); err != nil {
		return c, false, fmt.Errorf("writing to the drive: %w", err)
	}
	defer a.turns.Release(allTurns)
	if err := a.lockIdle(ctx); err != nil {
		return c, false, err
	}
	defer a.mu.Unlock()
	if a.closed {
		return c, false, fmt.Errorf("writing to the drive: %w", fs.ErrClosed)
	}
	begin := a.edit == nil
	if begin {
		if err := a.d.Writable(); err != nil {
			return c, false, fmt.Errorf("writing to the drive: %w", err)
		}
	} else if a.taken != nil || len(a.edit.Ops()) >= aheadOps {
		return c, false, errFull
	}
	err = a.d.room.View(func(tx room.Tx) error {
		c, now, err = a.command(tx, begin, fn)
		return err
	})
	if begin && (err != nil || len(a.edit.Ops()) == 0) {
		a.edit = nil
		a.busy.Store(false)
	}
	if errors.Is(err, tree.ErrTooMany) && !begin {
		err = errFull
	}
	return c, now, err
}

// lockIdle locks mu when nothing is being made an entry.
func (a *Ahead) lockIdle(ctx context.Context) error {
	for {
		a.mu.Lock()
		l := a.landing
		if l == nil {
			return nil
		}
		a.mu.Unlock()
		select {
		case <-l.done:
		case <-ctx.Done():
			return ctxErr(ctx, "writing to the drive")
		}
	}
}

// command runs fn in the transaction and appends what it did to the file. mu is held.
func (a *Ahead) command(tx room.Tx, begin bool, fn func(b *Batch) error) (c tree.Changes, now bool, err error) {
	rec := aheadRecord{Batch: a.batch}
	if begin {
		a.batch++
		a.size, a.cores = 0, map[key.CoreID]bool{}
		rec.Batch = a.batch
		var mark room.Mark
		if mark, err = a.d.room.Mark(tx, key.Drive); err == nil {
			rec.Gen, rec.Blocks = mark.Gen, mark.Blocks
			err = a.rebase(tx, nil)
		}
	} else {
		err = a.onto(tx)
	}
	if err != nil {
		return c, false, err
	}
	e, before := a.edit, len(a.edit.Ops())
	b := &Batch{d: a.d, edit: e, rows: tx.Rows(treeTable), node: names{batch: a.batch, done: a.done}.in}
	if err = fn(b); err == nil && len(b.named) > 0 {
		err = errBytes
	}
	ops := e.Ops()[before:]
	if err == nil && len(ops) > 0 {
		err = a.note(rec, ops, begin)
	}
	if err != nil {
		err = errors.Join(err, e.Undo(before))
		e.Changed()
		return c, false, err
	}
	if len(ops) == 0 {
		return c, false, nil
	}
	a.last = time.Now()
	if begin {
		a.first = a.last
		a.busy.Store(true)
		a.wake()
	}
	for _, o := range ops {
		now = now || o.Type == tree.OpWrite || o.Type == tree.OpCreate && o.Node.Kind() == tree.File
	}
	return names{batch: a.batch}.changes(e.Changed()), now, nil
}

// note appends operations to the file, if an entry holds them together with those before. errFull, errDisk. mu is held.
func (a *Ahead) note(rec aheadRecord, ops []tree.Op, begin bool) (err error) {
	if rec.Ops, err = tree.EncodeOps(ops); err != nil {
		return err
	}
	for i := range ops {
		for id := range ops[i].Cores() {
			a.cores[id] = true
		}
	}
	if !begin && (a.size+len(rec.Ops) > aheadBytes || len(a.cores) > aheadCores) {
		return errFull
	}
	n, err := a.log.append(rec)
	a.size += n
	return err
}

// onto brings the operations put off over the tree as it is in the transaction. mu is held.
func (a *Ahead) onto(tx room.Tx) error {
	turn, err := turnOf(tx)
	if err != nil {
		return err
	}
	if turn != a.turn {
		if n := len(a.edit.Ops()); n >= aheadHurry && !a.hurry {
			a.hurry = true
			a.wake()
		}
		return a.rebase(tx, a.edit.Ops())
	}
	a.edit.On(tx.Rows(treeTable))
	return nil
}

// Watch calls fn after each change by Write, before it is in the log.
func (a *Ahead) Watch(fn func(tree.Changes)) (cancel func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watches++
	id := a.watches
	a.watch[id] = fn
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.watch, id)
	}
}

func (a *Ahead) tell(c tree.Changes) {
	a.mu.RLock()
	fns := make([]func(tree.Changes), 0, len(a.watch))
	for _, fn := range a.watch {
		fns = append(fns, fn)
	}
	a.mu.RUnlock()
	for _, fn := range fns {
		fn(c)
	}
}

// OnLanding has fn told the lasting ids of the nodes that an entry made, by their provisional ones. fn calls done when it knows them:
// from then on reading tells them. There is one such function at a time.
func (a *Ahead) OnLanding(fn func(ids map[tree.NodeID]tree.NodeID, done func())) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onLand = fn
}

// Keep makes what Write has done survive a power failure.
func (a *Ahead) Keep() error {
	if a.log == nil || !a.busy.Load() {
		return nil
	}
	return a.log.sync()
}
