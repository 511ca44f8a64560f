package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
)

// SetAway implements control.Room.
func (r *Room) SetAway(paths []string, on bool) error {
	for _, p := range paths {
		if on && r.Pinned(p) {
			return api.Errorf(api.Usage, "%q is pinned", p).With("`pearbox unpin ROOM:PATH` lets it go first; `pearbox pin ROOM` lists what is pinned")
		}
	}
	return r.remember(func() error {
		next := slices.Clone(r.state.Away)
		for _, p := range paths {
			if !on && !slices.ContainsFunc(next, func(q []byte) bool { return string(q) == p }) {
				return api.Errorf(api.NotFound, "%q comes by itself, as far as it goes", p).With("`pearbox drop ROOM` lists what does not")
			}
			next = slices.DeleteFunc(next, func(q []byte) bool { return on && isWithin(string(q), p) || string(q) == p })
			if on && !anyHolds(next, p) {
				next = append(next, []byte(p))
			}
		}
		if len(next) > maxPins {
			return api.Errorf(api.TooLarge, "a room may have %d of them", maxPins).With("name a directory that holds them")
		}
		slices.SortFunc(next, slices.Compare)
		r.state.Away = next
		return nil
	})
}

// candidate is a blob that may be dropped.
type candidate struct {
	ref    blob.Ref
	held   int64  // bytes of it that are here
	path   string // of a file that has it
	own    bool   // this device wrote it, once; looked at when forced
	copies int    // others that say they hold it
}

// Drop implements control.Room.
func (r *Room) Drop(ctx context.Context, paths []string, o api.DropRequest, progress func(api.Progress)) (rep api.DropReport, err error) {
	rep = api.DropReport{Room: r.Alias(), DryRun: o.DryRun}
	list, err := r.droppable(paths)
	if err != nil {
		return rep, err
	}
	refs := make([]blob.Ref, len(list))
	for i, c := range list {
		refs[i] = c.ref
	}
	if r.replica != nil {
		end, err := r.replica.Withhold(refs)
		if err != nil {
			return rep, err
		}
		defer end()
		if err := r.countCopies(ctx, list, max(o.Copies, 1)); err != nil {
			return rep, err
		}
	}
	if o.Force {
		wrote, err := r.drive.Wrote(ctx, r.node.dev.ID(), refs)
		if err != nil {
			return rep, fmt.Errorf("looking for what this device wrote: %w", err)
		}
		for i, c := range list {
			c.own = wrote[i]
		}
	}
	var goes []blob.Ref
	var total int64
	only := map[string]bool{}
	for _, c := range list {
		if c.copies >= max(o.Copies, 1) || o.Force && !c.own {
			goes = append(goes, c.ref)
			total += c.held
			continue
		}
		rep.Kept.Blobs, rep.Kept.Bytes = rep.Kept.Blobs+1, rep.Kept.Bytes+c.held
		if !only[c.path] {
			only[c.path] = true
			rep.KeptFiles++
			if len(rep.Only) < maxNamed {
				rep.Only = append(rep.Only, api.Text(c.path))
			}
		}
	}
	if o.DryRun {
		rep.Dropped = api.Amount{Blobs: int64(len(goes)), Bytes: total}
		return rep, nil
	}
	f, err := r.drive.Forget(ctx, goes, func(n int64) { progress(api.Progress{Phase: "drop", Bytes: n, TotalBytes: total}) })
	rep.Dropped, rep.Busy, rep.Compacted = api.Amount{Blobs: int64(f.Blobs), Bytes: f.Bytes}, int64(f.Busy), f.Packs
	if err != nil {
		return rep, fmt.Errorf("dropping local copies: %w", err)
	}
	return rep, nil
}

const maxNamed = 100 // files that a report names

// droppable lists the blobs of which something is here of the files at or below paths, but for those that something pinned has.
func (r *Room) droppable(paths []string) (list []*candidate, err error) {
	pinned := map[string]bool{}
	if r.pins() {
		for info, err := range r.drive.Now().Walk("") {
			if err != nil {
				return nil, err
			}
			if info.Content != nil && r.Pinned(info.Path) {
				for _, p := range info.Content.Parts {
					pinned[p.CID.KeyString()] = true
				}
			}
		}
	}
	found := map[string]bool{}
	for _, top := range paths {
		for info, err := range r.drive.Now().Walk(top) {
			if err != nil {
				return nil, err
			}
			if info.Kind != drive.KindFile || info.Content == nil {
				continue
			}
			for _, p := range info.Content.Parts {
				id := p.CID.KeyString()
				if found[id] || pinned[id] {
					continue
				}
				if n := r.heldOf(p.Ref()); n > 0 {
					found[id], list = true, append(list, &candidate{ref: p.Ref(), held: n, path: info.Path})
				}
			}
		}
	}
	return list, nil
}

// heldOf is how many bytes of a blob are here.
func (r *Room) heldOf(ref blob.Ref) (n int64) {
	for _, x := range r.store.Blobs().Have(ref) {
		n += x.Len
	}
	return n
}

// countCopies asks the members who are connected which of the blobs they hold whole, until each has enough copies.
func (r *Room) countCopies(ctx context.Context, list []*candidate, enough int) error {
	asked := map[key.DeviceID]bool{}
	for _, p := range r.replica.Peers() {
		if asked[p.Device] || r.log.Access(p.Device) != room.AccessMember {
			continue
		}
		asked[p.Device] = true
		var ask []blob.Ref
		for _, c := range list {
			if c.copies < enough {
				ask = append(ask, c.ref)
			}
		}
		if len(ask) == 0 {
			return nil
		}
		left, err := r.lacking(ctx, p.Device, ask)
		if err != nil {
			return err
		}
		lacks := make(map[string]bool, len(left))
		for _, ref := range left {
			lacks[ref.CID.KeyString()] = true
		}
		for _, c := range list {
			if c.copies < enough && !lacks[c.ref.CID.KeyString()] {
				c.copies++
			}
		}
	}
	return nil
}
