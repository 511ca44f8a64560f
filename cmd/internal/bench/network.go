package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pearbox/pearbox/cmd/internal/config"
	"github.com/pearbox/pearbox/cmd/internal/node"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/serve/api"
	"github.com/pearbox/pearbox/serve/client"
	"github.com/pearbox/pearbox/swarm"
)

// patience bounds every wait for another process.
const patience = 10 * time.Minute

func networkRows() []row {
	return []row{
		{"large file, node to node: bare stream", "B", transfer},
		{"10,000 files of 4 KiB, node to node, synced: put there", "files", smallFiles},
		{"message, node to node, p99: echo on a bare stream, p99", "ms", messages},
	}
}

// childArg makes the command one of the processes that rows need.
const childArg = "-child"

func child(args []string) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // whoever started this process holds its standard input
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var err error
	switch args[0] {
	case "node":
		err = runNode(ctx, args[1])
	case "loopback":
		err = runLoopback(ctx, args[1], args[2])
	case "stream":
		err = runStream(ctx)
	default:
		err = fmt.Errorf("no child %q", args[0])
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", strings.Join(args, " "), err)
		return 1
	}
	return 0
}

func runNode(ctx context.Context, data string) error {
	c := config.Default()
	c.Network, c.Listen, c.Keep.MaxFile = "direct", []string{"/ip4/127.0.0.1/tcp/0"}, 1<<40
	n, err := node.Open(ctx, node.Options{Data: data, Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

// process is a child; it ends when its standard input is closed.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
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
	return &process{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

func (p *process) stop() error {
	p.in.Close()
	return p.cmd.Wait()
}

// peer is a node in a process of its own.
type peer struct {
	*client.Client
	proc *process
}

const roomName = "bench"

func startNode(b *bench, name string) (*peer, error) {
	data := filepath.Join(b.dir, name)
	p, err := start(b.ctx, "node", data)
	if err != nil {
		return nil, err
	}
	cl := client.New(config.Socket(data))
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err = cl.Status(b.ctx); err == nil {
			return &peer{cl, p}, nil
		}
		if b.ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(err, p.stop())
		}
	}
}

func (p *peer) stop() error {
	p.Close()
	return p.proc.stop()
}

func (p *peer) create(ctx context.Context) error {
	_, err := p.Create(ctx, api.CreateRequest{Name: roomName})
	return err
}

func (p *peer) put(ctx context.Context, src string) error {
	_, err := p.Put(ctx, roomName, api.PutRequest{Sources: []api.Text{api.Text(src)}, Into: true}, nil)
	return err
}

// held waits until the node holds n bytes of the room's files.
func (p *peer) held(ctx context.Context, n int64) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		r, err := p.Room(ctx, roomName)
		if err != nil {
			return err
		}
		if r.Held >= n {
			return nil
		}
	}
	return fmt.Errorf("%d bytes did not arrive in %v", n, patience)
}

// two starts a node with a room and one that has come into it.
func two(b *bench) (a, z *peer, err error) {
	if a, err = startNode(b, "a"); err != nil {
		return nil, nil, err
	}
	if z, err = startNode(b, "z"); err != nil {
		return nil, nil, errors.Join(err, a.stop())
	}
	if err = a.create(b.ctx); err == nil {
		var inv api.Invite
		if inv, err = a.Invite(b.ctx, roomName, api.InviteRequest{}); err == nil {
			_, err = z.Join(b.ctx, api.JoinRequest{Link: inv.Link, Wait: patience}, nil)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, a.stop(), z.stop())
	}
	return a, z, nil
}

// transfer puts a large file into one node's store by rename, so that little but the transfer is timed, and waits for the other.
func transfer(b *bench) (work, base rate, err error) {
	if base, err = bareStream(b, *size); err != nil {
		return work, base, err
	}
	a, z, err := two(b)
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, a.stop(), z.stop()) }()
	src := filepath.Join(b.dir, "source")
	if err := randomFile(src, *size); err != nil {
		return work, base, err
	}
	if err := a.put(b.ctx, src); err != nil {
		return work, base, err
	}
	work, err = clock(float64(*size), func() error { return z.held(b.ctx, *size) })
	return work, base, err
}

