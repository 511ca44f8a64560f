package control

import (
	"context"
	"sync"
	"time"

	"github.com/pearbox/pearbox/serve/api"
)

// maxQueue bounds what waits for a slow reader; the oldest goes.
const maxQueue = 4096

// queue hands what a callback is told to a goroutine that may be slower. The zero
// value is empty.
type queue[T any] struct {
	mu    sync.Mutex // guards what follows
	items []T
	wake  chan struct{} // closed by the next put; nil while nobody waits
}

// put never waits.
func (q *queue[T]) put(v T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == maxQueue {
		q.items = q.items[1:]
	}
	q.items = append(q.items, v)
	if q.wake != nil {
		close(q.wake)
		q.wake = nil
	}
}

// take waits for items, keeping out alive meanwhile, and returns all there are.
func (q *queue[T]) take(ctx context.Context, out *stream) ([]T, error) {
	t := time.NewTicker(aliveEvery)
	defer t.Stop()
	for {
		q.mu.Lock()
		items := q.items
		q.items = nil
		if q.wake == nil {
			q.wake = make(chan struct{})
		}
		wake := q.wake
		q.mu.Unlock()
		if len(items) > 0 {
			return items, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-wake:
		case <-t.C:
			if err := out.line(api.Line{Alive: true}, true); err != nil {
				return nil, err
			}
		}
	}
}
