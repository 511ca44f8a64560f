package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

// Room is one room of the node with everything that belongs to it.
type Room struct {
	node    *Node
	id      key.RoomID
	store   *store.Room
	log     *room.Room
	drive   *drive.Drive
	chat    *chat.Chat
	replica *wire.Replica // nil while the room is not replicated
	keeper  *keeper

	ctx     context.Context // ends with the room
	cancel  context.CancelFunc
	work    sync.WaitGroup
	unwatch func()
	changed chan struct{} // word from watch to follow
	forked  chan struct{} // and to handOn

	topicsMu sync.Mutex // guards topics
	topics   []key.Hash

	mu    sync.Mutex // guards what follows
	alias string
	state config.Room
	files *vfs.FS // nil until something is mounted

	infoMu sync.Mutex // guards the cached totals
	totals totals
}

var _ control.Room = (*Room)(nil)

// parts is what a room stands on.
type parts struct {
	store *store.Room
	log   *room.Room
}

// views makes the views of a room, to be handed to whatever opens its log.
func views() []room.View { return []room.View{drive.NewTree(), chat.NewTimeline()} }

// openParts opens the store at dir and lets with open the log in it.
func (n *Node) openParts(dir string, with func(st room.Storage, views []room.View) (*room.Room, error)) (*parts, error) {
	st, err := n.openStore(dir)
	if err != nil {
		return nil, err
	}
	p := &parts{store: st}
	if p.log, err = with(st, views()); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if n.opts.Clock != nil {
		p.log.SetClock(n.opts.Clock)
	}
	return p, nil
}

func (n *Node) openStore(dir string) (*store.Room, error) {
	return store.OpenRoom(dir, store.Options{Log: n.log.With("part", "store"), Disk: n.opts.Disk})
}

// openRoom opens a room that is stored already. The store notes damage that shows only when something is read, and repairs it at the next
// opening: so that comes at once.
func (n *Node) openRoom(state config.Room) (*Room, error) {
	r, err := n.tryRoom(state)
	if errors.Is(err, store.ErrDamaged) {
		n.log.Error("opening a room found damage; it is opened again", "room", state.Alias, "error", err)
		r, err = n.tryRoom(state)
	}
	return r, err
}

func (n *Node) tryRoom(state config.Room) (*Room, error) {
	p, err := n.openParts(n.dir.RoomDir(state.ID), func(st room.Storage, views []room.View) (*room.Room, error) {
		return room.Open(st, n.dev, views...)
	})
	if err != nil {
		return nil, err
	}
	if lost := p.store.Opened().Salvaged; lost != nil {
		state.Damage = damage(lost)
		n.log.Error("a room's log was damaged", "room", state.Alias, "what", state.Damage)
	}
	r, err := n.assemble(p, state)
	if err == nil && state.Damage != "" {
		if serr := n.save(); serr != nil {
			n.log.Warn("saving the list of rooms", "error", serr)
		}
	}
	return r, err
}

// damage tells what a salvage did.
func damage(s *store.Salvage) string {
	text := fmt.Sprintf("its log was damaged (%s) and put together again from %d blocks that still verify", s.Reason, s.Blocks)
	for _, l := range s.Lost {
		if l.Had > l.Have {
			text += fmt.Sprintf("; log %s lost %d of %d blocks here", l.Core.Short(), l.Had-l.Have, l.Had)
		}
	}
	if s.Aside != "" {
		text += "; the damaged file is kept as " + s.Aside
	}
	return text + ". What is missing comes back from members who have it"
}

