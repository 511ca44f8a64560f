package node

import (
	"context"
	"slices"

	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// opened is the file system of the mounts, nil if there is none.
func (r *Room) opened() *vfs.FS {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.files
}

// seal makes what was written through mounts part of the room. Its error names the files that cannot be, with what to do: hint.
func (r *Room) seal(ctx context.Context, hint string) error {
	fs := r.opened()
	if fs == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeSeal)
	defer cancel()
	err := fs.Sync(ctx, "", nil)
	if err == nil {
		return nil
	}
	what := "names and attributes"
	if left := fs.Pending(); len(left) > 0 {
		what = control.SomeOf(left)
	}
	return api.Errorf(control.AsError(err).Code, "what was written in mounts of %s is on this device alone: %s: %w", r.Alias(), what, err).With(hint)
}

// forgettable ends the mounts of a room, and is an error if something there would be lost with what is stored of the room: what is not
// part of it, and what is being written.
func (n *Node) forgettable(ctx context.Context, r *Room) error {
	const hint = "copy the files out of the folder first (`pearbox mount` shows it, if nothing is mounted now), or say --force to lose them"
	if err := r.seal(ctx, hint); err != nil {
		return err
	}
	if fs := r.opened(); fs != nil {
		if left := append(fs.Pending(), fs.Unfinished()...); len(left) > 0 { // open files, and those that an earlier process did not end
			return api.Errorf(api.MountBusy, "files in %s are being written: %s", r.Alias(), control.SomeOf(left)).
				With("end what writes them; `pearbox sync ROOM:PATH` says of one that it is whole. Or copy them out, or say --force to lose them")
		}
	}
	n.mu.Lock()
	list := slices.Clone(n.mounts)
	n.mu.Unlock()
	for _, m := range list {
		if m.room != r {
			continue
		}
		if err := m.end(ctx, false); err != nil { // programs have it open, and may write on
			return err
		}
		n.unlist(m)
	}
	return r.seal(ctx, hint)
}

// alone is an error if the room has no other member, who could let anybody in once this device has left.
func (r *Room) alone(forget bool) error {
	if r.log.Status().Standing != room.Admitted {
		return nil
	}
	for _, m := range r.log.Members() {
		if !m.Self && m.Standing == room.Admitted {
			return nil
		}
	}
	after := "its files stay here, to be read"
	if forget {
		after = "its files are gone"
	}
	return api.Errorf(api.NotAllowed, "this device is the only member of %s: once it has left, nobody can come in any more, and %s", r.Alias(), after).
		With("let somebody else in first (`pearbox invite ROOM`), or say --force")
}
