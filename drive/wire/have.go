package wire

import (
	"fmt"
	"time"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// holding is what a peer has said about one blob.
type holding struct {
	known  bool
	asking bool
	at     time.Time // of the query or the answer
	all    bool
	ranges []blob.Range
}

// query is a have query under way.
type query struct {
	s      *session
	roots  []key.Hash
	answer chan<- []haveItem // of Lacking, with room for one; nil: the fetcher's own
}

// query asks peers what they hold of the blobs that are wanted, again after a while when they did not have all.
func (f *fetcher) query() {
	type out struct {
		s *session
		m msgHaveAsk
	}
	var send []out
	f.mu.Lock()
	now := time.Now()
	for s := range f.sessions {
		var roots []key.Hash
		for _, t := range f.turn {
			h := s.holds[t.root]
			if h == nil {
				h = &holding{}
				s.holds[t.root] = h
			}
			if h.all || (h.known || h.asking) && now.Sub(h.at) < f.p.hub.timing.Retry || len(roots) >= maxHaveBlobs {
				continue
			}
			h.asking, h.at = true, now
			roots = append(roots, t.root)
		}
		if len(roots) == 0 {
			continue
		}
		f.lastID++
		f.queries[f.lastID] = &query{s: s, roots: roots}
		send = append(send, out{s, msgHaveAsk{Chan: s.ch, ID: f.lastID, Roots: roots}})
	}
	f.mu.Unlock()
	for _, o := range send {
		o.s.link.send(encode(frameHaveAsk, o.m))
	}
}

// onHave takes the answer to a query.
func (s *session) onHave(m msgHave) error {
	f := &s.rep.fetch
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queries[m.ID]
	if q == nil || q.s != s {
		return nil // no longer of interest
	}
	delete(f.queries, m.ID)
	if len(m.Items) != len(q.roots) {
		return fmt.Errorf("%w: %d answers to %d questions", ErrProtocol, len(m.Items), len(q.roots))
	}
	if q.answer != nil {
		q.answer <- m.Items
		return nil
	}
	for i, root := range q.roots {
		h := s.holds[root]
		if h == nil {
			continue
		}
		h.asking, h.known, h.at, h.all, h.ranges = false, true, time.Now(), m.Items[i].All, nil
		s.luck.note(h.all)
		for j := 0; j < len(m.Items[i].Ranges); j += 2 {
			h.ranges = append(h.ranges, blob.Range{Off: m.Items[i].Ranges[j], Len: m.Items[i].Ranges[j+1]})
		}
	}
	f.forget(s)
	f.poke()
	return nil
}

// forget keeps what is remembered about a peer's blobs small. f.mu is held.
func (f *fetcher) forget(s *session) {
	if len(s.holds) < 4*maxHaveBlobs {
		return
	}
	wanted := map[key.Hash]struct{}{}
	for _, t := range f.turn {
		wanted[t.root] = struct{}{}
	}
	for root := range s.holds {
		if _, ok := wanted[root]; !ok {
			delete(s.holds, root)
		}
	}
}

// diskWork is what a control frame asks for and what needs the disk: not the control reader's business.
type diskWork struct {
	s  *session
	do func()
}

// later queues what needs the disk.
func (s *session) later(do func()) error {
	select {
	case s.link.asks <- diskWork{s, do}:
		return nil
	default:
		return fmt.Errorf("%w: more than %d have queries at once", ErrProtocol, cap(s.link.asks))
	}
}

// lookAtDisk does one after another what was queued.
func (l *link) lookAtDisk() error {
	for {
		select {
		case w := <-l.asks:
			if w.s.rep.enter() {
				w.do()
				w.s.rep.exit()
			}
		case <-l.ctx.Done():
			return nil
		}
	}
}

// onHaveAsk answers a query.
func (s *session) onHaveAsk(m msgHaveAsk) error {
	return s.later(func() { s.link.send(encode(frameHave, s.haves(m))) })
}

// haves looks up what is held of each blob, as far as the peer may know.
func (s *session) haves(ask msgHaveAsk) msgHave {
	m := msgHave{Chan: s.ch, ID: ask.ID, Items: make([]haveItem, len(ask.Roots))}
	budget := MaxControlFrame / 2
	for i, root := range ask.Roots {
		m.Items[i] = haveItem{Ranges: []int64{}}
		if !s.may(room.AccessSeeder) || s.rep.isWithheld(root) {
			continue
		}
		if src, err := s.rep.blobs.Serve(blob.CIDOf(root)); err == nil {
			m.Items[i] = haveOf(src, &budget)
			src.Close()
		}
	}
	return m
}

// haveOf tells what is held of a blob, in at most maxHaveRanges ranges and what is left of the frame.
func haveOf(src Source, budget *int) haveItem {
	it := haveItem{Ranges: []int64{}}
	held := src.Held()
	if src.Size() == 0 || len(held) == 1 && held[0].Off == 0 && held[0].Len >= src.Size() {
		it.All = true
		return it
	}
	for i, r := range held {
		if i == maxHaveRanges || *budget < 18 {
			break
		}
		*budget -= 18
		it.Ranges = append(it.Ranges, r.Off, r.Len)
	}
	return it
}
