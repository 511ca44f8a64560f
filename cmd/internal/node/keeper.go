package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/drive/wire"
)

// The values of config.Room.Keep besides "".
const (
	keepAll  = "all"
	keepNone = "none"
)

const (
	maxWanted   = 20_000               // files remembered as missing; beyond that the tree is walked again when they are through
	maxHeal     = 64                   // damaged entries asked for in one go
	maxMissed   = 4                    // damaged payloads that nobody has before the others wait for the next time
	minFreeAll  = 256 << 20            // left free even where everything is kept
	restMin     = 5 * time.Millisecond // at least this long between looks at what changes
	lookNodes   = 1000                 // nodes, and small blobs, looked for in one go
	retryFirst  = 5 * time.Second
	retryMax    = 5 * time.Minute
	walkFirst   = time.Second      // at least this long between walks of a tree that changes
	rescanEvery = 15 * time.Minute // and of one that does not
)

// keeper fetches the bytes of files in the background. See the package comment for its policy.
type keeper struct {
	r       *Room
	log     *slog.Logger
	changes atomic.Uint64 // counts changes of the tree
	took    atomic.Int64  // nanoseconds of the last walk

	kick chan struct{}

	walked   time.Time // when the last walk began, and the changes that it saw; of run alone
	seen     uint64
	looked   time.Time // when what is missing was last looked for, and how long the conflicts took; of run alone
	lookTook time.Duration

	mu    sync.Mutex // guards what follows
	nodes map[tree.NodeID]struct{}
	walk  bool // the whole tree is to be looked at
	full  bool // the disk is
}

// wanted is one file version whose bytes are not here.
type wanted struct {
	content *blob.Content
	core    key.CoreID
	seq     uint64
	written time.Time
	pinned  bool
}

func newKeeper(r *Room, log *slog.Logger) *keeper {
	return &keeper{r: r, log: log, kick: make(chan struct{}, 1), nodes: make(map[tree.NodeID]struct{}), walk: true}
}

// watch is told by the drive about changes.
func (k *keeper) watch(c drive.Change) {
	k.changes.Add(1)
	k.mu.Lock()
	for _, id := range c.Nodes {
		if len(k.nodes) >= maxWanted {
			k.walk = true
			break
		}
		k.nodes[id] = struct{}{}
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
			// After a rest the first change is looked at at once, what follows it closely in one go.
			select {
			case <-ctx.Done():
				return
			case <-time.After(k.rest()):
			}
		case <-timer.C:
		}
		left := k.heal(ctx) + k.fetch(ctx) + k.payloads(ctx)
		switch {
		case left == 0, fresh:
			retry = retryFirst
		default:
			retry = min(2*retry, retryMax)
		}
		if left > 0 {
			// Whoever has the bytes may come at any time: look again soon, then ever more rarely.
			k.mu.Lock()
			k.walk = true
			k.mu.Unlock()
			timer.Reset(retry)
		} else {
			timer.Reset(k.untilWalk())
		}
	}
}

// rest is how long changes have to wait until they are looked at: so long that looking at conflicts, which is done each time anew, takes a
// fifth of the time at most.
func (k *keeper) rest() time.Duration {
	return max(0, max(restMin, 4*k.lookTook)-time.Since(k.looked))
}

// untilWalk is the time until the tree is to be walked again: soon if it changed since, but so that walking takes a fiftieth of the time
// at most.
func (k *keeper) untilWalk() time.Duration {
	if k.seen == k.changes.Load() {
		return rescanEvery
	}
	return max(0, max(walkFirst, 50*k.walkTook())-time.Since(k.walked))
}

// missing lists what the policy and pins want and is not here, what is pinned first and then the newest. It walks the tree when that is due, and otherwise looks at the nodes
// that changed.
func (k *keeper) missing() []wanted {
	defer func() { k.looked = time.Now() }()
	due := k.untilWalk() == 0
	k.mu.Lock()
	nodes, walk := k.nodes, k.walk || due
	k.nodes, k.walk = make(map[tree.NodeID]struct{}), false
	k.mu.Unlock()
	maxSize, _ := k.policy()
	if maxSize < 0 && !k.r.pins() {
		return nil
	}
	var list []wanted
	if walk {
		list = k.walkTree(maxSize)
	} else if len(nodes) > 0 {
		list = k.lookAt(nodes, maxSize)
	}
	slices.SortStableFunc(list, sooner)
	return list
}

