package nodetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pearbox/pearbox/chat"
	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/node"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/swarm/memnet"
)

const debugEnv = "PEARBOX_TEST_DEBUG" // nodes log everything

// Peer is one node of a world.
type Peer struct {
	w    *World
	name string
	dir  string
	dev  *key.Device
	n    *node.Node // nil while it is stopped
	room *node.Room // nil before it is in the room
	disk *Disk
	skew atomic.Int64 // how far its clock is ahead of the true time, in nanoseconds
}

// Start starts the node on its data directory; it is in the room again if it was before.
func (p *Peer) Start() *Peer {
	p.w.T.Helper()
	p.open()
	for p.disk.Stopped() { // while it started
		p.crash()
		p.open()
	}
	return p
}

// open opens the node. The room may be missing when its machine has stopped.
func (p *Peer) open() {
	p.w.T.Helper()
	c := config.Default()
	c.Name, c.Network, c.Keep.MinFree = p.name, "direct", 0
	level := slog.LevelWarn
	if os.Getenv(debugEnv) != "" {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(testWriter{p}, &slog.HandlerOptions{Level: level}))
	n, err := node.Open(context.Background(), node.Options{Data: p.dir, Config: c, Version: "test", Log: log, Device: p.dev,
		Disk: p.disk, Clock: func() time.Time { return time.Now().Add(time.Duration(p.skew.Load())) },
		Connect: func(_ context.Context, dev *key.Device, onConn func(wire.Conn)) (node.Network, error) {
			host := p.w.Net.Host(dev.ID(), func(c *memnet.Conn) { onConn(c) })
			if p.w.sparse {
				return unsought{host}, nil
			}
			return host, nil
		}})
	if err != nil {
		p.w.T.Fatalf("starting %s: %v", p.name, err)
	}
	p.n = n
	if p.w.ID.IsZero() {
		return
	}
	if r, err := n.Room(p.w.ID.String()); err == nil {
		p.room = r.(*node.Room)
	}
}

// testWriter sends a node's log to the test's.
type testWriter struct{ p *Peer }

