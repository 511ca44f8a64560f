package vfs

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/drive/tree"
)

// Change of attributes; nil leaves one as it is.
type SetAttr struct {
	Size  *int64
	Perm  *uint32
	MTime *time.Time
}

// SetAttr changes attributes; durable after Sync.
func (n *Node) SetAttr(ctx context.Context, set SetAttr) error {
	if n.past != nil {
		return ErrReadOnly
	}
	if err := n.fs.mayChange(); err != nil {
		return err
	}
	if set.Size != nil {
		if err := n.truncate(ctx, *set.Size); err != nil {
			return err
		}
	}
	if set.Perm == nil && set.MTime == nil {
		return nil
	}
	defer n.holdPlace()()
	unlock, err := n.lockStage(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	if set.Perm != nil {
		p := *set.Perm & 0o7777
		set.Perm = &p
	}
	n.fs.mu.Lock()
	staged := n.stage != nil
	n.fs.mu.Unlock()
	if staged {
		if err := n.setStaged(&set); err != nil {
			return err
		}
	}
	return n.setDrive(ctx, Attrs{Perm: set.Perm, MTime: set.MTime})
}

// setStaged changes attributes that the stage keeps, and takes from set what the drive need not know now. n.wmu is
// held.
func (n *Node) setStaged(set *SetAttr) error {
	fs := n.fs
	fs.mu.Lock()
	defer fs.mu.Unlock()
	st := n.stage
	if set.Perm != nil && (!n.inDrive || st.rec.SetPerm) {
		if st.rec.Perm != *set.Perm {
			if err := st.update(func(r *record) { r.Perm = *set.Perm }); err != nil {
				return err
			}
		}
	}
	if set.MTime != nil {
		if st.path != "" {
			if err := st.setTime(*set.MTime); err != nil {
				return fmt.Errorf("setting a staging file's time: %w", err)
			}
			if st.writers == 0 && !st.dead {
				fs.schedule(n, st)
			}
		} else if err := st.update(func(r *record) { r.MTime = nanos(*set.MTime) }); err != nil {
			return err
		}
		set.MTime = nil
	}
	if !n.inDrive {
		set.Perm = nil
	}
	return nil
}

// setTime sets the staging file's time of modification, not while it is put back after something was put in.
func (st *stage) setTime(t time.Time) error {
	if l := st.lower; l.holed() {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	return os.Chtimes(st.path, time.Time{}, t)
}

// setDrive changes attributes in the drive, unless they are so already. Of what is open and has no name they change as well, for as
// long as it is. The caller holds n's place.
func (n *Node) setDrive(ctx context.Context, a Attrs) error {
	fs := n.fs
	fs.mu.Lock()
	if a.Perm != nil && *a.Perm == n.info.Perm {
		a.Perm = nil
	}
	if a.MTime != nil && a.MTime.Equal(n.info.MTime) {
		a.MTime = nil
		n.touched = time.Time{}
	}
	parent, name, ok := n.at()
	if a.Perm == nil && a.MTime == nil && len(a.Xattrs) == 0 {
		fs.mu.Unlock()
		return nil
	}
	n.setting++
	fs.mu.Unlock()
	var err error
	if ok {
		err = fs.later(ctx, func(b Batch) error { return b.SetAttr(parent, name, a) })
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n.set()
	if err != nil {
		return err
	}
	if a.Perm != nil {
		n.info.Perm = *a.Perm
	}
	if a.MTime != nil {
		n.info.MTime, n.touched = *a.MTime, time.Time{}
	}
	if len(a.Xattrs) > 0 {
		n.info.Xattrs = maps.Clone(n.info.Xattrs)
		if n.info.Xattrs == nil {
			n.info.Xattrs = map[string][]byte{}
		}
		maps.Copy(n.info.Xattrs, a.Xattrs)
	}
	n.infoChanged()
	return nil
}

// set ends a change of attributes. Where others may have changed them meanwhile the drive is asked next time. fs.mu is held.
func (n *Node) set() {
	if n.setting--; n.setting == 0 && n.crossed {
		n.crossed, n.checked = false, 0
	}
}

// infoChanged follows a change of n.info by this process. fs.mu is held.
func (n *Node) infoChanged() {
	if n.rev != nil && n.rev.path == "" {
		n.rev.info = n.info
	}
	n.fs.epoch.Add(1)
}

// holdPlace keeps n under its name until the returned function is called.
func (n *Node) holdPlace() (unlock func()) {
	for {
		n.fs.mu.Lock()
		dir := n.dir
		n.fs.mu.Unlock()
		if dir == nil {
			return func() {}
		}
		dir.ns.RLock()
		n.fs.mu.Lock()
		same := n.dir == dir
		n.fs.mu.Unlock()
		if same {
			return dir.ns.RUnlock
		}
		dir.ns.RUnlock()
	}
}

// truncate changes a file's length.
func (n *Node) truncate(ctx context.Context, size int64) error {
	switch {
	case n.kind == Dir:
		return ErrIsDir
	case n.kind != File:
		return ErrSupport
	case size < 0:
		return ErrName
	}
	return n.withStage(ctx, true, size, func(st *stage) error {
		if err := st.resize(size); err != nil {
			return fmt.Errorf("truncating a staging file: %w", err)
		}
		fs := n.fs
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if st.writers == 0 && !st.dead {
			fs.schedule(n, st)
		}
		n.data++
		return nil
	})
}

// Extended attributes: user.* are kept and replicated; user.pearbox.* tell about the file and cannot be set.
const (
	xattrPrefix   = "user."
	xattrOwn      = "user.pearbox."
	xattrStatus   = xattrOwn + "status"
	xattrConflict = xattrOwn + "conflict"
	xattrPinned   = xattrOwn + "pinned"
	maxXattr      = 64 << 10 // bytes of one value, as in Linux

	// What one file or directory may have together, with names: it stands in one entry with all else that is said of it.
	maxXattrs     = tree.MaxXattrs
	maxXattrBytes = tree.MaxBody / 2
)

// MayHaveXattr reports whether there are extended attributes of such a name at all.
func MayHaveXattr(name string) bool { return strings.HasPrefix(name, xattrPrefix) }

// Xattr returns the value of an extended attribute: ErrNoAttr, ErrSupport where none may have such a name.
func (n *Node) Xattr(ctx context.Context, name string) ([]byte, error) {
	if !MayHaveXattr(name) {
		return nil, ErrSupport
	}
	if strings.HasPrefix(name, xattrOwn) {
		return n.ownXattr(ctx, name)
	}
	v, ok := n.xattrs()[name]
	if !ok {
		return nil, ErrNoAttr
	}
	return v, nil
}

// xattrs returns the map of what is set; it is not to be changed.
func (n *Node) xattrs() map[string][]byte {
	if n.past != nil {
		return n.past.info.Xattrs
	}
	n.fs.mu.Lock()
	defer n.fs.mu.Unlock()
	if n.stage != nil && !n.inDrive {
		return n.stage.rec.Xattrs
	}
	return n.info.Xattrs
}

// Xattrs lists the names of the extended attributes.
func (n *Node) Xattrs(ctx context.Context) ([]string, error) {
	return slices.Sorted(maps.Keys(n.xattrs())), nil
}

func (n *Node) ownXattr(ctx context.Context, name string) ([]byte, error) {
	switch name {
	case xattrStatus:
		if n.kind == File {
			return []byte(n.Status(ctx)), nil
		}
	case xattrPinned:
		n.fs.mu.Lock()
		info, ask := n.info, n.past == nil && n.inDrive && n.fs.pinned != nil
		n.fs.mu.Unlock()
		if ask && n.fs.pinned(info) {
			return []byte("1"), nil
		}
	case xattrConflict:
		n.fs.mu.Lock()
		defer n.fs.mu.Unlock()
		if n.inDrive && n.info.Conflict {
			return []byte("1"), nil
		}
	}
	return nil, ErrNoAttr
}

// Status says where a file's bytes are: "local" (all here), "remote", or "pending" (not yet in the drive).
func (n *Node) Status(ctx context.Context) string {
	n.fs.mu.Lock()
	staged, info := n.stage != nil, n.info
	n.fs.mu.Unlock()
	if n.past != nil {
		info = n.past.info
	} else if staged {
		return "pending"
	}
	return n.fs.presence(info)
}

// presence says where the bytes of an entry of the drive are.
func (fs *FS) presence(info Info) string {
	if p, ok := fs.drive.(interface{ Presence(Info) string }); ok {
		return p.Presence(info)
	}
	return "local"
}

// mayGrow checks that another attribute, or another value of one, can become part of the drive with those that are there.
func mayGrow(have map[string][]byte, name string, value []byte) error {
	count, size := 1, len(name)+len(value)
	for k, v := range have {
		if k != name {
			count, size = count+1, size+len(k)+len(v)
		}
	}
	if count > maxXattrs || size > maxXattrBytes {
		return ErrTooBig
	}
	return nil
}

// SetXattr sets an extended attribute. create and replace ask that it must not, or must, exist already. ErrTooBig when the value is, or all
// of them together would be.
func (n *Node) SetXattr(ctx context.Context, name string, value []byte, create, replace bool) error {
	if err := n.mayXattr(name); err != nil {
		return err
	}
	if len(value) > maxXattr {
		return ErrTooBig
	}
	_, has := n.xattrs()[name]
	if has && create {
		return errExist
	}
	if !has && replace {
		return ErrNoAttr
	}
	if err := mayGrow(n.xattrs(), name, value); err != nil {
		return err
	}
	value = slices.Clone(value)
	defer n.holdPlace()()
	unlock, err := n.lockStage(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	if done, err := n.stagedXattr(func(m map[string][]byte) { m[name] = value }); done {
		return err
	}
	return n.setDrive(ctx, Attrs{Xattrs: map[string][]byte{name: value}})
}

func (n *Node) mayXattr(name string) error {
	switch {
	case n.past != nil:
		return ErrReadOnly
	case !MayHaveXattr(name) || strings.HasPrefix(name, xattrOwn) || n.kind == Symlink:
		return ErrSupport
	case len(name) > MaxName:
		return ErrTooBig
	}
	return n.fs.mayChange()
}

// stagedXattr changes the attributes of what only the stage has. n.wmu is held.
func (n *Node) stagedXattr(fn func(map[string][]byte)) (done bool, err error) {
	fs := n.fs
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n.stage == nil || n.inDrive {
		return false, nil
	}
	m := maps.Clone(n.stage.rec.Xattrs)
	if m == nil {
		m = map[string][]byte{}
	}
	fn(m)
	return true, n.stage.update(func(r *record) { r.Xattrs = m })
}

// RemoveXattr removes an extended attribute: ErrNoAttr.
func (n *Node) RemoveXattr(ctx context.Context, name string) error {
	if err := n.mayXattr(name); err != nil {
		return err
	}
	if _, has := n.xattrs()[name]; !has {
		return ErrNoAttr
	}
	defer n.holdPlace()()
	unlock, err := n.lockStage(ctx, true)
	if err != nil {
		return err
	}
	defer unlock()
	if done, err := n.stagedXattr(func(m map[string][]byte) { delete(m, name) }); done {
		return err
	}
	fs := n.fs
	fs.mu.Lock()
	parent, at, ok := n.at()
	fs.mu.Unlock()
	if ok {
		if err := fs.later(ctx, func(b Batch) error { return b.RemoveXattr(parent, at, name) }); err != nil {
			return err
		}
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n.info.Xattrs = maps.Clone(n.info.Xattrs)
	delete(n.info.Xattrs, name)
	n.infoChanged()
	return nil
}