func smallFiles(b *bench) (work, base rate, err error) {
	const n, each = 10_000, 4 << 10
	src := filepath.Join(b.dir, "source")
	for i := range n {
		sub := filepath.Join(src, fmt.Sprint(i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return work, base, err
			}
		}
		if err := randomFile(filepath.Join(sub, fmt.Sprint(i)), each); err != nil {
			return work, base, err
		}
	}
	a, err := startNode(b, "a")
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := a.create(b.ctx); err != nil {
		return work, base, err
	}
	if base, err = clock(n, func() error { return a.put(b.ctx, src) }); err != nil {
		return work, base, err
	}
	z, err := startNode(b, "z")
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, z.stop()) }()
	inv, err := a.Invite(b.ctx, roomName, api.InviteRequest{})
	if err != nil {
		return work, base, err
	}
	work, err = clock(n, func() error {
		if _, err := z.Join(b.ctx, api.JoinRequest{Link: inv.Link, Wait: patience}, nil); err != nil {
			return err
		}
		return z.held(b.ctx, n*each)
	})
	return work, base, err
}

// messages says things on one node and hears them on the other. Both figures are rates, so that they print as times.
func messages(b *bench) (work, base rate, err error) {
	const n = 200
	echo, err := bareEcho(b, n)
	if err != nil {
		return work, base, err
	}
	a, z, err := two(b)
	if err != nil {
		return work, base, err
	}
	defer func() { err = errors.Join(err, a.stop(), z.stop()) }()
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	heard := make(chan string, n)
	go z.Tail(ctx, roomName, 0, func(m api.Message) error {
		heard <- m.Text
		return nil
	})
	var took []time.Duration
	for i := range n + 1 {
		text := fmt.Sprint(i)
		begun := time.Now()
		if _, err := a.Say(ctx, roomName, api.SayRequest{Text: text}); err != nil {
			return work, base, err
		}
		for got := ""; got != text; {
			select {
			case got = <-heard:
			case <-time.After(patience):
				return work, base, errors.New("a message was not heard")
			}
		}
		if i > 0 { // the first one may come before the other listens
			took = append(took, time.Since(begun))
		}
	}
	return rate{1, p99(took)}, rate{1, p99(echo)}, nil
}

func p99(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)*99/100]
}

// runStream is the far end of the baselines: it prints its address and answers each stream, which begins with a number of bytes to
// send; 0 means to echo what comes.
func runStream(ctx context.Context) error {
	dev, err := key.NewDevice()
	if err != nil {
		return err
	}
	s, err := swarm.New(ctx, swarm.Options{Device: dev, Network: swarm.Direct, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, OnConn: func(c *swarm.Conn) {
		for {
			st, err := c.Accept(ctx)
			if err != nil {
				return
			}
			go answer(st)
		}
	}})
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Println(strings.Join(s.Addrs(), " "))
	<-ctx.Done()
	return nil
}

func answer(st net.Conn) {
	defer st.Close()
	var head [8]byte
	if _, err := io.ReadFull(st, head[:]); err != nil {
		return
	}
	n := int64(binary.BigEndian.Uint64(head[:]))
	if n == 0 {
		io.Copy(st, st)
		return
	}
	buf := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(buf)) {
		if _, err := st.Write(buf[:min(n, int64(len(buf)))]); err != nil {
			return
		}
	}
}

// bare opens a stream to another process that answers as head asks.
func bare(b *bench, head uint64, use func(net.Conn) error) (err error) {
	p, err := start(b.ctx, "stream")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	line, err := p.out.ReadString('\n')
	if err != nil {
		return err
	}
	dev, err := key.NewDevice()
	if err != nil {
		return err
	}
	conns := make(chan *swarm.Conn, 1)
	s, err := swarm.New(b.ctx, swarm.Options{Device: dev, Network: swarm.Direct, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, OnConn: func(c *swarm.Conn) { conns <- c }})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Connect(b.ctx, strings.Fields(line)); err != nil {
		return err
	}
	st, err := (<-conns).Open(b.ctx)
	if err != nil {
		return err
	}
	defer st.Close()
	if _, err := st.Write(binary.BigEndian.AppendUint64(nil, head)); err != nil {
		return err
	}
	return use(st)
}

func bareStream(b *bench, n int64) (r rate, err error) {
	err = bare(b, uint64(n), func(st net.Conn) error {
		r, err = clock(float64(n), func() error {
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(st, n), make([]byte, 1<<20))
			return err
		})
		return err
	})
	return r, err
}

func bareEcho(b *bench, n int) (took []time.Duration, err error) {
	err = bare(b, 0, func(st net.Conn) error {
		buf := make([]byte, 64)
		for range n {
			begun := time.Now()
			if _, err := st.Write(buf); err != nil {
				return err
			}
			if _, err := io.ReadFull(st, buf); err != nil {
				return err
			}
			took = append(took, time.Since(begun))
		}
		return nil
	})
	return took, err
}
