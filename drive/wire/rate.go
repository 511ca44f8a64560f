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

// Burst is how many bytes go at once, after a rest, under a limit of perSec bytes a second.
func Burst(perSec int64) int64 { return min(max(perSec/4, 32<<10), 4<<20) }

func (t *throttle) set(perSec int64) {
	t.perSec.Store(max(perSec, 0))
	if perSec <= 0 {
		t.limiter.SetLimit(rate.Inf)
		return
	}
	t.limiter.SetBurst(int(Burst(perSec)))
	t.limiter.SetLimit(rate.Limit(perSec))
}

// wait takes n bytes from the bucket and waits until they are there. Meanwhile it calls idle, if there is one, about
// every so often; an error of idle ends the wait.
func (t *throttle) wait(ctx context.Context, n int, every time.Duration, idle func() error) error {
	for n > 0 && t.perSec.Load() > 0 {
		step := min(n, max(t.limiter.Burst(), 1))
		r := t.limiter.ReserveN(time.Now(), step)
		if !r.OK() { // the limit has just changed
			continue
		}
		for d := r.Delay(); d > 0; d = r.Delay() {
			if idle != nil {
				d = min(d, every)
			}
			err := sleep(ctx, d)
			if err == nil && idle != nil && r.Delay() > 0 {
				err = idle()
			}
			if err != nil {
				r.Cancel()
				return err
			}
		}
		n -= step
	}
	return ctx.Err()
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
