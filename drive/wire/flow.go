package wire

import (
	"math"
	"sync/atomic"
	"time"
)

// flow measures how fast a peer delivers blobs and says how much to ask ahead. Guarded by fetcher.mu, but for measured.
type flow struct {
	inflight int64 // bytes asked for and not delivered
	flights  int   // requests that they are asked for in
	bytes    int64 // delivered since the sample began
	since    time.Time
	last     time.Time     // when the peer last delivered, or began to owe
	measured atomic.Uint64 // bytes a second, float64 bits
}

// sampleTime is how long deliveries are added up before they count as a measurement.
const sampleTime = 100 * time.Millisecond

// processing is what asking and answering may take besides the way: goroutines and disks of busy machines. It is ample,
// because what is asked for too early waits as a request at the peer and not as bytes on the way.
const processing = 100 * time.Millisecond

// sent notes that n bytes more are owed.
func (f *flow) sent(n int64, now time.Time) {
	if f.inflight == 0 {
		f.bytes, f.since, f.last = 0, now, now
	}
	f.inflight += n
}

// got notes a delivery, or, with delivered false, that n bytes are not owed any more.
func (f *flow) got(n int64, delivered bool, now time.Time) {
	f.inflight = max(f.inflight-n, 0)
	if !delivered {
		return
	}
	f.last = now
	f.bytes += n
	if d := now.Sub(f.since); d >= sampleTime {
		sample := float64(f.bytes) / d.Seconds()
		if old := f.speed(); old > 0 {
			sample = 0.7*old + 0.3*sample
		}
		f.measured.Store(math.Float64bits(sample))
		f.bytes, f.since = 0, now
	}
}

func (f *flow) speed() float64 { return math.Float64frombits(f.measured.Load()) }
func (f *flow) rate() int64    { return int64(f.speed()) }

// window is how much may be owed: twice bandwidth times delay, so that it grows while the way allows it.
func (f *flow) window(l *link, down *throttle) int64 {
	w := int64(4 << 20)
	if v := f.speed(); v > 0 {
		delay := time.Duration(l.rtt.Load()) + processing
		w = min(max(int64(2*v*delay.Seconds()), minWindow), maxWindow)
	}
	if limit := down.perSec.Load(); limit > 0 {
		w = min(w, max(limit, 128<<10))
	}
	return w
}

// assumed is what a peer is taken to deliver, in bytes a second, before it has been measured.
const assumed = 32 << 20

// eta is how long the peer would take to deliver n bytes more.
func (f *flow) eta(n int64) time.Duration {
	v := f.speed()
	if v == 0 {
		v = assumed
	}
	return time.Duration(float64(f.inflight+n) / max(v, 1<<10) * float64(time.Second))
}