func (t testWriter) Write(b []byte) (int, error) {
	// The log of a test that is over must not be written to; nodes are stopped by then.
	t.p.w.T.Logf("%s: %s", t.p.name, strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// Stop closes the node.
func (p *Peer) Stop() {
	p.w.T.Helper()
	if p.n == nil {
		return
	}
	n := p.n
	p.n, p.room = nil, nil
	err := n.Close()
	if p.disk.Stopped() {
		p.crash()
	} else if err != nil {
		p.w.T.Errorf("stopping %s: %v", p.name, err)
	}
}

// Restart stops and starts the node.
func (p *Peer) Restart() *Peer {
	p.w.T.Helper()
	p.Stop()
	return p.Start()
}

// Crash starts the node again after its machine stopped: nothing that it does from now on reaches the disk of its rooms. In a simulation
// what was not synced may be gone: see Disk.
func (p *Peer) Crash() *Peer {
	p.w.T.Helper()
	p.disk.StopAfter(0)
	// A write that fails, so that closing cannot leave things in order.
	if _, err := p.room.Drive().Write(context.Background(), func(b *drive.Batch) error { return b.Mark("the machine has stopped") }); err == nil {
		p.w.T.Fatalf("%s writes although its machine has stopped", p.name)
	}
	p.crash()
	return p.Start()
}

// crash ends the node whose machine has stopped. In a simulation it loses its power, mostly; otherwise only the program has died.
func (p *Peer) crash() {
	p.w.T.Helper()
	p.w.Count("crashes")
	if n := p.n; n != nil {
		p.n, p.room = nil, nil
		_ = n.Close() // says in many ways that nothing can be written
	}
	if p.w.trace != nil && p.w.Rand.IntN(4) > 0 {
		p.w.Count("cuts")
		if err := p.disk.lose(p.rooms()); err != nil {
			p.w.T.Fatalf("%s loses its power: %v", p.name, err)
		}
	}
	p.disk.Works()
}

// rooms is the directory of the room.
func (p *Peer) rooms() string { return filepath.Join(p.dir, "rooms", p.w.ID.String()) }

// Rebuild checks the node's rooms, which must be in order, throws everything derived away and makes it anew.
func (p *Peer) Rebuild() *Peer {
	p.w.T.Helper()
	ctx := context.Background()
	for _, rebuild := range []bool{false, true} {
		err := p.n.Fsck(ctx, nil, rebuild, func(f api.Finding) {
			if f.Bad {
				p.w.T.Errorf("%s: fsck: %+v", p.name, f)
			}
		})
		if err != nil {
			p.w.T.Fatalf("%s: fsck: %v", p.name, err)
		}
	}
	r, err := p.n.Room(p.w.ID.String())
	if err != nil {
		p.w.T.Fatal(err)
	}
	p.room = r.(*node.Room)
	return p
}

// Disk is what the node's rooms are written to.
func (p *Peer) Disk() *Disk { return p.disk }

// SetClock sets the node's clock so far ahead of the true time, or behind it.
func (p *Peer) SetClock(ahead time.Duration) { p.skew.Store(int64(ahead)) }

// Backup copies the data directory of the node, which is stopped, as `cp -a` would.
func (p *Peer) Backup() string {
	p.w.T.Helper()
	to := filepath.Join(p.w.T.TempDir(), "backup")
	if err := os.CopyFS(to, os.DirFS(p.dir)); err != nil {
		p.w.T.Fatalf("copying the directory of %s: %v", p.name, err)
	}
	return to
}

// Restore puts a copy in the place of the data directory of the node, which is stopped. What was there is lost.
func (p *Peer) Restore(backup string) *Peer {
	p.w.T.Helper()
	if err := errors.Join(os.RemoveAll(p.dir), os.CopyFS(p.dir, os.DirFS(backup))); err != nil {
		p.w.T.Fatalf("restoring the directory of %s: %v", p.name, err)
	}
	return p.elsewhere()
}

// elsewhere tells the disk that the data directory is another one.
func (p *Peer) elsewhere() *Peer {
	p.w.T.Helper()
	if err := p.disk.replaced(p.rooms()); err != nil {
		p.w.T.Fatal(err)
	}
	return p
}

// Exchange swaps the data directory of the node, which is stopped, with another one, as if it were another machine with the same key.
func (p *Peer) Exchange(dir string) *Peer {
	p.w.T.Helper()
	aside := dir + ".aside"
	if err := errors.Join(os.Rename(p.dir, aside), os.Rename(dir, p.dir), os.Rename(aside, dir)); err != nil {
		p.w.T.Fatalf("exchanging the directory of %s: %v", p.name, err)
	}
	return p.elsewhere()
}

// Logs lists the generations of the logs that the device has written to, as node q knows them, each kind's in order.
func (p *Peer) Logs(q *Peer) map[key.Kind][]uint32 {
	out := map[key.Kind][]uint32{}
	for _, c := range q.room.Log().Cores(room.AccessMember) {
		if c.Device == p.dev.ID() {
			out[c.Kind] = append(out[c.Kind], c.Gen)
		}
	}
	for _, gens := range out {
		slices.Sort(gens)
	}
	return out
}

// Dir is the node's data directory.
func (p *Peer) Dir() string { return p.dir }

// Notes is what the node has to say about itself.
func (p *Peer) Notes() []string {
	p.w.T.Helper()
	st, err := p.n.Status(context.Background())
	if err != nil {
		p.w.T.Fatalf("%s: status: %v", p.name, err)
	}
	return st.Notes
}

// Node is the running node, Handle its room.
func (p *Peer) Node() *node.Node { return p.n }

// Handle is the node's room.
func (p *Peer) Handle() *node.Room { return p.room }

// Create makes the room of the world.
func (p *Peer) Create(name string) *Peer {
	p.w.T.Helper()
	r, words, err := p.n.Create(context.Background(), api.CreateRequest{Name: name})
	if err != nil {
		p.w.T.Fatalf("%s creates a room: %v", p.name, err)
	}
	if words == "" {
		p.w.T.Error("no recovery words")
	}
	p.room = r.(*node.Room)
	p.w.ID = r.ID()
	return p
}

// Invite makes a link for writers, any number of them.
func (p *Peer) Invite() string {
	p.w.T.Helper()
	return p.InviteAs(room.RoleWriter)
}

// InviteAs makes a link for members of a role.
func (p *Peer) InviteAs(role room.Role) string {
	p.w.T.Helper()
	addrs, boot := p.n.Addrs()
	link, err := p.room.Log().Invite(context.Background(), room.InviteOptions{Role: role, Addrs: addrs, Bootstrap: boot})
	if err != nil {
		p.w.T.Fatalf("%s invites: %v", p.name, err)
	}
	return link.String()
}

// Join joins by a link and waits to be let in.
func (p *Peer) Join(link string) *Peer {
	p.w.T.Helper()
	r, err := p.n.Join(context.Background(), api.JoinRequest{Link: link, Wait: Patience}, nil)
	if err != nil {
		p.w.T.Fatalf("%s joins: %v", p.name, err)
	}
	p.room = r.(*node.Room)
	if s := p.room.Log().Status(); s.Standing != room.Admitted {
		p.w.describeAll()
		p.w.T.Fatalf("%s was not let in: %+v", p.name, s)
	}
	return p
}

// Ask asks to come in by a link, and waits so long. The room is opened anew for that: where that cannot be, there is no
// Handle until the node is started again.
func (p *Peer) Ask(link string, wait time.Duration) error {
	p.w.T.Helper()
	_, err := p.n.Join(context.Background(), api.JoinRequest{Link: link, Wait: wait}, nil)
	p.room = nil
	if r, rerr := p.n.Room(p.w.ID.String()); rerr == nil {
		p.room = r.(*node.Room)
	}
	return err
}

// Say writes a message.
func (p *Peer) Say(text string) *Peer {
	p.w.T.Helper()
	if _, err := p.room.Chat().Say(context.Background(), text, chat.SayOptions{}); err != nil {
		p.w.T.Fatalf("%s says: %v", p.name, err)
	}
	return p
}

// Heard lists the texts of the conversation.
func (p *Peer) Heard() []string {
	p.w.T.Helper()
	list, err := p.room.Chat().History(context.Background(), chat.Page{Limit: chat.MaxPage})
	if err != nil {
		p.w.T.Fatalf("%s reads the conversation: %v", p.name, err)
	}
	var out []string
	for _, m := range list {
		out = append(out, m.Text)
	}
	return out
}

// describe tells how the node stands, for a failing test.
func (p *Peer) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %+v\n", p.name, p.room.Log().Status())
	for _, m := range p.room.Log().Members() {
		fmt.Fprintf(&b, "\tmember %s %s %v %v\n", m.Name, m.Device.Short(), m.Standing, m.Role)
	}
	for _, c := range p.room.Log().Cores(room.AccessMember) {
		fmt.Fprintf(&b, "\tcore %s of %s %v gen %d length %d head %d\n", c.ID.Short(), c.Device.Short(), c.Kind, c.Gen, c.Length, c.Head.Length)
	}
	for _, q := range p.room.Log().Pending() {
		fmt.Fprintf(&b, "\trequest %+v\n", q)
	}
	if r := p.room.Replica(); r != nil {
		fmt.Fprintf(&b, "\treplica %+v\n", r.Stats())
		for _, q := range r.Peers() {
			fmt.Fprintf(&b, "\tpeer %s %s %s behind %d\n", q.Device.Short(), q.Path, q.Access, q.Behind)
		}
	}
	return b.String()
}
