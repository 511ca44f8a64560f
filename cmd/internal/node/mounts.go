package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/fuse"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// mounted is one mount that this node serves.
type mounted struct {
	room *Room
	dir  string
	how  config.Mount
	fs   *fuse.Mounted
}

// Mounts implements control.Node.
func (n *Node) Mounts() []api.Mount {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := []api.Mount{}
	for _, m := range n.mounts {
		out = append(out, m.api())
	}
	return out
}

func (m *mounted) api() api.Mount {
	return api.Mount{Room: m.room.Alias(), Dir: api.Text(cmp.Or(m.fs.Place(), m.dir)), Kind: "fuse", Broken: m.fs.Broken() != nil}
}

// RepeatChanges is what a mount's own child process does, until in ends: see package fuse.
func RepeatChanges(in io.Reader, out io.Writer) error { return fuse.EchoMain(in, out) }

// Mount implements control.Node.
func (n *Node) Mount(ctx context.Context, at control.Room, req api.MountRequest) (api.Mount, error) {
	r, ok := at.(*Room)
	if !ok {
		return api.Mount{}, api.Errorf(api.UnknownRoom, "not a room of this node")
	}
	if err := control.Reads(r); err != nil {
		return api.Mount{}, err
	}
	k := config.Mount{Room: r.id, Dir: []byte(filepath.Clean(string(req.Dir))), ReadOnly: req.ReadOnly, Others: req.Others}
	m := n.mountedAs(r, k) // a start-up script need not know whether the node has done it already
	if m == nil {
		var err error
		if m, err = n.mount(ctx, r, k); err != nil {
			return api.Mount{}, err
		}
	}
	if req.Keep {
		n.mu.Lock()
		n.keep = slices.DeleteFunc(n.keep, func(k config.Mount) bool { return string(k.Dir) == m.dir })
		k.Dir = []byte(m.dir)
		n.keep = append(n.keep, k)
		n.mu.Unlock()
		if err := n.save(); err != nil {
			return m.api(), err
		}
	}
	return m.api(), nil
}

// mountedAs is the mount that k asks for, nil if there is none.
func (n *Node) mountedAs(r *Room, k config.Mount) *mounted {
	dir, err := filepath.EvalSymlinks(string(k.Dir))
	if err != nil {
		return nil // mounting says why
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.mounts {
		if m.room == r && m.dir == dir && m.how.ReadOnly == k.ReadOnly && m.how.Others == k.Others && m.fs.Shown() && m.fs.Broken() == nil {
			return m
		}
	}
	return nil
}

func (n *Node) mount(ctx context.Context, r *Room, k config.Mount) (*mounted, error) {
	dir := string(k.Dir)
	if in, ok := n.inMount(dir); ok { // this process would have to answer itself
		return nil, api.Errorf(api.MountBusy, "mounting on %s: it lies in %s, which this node has mounted", dir, in)
	}
	made := false
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, api.Errorf(api.LocalFile, "making the mountpoint: %w", err)
		}
		made = true
	} else if errors.Is(err, os.ErrPermission) {
		return nil, mountError("mounting on", dir, err)
	} // a dead mount there gives other errors, and is taken away by whoever mounts
	fs, err := r.fs(ctx)
	if err != nil {
		return nil, err
	}
	m := &mounted{room: r, dir: dir, how: k}
	m.fs, err = fuse.Mount(n.ctx, dir, fs, fuse.Options{Name: r.Alias(), ReadOnly: k.ReadOnly, AllowOther: k.Others, Cached: n.opts.Cached, Echo: n.opts.Echo,
		Log: n.log.With("part", "fuse", "room", r.Alias()), Dying: n.dying(r.Alias())})
	if err != nil {
		if made {
			_ = os.Remove(dir)
		}
		return nil, mountError("mounting on", dir, err)
	}
	m.dir = m.fs.Dir()
	n.unlistBroken(m.dir)
	n.mu.Lock()
	n.mounts = append(n.mounts, m)
	late := n.closed
	n.mu.Unlock()
	if late {
		n.unlist(m)
		return nil, errors.Join(store.ErrClosed, m.end(ctx, true))
	}
	go func() {
		// Whoever unmounts it, `fusermount3 -u` included, ends it here.
		m.fs.Wait()
		if m.fs.Broken() == nil { // one that broke stays, to be told of, until it is unmounted or another takes its place
			n.unlist(m)
		}
	}()
	return m, nil
}

// inMount reports whether dir, which need not exist, lies in a directory that this node has mounted.
func (n *Node) inMount(dir string) (in string, ok bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	at, rest := dir, "" // the part that exists, and the part that does not
	for {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			dir = filepath.Join(real, rest)
			break
		}
		if at == filepath.Dir(at) {
			break
		}
		at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.mounts {
		if strings.HasPrefix(dir, strings.TrimSuffix(m.dir, "/")+"/") {
			return m.dir, true
		}
	}
	return "", false
}

