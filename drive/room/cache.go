package room

import (
	"sync"

	"github.com/pearbox/pearbox/drive/key"
)

// clockCache keeps clocks by entry. When it holds too many cells it starts
// over: clocks are read again where they are needed. The zero value works. It
// is safe for concurrent use.
type clockCache struct {
	mu    sync.Mutex
	m     map[key.Hash]clock
	cells int
}

const maxClockCells = 1 << 20

func (c *clockCache) get(id key.Hash) (clock, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.m[id]
	return k, ok
}

func (c *clockCache) put(id key.Hash, k clock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || c.cells > maxClockCells {
		c.m, c.cells = map[key.Hash]clock{}, 0
	}
	if _, ok := c.m[id]; !ok {
		c.cells += len(k)*pageSize/4 + 8 // pages are mostly shared
	}
	c.m[id] = k
}

// stateCache keeps the last few states by their stamp. It is safe for
// concurrent use.
type stateCache struct {
	mu     sync.Mutex
	states map[key.Hash]*State
	order  []key.Hash
}

const maxStates = 8

func (c *stateCache) get(stamp key.Hash) *State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states[stamp]
}

func (c *stateCache) put(stamp key.Hash, s *State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.states == nil {
		c.states = map[key.Hash]*State{}
	}
	if c.states[stamp] != nil {
		return
	}
	c.states[stamp] = s
	c.order = append(c.order, stamp)
	if len(c.order) > maxStates {
		delete(c.states, c.order[0])
		c.order = c.order[1:]
	}
}

// rowCache keeps what rows say by their bytes, so that the same few rows need
// not be decoded in every transaction. Values must be good to copy. The zero
// value works. It is safe for concurrent use.
type rowCache[T any] struct {
	mu sync.Mutex
	m  map[string]T
}

const maxCachedRows = 1024

func (c *rowCache[T]) get(row []byte) (v T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok = c.m[string(row)]
	return v, ok
}

func (c *rowCache[T]) put(row []byte, v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxCachedRows {
		c.m = map[string]T{}
	}
	c.m[string(row)] = v
}
