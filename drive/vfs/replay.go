package vfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// aside is where staging files go that nothing may be made of: they were never acknowledged by fsync and a power
// failure may have left them half-written, or the journal does not know them. They are kept for somebody to look at.
const aside = "aside"

// replay shows and schedules what an earlier process left in the journal.
func (fs *FS) replay(ctx context.Context, sameBoot bool) error {
	if err := fs.arrived(fs.journal.records()); err != nil {
		return err
	}
	recs := fs.journal.records()
	known := map[string]bool{journalName: true, aside: true}
	var dirs, rest []record
	for _, r := range recs {
		known[r.ID.String()] = true
		if r.Base != nil {
			known[r.ID.String()+mapSuffix] = true
		}
		if r.Local && r.Kind == Dir {
			dirs = append(dirs, r)
		} else {
			rest = append(rest, r)
		}
	}
	fs.mu.Lock()
	for _, r := range dirs {
		c := fs.newNode(Dir)
		c.stage = &stage{fs: fs, node: c, rec: r}
		fs.byStage[r.ID] = c
	}
	fs.mu.Unlock()
	for _, r := range append(dirs, rest...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		void, err := fs.restore(r, sameBoot)
		if err != nil {
			return err
		}
		if void {
			if err := fs.journal.append(drop(r.ID)); err != nil {
				return err
			}
		}
	}
	fs.publishRest(ctx, recs)
	err := fs.sweep(known)
	fs.journal.over = nil
	return err
}