// mountError gives an error the class that the command's exit code follows from; doing is "mounting on" or "unmounting".
func mountError(doing, dir string, err error) error {
	switch {
	case errors.Is(err, fuse.ErrNoFUSE):
		return api.Errorf(api.NoFuse, "%s %s: %w", doing, dir, err)
	case errors.Is(err, fuse.ErrInUse), errors.Is(err, fuse.ErrNotEmpty), errors.Is(err, fuse.ErrNoDir):
		return api.Errorf(api.MountBusy, "%s %s: %w", doing, dir, err)
	case errors.Is(err, fuse.ErrOthers):
		return api.Errorf(api.NotAllowed, "%s %s: %w", doing, dir, err).With("let root add the line user_allow_other to /etc/fuse.conf, or mount without --allow-other")
	case errors.Is(err, fs.ErrPermission):
		return api.Errorf(api.LocalFile, "%s %s: %w", doing, dir, err).With("choose a directory that belongs to you")
	case errors.As(err, new(*fs.PathError)):
		return api.Errorf(api.LocalFile, "%s %s: %w", doing, dir, err)
	case errors.Is(err, fuse.ErrBusy):
		return api.Errorf(api.MountBusy, "%s %s: %w", doing, dir, err).With("close what is open in it, or unmount with --force")
	}
	return fmt.Errorf("%s %s: %w", doing, dir, err)
}

func (n *Node) unlist(m *mounted) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mounts = slices.DeleteFunc(n.mounts, func(o *mounted) bool { return o == m })
}

// Unmount implements control.Node. It also ends the keeping of the mount. What cannot become part of the room keeps it mounted, unless
// forced: only there can it be copied out.
func (n *Node) Unmount(ctx context.Context, req api.UnmountRequest) error {
	dir := filepath.Clean(string(req.Dir))
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir
	}
	n.mu.Lock()
	is := func(m *mounted) bool { return m.dir == dir || m.dir == real || m.fs.Place() == real }
	i := slices.IndexFunc(n.mounts, func(m *mounted) bool { return is(m) && m.fs.Shown() })
	if i < 0 {
		i = slices.IndexFunc(n.mounts, is)
	}
	var m *mounted
	if i >= 0 {
		m = n.mounts[i]
	}
	n.mu.Unlock()
	if m != nil && !req.Force {
		if err := m.room.seal(ctx, "copy the files out of "+m.dir+" first, or say --force: they stay on this device, and are there again when it is mounted"); err != nil {
			return err
		}
	}
	if m != nil {
		if err := m.end(ctx, req.Force); err != nil {
			return err
		}
		n.unlist(m)
	}
	n.mu.Lock()
	before := len(n.keep)
	n.keep = slices.DeleteFunc(n.keep, func(k config.Mount) bool {
		return string(k.Dir) == dir || string(k.Dir) == real || m != nil && string(k.Dir) == m.dir
	})
	kept := len(n.keep) != before
	n.mu.Unlock()
	if kept {
		return n.save()
	}
	if m == nil {
		return api.Errorf(api.NotMounted, "nothing of this node is mounted on %s", dir)
	}
	return nil
}

// end unmounts; with force even while programs have files open.
func (m *mounted) end(ctx context.Context, force bool) error {
	do := m.fs.Unmount
	if force {
		do = m.fs.Force
	}
	if err := do(ctx); err != nil {
		return mountError("unmounting", m.dir, err)
	}
	return nil
}

// unmountRoom ends every mount of r. Those that are kept are made again when the room is opened the next time.
func (n *Node) unmountRoom(r *Room) {
	if err := n.unmountWhere(func(m *mounted) bool { return m.room == r }); err != nil {
		n.log.Warn("unmounting a room", "room", r.Alias(), "error", err)
	}
}

// forgetMounts ends the keeping of every mount of r.
func (n *Node) forgetMounts(r *Room) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keep = slices.DeleteFunc(n.keep, func(k config.Mount) bool { return k.Room == r.id })
}

// mountsOf returns how r is mounted now, for mountAgain.
func (n *Node) mountsOf(r *Room) (list []config.Mount) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.mounts {
		if m.room == r {
			list = append(list, m.how)
		}
	}
	return list
}

// mountAgain mounts a room that was closed and opened again as it was before.
func (n *Node) mountAgain(r *Room, list []config.Mount) {
	for _, k := range list {
		if _, err := n.mount(n.ctx, r, k); err != nil {
			n.note("room %s could not be mounted again: %v; `pearbox mount %s %s` tries it again, once nothing is in the way",
				r.Alias(), err, r.Alias(), k.Dir)
		}
	}
}

func (n *Node) unmountAll() error { return n.unmountWhere(func(*mounted) bool { return true }) }

func (n *Node) unmountWhere(which func(*mounted) bool) error {
	n.mu.Lock()
	list := slices.Clone(n.mounts)
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeMounts)
	defer cancel()
	var errs []error
	for _, m := range list {
		if which(m) {
			errs = append(errs, m.end(ctx, true))
			n.unlist(m)
		}
	}
	return errors.Join(errs...)
}

// remount makes the kept mounts, and opens the file system of rooms in which an earlier process left something to be sealed.
func (n *Node) remount(ctx context.Context, state config.Rooms) {
	n.mu.Lock()
	rooms := make(map[key.RoomID]*Room, len(n.rooms))
	for id, r := range n.rooms {
		rooms[id] = r
	}
	n.mu.Unlock()
	for _, k := range state.Mounts {
		r := rooms[k.Room]
		if r == nil {
			n.note("nothing was mounted on %s: its room is not open here", k.Dir)
			continue
		}
		n.mountAgain(r, []config.Mount{k})
	}
	for _, r := range rooms {
		if left, _ := os.ReadDir(filepath.Join(r.store.Blobs().Staging(), "mount")); len(left) > 0 {
			if _, err := r.fs(ctx); err != nil {
				n.note("room %s: what was written before the last end could not be looked at: %v", r.Alias(), err)
			}
		}
	}
}
