package node

import "sync"

// heapHeadroom is how many bytes more of garbage the heap of a node may hold than the collector alone would let it. What lives in a
// node is mostly some ten MiB, and a tenth of the time of a busy one went into going over those again and again. With it a node takes
// at most so much more memory; the bench's row of a million files has the whole.
const heapHeadroom = 32 << 20

// Headroom gives the process a heap fit for a node. The collector runs when the heap is twice what lives; here it finds something that
// lives and that nobody touches, so that no memory is behind it.
var Headroom = sync.OnceFunc(func() { headroom = make([]byte, heapHeadroom) })

var headroom []byte
