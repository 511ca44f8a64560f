package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/wire"
)

// The values of config.Room.Keep besides "".
const (
	keepAll  = "all"
	keepNone = "none"
)

const (
	maxWanted   = 20_000               // files remembered as missing, the newest; beyond that the tree is walked again when they are through
	maxHeal     = 64                   // damaged entries asked for in one go
	maxMending  = 16                   // and at once
	maxMissed   = 4                    // damaged payloads that nobody has before the others wait for the next time
	minFreeAll  = 256 << 20            // left free even where everything is kept
	restMin     = 5 * time.Millisecond // at least this long between looks at what changes
	lookNodes   = 1000                 // nodes looked at, and blobs looked for, in one go
	lookSome    = 64                   // of them without a pause
	plenty      = 2000                 // files waiting to be fetched that are enough for a while
	lookPlenty  = time.Second          // then at least this long between looks at what changes
	retryFirst  = 5 * time.Second
	retryMax    = 5 * time.Minute
	walkFirst   = time.Second      // at least this long between walks of a tree in which something moved that may be pinned
	rescanEvery = 15 * time.Minute // and of any other
)

// keeper fetches the bytes of files in the background. See the package comment for its policy.
type keeper struct {
	r       *Room
	log     *slog.Logger
	changes atomic.Uint64 // counts changes of the tree
	took    atomic.Int64  // nanoseconds of the last walk

	kick chan struct{}

	// Of run alone:
	walked time.Time // when the last walk began
	looked time.Time // when what is missing was last looked for
	retry  time.Time // when what could not be fetched is to be looked for again; zero: there is nothing
	last   *wanted   // the last one that the last walk listed, when more is missing than that; it is to go on behind it

	mu     sync.Mutex // guards what follows
	nodes  changed
	missed bool // more nodes changed than are in there
	moved  bool // something moved, perhaps to where everything below it is pinned
	walk   bool // the whole tree is to be looked at, now
	full   bool // the disk is
}

func newKeeper(r *Room, log *slog.Logger) *keeper {
	return &keeper{r: r, log: log, kick: make(chan struct{}, 1), walk: true}
}

// watch is told by the drive about changes. Who makes them may hold Room.mu.
func (k *keeper) watch(c drive.Change) {
	k.changes.Add(1)
	k.mu.Lock()
	k.moved = k.moved || len(c.Dirs)+len(c.Joined) > 0
	for _, id := range c.Nodes {
		if !k.nodes.add(id) {
			k.missed = true
			break
		}
	}
	k.mu.Unlock()
	k.wake()
}

func (k *keeper) rescan() {
	k.mu.Lock()
	k.walk = true
	k.mu.Unlock()
	k.wake()
}

func (k *keeper) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// walkTook is how long the last walk over the tree took.
func (k *keeper) walkTook() time.Duration { return time.Duration(k.took.Load()) }

// policy is what is to be fetched now: files up to maxSize, and only while free bytes are left on the disk.
func (k *keeper) policy() (maxSize, minFree int64) {
	k.r.mu.Lock()
	keep := k.r.state.Keep
	k.r.mu.Unlock()
	c := k.r.node.opts.Config.Keep
	switch keep {
	case keepAll:
		return 1 << 62, minFreeAll
	case keepNone:
		return -1, 0
	}
	return int64(c.MaxFile), int64(c.MinFree)
}

// run keeps until ctx ends.
func (k *keeper) run(ctx context.Context) {
	if k.r.replica == nil {
		return
	}
	unwatch := k.r.drive.Watch(k.watch)
	defer unwatch()
	retry := retryFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		fresh := false
		select {
		case <-ctx.Done():
			return
		case <-k.kick:
			fresh = true
			select {
			case <-ctx.Done():
				return
			case <-time.After(k.untilLook(0)):
			}
		case <-timer.C:
		}
		if soon := time.Now().Add(retryFirst); fresh && k.retry.After(soon) {
			k.retry = soon // what changes may come from who has the rest
		}
		mended := make(chan int, 1)
		go func() { mended <- k.heal(ctx) + k.payloads(ctx) }() // they are few, and files may take long
		left := k.fetch(ctx)
		left += <-mended
		retry = k.nextRetry(retry, left, fresh)
		if left > 0 { // whoever has the bytes may come at any time: look again soon, then ever more rarely
			k.retry = time.Now().Add(retry)
		}
		timer.Reset(k.untilWalk())
	}
}

// nextRetry is how long after a look for what is missing the next one follows, when it was so long before, left files could not be
// fetched, and fresh says that something had changed: whoever has them may come, ever more rarely. That a disk is free again nobody tells.
func (k *keeper) nextRetry(was time.Duration, left int, fresh bool) time.Duration {
	if left == 0 || fresh || k.isFull() {
		return retryFirst
	}
	return min(2*was, retryMax)
}

