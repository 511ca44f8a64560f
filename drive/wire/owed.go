package wire

import (
	"io"
	"sync"
	"time"
)

// owed is the clock of what a peer owes on a lane. It goes back to the beginning when the peer has shown enough: an answer that its
// request took, or leastShown bytes. A byte now and then is not enough, or whoever sends one would be waited for for ever. While
// this side is busy with what came the clock stands still.
type owed struct {
	mu    sync.Mutex // guards what follows
	from  time.Time  // the clock began here
	shown int        // bytes since then
	held  int        // how many times it is stopped
	since time.Time  // when it was, the first time
}

// restart sets the clock to the beginning.
func (o *owed) restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.from, o.shown = time.Now(), 0
}

// show counts bytes that have come, and reports whether they are enough.
func (o *owed) show(n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.shown += n; o.shown < leastShown {
		return false
	}
	o.from, o.shown = time.Now(), 0
	return true
}

// hold stops the clock until as many calls of release.
func (o *owed) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held++; o.held == 1 {
		o.since = time.Now()
	}
}

func (o *owed) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held--; o.held == 0 {
		now := time.Now()
		o.from = o.from.Add(now.Sub(o.since))
		if o.from.After(now) { // it began anew while it stood
			o.from = now
		}
	}
}

// over reports whether the clock has run for d.
func (o *owed) over(d time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held == 0 && time.Since(o.from) >= d
}

// shower is a lane's stream that counts what comes.
type shower struct {
	io.Reader
	ln *lane
}

func (s shower) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if n > 0 && s.ln.owed.show(n) {
		s.ln.link.stalls.Store(0)
	}
	return n, err
}
