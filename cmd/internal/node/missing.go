package node

import (
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/tree"
)

// wanted is one file version whose bytes are not here.
type wanted struct {
	content *blob.Content
	core    key.CoreID
	seq     uint64
	written time.Time
	pinned  bool
}

// changed are nodes that were not looked at since they changed, at most maxWanted.
type changed struct {
	list []tree.NodeID // as they changed
	in   map[tree.NodeID]struct{}
}

// add takes a node, unless there are too many.
func (c *changed) add(id tree.NodeID) bool {
	if _, ok := c.in[id]; ok {
		return true
	}
	if len(c.list) >= maxWanted {
		return false
	}
	if c.in == nil {
		c.in = make(map[tree.NodeID]struct{})
	}
	c.in[id] = struct{}{}
	c.list = append(c.list, id)
	return true
}

// take gives out those that changed last, at most n.
func (c *changed) take(n int) []tree.NodeID {
	at := max(0, len(c.list)-n)
	ids := slices.Clone(c.list[at:])
	for _, id := range ids {
		delete(c.in, id)
	}
	if c.list = c.list[:at]; at == 0 {
		*c = changed{}
	}
	return ids
}

// missing lists what the policy and pins want and is not here, what is pinned first and then the newest. It looks at nodes that changed, or
// walks the tree when that is due, which can wait while plenty of files are waiting to be fetched. With more there are further nodes to look at.
func (k *keeper) missing(waiting int) (list []wanted, more bool) {
	defer func() { k.looked = time.Now() }()
	walk := k.untilWalk() == 0
	k.mu.Lock()
	walk = walk && (waiting < plenty || k.walk)
	if walk {
		if k.walk || k.missed || k.last == nil { // from the newest on
			k.last, k.retry, k.nodes = nil, time.Time{}, changed{}
		}
		k.walk, k.missed, k.moved = false, false, false
		k.walked = time.Now()
	}
	nodes := k.nodes.take(lookNodes)
	more = len(k.nodes.list) > 0
	k.mu.Unlock()
	maxSize, _ := k.policy()
	if maxSize < 0 && !k.r.pins() {
		k.last = nil
		return nil, more
	}
	if walk {
		list = k.walkTree(maxSize)
	}
	if len(nodes) > 0 {
		list = append(list, k.lookAt(nodes, maxSize)...)
	}
	slices.SortStableFunc(list, sooner)
	return list, more
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

// walkTree lists what is missing of the whole tree, behind k.last.
func (k *keeper) walkTree(maxSize int64) []wanted {
	l := lister{k: k, maxSize: maxSize, after: k.last}
	for info, err := range k.r.drive.Now().Walk("") {
		if err == nil {
			l.add(info)
		}
	}
	l.look()
	if l.cut(maxWanted); l.cutOff {
		last := l.list[len(l.list)-1]
		k.last = &last
	} else {
		k.last = nil
	}
	k.took.Store(int64(time.Since(k.walked)))
	return l.list
}

// lookAt looks at nodes: all versions that they show.
func (k *keeper) lookAt(nodes []tree.NodeID, maxSize int64) []wanted {
	now, pins := k.r.drive.Now(), k.r.pins()
	paths := pins || k.r.anyAway()
	l := lister{k: k, maxSize: maxSize}
	var infos []drive.Info
	for some := range slices.Chunk(nodes, lookSome) {
		more, err := now.Shown(some)
		if err != nil {
			k.log.Debug("looking at what changed", "error", err)
		}
		infos = append(infos, more...)
		runtime.Gosched() // to whoever waits for the mount, most of all: they do not take turns with this by themselves for milliseconds
	}
	for _, info := range infos {
		if paths {
			path, err := now.Path(info.Node)
			if err != nil {
				continue
			}
			info.Path = path
		}
		l.add(info)
		if pins && info.IsDir() && k.r.Pinned(info.Path) {
			k.rescan() // moved to where everything below it is wanted
		}
	}
	l.look()
	if l.cutOff {
		k.rescan()
	}
	return l.list
}

// lister gathers files whose bytes are to come and are not here. It looks for those of many at once.
type lister struct {
	k       *keeper
	maxSize int64
	after   *wanted // those that are to come sooner are left out; nil: none
	list    []wanted
	cutOff  bool                // there are more than list holds
	single  map[blob.Ref]wanted // of one part; not looked for yet
}

// add takes a file. info has its path if anything is pinned or away.
func (l *lister) add(info drive.Info) {
	if info.Kind != drive.KindFile || info.Content == nil || info.Size == 0 {
		return
	}
	k, c := l.k, info.Content
	w := wanted{content: c, core: info.Core, seq: info.Seq, written: info.Written, pinned: k.r.Pinned(info.Path)}
	switch {
	case !w.pinned && (info.Size > l.maxSize || k.r.away(info.Path)), l.after != nil && sooner(w, *l.after) < 0:
	case len(c.Parts) == 1 && c.Parts[0].Length == c.Parts[0].Size:
		if l.single == nil {
			l.single = make(map[blob.Ref]wanted, lookNodes)
		}
		if old, twice := l.single[c.Parts[0].Ref()]; !twice || sooner(w, old) < 0 {
			l.single[c.Parts[0].Ref()] = w
		}
		if len(l.single) == lookNodes {
			l.look()
		}
	case k.r.drive.LocalState(info) < info.Size:
		l.take(w)
	}
}

// take lists what is missing, unless the walk before did.
func (l *lister) take(w wanted) {
	if l.after == nil || sooner(w, *l.after) >= 0 {
		l.list = append(l.list, w)
		l.cut(2 * maxWanted)
	}
}

// look lists those of one part that are missing.
func (l *lister) look() {
	for _, ref := range l.k.r.store.Blobs().Missing(slices.Collect(maps.Keys(l.single))) {
		l.take(l.single[ref])
	}
	clear(l.single)
}

// cut keeps those of the list that are to come first when it is longer than limit.
func (l *lister) cut(limit int) {
	if len(l.list) > limit {
		slices.SortStableFunc(l.list, sooner)
		clear(l.list[maxWanted:])
		l.list, l.cutOff = l.list[:maxWanted], true
	}
}
