package control_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
	"github.com/pearbox/pearbox/serve/control"
)

// testNode is a node without a network and without mounts: real stores, logs,
// drives and chats, and as little as possible around them.
type testNode struct {
	t   testing.TB
	dir string
	dev *key.Device

	mu     sync.Mutex
	rooms  []*testRoom
	mounts []api.Mount
	down   bool
	find   []api.Finding
}

type testRoom struct {
	alias string
	log   *room.Room
	drive *drive.Drive
	chat  *chat.Chat
	keep  api.Keeping
	away  bool // something was dropped
	full  bool // the disk; dropping ends that

	asked func(wanted []drive.Info) // by Missing
}

var _ control.Node = (*testNode)(nil)

func (r *testRoom) ID() key.RoomID      { return r.log.ID() }
func (r *testRoom) Alias() string       { return r.alias }
func (r *testRoom) Log() *room.Room     { return r.log }
func (r *testRoom) Drive() *drive.Drive { return r.drive }
func (r *testRoom) Chat() *chat.Chat    { return r.chat }

func (r *testRoom) Brief() api.Room { return r.Info() }

func (r *testRoom) Settle(context.Context) {}

func (r *testRoom) OnlyHere(context.Context, string) (stays, waits []string, err error) {
	return nil, nil, nil
}

func (r *testRoom) Info() api.Room {
	return api.Room{ID: r.ID().String(), Alias: r.alias, Name: r.log.Name(), Role: r.log.Role().String(), State: "open", Members: len(r.log.Members())}
}

func (r *testRoom) Sync(ctx context.Context, _ string, peers int, _ bool, wait func(int, []string)) (drive.Version, int, error) {
	if peers > 0 {
		wait(0, []string{"large"})
		<-ctx.Done()
		return drive.Version{}, 0, ctx.Err()
	}
	return drive.Version{}, 0, nil
}

func (r *testRoom) OnlyWith(context.Context, key.DeviceID) ([]string, error) { return nil, nil }

func (r *testRoom) Missing(_ context.Context, wanted []drive.Info) ([]string, error) {
	if r.asked != nil {
		r.asked(wanted)
	}
	return nil, nil
}

func (r *testRoom) Keeping() api.Keeping   { return r.keep }
func (r *testRoom) Online() []key.DeviceID { return nil }

func (r *testRoom) SetKeep(keep string) error {
	r.keep.Keep = keep
	return nil
}

func (r *testRoom) SetAway(_ []string, on bool) error {
	if r.full {
		return fmt.Errorf("writing: %w", syscall.ENOSPC)
	}
	r.away = on
	return nil
}

func (r *testRoom) Aside() ([]api.Aside, error) { return nil, nil }

func (r *testRoom) PutAside(context.Context, api.Aside, string) (string, drive.Version, error) {
	return "", drive.Version{}, nil
}

func (r *testRoom) RemoveAside(string) error { return nil }

func (r *testRoom) Drop(context.Context, []string, api.DropRequest, func(api.Progress)) (api.DropReport, error) {
	r.full = false
	return api.DropReport{}, nil
}

func (r *testRoom) Pin(paths []string, on bool) error {
	for _, p := range paths {
		i := slices.IndexFunc(r.keep.Pins, func(q api.Pin) bool { return string(q.Path) == p })
		switch {
		case on:
			r.keep.Pins = append(r.keep.Pins, api.Pin{Path: api.Text(p)})
		case i < 0:
			return api.Errorf(api.NotFound, "%q is not pinned", p)
		default:
			r.keep.Pins = slices.Delete(r.keep.Pins, i, i+1)
		}
	}
	return nil
}

func (r *testRoom) Pinned(path string) bool {
	return slices.ContainsFunc(r.keep.Pins, func(p api.Pin) bool { return string(p.Path) == path })
}

func (r *testRoom) Disk() (api.Space, error) {
	return api.Space{Overhead: 1 << 20, Log: 1, Disk: 1<<20 + 1}, nil
}

func (n *testNode) Status(context.Context) (api.Status, error) {
	return api.Status{Version: "test", Data: api.Text(n.dir), Network: "direct", Mounts: n.Mounts()}, nil
}

