package swarm

import (
	"slices"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/pearbox/pearbox/drive/key"
)

// told is what others told of a target.
type told struct {
	hints []hint
	next  time.Time            // earliest next try
	tried map[string]time.Time // addresses that were tried, and when they were last
}

// hint is an address that somebody told and that has not led to a session.
type hint struct {
	addr  string
	tries int
}

// teller counts what one device told.
type teller struct {
	since time.Time // the count began
	n     int
}

// suggest takes addresses of a device that another one told.
func (d *dialler) suggest(from, id key.DeviceID, addrs []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ss.with(id) != nil {
		return
	}
	now := time.Now()
	t := d.targets[id]
	for _, a := range addrs {
		if t != nil && (slices.Contains(t.addrs, a) || !t.told.news(a, now)) || !d.tries(a) {
			continue
		}
		if t == nil {
			if len(d.targets) >= maxTargets/2 { // those that are known otherwise do not make room
				return
			}
			t = &target{id: id}
		}
		if !d.allow(from, now) {
			return
		}
		d.targets[id] = t
		t.told.hints = append(t.told.hints, hint{addr: a})
	}
}

// allow counts an address of a teller, or reports that there have been too many. d.mu is held.
func (d *dialler) allow(from key.DeviceID, now time.Time) bool {
	t := d.tellers[from]
	if t == nil && len(d.tellers) >= maxTellers {
		for id, o := range d.tellers {
			if now.Sub(o.since) >= hintWindow {
				delete(d.tellers, id)
			}
		}
		if len(d.tellers) >= maxTellers {
			return false
		}
	}
	if t == nil || now.Sub(t.since) >= hintWindow {
		t = &teller{since: now}
		d.tellers[from] = t
	}
	t.n++
	return t.n <= maxToldHour
}

// tries reports whether an address that was told is one to try in this network.
func (d *dialler) tries(text string) bool {
	a, err := ma.NewMultiaddr(text)
	switch {
	case err != nil || manet.IsIPUnspecified(a):
		return false
	case manet.IsIPLoopback(a):
		return onLoopback(d.host)
	case d.net == LAN:
		return manet.IsPrivateAddr(a) && !isRelayed(a)
	}
	return true
}

// news reports whether an address is one to take.
func (t *told) news(a string, now time.Time) bool {
	if at, ok := t.tried[a]; ok && now.Sub(at) < hintWindow {
		return false
	}
	return len(t.hints) < maxHints && !slices.ContainsFunc(t.hints, func(h hint) bool { return h.addr == a })
}

// take returns the addresses to try now, and counts the try.
func (t *told) take(now time.Time) (addrs []string) {
	if now.Before(t.next) || len(t.hints) == 0 {
		return nil
	}
	if t.tried == nil || len(t.tried) >= maxTried {
		t.tried = map[string]time.Time{}
	}
	for i := range t.hints {
		h := &t.hints[i]
		h.tries++
		t.tried[h.addr] = now
		addrs = append(addrs, h.addr)
	}
	t.hints = slices.DeleteFunc(t.hints, func(h hint) bool { return h.tries >= hintTries })
	t.next = now.Add(hintPause)
	return addrs
}

// old reports whether nothing is left that is worth remembering.
func (t *told) old(now time.Time) bool {
	for _, at := range t.tried {
		if now.Sub(at) < hintWindow {
			return false
		}
	}
	return len(t.hints) == 0
}