// assemble puts drive, chat, replication and keeper on top of a log, and adds the room to the node.
func (n *Node) assemble(p *parts, state config.Room) (_ *Room, err error) {
	r := &Room{node: n, id: p.log.ID(), store: p.store, log: p.log, alias: state.Alias, state: state, changed: make(chan struct{}, 1), forked: make(chan struct{}, 1)}
	n.mu.Lock()
	twice := n.closed || n.rooms[r.id] != nil
	n.mu.Unlock()
	if twice {
		return nil, errors.Join(api.Errorf(api.Exists, "room %s is open already", r.id.Short()), p.close())
	}
	r.ctx, r.cancel = context.WithCancel(n.ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.id != state.ID {
		return nil, api.Errorf(api.Damaged, "the directory of room %s holds room %s", state.ID.Short(), r.id.Short())
	}
	var fetch drive.Fetcher // nil: only what is here can be read
	var own *recoverer
	defer func() {
		if err != nil && own != nil { // else its run does
			own.release()
		}
	}()
	if r.active() {
		own = r.guardOwn()
		r.replica = n.hub.Add(p.log, wire.Adapt(p.store.Blobs()))
		fetch = fetcher{r.replica}
	}
	log := n.log.With("room", state.Alias)
	if r.drive, err = drive.Open(drive.Options{Room: p.log, Blobs: p.store.Blobs(), Fetch: fetch,
		Ahead: r.aheadDir(), Log: log}); err != nil {
		return nil, err
	}
	r.drive.KeepStaged(vfs.Below(p.store.Blobs().Staging()))
	if r.chat, err = chat.Open(chat.Options{Room: p.log, Drive: r.drive, Fetch: fetch, Log: log}); err != nil {
		return nil, err
	}
	r.unwatch = p.log.Watch(r.watch)
	r.keeper = newKeeper(r, log)
	n.mu.Lock()
	closed := n.closed
	if !closed {
		n.rooms[r.id] = r
	}
	n.mu.Unlock()
	if closed {
		return nil, store.ErrClosed
	}
	r.goes(func() { n.follow(r) })
	r.goes(func() { r.keeper.run(r.ctx) })
	r.goes(func() { r.handOn(r.ctx) })
	if own != nil {
		r.goes(func() { own.run(r.ctx) })
	}
	return r, nil
}

// aheadDir is where the drive keeps the changes that it puts off, for as long as the room is open.
func (r *Room) aheadDir() string { return filepath.Join(r.store.Blobs().Staging(), "ahead") }

// goes runs f in the background; closing the room waits for it.
func (r *Room) goes(f func()) {
	r.work.Add(1)
	go func() {
		defer r.work.Done()
		f()
	}()
}

// close closes what belongs to the room, files apart, from the top.
func (r *Room) close() error {
	if r.cancel != nil {
		r.cancel()
	}
	if r.unwatch != nil {
		r.unwatch()
	}
	r.node.hub.Remove(r.id)
	r.work.Wait()
	var errs []error
	if r.chat != nil {
		errs = append(errs, r.chat.Close())
	}
	if r.drive != nil {
		errs = append(errs, r.drive.Close())
	}
	if c, ok := any(r.log).(io.Closer); ok {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, r.store.Close())...)
}

// active reports whether the room takes part: this device is a member, or asks to be.
func (r *Room) active() bool {
	switch r.log.Status().Standing {
	case room.Left, room.Removed, room.Refused:
		return false
	}
	return true
}

// fs is the room as a file system, opened at the first use: several mounts share it.
func (r *Room) fs(ctx context.Context) (*vfs.FS, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files != nil {
		return r.files, nil
	}
	fs, err := vfs.New(ctx, vfs.Options{Drive: vfs.Over(r.drive), Staging: r.store.Blobs().Staging(), Policy: r.node.opts.Mounts, Pinned: r.pinnedEntry,
		Log: r.node.log.With("part", "vfs", "room", r.alias)})
	if err != nil {
		return nil, fmt.Errorf("opening the room as a file system: %w", err)
	}
	r.files = fs
	if list := fs.Unfinished(); len(list) > 0 {
		r.node.log.Warn("files were being written when the node stopped", "room", r.alias, "paths", list)
	}
	return fs, nil
}

// closeFiles seals what was written through mounts and closes the file system; what is not sealed in time is found at the next start.
func (r *Room) closeFiles() error {
	r.mu.Lock()
	fs := r.files
	r.files = nil
	r.mu.Unlock()
	if fs == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeSeal)
	defer cancel()
	if err := fs.Close(ctx, nil); err != nil {
		return fmt.Errorf("sealing what was written in %s: %w", r.Alias(), err)
	}
	return nil
}

// ID implements control.Room.
func (r *Room) ID() key.RoomID { return r.id }