func (n *testNode) Rooms() []control.Room {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []control.Room
	for _, r := range n.rooms {
		list = append(list, r)
	}
	return list
}

func (n *testNode) Room(ref string) (control.Room, error) {
	for _, r := range n.Rooms() {
		if r.Alias() == ref || strings.HasPrefix(r.ID().String(), ref) {
			return r, nil
		}
	}
	return nil, api.Errorf(api.UnknownRoom, "there is no room %q here", ref)
}

func (n *testNode) Create(_ context.Context, req api.CreateRequest) (control.Room, string, error) {
	st, err := store.OpenRoom(filepath.Join(n.dir, req.Name), store.Options{})
	if err != nil {
		return nil, "", err
	}
	n.t.Cleanup(func() { st.Close() })
	tree, timeline := drive.NewTree(), chat.NewTimeline()
	log, recovery, err := room.Create(st, n.dev, req.Name, "tester", tree, timeline)
	if err != nil {
		return nil, "", err
	}
	d, err := drive.Open(drive.Options{Room: log, Blobs: st.Blobs()})
	if err != nil {
		return nil, "", err
	}
	c, err := chat.Open(chat.Options{Room: log, Drive: d})
	if err != nil {
		return nil, "", err
	}
	r := &testRoom{alias: req.Name, log: log, drive: d, chat: c, keep: api.Keeping{Keep: "auto"}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rooms = append(n.rooms, r)
	return r, recovery.Words(), nil
}

func (n *testNode) Join(_ context.Context, req api.JoinRequest, step func(api.JoinProgress)) (control.Room, error) {
	if _, err := key.ParseLink(req.Link); err != nil {
		return nil, err
	}
	step(api.JoinProgress{Step: "asking", Text: "asking to come in"})
	return nil, room.ErrRefused
}

func (n *testNode) Leave(_ context.Context, r control.Room, _ api.LeaveRequest) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rooms = slices.DeleteFunc(n.rooms, func(t *testRoom) bool { return t.alias == r.Alias() })
	return nil
}

func (n *testNode) Addrs() (addrs, bootstrap []string) { return []string{"/ip4/127.0.0.1/tcp/1"}, nil }
func (n *testNode) Peers(control.Room) []api.Peer      { return nil }
func (n *testNode) Shutdown()                          { n.mu.Lock(); n.down = true; n.mu.Unlock() }
func (n *testNode) Mounts() []api.Mount {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.mounts)
}
func (n *testNode) Unmount(context.Context, api.UnmountRequest) error {
	return api.Errorf(api.NotMounted, "nothing is mounted there")
}

func (n *testNode) Mount(_ context.Context, r control.Room, req api.MountRequest) (api.Mount, error) {
	m := api.Mount{Room: r.Alias(), Dir: req.Dir}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mounts = append(n.mounts, m)
	return m, nil
}

func (n *testNode) Fsck(_ context.Context, _ control.Room, _ bool, report func(api.Finding)) error {
	for _, f := range n.find {
		report(f)
	}
	return nil
}

// start runs a server over a fresh node with one room, home.
func start(t testing.TB) (*testNode, *client.Client) {
	t.Helper()
	dir := t.TempDir()
	dev, err := key.NewDevice()
	if err != nil {
		t.Fatal(err)
	}
	n := &testNode{t: t, dir: dir, dev: dev}
	socket := filepath.Join(dir, "control.sock")
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	cl := serveOn(t, n, l, socket)
	if _, err := cl.Create(t.Context(), api.CreateRequest{Name: "home"}); err != nil {
		t.Fatal(err)
	}
	return n, cl
}

func serveOn(t testing.TB, n control.Node, l net.Listener, socket string) *client.Client {
	s := control.New(n, slog.New(slog.NewTextHandler(t.Output(), nil)))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	cl := client.New(socket)
	t.Cleanup(func() {
		cl.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.Close(ctx)
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return cl
}

// codeOf returns the class of an error, "" for none.
func codeOf(err error) api.Code {
	if err == nil {
		return ""
	}
	return control.AsError(err).Code
}
