package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/node"
	"github.com/pearbox/pearbox/drive"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/wire"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
	"github.com/pearbox/pearbox/swarm/memnet"
)

// childArg makes the command one of the processes that rows need. Such a process ends, and unmounts, when its standard input is
// closed, thus also when its parent is killed; signals to the group it leaves to the parent.
const childArg = "-child"

// ending is how long a child may take to end once the bench was interrupted.
const ending = 20 * time.Second

// profileEnv tells children where profiles go.
const profileEnv = "PEARBOX_BENCH_PROFILE"

func child(args []string) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var err error
	switch args[0] {
	case "node", "cached":
		err = runNode(ctx, stop, args[1], args[0] == "cached")
	case "loopback":
		go commands(stop, nil)
		err = runLoopback(ctx, args[1], args[2])
	case "stream":
		err = runStream(ctx, stop)
	default:
		err = fmt.Errorf("no child %q", args[0])
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", strings.Join(args, " "), err)
		return 1
	}
	return 0
}

// commands answers what the parent asks on standard input, a line each, until that is closed.
func commands(stop context.CancelFunc, answers map[string]func(args []string) (int64, error)) {
	defer stop()
	asked := make(chan string)
	go func() {
		defer stop() // also while a command is carried out
		defer close(asked)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			asked <- lines.Text()
		}
	}()
	for line := range asked {
		f := strings.Fields(line)
		answer, ok := answers[f[0]]
		if !ok {
			fmt.Fprintln(os.Stderr, "bench: no command", line)
			return
		}
		n, err := answer(f[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", line, err)
			return
		}
		fmt.Println(n)
	}
}

// ownCPU is what this process has used on all cores, in nanoseconds.
func ownCPU() (int64, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano(), err
}

// profile writes a CPU profile of this process when -profile names a directory; the returned function ends it.
func profile(name string) (end func() error, err error) {
	dir := os.Getenv(profileEnv)
	if dir == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(dir, name+".pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func runNode(ctx context.Context, stop context.CancelFunc, data string, cached bool) error {
	c := config.Default()
	c.Network, c.Listen, c.Keep.MaxFile = "direct", []string{"/ip4/127.0.0.1/tcp/0"}, 1<<40
	n, err := node.Open(ctx, node.Options{Data: data, Config: c, Log: slog.New(slog.DiscardHandler), Cached: cached})
	if err != nil {
		return err
	}
	go commands(stop, map[string]func([]string) (int64, error){
		"cpu": func([]string) (int64, error) { return ownCPU() },
		"fill": counted(func(files int64) error {
			r, err := n.Room(roomName)
			if err != nil {
				return err
			}
			return fill(ctx, r.Drive(), int(files))
		}),
		"listed": counted(func(files int64) error { return listed(ctx, n, int(files)) }),
		"held": func(args []string) (int64, error) {
			bytes, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return 0, err
			}
			looked, err := held(ctx, n, bytes)
			return int64(looked), err
		},
	})
	end, err := profile(filepath.Base(data))
	if err != nil {
		return err
	}
	return errors.Join(n.Run(ctx), end())
}

// counted is a command with one number, which it answers.
func counted(fn func(int64) error) func([]string) (int64, error) {
	return func(args []string) (int64, error) {
		n, err := strconv.ParseInt(args[0], 10, 64)
		if err == nil {
			err = fn(n)
		}
		return n, err
	}
}

// listed waits until all of the room's files are listed on a node, which was let in just now.
func listed(ctx context.Context, n *node.Node, files int) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		r, err := n.Room(roomName)
		if err != nil {
			return err
		}
		now, count := r.Drive().Now(), 0
		if _, err := now.Stat(dirName(dirsOf(files) - 1)); err != nil { // looking at all files each time would be work of its own
			continue
		}
		for info, err := range now.Walk("") {
			if err != nil {
				return err
			}
			if info.Kind == drive.KindFile {
				count++
			}
		}
		if count == files {
			return nil
		}
	}
	return fmt.Errorf("%d files were not listed in %v", files, patience)
}

