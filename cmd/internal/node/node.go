// Package node is the composition root: it opens what a data directory holds, connects it, keeps it going and closes it in order. Nothing
// but the command and tests imports it; it alone knows everybody.
//
// # What runs
//
//	one drive/wire.Hub          every room against every peer
//	one Network                 swarm, or memnet in tests: topics and addresses -> connections -> the hub
//	for each room               store, room log, drive, chat, replica, keeper, and a vfs.FS once it is mounted
//	serve/control               the control socket; mounts are made here, HTTP servers by control
//
// # Starting and ending
//
// Open takes the data directory's lock, opens the rooms (one that does not open is reported in Status and does not stop the others),
// starts the network and makes the kept mounts. Close undoes it from the top: no more requests, unmount, seal what was written through
// mounts, hub, network, keepers, stores, lock. Each step has a time limit; what was acknowledged is durable whether or not it gets there.
//
// # Discovery
//
// For each room a node joins the topic of every relay key that the room still knows, and it keeps connected to the addresses in links and
// to devices it met before (peers.json, 256 at most). Members tell each other where the other members may be reached, so that two who came
// in through a third find each other when that one is gone. What was told is tried and not believed: it is saved, and told on, once it has
// led to a connection. Whether a connection is of use is the hub's to decide: it drops peers that share no room.
//
// # The keeper
//
// A node keeps every entry. Bytes of files come when somebody reads them, and by themselves by the room's policy: "" is files up to
// keep.max_file while keep.min_free of the disk is free, "all" everything while a little is free, "none" nothing. What is pinned comes
// whatever the policy, and first; then the newest, small ones in batches, a few large ones at once, always behind readers. What is written
// meanwhile does not wait for what is under way.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/store"
	"github.com/pearbox/pearbox/drive/vfs"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/control"
	"github.com/pearbox/pearbox/swarm"
)

// Time limits of closing.
const (
	closeRequests = 5 * time.Second
	closeMounts   = 30 * time.Second
	closeSeal     = 2 * time.Minute
)

// Options say what to run.
type Options struct {
	Data       string                 // the data directory
	Config     config.Config          // as config.Load gives it
	Version    string                 // of the program, shown and told to peers
	Log        *slog.Logger           // nil: nothing is logged
	Passphrase func() ([]byte, error) // asked when the device key is sealed; nil: a sealed one is an error

	// Connect starts the network; nil: swarm by Config. onConn takes each connection.
	Connect func(ctx context.Context, dev *key.Device, onConn func(wire.Conn)) (Network, error)
	// Device is used instead of the data directory's key, for tests; nil: the key.
	Device *key.Device
	// Disk is what rooms are written to, and Clock what they take their times from, for simulations; nil: the machine's.
	Disk  store.Disk
	Clock func() time.Time
	// Mounts is the commit policy of mounts; zero fields: the defaults.
	Mounts vfs.Policy
	// Cached mounts as a plain user does, without passthrough, for measurements.
	Cached bool
	// Echo is the command line, from its own name on, by which this program calls RepeatChanges; none: programs that watch
	// mounted folders do not hear of changes of others.
	Echo []string
}

// Node is a running node.
type Node struct {
	opts    Options
	log     *slog.Logger
	dir     *config.Dir
	dev     *key.Device
	hub     *wire.Hub
	net     Network
	started time.Time

	ctx    context.Context // ends when closing begins
	cancel context.CancelFunc
	work   sync.WaitGroup // background goroutines of the node itself
	quit   chan struct{}  // closed by Shutdown
	met    chan struct{}  // word to keepPeers that members changed, or that somebody was met
	netUp  chan struct{}  // closed once net is set
	once   sync.Once

	saving  sync.Mutex     // serialises writers of rooms.json and peers.json, and guards what follows
	peers   config.Network // what peers.json holds, as of peersAt
	peersAt time.Time

	making sync.Mutex // serialises Create and the first part of Join

	mu      sync.Mutex // guards what follows
	rooms   map[key.RoomID]*Room
	failed  map[key.RoomID]failure // rooms that did not open
	remarks []string               // what else is for Status
	mounts  []*mounted
	keep    []config.Mount // mounts to be made at each start
	metrics string         // where they are served, "" while they are not
	closed  bool
}

var _ control.Node = (*Node)(nil)

// Open starts a node. The error is one that control.AsError knows.
func Open(ctx context.Context, o Options) (*Node, error) {
	n, err := open(ctx, o)
	if err != nil {
		return nil, startError(err)
	}
	return n, nil
}

func open(ctx context.Context, o Options) (_ *Node, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := config.Open(o.Data)
	if err != nil {
		return nil, err
	}
	n := &Node{opts: o, log: o.Log, dir: dir, dev: o.Device, started: time.Now(),
		quit: make(chan struct{}), met: make(chan struct{}, 1), netUp: make(chan struct{}), rooms: make(map[key.RoomID]*Room), failed: make(map[key.RoomID]failure)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			_ = n.Close()
		}
	}()
	if n.dev == nil {
		dev, made, err := dir.Device(o.Passphrase)
		if err != nil {
			return nil, err
		}
		if n.dev = dev; made {
			n.log.Info("made this device's identity", "device", dev.ID())
		}
	}
	n.hub = wire.NewHub(n.dev, wire.Options{UpLimit: int64(o.Config.Limits.Up), DownLimit: int64(o.Config.Limits.Down),
		Log: n.log.With("part", "wire"), Agent: "pearbox " + o.Version,
		Neighbours: n.neighbours, Met: n.meet, Copied: n.copied})
	state, err := dir.Rooms()
	if err != nil {
		return nil, err
	}
	n.pastFault()
	n.openRooms(ctx, state)
	if err := n.startNetwork(ctx, state); err != nil {
		return nil, err
	}
	n.remount(ctx, state)
	return n, ctx.Err()
}