// restore brings one record back to life; void says that there is nothing to bring back.
func (fs *FS) restore(r record, sameBoot bool) (void bool, err error) {
	if r.Kind == File && !r.Linger {
		// The record counts, so that its end was lost to a power failure that this rename survived.
		if err := os.Rename(fs.stagePath(r.ID)+goneSuffix, fs.stagePath(r.ID)); err != nil && !errors.Is(err, errNotExist) {
			return false, err
		}
		if _, err := os.Lstat(fs.stagePath(r.ID)); errors.Is(err, errNotExist) {
			return true, nil // recorded in the drive, and its end was not written any more
		}
		if !sameBoot && !r.Synced && !r.Local {
			return true, fs.setAside(r, "it was never synced before the machine stopped")
		}
	}
	if r.Void != nil {
		info, err := fs.drive.Lookup(r.Void.Parent, r.Void.Name)
		if err != nil && !errors.Is(err, errNotExist) {
			return false, err
		}
		if err != nil || !fs.same(info.Node, r.Void.Node) {
			return true, fs.setAside(r, "the entry that it belonged to was removed or replaced")
		}
		r.Void = nil
	}
	if err := fs.follow(&r); err != nil {
		return false, err
	}
	dir, err := fs.homeOf(r)
	if err != nil {
		return false, err
	}
	defer dir.Unpin()
	if err := fs.renew(&r, dir); err != nil {
		return false, err
	}
	if r.Linger {
		info, err := fs.drive.Lookup(r.Parent, r.Name)
		if errors.Is(err, errNotExist) || err == nil && string(fs.drive.Opened(info)) != string(r.Opened) {
			return true, nil // made already, or something was saved there
		}
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.newLinger(dir, r, info).due = time.Now()
		return false, err
	}
	l, err := fs.lowerOf(context.Background(), r, sameBoot)
	if err != nil {
		return true, fs.setAside(r, fmt.Sprintf("what it is based on cannot be told: %v", err))
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.revive(r, dir, l)
	return false, nil
}

// same reports whether two ids are those of one node, one of them perhaps provisional.
func (fs *FS) same(a, b NodeID) bool {
	if a == b {
		return true
	}
	at, err := fs.drive.Path(a)
	bt, err2 := fs.drive.Path(b)
	return err == nil && err2 == nil && at == bt
}

// renew gives a record that may know its directory by a provisional id the one by which the drive knows it now.
func (fs *FS) renew(r *record, dir *Node) error {
	if r.Under != (stageID{}) || dir == fs.root || r.Parent == dir.id() {
		return nil
	}
	r.Parent = dir.id()
	return fs.journal.append(put(*r))
}

// follow gives the record of a file in the drive the place where that file is now.
func (fs *FS) follow(r *record) error {
	if r.Opened == nil || r.Linger {
		return nil
	}
	info, err := fs.drive.Lookup(r.Parent, r.Name)
	if err == nil && info.Node == r.Node || err != nil && !errors.Is(err, errNotExist) {
		return err
	}
	if r.To != nil {
		info, err := fs.drive.Lookup(r.To.Parent, r.To.Name)
		if err == nil && info.Kind == File {
			r.Parent, r.Name, r.Node, r.Opened, r.To = r.To.Parent, r.To.Name, info.Node, fs.drive.Opened(info), nil
		}
		if err == nil || !errors.Is(err, errNotExist) {
			return err
		}
	}
	at, err := fs.drive.Path(r.Node)
	if errors.Is(err, errNotExist) {
		return nil // it was removed; it will come back as a new file
	}
	if err != nil {
		return err
	}
	n, err := fs.Walk(context.Background(), path.Dir(at))
	if err != nil {
		return err
	}
	defer n.Unpin()
	r.Parent, r.Name = n.id(), path.Base(at)
	return nil
}

// revive makes the node of a record. fs.mu is held.
func (fs *FS) revive(r record, dir *Node, l *lower) {
	var c *Node
	if r.Kind == Dir {
		c = fs.byStage[r.ID]
	} else {
		c = fs.newNode(r.Kind)
		c.stage = &stage{fs: fs, node: c, rec: r, fresh: true, lower: l}
	}
	if r.Kind == File {
		c.stage.path = fs.stagePath(r.ID)
		c.rev = &rev{path: c.stage.path, lower: l}
	}
	if r.Opened != nil || r.Became != nil {
		fs.rejoin(c, dir)
	}
	c.place(dir, r.Name)
	if r.Kind == File && !r.Local && !fs.leaveUnfinished(c.stage) {
		fs.schedule(c, c.stage)
		c.stage.due = time.Now()
	}
}

// rejoin makes a staged node the node of the drive's entry whose bytes it replaces, if that is still there. When the
// process died between recording the bytes and ending the record, the drive has them already; the stage then goes on
// from there, and whatever was written after that is a version of its own. fs.mu is held.
func (fs *FS) rejoin(c, dir *Node) {
	r := &c.stage.rec
	info, err := fs.drive.Lookup(dir.info.Node, r.Name)
	if err != nil || fs.byKey[info.ID] != nil {
		return
	}
	switch {
	case r.Became != nil && info.Kind == File && info.Bytes == *r.Became:
		r.Node, r.Opened, r.SetPerm = info.Node, fs.drive.Opened(info), false
	case r.Opened == nil || info.Node != r.Node:
		return
	}
	r.Became = nil
	c.ino = inoOf(info.ID)
	c.joinDrive(info)
	fs.logged(fs.journal.append(put(*r)))
}

// homeOf finds the directory a record is in, pinned: the root if it is gone.
func (fs *FS) homeOf(r record) (*Node, error) {
	fs.root.Pin()
	if r.Under != (stageID{}) {
		if d := fs.byStage[r.Under]; d != nil {
			d.Pin()
			return d, nil
		}
		return fs.root, nil
	}
	if r.Parent == (NodeID{}) {
		return fs.root, nil
	}
	at, err := fs.drive.Path(r.Parent)
	if err == nil {
		var n *Node
		if n, err = fs.Walk(context.Background(), at); err == nil && n.kind == Dir {
			return n, nil
		}
	}
	if err != nil && !errors.Is(err, errNotExist) && !errors.Is(err, ErrNotDir) {
		return nil, err
	}
	return fs.root, nil
}

// sweep removes what nobody needs from the staging directory and sets aside what the journal does not know. What an earlier process in this
// boot had said the end of is needed by nobody: that process was killed before it let go of the file. After a power failure nothing tells
// whether the file was used again.
func (fs *FS) sweep(known map[string]bool) error {
	es, err := os.ReadDir(fs.dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		name := e.Name()
		switch {
		case known[name]:
		case strings.Contains(name, "."): // a second name or an unfinished copy
			os.Remove(filepath.Join(fs.dir, name))
		default:
			id, _ := stageOf(name)
			if fi, err := e.Info(); fs.journal.over[id] || err == nil && fi.Size() == 0 {
				fs.spare(filepath.Join(fs.dir, name))
			} else if err := fs.moveAside(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// asideNote stands beside a file that was set aside, as JSON under its name and asideSuffix.
type asideNote struct {
	Name  string    `json:"name"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	Keep  int64     `json:"keep,omitempty"` // up to here, what the map does not have is to be found below
	Below []byte    `json:"below,omitempty"`
	Boot  string    `json:"boot,omitempty"` // of the machine, in which it was written
}

const asideSuffix = ".json"

// setAside moves a record's staging file aside, with what is known of it beside it. The record ends.
func (fs *FS) setAside(r record, why string) error {
	fs.log.Warn("a file that was written and is not part of the drive is set aside", "name", r.Name, "file", r.ID, "why", why)
	name := r.ID.String()
	about := asideNote{Name: r.Name, Why: why, Since: time.Now().Round(time.Second)}
	files := []string{name}
	if r.Base != nil {
		about.Keep, about.Below, about.Boot = r.Base.Keep, r.Base.Ref, fs.journal.boot
		files = append(files, name+mapSuffix)
	}
	b, err := json.MarshalIndent(about, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(fs.dir, aside), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(fs.dir, aside, name+asideSuffix), append(b, '\n'), 0o600); err != nil {
		return err
	}
	for _, name := range files {
		if err := fs.moveAside(name); err != nil && !errors.Is(err, errNotExist) {
			return err
		}
	}
	return nil
}

// moveAside moves a file of the staging directory aside.
func (fs *FS) moveAside(name string) error {
	dir := filepath.Join(fs.dir, aside)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Rename(filepath.Join(fs.dir, name), filepath.Join(dir, name))
}

// letGoLater lets go of a staging file once the disk knows that its record has ended.
func (fs *FS) letGoLater(l leftover) {
	fs.wg.Add(1)
	go func() {
		defer fs.wg.Done()
		if err := fs.journal.sync(); err == nil {
			fs.letGo(l)
		}
	}()
}