// held waits until a node holds all of the room's files, bytes in all, which it has to get from others in this run, and returns how long it then took to look at each of
// them, which is not part of the work. What is stored is durable.
func held(ctx context.Context, n *node.Node, bytes int64) (looked time.Duration, err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
		r, err := n.Room(roomName)
		if e := (*api.Error)(nil); errors.As(err, &e) && e.Code == api.UnknownRoom {
			continue // it is coming in
		} else if err != nil {
			return 0, err
		}
		room := r.(*node.Room)
		if st := room.Replica().Stats(); st.BlobsIn < bytes || st.Fetching > 0 || st.Behind > 0 {
			continue
		}
		begun := time.Now()
		var sum int64
		for info, err := range room.Drive().Now().Walk("") {
			if err != nil {
				return 0, err
			}
			if info.Kind == drive.KindFile {
				sum += room.Drive().LocalState(info)
			}
		}
		if sum >= bytes {
			return time.Since(begun), nil
		}
	}
	return 0, fmt.Errorf("%d bytes did not arrive in %v", bytes, patience)
}

// process is a child; it ends when its standard input is closed.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// ask has the child carry out a command of runNode or runStream.
func (p *process) ask(command string, args ...any) (int64, error) {
	if _, err := fmt.Fprintln(p.in, append([]any{command}, args...)...); err != nil {
		return 0, err
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("a child does not answer: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

func start(ctx context.Context, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{childArg}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel, cmd.WaitDelay = in.Close, ending
	return &process{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

func (p *process) stop() error {
	p.in.Close()
	return p.cmd.Wait()
}

func (p *process) cpu() (int64, error) { return p.ask("cpu") }

// peer is a running node.
type peer struct {
	*client.Client
	proc *process // nil: it runs in this process
	node *node.Node
	end  func() error
}

const roomName = "bench"

// startNode starts a node in a process of its own.
func startNode(b *bench, name string) (*peer, error) { return startAs(b, "node", name) }

// startAs starts a node as a child of the kind, "node" or "cached": one that mounts as a plain user's does.
func startAs(b *bench, kind, name string) (*peer, error) {
	data := filepath.Join(b.dir, name)
	proc, err := start(b.ctx, kind, data)
	if err != nil {
		return nil, err
	}
	p := &peer{Client: client.New(config.Socket(data)), proc: proc, end: proc.stop}
	return p, p.ready(b.ctx)
}

// hostNode starts a node in this process, with a network of the same kind and an uplink that is capped at up bytes a second; 0: not.
func hostNode(b *bench, net *memnet.Net, name string, up int64) (*peer, error) {
	data := filepath.Join(b.dir, name)
	c := config.Default()
	c.Keep.MaxFile, c.Limits.Up = 1<<40, config.Rate(up)
	n, err := node.Open(b.ctx, node.Options{
		Data: data, Config: c, Log: slog.New(slog.DiscardHandler),
		Connect: func(_ context.Context, dev *key.Device, onConn func(wire.Conn)) (node.Network, error) {
			return net.Host(dev.ID(), func(c *memnet.Conn) { onConn(c) }), nil
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	p := &peer{Client: client.New(config.Socket(data)), node: n, end: func() error {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}}
	return p, p.ready(b.ctx)
}

// ready waits until the node answers, and stops it when it does not.
func (p *peer) ready(ctx context.Context) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		_, err := p.Status(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return errors.Join(err, p.stop())
		}
	}
}

func (p *peer) stop() error {
	p.Close()
	return p.end()
}

func (p *peer) create(ctx context.Context) error {
	_, err := p.Create(ctx, api.CreateRequest{Name: roomName})
	return err
}

func (p *peer) put(ctx context.Context, src string) error {
	_, err := p.Put(ctx, roomName, api.PutRequest{Sources: []api.Text{api.Text(src)}, Into: true}, nil)
	return err
}

// held waits until the node has got all of the room's files, n bytes in all, from others, and returns how long it then looked at them.
func (p *peer) held(ctx context.Context, n int64) (looked time.Duration, err error) {
	if p.node != nil {
		return held(ctx, p.node, n)
	}
	took, err := p.proc.ask("held", n)
	return time.Duration(took), err
}
