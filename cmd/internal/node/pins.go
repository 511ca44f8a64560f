package node

import (
	"slices"
	"strings"

	"github.com/pearbox/pearbox/drive/tree"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/serve/api"
)

// maxPins bounds the pins of a room: each is compared with every path that the keeper looks at.
const maxPins = 1000

// keepWords are the words of api.Keeping.Keep for config.Room.Keep.
var keepWords = map[string]string{"": "auto", keepAll: "all", keepNone: "pinned"}

// Keeping implements control.Room.
func (r *Room) Keeping() api.Keeping {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := api.Keeping{Keep: keepWords[r.state.Keep], Pins: []api.Pin{}}
	for _, p := range r.state.Away {
		k.Away = append(k.Away, api.Text(p))
	}
	for _, p := range r.state.Pins {
		k.Pins = append(k.Pins, api.Pin{Path: api.Text(p)})
	}
	return k
}

// SetKeep implements control.Room.
func (r *Room) SetKeep(word string) error {
	for keep, w := range keepWords {
		if w == word {
			return r.remember(func() error { r.state.Keep = keep; return nil })
		}
	}
	return api.Errorf(api.Usage, "%q is no way to keep files", word).With("one of: all, auto, pinned")
}

// Pin implements control.Room.
func (r *Room) Pin(paths []string, on bool) error {
	return r.remember(func() error {
		next := slices.Clone(r.state.Pins)
		for _, p := range paths {
			i := slices.IndexFunc(next, func(q []byte) bool { return string(q) == p })
			switch {
			case on && i < 0:
				next = append(next, []byte(p))
			case !on && i < 0:
				return api.Errorf(api.NotFound, "%q is not pinned", p).With("`pearbox pin ROOM` lists what is; what lies below a pinned directory is let go with it")
			case !on:
				next = slices.Delete(next, i, i+1)
			}
		}
		if len(next) > maxPins {
			return api.Errorf(api.TooLarge, "a room may have %d pins", maxPins).With("pin a directory that holds them")
		}
		slices.SortFunc(next, slices.Compare)
		r.state.Pins = next
		if on {
			r.state.Away = slices.DeleteFunc(slices.Clone(r.state.Away), func(a []byte) bool {
				return slices.ContainsFunc(paths, func(p string) bool { return isWithin(string(a), p) })
			})
		}
		return nil
	})
}

// remember changes the room's state and stores it; the keeper looks at everything again.
func (r *Room) remember(change func() error) error {
	r.mu.Lock()
	err := change()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	r.keeper.rescan()
	return r.node.save()
}

// Pinned implements control.Room.
func (r *Room) Pinned(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return anyHolds(r.state.Pins, path)
}

// away reports whether a path is one of which nothing comes by itself.
func (r *Room) away(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return anyHolds(r.state.Away, path)
}

// anyAway reports whether there are any.
func (r *Room) anyAway() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.state.Away) > 0
}

func anyHolds(tops [][]byte, path string) bool {
	return slices.ContainsFunc(tops, func(top []byte) bool { return isWithin(path, string(top)) })
}

// isWithin reports whether path is top or below it.
func isWithin(path, top string) bool {
	return top == "" || path == top || strings.HasPrefix(path, top) && path[len(top)] == '/'
}

// pinnedEntry is Pinned for what a mount shows.
func (r *Room) pinnedEntry(i vfs.Info) bool {
	if !r.pins() {
		return false
	}
	path, err := r.drive.Now().Path(tree.NodeID(i.Node)) // i.Raw may be of before its entry was made, when it had another id
	return err == nil && r.Pinned(path)
}

// pins reports whether anything is pinned.
func (r *Room) pins() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.state.Pins) > 0
}

// Disk implements control.Room.
func (r *Room) Disk() (s api.Space, err error) {
	u, err := r.store.Space()
	return api.Space{
		Overhead: u.Blobs + u.Partial + u.Packs, Log: u.Log, Index: u.Index, Staging: u.Staging, Other: u.Other,
		Partial: u.Partial, Disk: u.Total(), Free: u.Free,
	}, err
}
