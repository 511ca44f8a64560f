package node

import (
	"context"
	"time"

	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// entriesWait is how long who leaves waits until others who are connected have taken what he wrote last.
const entriesWait = 10 * time.Second

// OnlyWith implements control.Room.
func (r *Room) OnlyWith(ctx context.Context, dev key.DeviceID) ([]string, error) {
	list := refsOf{paths: map[string]string{}}
	self := dev == r.node.dev.ID()
	for info, err := range r.drive.Now().Walk("") {
		if err != nil {
			return nil, err
		}
		if info.Content == nil || info.Content.Payload > 0 {
			continue
		}
		if here := r.drive.LocalState(info); self && here > 0 || !self && here < info.Size {
			list.add(info)
		}
	}
	refs := list.refs
	asked := map[key.DeviceID]bool{dev: true}
	for _, p := range r.peers() {
		if len(refs) == 0 {
			break
		}
		if asked[p.Device] || r.log.Access(p.Device) != room.AccessMember {
			continue
		}
		asked[p.Device] = true
		var err error
		if refs, err = r.lacking(ctx, p.Device, refs); err != nil {
			return nil, err
		}
	}
	if !self {
		var err error
		if refs, err = r.with(ctx, dev, refs); err != nil {
			return nil, err
		}
	}
	return pathsOf(refs, list.paths), nil
}

// with returns those of refs that another device says it holds, or that it wrote once.
func (r *Room) with(ctx context.Context, dev key.DeviceID, refs []blob.Ref) (has []blob.Ref, err error) {
	if len(refs) == 0 {
		return nil, nil
	}
	wrote, err := r.drive.Wrote(ctx, dev, refs)
	if err != nil {
		return nil, err
	}
	lacks := refs
	if r.replica != nil {
		if lacks, err = r.lacking(ctx, dev, refs); err != nil {
			return nil, err
		}
	}
	lacking := make(map[string]bool, len(lacks))
	for _, ref := range lacks {
		lacking[ref.CID.KeyString()] = true
	}
	for i, ref := range refs {
		if wrote[i] || !lacking[ref.CID.KeyString()] {
			has = append(has, ref)
		}
	}
	return has, nil
}

// handedOn is an error if this device has something that nobody else who is connected has: once it has left that is gone for the others. Until
// end is called this device tells nobody that it has any bytes: of two who leave at once each would trust in the other.
func (r *Room) handedOn(ctx context.Context) (end func(), err error) {
	if r.log.Status().Standing != room.Admitted {
		return func() {}, nil
	}
	if err := r.entriesHandedOn(ctx); err != nil {
		return nil, err
	}
	end = func() {}
	if r.replica != nil {
		all, err := r.listed("")
		if err != nil {
			return nil, err
		}
		if end, err = r.replica.Withhold(all.refs); err != nil {
			return nil, err
		}
	}
	files, err := r.OnlyWith(ctx, r.node.dev.ID())
	if err == nil && len(files) > 0 {
		err = api.Errorf(api.Nobody, "nobody else who is connected has all bytes of %s: after this device has left %s, the others cannot get them any more", control.SomeOf(files), r.Alias()).
			With("`pearbox sync ROOM --peers 1 --bytes` waits until somebody has what is listed here, or say --force")
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// entriesHandedOn is an error if entries are here alone, as far as those who are connected tell: any that this device wrote, and of others those
// that a small file stands in. While somebody is connected it waits a little for him to take them.
func (r *Room) entriesHandedOn(ctx context.Context) error {
	ends, err := r.lastEntries()
	if err != nil {
		return err
	}
	limit := time.NewTimer(entriesWait)
	defer limit.Stop()
	for waits := true; ; {
		alone, changed := r.unheld(ends)
		switch {
		case len(alone) == 0:
			return nil
		case !waits || len(r.peers()) == 0:
			return r.onlyEntries(alone)
		}
		select {
		case <-changed:
		case <-limit.C:
			waits = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lastEntries says how many blocks of logs somebody else has to have for that.
func (r *Room) lastEntries() (ends map[key.CoreID]uint64, err error) {
	ends = map[key.CoreID]uint64{}
	for _, c := range r.log.Cores(room.AccessMember) {
		if c.Device == r.node.dev.ID() && c.Kind != key.Control && c.Head.Length > 0 {
			ends[c.ID] = c.Head.Length
		}
	}
	for info, err := range r.drive.Now().Walk("") {
		if err != nil {
			return nil, err
		}
		if end := blocksOf(info); end > 0 {
			ends[info.Core] = max(ends[info.Core], end)
		}
	}
	return ends, nil
}

// blocksOf is how many blocks of a log hold a small file; 0 of one that stands in none.
func blocksOf(info drive.Info) uint64 {
	if info.Content == nil || info.Content.Payload == 0 {
		return 0
	}
	return info.Seq + 1 + uint64(info.Content.Payload)
}

// unheld are those logs of which nobody else who is connected has so many blocks. The channel is closed when that may have changed.
func (r *Room) unheld(ends map[key.CoreID]uint64) (alone map[key.CoreID]uint64, changed <-chan struct{}) {
	if r.replica == nil {
		return ends, nil
	}
	alone = map[key.CoreID]uint64{}
	for id, end := range ends {
		have, ch := r.replica.Holders(id, end)
		if changed == nil {
			changed = ch // the first: what changes later changes it
		}
		if len(have) == 0 {
			alone[id] = end
		}
	}
	return alone, changed
}

// onlyEntries is the error about logs that are longer here than with anybody else who is connected.
func (r *Room) onlyEntries(alone map[key.CoreID]uint64) error {
	var files []string
	for info, err := range r.drive.Now().Walk("") {
		if err != nil {
			return err
		}
		end := blocksOf(info)
		if end == 0 || alone[info.Core] == 0 {
			continue
		}
		if left, _ := r.unheld(map[key.CoreID]uint64{info.Core: end}); len(left) > 0 {
			files = append(files, info.Path)
		}
	}
	what := "names, versions and messages that this device wrote"
	if len(files) > 0 {
		what = control.SomeOf(files)
	}
	return api.Errorf(api.Nobody, "nobody else who is connected has %s: after this device has left %s, the others cannot get that any more", what, r.Alias()).
		With("`pearbox sync ROOM --peers 1` waits until somebody has what this device wrote, or say --force")
}