// Alias implements control.Room.
func (r *Room) Alias() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alias
}

// Log implements control.Room.
func (r *Room) Log() *room.Room { return r.log }

// Drive implements control.Room. What a mount has acknowledged by now is in it.
func (r *Room) Drive() *drive.Drive {
	if err := r.drive.Ahead().Flush(r.ctx); err != nil {
		r.node.log.Warn("what was done in mounts is not part of the drive yet", "room", r.Alias(), "error", err)
	}
	return r.drive
}

// Chat implements control.Room.
func (r *Room) Chat() *chat.Chat { return r.chat }

// Replica is the room's replication; nil while the room takes no part in any.
func (r *Room) Replica() *wire.Replica { return r.replica }

// standings are the words of api.Room.State.
var standings = map[room.Standing]string{
	room.Unknown: "asking", room.Pending: "asking", room.Admitted: "open", room.Refused: "refused", room.Removed: "removed", room.Left: "left",
}

// Info implements control.Room.
func (r *Room) Info() api.Room {
	u, err := r.store.Space()
	if err != nil {
		r.node.log.Warn("adding up what a room takes", "room", r.Alias(), "error", err)
	}
	return r.info(u)
}

// Online implements control.Room.
func (r *Room) Online() []key.DeviceID {
	if r.replica == nil {
		return nil
	}
	return r.replica.Online()
}

// Brief implements control.Room.
func (r *Room) Brief() api.Room {
	st := r.log.Status()
	info := api.Room{ID: r.id.String(), Alias: r.Alias(), Name: r.log.Name(), State: standings[st.Standing]}
	if st.Standing == room.Admitted {
		info.Role = st.Role.String()
		if st.UpdateNeeded {
			info.State = "read-only"
		}
	}
	for _, m := range r.log.Members() {
		if m.Standing == room.Admitted {
			info.Members++
		}
	}
	if r.replica != nil {
		info.Peers = len(r.replica.Peers())
	}
	for _, d := range r.Online() {
		if m, ok := r.log.Member(d); ok && m.Standing == room.Admitted && !m.Self {
			info.Online = append(info.Online, m.Name)
		}
	}
	slices.Sort(info.Online)
	return info
}

func (r *Room) info(u store.Usage) api.Room {
	info, t := r.Brief(), r.count()
	info.Files, info.Bytes, info.Held = t.files, t.bytes, t.held
	info.Disk = u.Log + u.Index + u.Blobs + u.Packs + u.Partial + u.Staging
	if !t.version.IsNow() {
		info.Version = t.version.String()
	}
	return info
}

// totals are the sums over the tree that Info tells. They cost a walk, so they are kept until the tree changes or bytes may have come.
type totals struct {
	files, bytes, held int64
	missing            int64         // files of which bytes are not here
	version            drive.Version // the newest entry
	at                 uint64        // keeper.changes when they were made
	made               time.Time
	took               time.Duration
}

// Sums that took longer than countQuick are not made at each call: while the tree changes they may be up to countEvery old.
const (
	countQuick = 100 * time.Millisecond
	countEvery = 5 * time.Second
)

func (r *Room) count() totals {
	r.infoMu.Lock()
	defer r.infoMu.Unlock()
	now := r.keeper.changes.Load()
	// While bytes are missing they may arrive at any time, which no change of the tree tells of.
	// The newest entry tells of this node's own writes, which the keeper may hear of later than who made them.
	newest, _ := r.drive.Latest()
	stale := r.totals.at != now || r.totals.version != newest || r.totals.held < r.totals.bytes
	if r.totals.made.IsZero() || stale && (r.totals.took < countQuick || time.Since(r.totals.made) > countEvery) {
		t, start := totals{at: now, version: newest}, time.Now()
		for info, err := range r.drive.Now().Walk("") {
			if err == nil && info.Kind == drive.KindFile {
				t.files++
				t.bytes += info.Size
				held := r.drive.LocalState(info)
				if t.held += held; held < info.Size {
					t.missing++
				}
			}
		}
		t.made = time.Now()
		t.took = t.made.Sub(start)
		r.totals = t
	}
	return r.totals
}
