package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
)

const (
	newPrefix   = ".new-" // directories of rooms that are being made; what a crash left is removed at the next start
	goodbyeWait = 3 * time.Second
	maxAlias    = 64
)

// openRooms opens what rooms.json and the rooms directory hold. A room that does not open is noted and left alone.
func (n *Node) openRooms(ctx context.Context, state config.Rooms) {
	n.mu.Lock()
	n.keep = state.Mounts
	n.mu.Unlock()
	for _, s := range n.withStrays(state.Rooms) {
		if ctx.Err() != nil {
			return
		}
		if _, err := n.openRoom(s); err != nil {
			n.fail(s, err)
		}
	}
	for _, r := range n.roomList() {
		n.adoptName(r) // a list of rooms that was lost held the names
	}
}

// failure is a room that did not open.
type failure struct {
	state config.Room
	err   error
}

func (f failure) note() string {
	tip := "`pearbox fsck` tries again"
	if errors.Is(f.err, syscall.ENOSPC) {
		tip = "free some space there, then `pearbox fsck` opens it"
	}
	return fmt.Sprintf("room %s could not be opened: %v (%s)", f.state.Alias, f.err, tip)
}

func (n *Node) fail(s config.Room, err error) {
	n.log.Error("opening a room", "room", s.Alias, "error", err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed[s.ID] = failure{s, err}
}

// failures lists the rooms that did not open, by alias.
func (n *Node) failures() []failure {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := slices.Collect(maps.Values(n.failed))
	slices.SortFunc(out, func(a, b failure) int { return strings.Compare(a.state.Alias, b.state.Alias) })
	return out
}

// withStrays adds the rooms that are stored and stand in no rooms.json, and removes what was left of rooms in the making.
func (n *Node) withStrays(rooms []config.Room) []config.Room {
	list, err := os.ReadDir(filepath.Join(n.dir.Path(), "rooms"))
	if err != nil {
		n.note("reading the rooms directory: %v", err)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), newPrefix) {
			_ = os.RemoveAll(filepath.Join(n.dir.Path(), "rooms", e.Name()))
			continue
		}
		id, err := key.ParseRoomID(e.Name())
		if err != nil || slices.ContainsFunc(rooms, func(r config.Room) bool { return r.ID == id }) {
			continue
		}
		rooms = append(rooms, config.Room{ID: id, Alias: id.Short(), Auto: true})
	}
	return rooms
}

func (n *Node) roomList() []*Room {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sorted()
}

// Rooms implements control.Node.
func (n *Node) Rooms() []control.Room {
	out := []control.Room{}
	for _, r := range n.roomList() {
		out = append(out, r)
	}
	return out
}

// Room implements control.Node: an alias, an id, or a unique prefix of either.
func (n *Node) Room(ref string) (control.Room, error) {
	var begin []*Room
	for _, r := range n.roomList() {
		alias, id := r.Alias(), r.id.String()
		if alias == ref || id == ref {
			return r, nil
		}
		if ref != "" && (strings.HasPrefix(alias, ref) || strings.HasPrefix(id, ref)) {
			begin = append(begin, r)
		}
	}
	for _, f := range n.failures() {
		if f.state.Alias == ref || f.state.ID.String() == ref {
			code := api.Damaged
			if errors.Is(f.err, syscall.ENOSPC) {
				code = api.NoSpace
			}
			return nil, api.Errorf(code, "room %s could not be opened: %w", f.state.Alias, f.err)
		}
	}
	if len(begin) == 0 { // the name that it was made with may not be fit for an alias
		for _, r := range n.roomList() {
			if ref != "" && r.Alias() == plainAlias(ref) {
				begin = append(begin, r)
			}
		}
	}
	switch len(begin) {
	case 0:
		return nil, api.Errorf(api.UnknownRoom, "there is no room %q here", ref)
	case 1:
		return begin[0], nil
	}
	var names []string
	for _, r := range begin {
		names = append(names, r.Alias())
	}
	return nil, api.Errorf(api.Ambiguous, "%q may be %s", ref, strings.Join(names, " or "))
}

