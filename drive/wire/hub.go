package wire

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/drive/key"
)

// Options of a hub; the zero value works.
type Options struct {
	UpLimit   int64 // bytes a second of data sent to all peers together; 0 means no limit
	DownLimit int64 // the same for what is received
	Log       *slog.Logger
	Timing    Timing
	Agent     string // name and version of the program, told to peers; at most 64 bytes

	// Neighbours lists members of a room and addresses under which they may be reached, which other members are told; nil:
	// none. Met is told what a member of a room, the teller, says about others of its members: nothing of it is proven but
	// that he said so. Both are called by any goroutine, with no lock held, and must not wait.
	Neighbours func(key.RoomID) []Neighbour
	Met        func(room key.RoomID, teller key.DeviceID, told []Neighbour)

	// Copied is called when a member of a room, the teller, says that he is connected with another machine, too, that has this
	// device's key, and has not said so for a while. It is called with no lock held, and must not wait.
	Copied func(room key.RoomID, teller key.DeviceID)
}

// Hub replicates the rooms of one node with the peers it is connected to. All methods may be called at any time by any
// goroutine.
type Hub struct {
	self     key.DeviceID
	log      *slog.Logger
	timing   Timing
	agent    string
	up, down *throttle
	ctx      context.Context
	cancel   context.CancelFunc
	work     sync.WaitGroup
	serial   atomic.Uint64
	totals   counters

	neighbours func(key.RoomID) []Neighbour
	met        func(key.RoomID, key.DeviceID, []Neighbour)
	copied     func(key.RoomID, key.DeviceID)
	instance   instance

	mu      sync.Mutex // guards what follows
	rooms   map[key.RoomID]*Replica
	links   map[*link]struct{}
	devices map[key.DeviceID]*sightings // members of rooms
	closed  bool
}

// NewHub returns a hub without rooms and peers. Close it.
func NewHub(self *key.Device, opts Options) *Hub {
	h := &Hub{
		self:    self.ID(),
		log:     opts.Log,
		timing:  opts.Timing.withDefaults(),
		agent:   opts.Agent[:min(len(opts.Agent), 64)],
		up:      newThrottle(opts.UpLimit),
		down:    newThrottle(opts.DownLimit),
		rooms:   map[key.RoomID]*Replica{},
		links:   map[*link]struct{}{},
		devices: map[key.DeviceID]*sightings{},

		neighbours: opts.Neighbours,
		met:        opts.Met,
		copied:     opts.Copied,
		instance:   newInstance(),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Add replicates a room from now on, also over the connections that are there. Adding a room twice returns the first
// replica.
func (h *Hub) Add(r Room, b Blobs) *Replica {
	h.mu.Lock()
	if p := h.rooms[r.ID()]; p != nil {
		h.mu.Unlock()
		return p
	}
	p := newReplica(h, r, b)
	h.rooms[r.ID()] = p
	h.mu.Unlock()
	p.start()
	for _, l := range h.currentLinks() {
		l.reconsider(p)
		l.offer(p)
	}
	return p
}

// Remove stops replicating a room. Its fetches end with ErrClosed.
func (h *Hub) Remove(id key.RoomID) {
	h.mu.Lock()
	p := h.rooms[id]
	delete(h.rooms, id)
	h.mu.Unlock()
	if p != nil {
		p.stop()
	}
}

// Replica returns the replica of a room, or nil.
func (h *Hub) Replica(id key.RoomID) *Replica {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[id]
}

// Attach serves a connection until it closes, and returns at once. A connection over which no common room is proven in
// time is closed.
func (h *Hub) Attach(c Conn) {
	h.mu.Lock()
	if h.closed || c.Remote() == h.self {
		h.mu.Unlock()
		c.Close()
		return
	}
	l := newLink(h, c)
	drop := h.crowded(l)
	h.links[l] = struct{}{}
	h.work.Add(1)
	h.mu.Unlock()
	for _, d := range drop {
		d.end(errCrowded)
	}
	go func() {
		defer h.work.Done()
		l.run()
		h.mu.Lock()
		delete(h.links, l)
		h.mu.Unlock()
	}()
}

var errCrowded = errors.New("wire: too many connections, the oldest goes")

// crowded returns the connections that have to make room for l. h.mu is held.
func (h *Hub) crowded(l *link) (drop []*link) {
	var same, unproven []*link
	for o := range h.links {
		if o.peer == l.peer {
			same = append(same, o)
		} else if !o.proven.Load() {
			unproven = append(unproven, o)
		}
	}
	older := func(a, b *link) int { return int(int64(a.serial) - int64(b.serial)) }
	for _, c := range []struct {
		links []*link
		limit int
	}{{same, maxConnsPerDev}, {unproven, maxUnproven}} {
		slices.SortFunc(c.links, older)
		if n := len(c.links) + 1 - c.limit; n > 0 {
			drop = append(drop, c.links[:n]...)
		}
	}
	return drop
}

func (h *Hub) currentLinks() []*link {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*link, 0, len(h.links))
	for l := range h.links {
		out = append(out, l)
	}
	return out
}

func (h *Hub) replicas() []*Replica {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*Replica, 0, len(h.rooms))
	for _, p := range h.rooms {
		out = append(out, p)
	}
	return out
}

// SetLimits changes the rates of Options while running; 0 means no limit.
func (h *Hub) SetLimits(up, down int64) {
	h.up.set(up)
	h.down.set(down)
}

// Close ends all connections and waits until nothing runs any more.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	for _, p := range h.replicas() {
		h.Remove(p.room.ID())
	}
	for _, l := range h.currentLinks() {
		l.end(ErrClosed)
	}
	h.work.Wait()
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