// untilWalk is the time until the tree is to be walked again: soon if what moved may be pinned, but so that walking takes a fiftieth of the
// time at most, a tenth when something could not be fetched, or a third when something is known to have been missed.
func (k *keeper) untilWalk() time.Duration {
	k.mu.Lock()
	walk, missed, moved := k.walk, k.missed, k.moved
	k.mu.Unlock()
	since, took := time.Since(k.walked), k.walkTook()
	wait := rescanEvery - since
	if moved && k.r.pins() {
		wait = min(wait, max(walkFirst, 50*took)-since)
	}
	if !k.retry.IsZero() {
		wait = min(wait, max(time.Until(k.retry), 10*took-since))
	}
	if missed || k.last != nil {
		wait = min(wait, 3*took-since)
	}
	if walk {
		wait = 0
	}
	return max(0, wait)
}

// untilLook is the time until changes are to be looked at, with so many files waiting to be fetched: after a rest the first is looked at
// at once, what follows it closely in one go.
func (k *keeper) untilLook(waiting int) time.Duration {
	rest := restMin
	if waiting >= plenty {
		rest = lookPlenty
	}
	return max(0, rest-time.Since(k.looked))
}

// heal brings back entries whose blocks were damaged on this disk, and tells how many are still missing: nothing after them in their logs
// counts here until they are back. No policy applies.
func (k *keeper) heal(ctx context.Context) (left int) {
	want, err := k.r.log.WantEntries(maxHeal)
	if err != nil {
		k.log.Warn("looking for damaged entries", "error", err)
	}
	return k.mend(want, len(want), k.payload(ctx))
}

// payloads brings back texts of messages and contents of small files that were damaged on this disk, and tells how many are still missing.
// No policy applies: they came with their entries.
func (k *keeper) payloads(ctx context.Context) (left int) {
	want, err := k.r.log.WantPayloads(0)
	if err != nil {
		k.log.Warn("looking for damaged payloads", "error", err)
	}
	// Some may be nowhere any more. They must not always stand before the others.
	rand.Shuffle(len(want), func(i, j int) { want[i], want[j] = want[j], want[i] })
	return k.mend(want, maxMissed, k.payload(ctx))
}

// payload returns what asks for the blocks of an entry.
func (k *keeper) payload(ctx context.Context) func(room.Want) error {
	ctx = wire.Background(ctx)
	return func(w room.Want) error { return k.r.replica.FetchPayload(ctx, w.Core, w.Seq) }
}

// mend asks for blocks, several at once: what nobody has takes a while each. It begins no more once so many could not be had, and tells
// how many are still missing.
func (k *keeper) mend(want []room.Want, most int, fetch func(room.Want) error) int {
	var all sync.WaitGroup
	var stop atomic.Bool
	var failed atomic.Int64
	begun := 0
	slots := make(chan struct{}, maxMending)
	for _, w := range want {
		if slots <- struct{}{}; stop.Load() {
			break
		}
		begun++
		all.Go(func() {
			defer func() { <-slots }()
			if err := fetch(w); err != nil {
				if n := failed.Add(1); k.complain(err) || n >= int64(most) {
					stop.Store(true)
				}
			}
		})
	}
	all.Wait()
	return int(failed.Load()) + len(want) - begun
}

// complain reports whether err makes it pointless to go on with others now.
func (k *keeper) complain(err error) (stop bool) {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, wire.ErrClosed):
		return true
	case errors.Is(err, store.ErrNoSpace):
		k.setFull(true)
		return true
	case errors.Is(err, wire.ErrNobody):
		// With nobody connected at all the others need not be tried either.
		return len(k.r.replica.Peers()) == 0
	}
	k.log.Debug("fetching in the background", "error", err)
	return false
}

// space reports whether the disk has room by the policy; for what is pinned nearly all of it may be used.
func (k *keeper) space(pinned bool) bool {
	_, minFree := k.policy()
	if pinned {
		minFree = minFreeAll
	}
	free, err := k.r.store.Free()
	ok := err != nil || free >= minFree
	k.setFull(!ok)
	return ok
}

func (k *keeper) isFull() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.full
}

func (k *keeper) setFull(full bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.full = full
}

// notes are for Status.
func (k *keeper) notes() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.r.store.Failed(); err != nil {
		return []string{fmt.Sprintf("room %s: %v. What is here can be read; when the disk takes writes again, start the node anew", k.r.Alias(), err)}
	}
	if free, full := k.r.store.Full(); full {
		return []string{fmt.Sprintf("room %s: the disk is full, %d KiB are free in %s. What is here can be read; writing and fetching go on by themselves "+
			"when there is more. `pearbox gc %[1]s` drops what the room's retention lets go", k.r.Alias(), free>>10, k.r.node.dir.RoomDir(k.r.id))}
	}
	if k.full {
		return []string{fmt.Sprintf("room %s: the disk is nearly full, files are fetched only when they are read", k.r.Alias())}
	}
	return nil
}
