package node

import (
	"context"

	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// OnlyWith implements control.Room.
func (r *Room) OnlyWith(ctx context.Context, dev key.DeviceID) ([]string, error) {
	list := refsOf{paths: map[string]string{}}
	self := dev == r.node.dev.ID()
	for info, err := range r.drive.Now().Walk("") {
		if err != nil {
			return nil, err
		}
		if info.Content == nil || info.Content.Payload > 0 || !self && info.Author != dev {
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
	return pathsOf(refs, list.paths), nil
}

// handedOn is an error if this device has files that nobody else who is connected has: once it has left they are gone for the others. Until
// end is called this device tells nobody that it has any: of two who leave at once each would trust in the other.
func (r *Room) handedOn(ctx context.Context) (end func(), err error) {
	if r.log.Status().Standing != room.Admitted {
		return func() {}, nil
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
