package wire

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// throttle is a token bucket over bytes. Entries are charged without waiting, so that bulk pays for them.
type throttle struct {
	limiter *rate.Limiter
	perSec  atomic.Int64
}

func newThrottle(perSec int64) *throttle {
	t := &throttle{limiter: rate.NewLimiter(rate.Inf, 0)}
	t.set(perSec)
	return t
}

func (t *throttle) set(perSec int64) {
	t.perSec.Store(max(perSec, 0))
	if perSec <= 0 {
		t.limiter.SetLimit(rate.Inf)
		return
	}
	t.limiter.SetBurst(int(min(max(perSec/4, 32<<10), 4<<20)))
	t.limiter.SetLimit(rate.Limit(perSec))
}

// wait takes n bytes from the bucket and waits until they are there.
func (t *throttle) wait(ctx context.Context, n int) error {
	for n > 0 && t.perSec.Load() > 0 {
		step := min(n, max(t.limiter.Burst(), 1))
		if err := t.limiter.WaitN(ctx, step); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// The limit changed in between, or ctx ends before the bytes would be there.
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		n -= step
	}
	return nil
}

// charge takes n bytes without waiting: who waits later, waits longer.
func (t *throttle) charge(n int) {
	for n > 0 && t.perSec.Load() > 0 {
		step := min(n, max(t.limiter.Burst(), 1))
		t.limiter.ReserveN(time.Now(), step)
		n -= step
	}
}

// frame returns how much ciphertext one frame should carry under this limit: less than a quarter second's worth, in
// whole groups.
func (t *throttle) frame() int {
	per := t.perSec.Load()
	if per <= 0 {
		return frameBytes
	}
	const group = 64 << 10
	return int(min(max(per/4/group*group, group), frameBytes))
}