// startError gives errors of starting the class that the command's exit code follows from.
func startError(err error) error {
	var known *api.Error
	var locked *config.LockedError
	var listening *net.OpError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &locked):
		return api.Errorf(api.AlreadyRunning, "%w", err)
	case errors.Is(err, config.ErrNewer):
		return api.Errorf(api.UpdateNeeded, "%w", err)
	case errors.Is(err, config.ErrSealed):
		return api.Errorf(api.BadConfig, "%w", err).With("give the passphrase of the device key, in PEARBOX_PASSPHRASE_FILE or at the prompt")
	case errors.Is(err, swarm.ErrPortTaken):
		return api.Errorf(api.PortTaken, "%w", err).With("end the program that has it, or give another port as `listen` in config.toml, in PEARBOX_LISTEN or, for a relay, with --listen; port 0 is any that is free")
	case errors.Is(err, swarm.ErrAddress):
		return api.Errorf(api.BadConfig, "%w", err).With("correct --bootstrap, PEARBOX_BOOTSTRAP, or `bootstrap` in config.toml")
	case errors.Is(err, swarm.ErrListenAddress), errors.As(err, &listening) && listening.Op == "listen":
		return api.Errorf(api.BadConfig, "%w", err).With("correct `listen` in config.toml, PEARBOX_LISTEN or, for a relay, --listen; /ip4/0.0.0.0/tcp/4001 is such an address")
	case errors.Is(err, config.ErrBad):
		return api.Errorf(api.BadConfig, "%w", err)
	}
	return control.AsError(err)
}

// Run answers on the control socket until ctx ends or Shutdown is called, and closes the node.
func (n *Node) Run(ctx context.Context) error {
	defer n.Close()
	s := control.New(n, n.log.With("part", "control"))
	endMetrics, err := n.serveMetrics(s) // before anybody takes the node for running
	if err != nil {
		return startError(err)
	}
	l, err := control.Listen(n.dir.Socket())
	if err != nil {
		endMetrics()
		return startError(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	n.log.Info("running", "device", n.dev.ID(), "data", n.dir.Path(), "rooms", len(n.Rooms()), "network", n.opts.Config.Network)
	select {
	case <-ctx.Done():
	case <-n.quit:
	case err = <-served:
	}
	endMetrics()
	end, cancel := context.WithTimeout(context.Background(), closeRequests)
	defer cancel()
	if cerr := s.Close(end); cerr != nil {
		n.log.Debug("requests were cut off", "error", cerr)
	}
	if cerr := n.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return startError(err)
	}
	return nil
}

// Shutdown asks Run to end.
func (n *Node) Shutdown() { n.once.Do(func() { close(n.quit) }) }

// Close ends the node in order. Nothing that was acknowledged depends on it.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	rooms := n.sorted()
	n.mu.Unlock()

	var errs []error
	errs = append(errs, n.unmountAll())
	for _, r := range rooms {
		errs = append(errs, r.closeFiles())
	}
	n.cancel()
	if n.hub != nil {
		n.hub.Close()
	}
	if n.net != nil {
		n.savePeers()
		errs = append(errs, n.net.Close())
	}
	n.work.Wait()
	for _, r := range rooms {
		errs = append(errs, r.close())
	}
	errs = append(errs, n.dir.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}

// Device is this node's device id.
func (n *Node) Device() key.DeviceID { return n.dev.ID() }

// goes runs f in the background until it returns; Close waits for it. f ends when ctx does.
func (n *Node) goes(f func(ctx context.Context)) {
	n.work.Add(1)
	go func() {
		defer n.work.Done()
		f(n.ctx)
	}()
}

// note keeps a remark for Status.
func (n *Node) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	n.log.Warn(text)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.remarks, text) && len(n.remarks) < 100 {
		n.remarks = append(n.remarks, text)
	}
}

// Status implements control.Node.
func (n *Node) Status(ctx context.Context) (api.Status, error) {
	st := api.Status{
		Version: n.opts.Version, Device: n.dev.ID().String(), Name: n.opts.Config.Name, Data: api.Text(n.dir.Path()), PID: os.Getpid(),
		Started: n.started, Network: n.opts.Config.Network,
		UpLimit: int64(n.opts.Config.Limits.Up), DownLimit: int64(n.opts.Config.Limits.Down), Rooms: []api.Room{}, Mounts: n.Mounts(),
	}
	st.Addresses, _ = n.Addrs()
	n.mu.Lock()
	st.Notes, st.Metrics = slices.Clone(n.remarks), n.metrics
	n.mu.Unlock()
	note, err := n.networkNote()
	if err != nil {
		return st, err
	}
	if note != "" {
		st.Notes = append(st.Notes, note)
	}
	st.Notes = append(st.Notes, n.mountNotes()...)
	for _, f := range n.failures() {
		st.Notes = append(st.Notes, f.note())
	}
	for _, r := range n.roomList() {
		st.Rooms = append(st.Rooms, r.status())
		st.Notes = append(st.Notes, r.notes()...)
	}
	return st, ctx.Err()
}

// sorted lists the rooms by alias. Call with mu held.
func (n *Node) sorted() []*Room {
	out := make([]*Room, 0, len(n.rooms))
	for _, r := range n.rooms {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *Room) int { return strings.Compare(a.alias, b.alias) })
	return out
}