// Create implements control.Node.
func (n *Node) Create(ctx context.Context, req api.CreateRequest) (control.Room, string, error) {
	n.making.Lock()
	defer n.making.Unlock()
	device := req.Device
	if device == "" {
		device = n.opts.Config.Name
	}
	tmp, err := os.MkdirTemp(filepath.Join(n.dir.Path(), "rooms"), newPrefix)
	if err != nil {
		return nil, "", fmt.Errorf("making the room's directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	var recovery key.Recovery
	p, err := n.openParts(tmp, func(st room.Storage, views []room.View) (r *room.Room, err error) {
		r, recovery, err = room.Create(st, n.dev, req.Name, device, views...)
		return r, err
	})
	if err != nil {
		return nil, "", err
	}
	r, err := n.settle(p, tmp, config.Room{ID: p.log.ID(), Alias: n.freeAlias(req.Name), Added: time.Now().UTC()})
	if err != nil {
		return nil, "", err
	}
	return r, recovery.Words(), nil
}

// settle closes a room that was made in tmp, moves it to its place, opens it there and remembers it.
func (n *Node) settle(p *parts, tmp string, state config.Room) (*Room, error) {
	if err := p.close(); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, n.dir.RoomDir(state.ID)); err != nil {
		return nil, fmt.Errorf("putting the room in its place: %w", err)
	}
	if err := config.SyncDir(filepath.Dir(tmp)); err != nil {
		return nil, fmt.Errorf("putting the room in its place: %w", err)
	}
	r, err := n.openRoom(state)
	if err != nil {
		return nil, err
	}
	n.refreshTopics(r)
	return r, n.save()
}

// plainAlias makes an alias of a name.
func plainAlias(name string) string {
	base := strings.Trim(strings.Map(func(r rune) rune {
		if strings.ContainsRune("/:@\\", r) || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return '-'
		}
		return r
	}, name), "-.")
	if len(base) > maxAlias {
		base = strings.ToValidUTF8(base[:maxAlias], "")
	}
	return base
}

// freeAlias makes an alias of a name that no room has yet.
func (n *Node) freeAlias(name string) string {
	base := cmp.Or(plainAlias(name), "room")
	taken := make(map[string]bool)
	for _, f := range n.failures() {
		taken[f.state.Alias] = true
	}
	for _, r := range n.roomList() {
		taken[r.Alias()] = true
	}
	alias := base
	for i := 2; taken[alias]; i++ {
		alias = fmt.Sprintf("%s-%d", base, i)
	}
	return alias
}

// Leave implements control.Node. A room that was left stays readable until it is left with forget. What was written through its mounts is
// sealed first: afterwards this device may write nothing. With forget, what cannot be, or is being written, is lost; so that takes force.
func (n *Node) Leave(ctx context.Context, at control.Room, req api.LeaveRequest) error {
	r, ok := at.(*Room)
	if !ok {
		return api.Errorf(api.UnknownRoom, "not a room of this node")
	}
	forget := req.Forget
	if !req.Force && r.onlyOwner() {
		return api.Errorf(api.NotAllowed, "this device is the only owner of %s, which has other members: without it nobody may do everything there", r.Alias()).
			With(fmt.Sprintf("make somebody owner first, `pearbox role %s NAME owner`, or say --force", r.Alias()))
	}
	if !forget && r.log.Status().Standing == room.Pending {
		return api.Errorf(api.NotAdmitted, "nobody has let this device into %s yet, so there is nothing to leave", r.Alias()).
			With("`pearbox leave --forget ROOM` takes the request back")
	}
	if !req.Force {
		if err := r.alone(forget); err != nil {
			return err
		}
	}
	if forget && !req.Force {
		if err := n.forgettable(ctx, r); err != nil {
			return err
		}
	}
	if !req.Force {
		if err := r.seal(ctx, "say --force to leave without it"); err != nil {
			return err
		}
		end, err := r.handedOn(ctx)
		if err != nil {
			return err
		}
		defer end()
	}
	n.forgetMounts(r)
	n.unmountRoom(r)
	if err := r.closeFiles(); err != nil && !forget {
		return err
	}
	if r.log.Status().Standing == room.Admitted {
		if err := r.log.Leave(ctx); err != nil {
			return err
		}
		r.goodbye(ctx)
	}
	if !forget {
		n.refreshTopics(r)
		n.hub.Remove(r.id)
		return n.save()
	}
	return n.drop(r, true)
}

