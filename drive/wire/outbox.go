package wire

import "sync"

// outbox holds the control frames that wait to be written to one peer. It is bounded: a peer that asks and does not
// read is found out here.
type outbox struct {
	wake chan struct{} // holds one token when there may be something to write

	mu     sync.Mutex // guards what follows
	frames [][]byte
	bytes  int
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// put queues a frame, or reports that there is no room for it.
func (o *outbox) put(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) >= maxOutQueue || o.bytes+len(frame) > maxOutBytes {
		return false
	}
	o.frames = append(o.frames, frame)
	o.bytes += len(frame)
	o.poke()
	return true
}

// poke wakes the writer.
func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take removes the oldest frame; nil when there is none.
func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) == 0 {
		return nil
	}
	f := o.frames[0]
	o.frames[0] = nil
	o.frames = o.frames[1:]
	o.bytes -= len(f)
	return f
}