// sooner orders what is wanted: what is pinned first, then the newest.
func sooner(a, b wanted) int {
	if a.pinned != b.pinned {
		if a.pinned {
			return -1
		}
		return 1
	}
	return b.written.Compare(a.written)
}

func (k *keeper) walkTree(maxSize int64) []wanted {
	k.walked, k.seen = time.Now(), k.changes.Load()
	l := lister{k: k, maxSize: maxSize}
	for info, err := range k.r.drive.Now().Walk("") {
		if err == nil {
			l.add(info)
		}
		if len(l.list) >= maxWanted {
			k.rescan()
			break
		}
	}
	l.look()
	k.took.Store(int64(time.Since(k.walked)))
	return l.list
}

// lookAt looks at nodes, and at conflict entries: a node shows its main version only.
func (k *keeper) lookAt(nodes map[tree.NodeID]struct{}, maxSize int64) []wanted {
	now, pins := k.r.drive.Now(), k.r.pins()
	l := lister{k: k, maxSize: maxSize}
	for ids := range slices.Chunk(slices.Collect(maps.Keys(nodes)), lookNodes) {
		infos, err := now.ByNodes(ids)
		if err != nil {
			k.log.Debug("looking at what changed", "error", err)
		}
		for _, info := range infos {
			if pins {
				if info.Path, err = now.Path(info.Node); err != nil {
					continue
				}
			}
			l.add(info)
			if pins && info.IsDir() && k.r.Pinned(info.Path) {
				k.rescan() // moved to where everything below it is wanted
			}
		}
	}
	l.look()
	begun := time.Now()
	conflicts, err := k.r.drive.Conflicts()
	if err != nil {
		k.log.Debug("looking at conflicts", "error", err)
	}
	for _, info := range conflicts {
		l.add(info)
	}
	l.look()
	k.lookTook = time.Since(begun)
	return l.list
}

// lister gathers files whose bytes are to come and are not here. It looks for those of many small ones at once.
type lister struct {
	k       *keeper
	maxSize int64
	list    []wanted
	small   map[blob.Ref]wanted // of one part; not looked for yet
}

// add takes a file. info has its path if anything is pinned.
func (l *lister) add(info drive.Info) {
	if info.Kind != drive.KindFile || info.Content == nil || info.Size == 0 {
		return
	}
	k, c := l.k, info.Content
	w := wanted{content: c, core: info.Core, seq: info.Seq, written: info.Written, pinned: k.r.Pinned(info.Path)}
	switch {
	case !w.pinned && info.Size > l.maxSize:
	case len(c.Parts) == 1 && isSmall(c):
		if l.small == nil {
			l.small = make(map[blob.Ref]wanted, lookNodes)
		}
		l.small[c.Parts[0].Ref()] = w
		if len(l.small) == lookNodes {
			l.look()
		}
	case k.r.drive.LocalState(info) < info.Size:
		l.list = append(l.list, w)
	}
}

// look lists the small files that are missing.
func (l *lister) look() {
	for _, ref := range l.k.r.store.Blobs().Missing(slices.Collect(maps.Keys(l.small))) {
		l.list = append(l.list, l.small[ref])
	}
	clear(l.small)
}

// heal brings back entries whose blocks were damaged on this disk, and tells how many are still missing: nothing after them in their logs
// counts here until they are back. No policy applies.
func (k *keeper) heal(ctx context.Context) (left int) {
	want, err := k.r.log.WantEntries(maxHeal)
	if err != nil {
		k.log.Warn("looking for damaged entries", "error", err)
	}
	for i, w := range want {
		if err := k.r.replica.FetchPayload(wire.Background(ctx), w.Core, w.Seq); err != nil {
			left++
			if k.complain(err) {
				return left + len(want) - i - 1
			}
		}
	}
	return left
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
	for i, w := range want {
		if err := k.r.replica.FetchPayload(wire.Background(ctx), w.Core, w.Seq); err != nil {
			if left++; k.complain(err) || left == maxMissed {
				return left + len(want) - i - 1
			}
		}
	}
	return left
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

func (k *keeper) setFull(full bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.full = full
}

// notes are for Status.
func (k *keeper) notes() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.full {
		return []string{fmt.Sprintf("room %s: the disk is nearly full, files are fetched only when they are read", k.r.Alias())}
	}
	return nil
}