// onlyOwner reports whether this device owns the room, which has other members, and none of them does.
func (r *Room) onlyOwner() bool {
	if st := r.log.Status(); st.Standing != room.Admitted || st.Role != room.RoleOwner {
		return false
	}
	others := false
	for _, m := range r.log.Members() {
		if m.Self || m.Standing != room.Admitted {
			continue
		}
		if m.Role == room.RoleOwner {
			return false
		}
		others = true
	}
	return others
}

// goodbye gives the leaving a moment to reach somebody: one who acknowledges it, or who ends the connection because of it.
func (r *Room) goodbye(ctx context.Context) {
	if r.replica == nil {
		return
	}
	limit := time.NewTimer(goodbyeWait)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(r.replica.Peers()) > 0 {
		have, changed := r.held()
		if have > 0 {
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// drop closes a room and takes it off the list; with erase it removes what is stored of it, and forgets its mounts.
func (n *Node) drop(r *Room, erase bool) error {
	if erase {
		n.forgetMounts(r)
	}
	n.unmountRoom(r)
	_ = r.closeFiles()
	n.mu.Lock()
	if n.rooms[r.id] != r {
		n.mu.Unlock()
		return nil
	}
	delete(n.rooms, r.id)
	n.mu.Unlock()
	err := r.close()
	r.topicsMu.Lock()
	for _, t := range r.topics {
		n.net.Leave(t)
	}
	r.topics = nil
	r.topicsMu.Unlock()
	if erase {
		// First out of the way, so that a crash in between leaves no half of a room.
		gone := filepath.Join(n.dir.Path(), "rooms", newPrefix+"gone-"+r.id.String())
		if rerr := os.Rename(n.dir.RoomDir(r.id), gone); rerr == nil {
			err = errors.Join(err, os.RemoveAll(gone))
		} else {
			err = errors.Join(err, rerr)
		}
	}
	return errors.Join(err, n.save())
}

// saved is what rooms.json holds of the room.
func (r *Room) saved() config.Room {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Alias = r.alias
	return s
}

// save writes rooms.json. Rooms that did not open stay in it.
func (n *Node) save() error {
	n.saving.Lock()
	defer n.saving.Unlock()
	old, err := n.dir.Rooms()
	if err != nil {
		return err
	}
	next := config.Rooms{}
	for _, r := range n.roomList() {
		next.Rooms = append(next.Rooms, r.saved())
	}
	for _, s := range old.Rooms {
		if _, err := os.Stat(n.dir.RoomDir(s.ID)); err == nil && !slices.ContainsFunc(next.Rooms, func(r config.Room) bool { return r.ID == s.ID }) {
			next.Rooms = append(next.Rooms, s)
		}
	}
	n.mu.Lock()
	next.Mounts = slices.Clone(n.keep)
	n.mu.Unlock()
	return n.dir.SaveRooms(next)
}

// Peers implements control.Node.
func (n *Node) Peers(of control.Room) []api.Peer {
	rooms := n.roomList()
	if r, ok := of.(*Room); ok {
		rooms = []*Room{r}
	}
	out := []api.Peer{}
	for _, r := range rooms {
		if r.replica == nil {
			continue
		}
		for _, p := range r.replica.Peers() {
			peer := api.Peer{Device: p.Device.String(), Room: r.Alias(), Path: p.Path, Since: p.Since,
				Received: p.Traffic.In(), Sent: p.Traffic.Out(), Behind: int64(p.Behind)}
			if m, ok := r.log.Member(p.Device); ok {
				peer.Name = m.Name
				if m.Standing == room.Admitted {
					peer.Role = m.Role.String()
				}
			}
			out = append(out, peer)
		}
	}
	slices.SortFunc(out, func(a, b api.Peer) int {
		return strings.Compare(a.Room+"\x00"+a.Device, b.Room+"\x00"+b.Device)
	})
	return out
}

// close closes parts that were opened and never assembled.
func (p *parts) close() error {
	var err error
	if c, ok := any(p.log).(interface{ Close() error }); ok {
		err = c.Close()
	}
	return errors.Join(err, p.store.Close())
}
